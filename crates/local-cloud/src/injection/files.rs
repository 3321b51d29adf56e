//! The files of injected faults: one for each remaining occurrence.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::Fault;

/// The directory of the files.
pub(super) const DIRECTORY: &str = "faults";

/// Maximum size of a file, in bytes.
const LONGEST: u64 = 4096;

/// The files in the order in which their faults were injected, with the ids of the faults.
pub(super) fn files(state: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(state.join(DIRECTORY)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if let Some((id, _)) = name.to_str().and_then(|name| name.split_once('-')) {
            found.push((id.to_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// The fault of a file; `None` for a file that another process has removed, or that is no fault.
pub(super) fn read(path: &Path) -> Option<Fault> {
    let file = std::fs::File::open(path).ok()?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
