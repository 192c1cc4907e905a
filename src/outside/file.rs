//! Events as lines of a file.
//!
//! ```text
//! {"event_type":"client_connected","client_id":"a","timestamp":"2024-05-01T12:00:00.000Z",…}\n
//! ```

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use tokio_uring::buf::BoundedBuf;
use tokio_uring::fs::{File, OpenOptions};

use super::sink::{Lost, Sink, Written, write_json};
use crate::observe::Event;

/// Client ids are in it: for the owner alone.
const MODE: u32 = 0o600;
/// What else lies in the data folder is the owner's alone.
const FOLDER_MODE: u32 = 0o700;

/// Appends one JSON object per line. The file is opened anew for each batch, so one that was moved
/// away is followed by a fresh one, and a folder that comes back is found again.
pub struct FileSink {
    name: &'static str,
    path: PathBuf,
    /// A failed write left the beginning of a line at the end of the file.
    torn: bool,
}

impl FileSink {
    pub fn new(path: PathBuf) -> FileSink {
        FileSink { name: "file", path, torn: false }
    }

    /// The same for the audit trail.
    pub fn audit(path: PathBuf) -> FileSink {
        FileSink { name: "audit", ..FileSink::new(path) }
    }

    async fn append(&mut self, events: &[Event]) -> Result<(), Lost> {
        let mut lines = Vec::new();
        if self.torn {
            lines.push(b'\n');
        }
        let mut ends = Vec::with_capacity(events.len());
        for event in events {
            write_json(event, &mut lines);
            lines.push(b'\n');
            ends.push(lines.len());
        }
        let file = match self.open().await {
            Ok(file) => file,
            Err(cause) => return Err(Lost { events: events.len(), cause: self.named(cause) }),
        };
        let (written, result) = write_all(&file, lines).await;
        let closed = file.close().await;
        let whole = ends.partition_point(|&end| end <= written);
        if written > 0 {
            let line_start = whole.checked_sub(1).map_or(usize::from(self.torn), |last| ends[last]);
            self.torn = written > line_start;
        }
        match result.and(closed) {
            Ok(()) => Ok(()),
            Err(cause) => Err(Lost { events: events.len() - whole, cause: self.named(cause) }),
        }
    }

    fn named(&self, cause: io::Error) -> io::Error {
        io::Error::new(cause.kind(), format!("{}: {cause}", self.path.display()))
    }

    /// Makes the folder at first need.
    async fn open(&self) -> io::Result<File> {
        match self.try_open().await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(folder) = self.path.parent() {
                    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
                }
                self.try_open().await
            }
            opened => opened,
        }
    }

    async fn try_open(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(MODE).open(&self.path).await
    }
}

impl Sink for FileSink {
    fn name(&self) -> &'static str {
        self.name
    }

    fn write<'a>(&'a mut self, events: &'a [Event]) -> Written<'a> {
        Box::pin(self.append(events))
    }
}

/// How many bytes the file took, and why not all of them.
async fn write_all(file: &File, mut lines: Vec<u8>) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < lines.len() {
        // The position is ignored by a file that is open for appending.
        let (result, rest) = file.write_at(lines.slice(written..), 0).submit().await;
        lines = rest.into_inner();
        match result {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(ids: std::ops::Range<u64>) -> Vec<Event> {
        ids.map(|n| Event {
            event_type: "client_connected",
            client_id: format!("client-{n}"),
            unix_ms: n,
            details: vec![("remote", "[::1]:9".into())],
        })
        .collect()
    }

    fn ids(text: &str) -> Vec<String> {
        text.lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).expect("a line is one object");
                value["client_id"].as_str().expect("every event has a client").to_owned()
            })
            .collect()
    }

    #[test]
    fn batches_are_appended_and_a_moved_file_is_followed_by_a_fresh_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut sink = FileSink::new(path.clone());
        tokio_uring::start(async {
            sink.write(&events(0..2)).await.unwrap();
            sink.write(&events(2..3)).await.unwrap();
            std::fs::rename(&path, folder.path().join("old")).unwrap();
            sink.write(&events(3..4)).await.unwrap();
        });
        let old = std::fs::read_to_string(folder.path().join("old")).unwrap();
        assert_eq!(ids(&old), ["client-0", "client-1", "client-2"]);
        assert_eq!(ids(&std::fs::read_to_string(&path).unwrap()), ["client-3"]);
    }

    #[test]
    fn an_unwritable_path_loses_the_batch_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("in-the-way");
        std::fs::write(&in_the_way, "a file").unwrap();
        let path = in_the_way.join("events.jsonl");
        let mut sink = FileSink::new(path.clone());
        tokio_uring::start(async {
            let lost = sink.write(&events(0..3)).await.unwrap_err();
            assert_eq!((lost.events, lost.cause.kind()), (3, ErrorKind::NotADirectory));
            assert!(lost.cause.to_string().contains("events.jsonl"), "{}", lost.cause);
            std::fs::remove_file(&in_the_way).unwrap();
            sink.write(&events(3..4)).await.unwrap();
        });
        assert_eq!(ids(&std::fs::read_to_string(&path).unwrap()), ["client-3"]);
    }

    #[test]
    fn a_full_disk_is_an_error_and_not_a_loop() {
        let mut sink = FileSink::new(PathBuf::from("/dev/full"));
        let lost = tokio_uring::start(async { sink.write(&events(0..3)).await.unwrap_err() });
        assert_eq!((lost.events, lost.cause.kind()), (3, ErrorKind::StorageFull));
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, b"{\"event_type\":\"cli").unwrap();
        let mut sink = FileSink { torn: true, ..FileSink::new(path.clone()) };
        tokio_uring::start(async {
            sink.write(&events(0..1)).await.unwrap();
            sink.write(&events(1..2)).await.unwrap();
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let (cut, whole) = text.split_once('\n').unwrap();
        assert_eq!(cut, "{\"event_type\":\"cli");
        assert_eq!(ids(whole), ["client-0", "client-1"]);
    }
}
