//! What the runs show, and that they can fail.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::actor::Speech;
use super::speech::{self, Kind, SECRET, binary, calls, devices, rooms};
use super::*;
use crate::base::{DEFECTS, Defect, with_planted};

#[test]
fn a_seed_gives_one_run() {
    for seed in 0..40 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

/// What this client hears when what it says comes in two pieces.
fn heard_when_cut(speech: Speech, cut: Option<usize>) -> (Vec<u8>, usize) {
    let mut world = World::new(1);
    let index = world.connect(0, speech);
    let offer = speech::body(Kind::Offer, 7, 30);
    let says: Vec<Vec<u8>> = match speech {
        Speech::Binary { form, .. } => vec![
            binary::connect(form, 1, "id1", SECRET),
            binary::heartbeat(form, 2),
            binary::signal(form, Kind::Offer, 7, "id1", &offer, None),
            binary::signal(form, Kind::Offer, 8, "nobody", &offer, None),
        ],
        Speech::Rooms => vec![
            rooms::register(0, "id1", &rooms::room_token(0), false).into_bytes(),
            rooms::question(1, "id1").1.into_bytes(),
            rooms::message(None, 7, "id1", "id1", 30).1.into_bytes(),
            rooms::message(Some(Kind::Answer), 8, "id1", "nobody", 30).1.into_bytes(),
        ],
        Speech::Devices => vec![
            devices::register("id1").into_bytes(),
            devices::question(1).1.into_bytes(),
            devices::signal(Kind::Offer, 7, "id1", 30, None).into_bytes(),
            devices::signal(Kind::Answer, 8, "nobody", 30, None).into_bytes(),
        ],
        Speech::Calls => vec![calls::join("call0", "nobody's").into_bytes()],
        Speech::Noise => Vec::new(),
    };
    let actor = &mut world.actors[index];
    let (client, mut bytes) = (actor.client, actor.upgrade().to_vec());
    says.iter().for_each(|message| bytes.extend(actor.wrap(message, 1)));
    let (first, rest) = bytes.split_at(cut.unwrap_or(bytes.len()));
    world.sim.write(client, first);
    world.settle().expect("it comes to rest");
    world.sim.write(client, rest);
    world.settle().expect("it comes to rest");
    (world.sim.read(client), bytes.len())
}

#[test]
fn a_conversation_may_be_cut_at_every_byte() {
    let form = |payload_type, tagged| binary::Form { payload_type, tagged };
    let speeches = [
        Speech::Binary { form: form(2, true), on_websocket: false },
        Speech::Binary { form: form(5, false), on_websocket: true },
        Speech::Rooms,
        Speech::Devices,
        Speech::Calls,
    ];
    for speech in speeches {
        let (whole, said_bytes) = heard_when_cut(speech, None);
        assert!(whole.len() > 100, "{speech:?}");
        for cut in 1..said_bytes {
            let (heard, _) = heard_when_cut(speech, Some(cut));
            let [heard, expected] = [&heard, &whole].map(|bytes| String::from_utf8_lossy(bytes));
            assert_eq!(heard, expected, "{speech:?}, cut after {cut} bytes");
        }
    }
}

/// Most seeds that it may take to find a defect.
const SEEDS_MAX: u64 = 1_000;

/// The first seed that a defect breaks, and how.
fn first_broken(defect: Defect) -> Option<(u64, Result<Violation, ()>)> {
    with_planted(defect, || {
        (0..SEEDS_MAX).find_map(|seed| match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(Ok(_)) => None,
            Ok(Err(violation)) => Some((seed, Ok(violation))),
            Err(_) => Some((seed, Err(()))),
        })
    })
}

/// The seeds were not chosen for them: they are the first ones.
#[test]
fn every_planted_defect_is_found() {
    let mut missed = Vec::new();
    for (promise, defects) in DEFECTS {
        assert!(defects.len() >= 2, "{promise}");
        let mut broken = BTreeSet::new();
        for defect in *defects {
            let Some((seed, how)) = first_broken(*defect) else {
                missed.push(*defect);
                continue;
            };
            let how = how.map_or_else(|()| "a panic".to_owned(), |violation| violation.to_string());
            println!("{defect:?}: {} seeds: {}", seed + 1, how.chars().take(160).collect::<String>());
            broken.extend(how.split(':').next().map(str::to_owned));
        }
        assert!(broken.contains(*promise), "{defects:?} are seen as {broken:?}, and none as {promise}");
    }
    assert!(missed.is_empty(), "{SEEDS_MAX} seeds do not find {missed:?}");
}
