//! Lists of operations on the tables of `hub`, against plain maps.

mod directory;
mod rooms;
mod seats;

use arbitrary::{Arbitrary, Unstructured};

use self::directory::DirectoryOperation;
use self::rooms::RoomOperation;
use self::seats::SeatOperation;
use crate::base::{NodeId, Now, PeerKey};

/// Of one input.
const OPERATIONS_MAX: usize = 512;

#[derive(Arbitrary, Debug)]
enum Operation {
    Directory(DirectoryOperation),
    Rooms(RoomOperation),
    Seats(SeatOperation),
    /// So many seconds pass.
    Pass(u8),
}

/// The bytes are operations, one after the other. Each has the result that the maps have.
pub fn hub(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let mut directory = directory::Tables::default();
    let mut rooms = rooms::Tables::default();
    let mut seats = seats::Tables::default();
    let mut seconds = 1_000;
    for _ in 0..OPERATIONS_MAX {
        if bytes.is_empty() {
            break;
        }
        let Ok(operation) = Operation::arbitrary(&mut bytes) else { break };
        match operation {
            Operation::Directory(operation) => directory.apply_and_check(operation),
            Operation::Rooms(operation) => rooms.apply_and_check(operation, seconds),
            Operation::Seats(operation) => {
                seats.apply_and_check(operation, Now { mono_us: seconds * 1_000_000, unix_ms: 0 });
            }
            Operation::Pass(more) => seconds += u64::from(more),
        }
    }
    directory.check_all();
    rooms.check_all();
    seats.check_all();
}

/// One of a few, so that operations meet.
#[derive(Clone, Copy, Debug)]
struct Few<const N: u8>(u8);

impl<'a, const N: u8> Arbitrary<'a> for Few<N> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Few<N>> {
        Ok(Few(u8::arbitrary(bytes)? % N))
    }
}

impl<const N: u8> Few<N> {
    fn name(self, what: &str) -> String {
        format!("{what}{}", self.0)
    }

    fn key(self) -> PeerKey {
        PeerKey { node: NodeId::shard(usize::from(self.0 % 2)), slot: u32::from(self.0 / 2), generation: 0 }
    }
}
