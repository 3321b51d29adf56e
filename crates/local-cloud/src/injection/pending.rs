//! The injected faults as a server sees them: in memory, until the directory of their files changes.
//!
//! Every request checks for faults, so the check costs one system call while nothing changes. All occurrences of a
//! fault have the same contents: one file of each is read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::Fault;
use super::files::{DIRECTORY, files, read};
use crate::api::ApiResult;

/// Two changes within this time can have the same modification time: kernels update it in ticks of up to
/// 10 ms. A list that was read so soon after a change is read again.
const TICK: Duration = Duration::from_millis(50);

/// The faults that are pending, in the memory of a server.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<List>);

/// The faults of a state directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Injected<'a> {
    state: &'a Path,
    pending: &'a Pending,
}

#[derive(Debug, Default)]
struct List {
    /// The modification time of the directory when the list was read; `None` if it must be read again.
    version: Option<SystemTime>,
    faults: Vec<(Fault, PathBuf)>,
}

impl List {
    /// Reads the list again if the directory has changed.
    fn refresh(&mut self, state: &Path) -> ApiResult<()> {
        let modified = match std::fs::metadata(state.join(DIRECTORY)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                *self = Self::default();
                return Ok(());
            }
            found => found?.modified()?,
        };
        if self.version == Some(modified) {
            return Ok(());
        }
        self.faults.clear();
        let mut last: Option<(String, Fault)> = None;
        for (id, path) in files(state)? {
            let same = last.take().filter(|(known, _)| *known == id);
            let Some((id, fault)) = same.or_else(|| Some((id, read(&path)?))) else {
                continue;
            };
            self.faults.push((fault.clone(), path));
            last = Some((id, fault));
        }
        let age = SystemTime::now().duration_since(modified);
        self.version = age.is_ok_and(|age| age > TICK).then_some(modified);
        Ok(())
    }
}

impl<'a> Injected<'a> {
    /// The faults of a state directory, of which a server holds the pending ones.
    pub(crate) fn new(state: &'a Path, pending: &'a Pending) -> Self {
        Self { state, pending }
    }

    fn list(self) -> MutexGuard<'a, List> {
        let list = &self.pending.0;
        list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one occurrence of the first fault that matches.
pub(super) fn take(
    injected: Injected<'_>,
    matches: impl Fn(&Fault) -> bool,
) -> ApiResult<Option<Fault>> {
    let mut list = injected.list();
    list.refresh(injected.state)?;
    while let Some(index) = list.faults.iter().position(|(fault, _)| matches(fault)) {
        let (fault, path) = list.faults.remove(index);
        match std::fs::remove_file(&path) {
            Ok(()) => return Ok(Some(fault)),
            // It was removed by `mlops local inject clear`.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
