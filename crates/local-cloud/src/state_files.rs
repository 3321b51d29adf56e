//! Names of the files that a server keeps in its state directory next to records and blobs.

use std::path::Path;

use super::store;

/// Locked exclusively by the server that uses the directory.
pub(super) const LOCK: &str = "lock";

/// Locked (shared) by servers from before they wait for [`LOCK`] until they accept requests.
pub(super) const WAITING: &str = "waiting";

/// The address of the running server.
pub(super) const ADDRESS: &str = "address.json";

/// The address file while it is written.
pub(super) const UNPUBLISHED: &str = "address.tmp";

/// The port of the last server.
pub(super) const PORT: &str = "port";

/// The log of a server in the background.
pub(super) const LOG: &str = "server.log";

/// Proof that this user created the directory on this machine.
pub(super) const SEAL: &str = "seal";

/// Prefix of the names of seals while they are written.
pub(super) const UNFINISHED_SEAL: &str = "seal.new-";

/// True for a directory that holds what a local cloud creates, and, if it holds no records, nothing
/// else. The contents of the files are not read.
pub(super) fn resembles_state(directory: &Path) -> bool {
    const OURS: [&str; 7] = [LOCK, WAITING, LOG, PORT, ADDRESS, UNPUBLISHED, SEAL];
    let Ok(entries) = std::fs::read_dir(directory) else {
        return false;
    };
    let has_records = is_file(&directory.join(LOCK)) && is_file(&directory.join(store::FILE));
    has_records
        || entries.flatten().all(|entry| {
            let name = entry.file_name();
            OURS.iter().any(|ours| name == *ours)
                || name
                    .as_encoded_bytes()
                    .starts_with(UNFINISHED_SEAL.as_bytes())
        })
}

/// True for a regular file that is not reached through a symbolic link.
pub(super) fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}
