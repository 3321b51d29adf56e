//! Which blobs this process used of late: what the garbage collector must leave alone, although no
//! record names it yet.
//!
//! A blob is stored first, and named by a record after that. Whoever stores it, or is about to name
//! one that is there, or is about to read one that a record named a moment ago, notes so under the lock under which the collector deletes. A collection works
//! with the records of one moment; a blob that was noted less than [`WINDOW`] before that moment, or
//! since, is kept.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long after a blob is stored the record that names it is committed, at the very most.
const WINDOW: Duration = Duration::from_mins(5);

/// A use this soon after the last one is not noted again: objects that are read all the time must not
/// fill the memory. The window is shorter by this much.
const RENEWAL: Duration = Duration::from_mins(1);

/// The uses of blobs, shared by all handles on a store.
#[derive(Debug, Default)]
pub(super) struct Usage(Mutex<Uses>);

#[derive(Debug, Default)]
struct Uses {
    last: HashMap<String, Instant>,
    /// In the order of time; an entry counts while it is the last of its blob.
    order: VecDeque<(Instant, String)>,
    /// The moment of the collection under way.
    moment: Option<Instant>,
}

/// While it lives, no blob is deleted.
pub(super) struct Noting<'a>(MutexGuard<'a, Uses>);

impl Noting<'_> {
    /// Notes that a blob is used now.
    pub(super) fn note(&mut self, sha256: &str) {
        let now = Instant::now();
        let last = self.0.last.get(sha256);
        if last.is_some_and(|last| now < *last + RENEWAL) {
            return;
        }
        self.0.last.insert(sha256.to_owned(), now);
        self.0.order.push_back((now, sha256.to_owned()));
        let moment = self.0.moment.unwrap_or(now);
        while let Some((time, sha256)) = self.0.order.front()
            && *time + WINDOW < moment
        {
            if self.0.last.get(sha256) == Some(time) {
                let sha256 = sha256.clone();
                self.0.last.remove(&sha256);
            }
            self.0.order.pop_front();
        }
    }

    /// True when the collection that began at `moment` must keep a blob.
    pub(super) fn keeps(&self, sha256: &str, moment: Instant) -> bool {
        self.0
            .last
            .get(sha256)
            .is_some_and(|time| *time + WINDOW >= moment)
    }
}

impl Usage {
    pub(super) fn lock(&self) -> Noting<'_> {
        Noting(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a collection. The records must be read after this.
    pub(super) fn begin(&self) -> Instant {
        let now = Instant::now();
        self.lock().0.moment = Some(now);
        now
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.lock().0.moment = None;
    }
}

/// A collection under way.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    pub(super) moment: Instant,
    pub(super) usage: &'a Usage,
}

impl Sweep<'_> {
    /// Removes the file of a blob that no record named, unless the blob was used of late.
    pub(crate) fn remove(&self, sha256: &str, file: &Path) -> std::io::Result<()> {
        let usage = self.usage.lock();
        if usage.keeps(sha256, self.moment) {
            return Ok(());
        }
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Sweep<'_> {
    fn drop(&mut self) {
        self.usage.end();
    }
}
