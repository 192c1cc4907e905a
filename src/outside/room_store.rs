//! Where room records survive a restart, or do not.
//!
//! The embedded store is the file `rooms.redb` of the data folder, with one table: room id →
//! (creator, token, second of expiry).

use std::error::Error;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::data_folder;
use crate::base::Redacted;
use crate::hub::rooms::{RoomRecord, RoomStore, StoreError};

const FILE_NAME: &str = "rooms.redb";

const ROOMS: TableDefinition<&str, (&str, &str, u64)> = TableDefinition::new("rooms");

/// A record takes about a hundred bytes, and all of them are read only once.
const CACHE_BYTES: usize = 8 << 20;

/// Rooms end with the process.
#[derive(Debug, Default)]
pub struct MemoryStore;

impl RoomStore for MemoryStore {
    fn load(&self) -> Result<Vec<RoomRecord>, StoreError> {
        Ok(Vec::new())
    }

    fn put(&self, _: &RoomRecord) -> Result<(), StoreError> {
        Ok(())
    }

    fn delete(&self, _: &[String]) -> Result<(), StoreError> {
        Ok(())
    }
}

/// One server at a time may have it open: the file is locked.
#[derive(Debug)]
pub struct EmbeddedStore {
    path: PathBuf,
    /// Closed by a failure, since the library wants a file opened anew after an I/O error, and opened
    /// again by the next call.
    database: Mutex<Option<Database>>,
}

impl EmbeddedStore {
    /// Opens the store in this folder. Both are made at first need, for the owner alone.
    pub fn open(data_dir: &Path) -> Result<EmbeddedStore, StoreError> {
        let path = data_dir.join(FILE_NAME);
        let database = guarded(&path, || {
            data_folder::make(data_dir)?;
            let database = open(&path)?;
            data_folder::sync(data_dir)?;
            Ok(database)
        })?;
        Ok(EmbeddedStore { path, database: Mutex::new(Some(database)) })
    }

    fn with<T>(&self, act: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let mut held = self.database.lock();
        let database = held.take();
        let (database, done) = guarded(&self.path, || {
            let database = database.map_or_else(|| open(&self.path), Ok)?;
            let done = act(&database)?;
            Ok((database, done))
        })?;
        *held = Some(database);
        Ok(done)
    }
}

impl RoomStore for EmbeddedStore {
    fn load(&self) -> Result<Vec<RoomRecord>, StoreError> {
        self.with(|database| {
            let mut records = Vec::new();
            for entry in database.begin_read()?.open_table(ROOMS)?.iter()? {
                let (room_id, fields) = entry?;
                let (created_by, token, expires_at_unix_seconds) = fields.value();
                records.push(RoomRecord {
                    room_id: room_id.value().to_owned(),
                    token: Redacted::new(token.to_owned()),
                    created_by: created_by.to_owned(),
                    expires_at_unix_seconds,
                });
            }
            Ok(records)
        })
    }

    fn put(&self, record: &RoomRecord) -> Result<(), StoreError> {
        let fields =
            (record.created_by.as_str(), record.token.expose().as_str(), record.expires_at_unix_seconds);
        self.with(|database| {
            let transaction = database.begin_write()?;
            transaction.open_table(ROOMS)?.insert(record.room_id.as_str(), fields)?;
            Ok(transaction.commit()?)
        })
    }

    fn delete(&self, room_ids: &[String]) -> Result<(), StoreError> {
        self.with(|database| {
            let transaction = database.begin_write()?;
            let mut table = transaction.open_table(ROOMS)?;
            for room_id in room_ids {
                table.remove(room_id.as_str())?;
            }
            drop(table);
            Ok(transaction.commit()?)
        })
    }
}

/// The library panics over some damages of a file, which must not be more than an error here. What
/// `act` works on is dropped with it, so nothing half-done is seen again.
fn guarded<T>(path: &Path, act: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
    let cause = || redb::Error::Corrupted("its pages contradict each other".to_owned());
    let done = panic::catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| Err(cause()));
    done.map_err(|error| failed(path, error))
}

/// What is in the file is checked as a whole: it holds a megabyte or two.
fn open(path: &Path) -> Result<Database, redb::Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(data_folder::FILE_MODE)
        .open(path)?;
    if data_folder::is_open_to_others(&file.metadata()?) {
        // The tokens of all rooms are in it.
        fs::set_permissions(path, Permissions::from_mode(data_folder::FILE_MODE))?;
    }
    let mut database = Builder::new().set_cache_size(CACHE_BYTES).create_file(file)?;
    if !database.check_integrity()? {
        tracing::warn!(path = %path.display(), "the room store was damaged and has been repaired");
    }
    // A reader takes a table that nobody has made for an error.
    let transaction = database.begin_write()?;
    drop(transaction.open_table(ROOMS)?);
    transaction.commit()?;
    Ok(database)
}

