//! Tracks blobs that this process used recently, which the garbage collector must keep although no
//! record refers to them yet.
//!
//! A blob is stored before the record that refers to it. Whoever stores a blob, or is about to
//! refer to an existing one, or is about to read one whose record was just looked up, records the
//! use under the lock that protects deletion. A collection works with a snapshot of the records; a
//! blob that was used less than [`WINDOW`] before the snapshot, or after it, is kept.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum time between storing a blob and committing the record that refers to it.
const WINDOW: Duration = Duration::from_mins(5);

/// Uses within this time of the last one are not recorded again, so that constantly read objects do
/// not fill the memory. The window is effectively shorter by this much.
const RENEWAL: Duration = Duration::from_mins(1);

/// The uses of blobs, shared by all handles on a store.
#[derive(Debug, Default)]
pub(super) struct Usage(Mutex<Uses>);

#[derive(Debug, Default)]
struct Uses {
    last: HashMap<String, Instant>,
    /// In chronological order; only the latest entry of a blob counts.
    order: VecDeque<(Instant, String)>,
    /// Start of the collection in progress.
    moment: Option<Instant>,
}

/// A lock on the uses of blobs; no blob is deleted while it is held.
pub(super) struct UsageGuard<'a>(MutexGuard<'a, Uses>);

impl UsageGuard<'_> {
    /// Records that a blob is being used.
    pub(super) fn record_use(&mut self, sha256: &str) {
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

    /// True if the collection that began at `moment` must keep a blob.
    pub(super) fn protects(&self, sha256: &str, moment: Instant) -> bool {
        self.0
            .last
            .get(sha256)
            .is_some_and(|time| *time + WINDOW >= moment)
    }
}

impl Usage {
    pub(super) fn lock(&self) -> UsageGuard<'_> {
        UsageGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a collection. Read the records only after this.
    pub(super) fn begin(&self) -> Instant {
        let now = Instant::now();
        self.lock().0.moment = Some(now);
        now
    }

    /// Ends the collection.
    pub(super) fn end(&self) {
        self.lock().0.moment = None;
    }
}

/// A collection in progress.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    pub(super) moment: Instant,
    pub(super) usage: &'a Usage,
}

impl Sweep<'_> {
    /// Removes the file of a blob without a record, unless the blob was used recently.
    pub(crate) fn remove(&self, sha256: &str, file: &Path) -> std::io::Result<()> {
        let usage = self.usage.lock();
        if usage.protects(sha256, self.moment) {
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