fn failed(path: &Path, error: redb::Error) -> StoreError {
    let damaged = match &error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. } => true,
        // Too short for its own header.
        redb::Error::Io(cause) => matches!(cause.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        _ => false,
    };
    let place = path.display().to_string();
    let cause: Box<dyn Error + Send + Sync> = match error {
        redb::Error::DatabaseAlreadyOpen => {
            io::Error::new(ErrorKind::WouldBlock, "another process has it open").into()
        }
        redb::Error::Io(cause) => cause.into(),
        other => other.into(),
    };
    if damaged { StoreError::Corrupt { place, cause } } else { StoreError::Unavailable { place, cause } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(room_id: &str, expires_at_unix_seconds: u64) -> RoomRecord {
        RoomRecord {
            room_id: room_id.to_owned(),
            token: Redacted::new(format!("token-{room_id}")),
            created_by: "some-user".to_owned(),
            expires_at_unix_seconds,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn records_survive_a_restart_until_they_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let store = EmbeddedStore::open(&data_dir).unwrap();
        assert_eq!(store.load().unwrap(), []);
        for (room_id, expiry) in [("b", 5), ("a", u64::MAX), ("c", 0), ("b", 7)] {
            store.put(&record(room_id, expiry)).unwrap();
        }
        drop(store);
        let store = EmbeddedStore::open(&data_dir).unwrap();
        assert_eq!(store.load().unwrap(), [record("a", u64::MAX), record("b", 7), record("c", 0)]);
        store.delete(&["a".to_owned(), "not there".to_owned(), "c".to_owned()]).unwrap();
        drop(store);
        assert_eq!(EmbeddedStore::open(&data_dir).unwrap().load().unwrap(), [record("b", 7)]);
    }

    #[test]
    fn what_was_put_is_in_the_file_when_put_returns() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&folder.path().join("data")).unwrap();
        store.put(&record("a", 5)).unwrap();
        // As a killed process would leave it: never closed.
        let copy = folder.path().join("copy");
        fs::create_dir(&copy).unwrap();
        fs::copy(folder.path().join("data").join(FILE_NAME), copy.join(FILE_NAME)).unwrap();
        assert_eq!(EmbeddedStore::open(&copy).unwrap().load().unwrap(), [record("a", 5)]);
    }

    #[test]
    fn folder_and_file_are_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let path = data_dir.join(FILE_NAME);
        drop(EmbeddedStore::open(&data_dir).unwrap());
        assert_eq!((mode(&data_dir), mode(&path)), (0o700, 0o600));
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(EmbeddedStore::open(&data_dir).unwrap());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_store_that_is_open_already_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let _held = EmbeddedStore::open(folder.path()).unwrap();
        let error = EmbeddedStore::open(folder.path()).unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("another process") && text.contains(FILE_NAME), "{text}");
    }

    #[test]
    fn damage_is_told_with_the_path_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let store = EmbeddedStore::open(folder.path()).unwrap();
        store.put(&record("a", 5)).unwrap();
        drop(store);
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[..200].fill(0xAB);
        for damaged in
            [b"not a database".to_vec(), whole[..whole.len() / 2].to_vec(), whole[..100].to_vec(), changed]
        {
            fs::write(&path, &damaged).unwrap();
            let error = EmbeddedStore::open(folder.path()).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{} bytes: {error:?}", damaged.len());
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("in-the-way");
        fs::write(&in_the_way, "").unwrap();
        let error = EmbeddedStore::open(&in_the_way).unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("in-the-way"), "{error}");
    }

    #[test]
    fn a_failed_call_closes_the_file_and_the_next_one_opens_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        store.put(&record("a", 5)).unwrap();
        let full = || redb::Error::from(io::Error::from(ErrorKind::StorageFull));
        let failure = store.with(|_| Err::<(), _>(full())).unwrap_err();
        assert!(matches!(failure, StoreError::Unavailable { .. }), "{failure}");
        store.put(&record("b", 5)).unwrap();
        assert_eq!(store.load().unwrap(), [record("a", 5), record("b", 5)]);
    }

    #[test]
    fn several_threads_may_write_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    (0..5).for_each(|n| store.put(&record(&format!("{thread}-{n}"), 5)).unwrap());
                });
            }
        });
        assert_eq!(store.load().unwrap().len(), 20);
    }

    /// Over some of these damages the library panics.
    #[test]
    fn a_flipped_bit_is_an_error_or_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let store = EmbeddedStore::open(folder.path()).unwrap();
        let records: Vec<_> = (10..60).map(|n| record(&n.to_string(), n)).collect();
        records.iter().for_each(|record| store.put(record).unwrap());
        drop(store);
        let whole = fs::read(&path).unwrap();
        let used: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] != 0).collect();
        let mut errors = 0;
        for flip in 0..48 {
            let mut damaged = whole.clone();
            damaged[used[flip * used.len() / 48]] ^= 1 << (flip % 8);
            fs::write(&path, &damaged).unwrap();
            match EmbeddedStore::open(folder.path()).and_then(|store| store.load()) {
                Ok(loaded) => assert_eq!(loaded, records, "flip {flip}"),
                Err(StoreError::Corrupt { .. }) => errors += 1,
                Err(other) => panic!("flip {flip}: {other}"),
            }
        }
        assert!(errors > 0, "no flip met anything");
    }

    #[test]
    fn memory_forgets() {
        MemoryStore.put(&record("a", 5)).unwrap();
        assert_eq!(MemoryStore.load().unwrap(), []);
    }
}
