//! Verified reads of blobs.
//!
//! A blob is named by the SHA-256 of its bytes. [`Blobs::reader`] compares both before a byte is
//! read, so a damaged file is an error and never data. A file is hashed once per process: the
//! result is valid until its inode, size or timestamps change.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::Blobs;

/// Granularity of file timestamps, with a margin. Two changes within this time can leave the same
/// timestamps, so the result for such a recent file is not cached.
const TIMESTAMP_GRANULARITY_NANOS: i128 = 20_000_000;

/// Number of locks that prevent several readers from hashing the same blob concurrently.
const LOCKS: usize = 64;

/// Maximum size, in bytes, of blobs that readers hash without waiting for each other.
const SMALL: u64 = 1 << 20;

/// Identity and age of a file's contents: device, inode, size, mtime and ctime in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
    changed: i128,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        Ok(Self::new(&file.metadata()?))
    }

    pub(super) fn new(found: &Metadata) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.len(),
            modified: nanos(found.mtime(), found.mtime_nsec()),
            changed: nanos(found.ctime(), found.ctime_nsec()),
        }
    }

    /// True if another change could still leave the same stamp.
    fn is_young(&self) -> bool {
        let now = jiff::Timestamp::now().as_nanosecond();
        now - self.changed.max(self.modified) < TIMESTAMP_GRANULARITY_NANOS
    }
}

/// Blobs that this process has verified.
#[derive(Debug)]
pub(super) struct VerifiedBlobs {
    sound: Mutex<HashMap<String, Stamp>>,
    hashing: [Mutex<()>; LOCKS],
}

impl Default for VerifiedBlobs {
    fn default() -> Self {
        Self {
            sound: Mutex::default(),
            hashing: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VerifiedBlobs {
    fn contains(&self, sha256: &str, stamp: Stamp) -> bool {
        lock(&self.sound).get(sha256) == Some(&stamp)
    }

    /// The lock to hold while a blob is hashed.
    fn hashing(&self, sha256: &str) -> MutexGuard<'_, ()> {
        let index = sha256.bytes().fold(0, |sum: usize, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        lock(&self.hashing[index % LOCKS])
    }
}

/// The error for a blob whose bytes do not match its name; wrapped in an [`io::Error`].
#[derive(Debug)]
struct Damaged {
    sha256: String,
    /// The file that was hashed.
    file: Stamp,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the blob {} in the local cloud's state directory is damaged",
            self.sha256
        )
    }
}

impl std::error::Error for Damaged {}

/// True for the error of a damaged, truncated or missing blob.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || damaged_file(error).is_some()
}

/// Name and file of a damaged blob; `None` for any other error.
pub(super) fn damaged_file(error: &io::Error) -> Option<(&str, Stamp)> {
    let damaged: &Damaged = error.get_ref()?.downcast_ref()?;
    Some((damaged.sha256.as_str(), damaged.file))
}

/// The hex SHA-256 of the rest of a file.
fn hash(file: &mut File) -> io::Result<String> {
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(sha256.finalize())),
            count => sha256.update(&buffer[..count]),
        }
    }
}

impl Blobs {
    /// Opens a blob and verifies that its bytes match its name; [`is_damage`] detects the opposite.
    /// May read the whole file: do not call it on an async thread.
    pub(crate) fn reader(&self, sha256: &str) -> io::Result<File> {
        let path = self.path(sha256);
        let found = path.symlink_metadata()?;
        // A FIFO in its place would block the reader.
        if !found.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Damaged {
                    sha256: sha256.to_owned(),
                    file: Stamp::new(&found),
                },
            ));
        }
        let mut file = File::open(path)?;
        let before = Stamp::of(&file)?;
        if self.verified.contains(sha256, before) {
            return Ok(file);
        }
        // Hashing a small file twice costs less than waiting for a large one.
        let _hashing = (before.size > SMALL).then(|| self.verified.hashing(sha256));
        if self.verified.contains(sha256, before) {
            return Ok(file);
        }
        if hash(&mut file)? != sha256 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Damaged {
                    sha256: sha256.to_owned(),
                    file: before,
                },
            ));
        }
        if Stamp::of(&file)? == before && !before.is_young() {
            lock(&self.verified.sound).insert(sha256.to_owned(), before);
        }
        file.rewind()?;
        Ok(file)
    }

    /// Fails as [`Blobs::reader`] does if the blob is missing, not a file, or of another length,
    /// without reading it.
    pub(crate) fn check_length(&self, sha256: &str, length: u64) -> io::Result<()> {
        let found = self.path(sha256).symlink_metadata()?;
        if found.is_file() && found.len() == length {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            Damaged {
                sha256: sha256.to_owned(),
                file: Stamp::new(&found),
            },
        ))
    }

    /// The verified bytes of a blob.
    pub(crate) fn read(&self, sha256: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader(sha256)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// True if the blob exists and its bytes match its name.
    pub(crate) fn is_sound(&self, sha256: &str) -> io::Result<bool> {
        match self.reader(sha256) {
            Ok(_) => Ok(true),
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{SeekFrom, Write};

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        (directory, blobs)
    }

    /// Sets the file's times into the past, so that its result is cached.
    fn age(blobs: &Blobs, sha256: &str) {
        let file = File::options()
            .write(true)
            .open(blobs.path(sha256))
            .unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        // The ctime cannot be set: wait until it is old, by the clock used for the comparison.
        while Stamp::of(&file).unwrap().is_young() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn flipped_bits_and_short_or_missing_files_are_damage() {
        let (_directory, blobs) = blobs();
        let name = blobs.write(b"one two three").unwrap();
        assert_eq!(blobs.read(&name).unwrap(), b"one two three");
        let path = blobs.path(&name);
        for damaged in [&b"one two thrEe"[..], b"one two", b""] {
            std::fs::write(&path, damaged).unwrap();
            let error = blobs.reader(&name).unwrap_err();
            assert!(is_damage(&error), "{error}");
            assert!(error.to_string().contains(&name), "{error}");
            assert!(!blobs.is_sound(&name).unwrap());
            let short = damaged.len() < 13;
            assert_eq!(blobs.check_length(&name, 13).is_err(), short);
            // Storing the same bytes again replaces it.
            assert_eq!(blobs.write(b"one two three").unwrap(), name);
            assert_eq!(blobs.read(&name).unwrap(), b"one two three");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(is_damage(&blobs.read(&name).unwrap_err()));
        assert!(is_damage(&blobs.check_length(&name, 13).unwrap_err()));
    }

    #[test]
    fn damaged_blobs_are_set_aside_but_repaired_ones_are_not() {
        let (directory, blobs) = blobs();
        let name = blobs.write(b"one two three").unwrap();
        let aside = directory.path().join("blobs/damaged").join(&name);
        std::fs::write(blobs.path(&name), b"one two thrEe").unwrap();
        let error = blobs.reader(&name).unwrap_err();
        // Another client repairs it between detection and quarantine.
        blobs.write(b"one two three").unwrap();
        blobs.quarantine(&error).unwrap();
        assert_eq!(blobs.read(&name).unwrap(), b"one two three");
        assert!(!aside.exists());

        std::fs::write(blobs.path(&name), b"one two thrEe").unwrap();
        let error = blobs.reader(&name).unwrap_err();
        blobs.quarantine(&error).unwrap();
        assert!(!blobs.path(&name).exists());
        assert_eq!(std::fs::read(&aside).unwrap(), b"one two thrEe");
        // Nothing is left.
        blobs.quarantine(&error).unwrap();
        blobs.quarantine(&blobs.reader(&name).unwrap_err()).unwrap();
    }

    #[test]
    fn a_verification_expires_when_the_file_changes() {
        let (directory, blobs) = blobs();
        let name = blobs.write(b"one").unwrap();
        age(&blobs, &name);
        drop(blobs.reader(&name).unwrap());
        assert!(blobs.verified.sound.lock().unwrap().contains_key(&name));
        // In place, with the old modification time.
        let mut file = File::options().write(true).open(blobs.path(&name)).unwrap();
        file.seek(SeekFrom::Start(1)).unwrap();
        file.write_all(b"N").unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert!(!blobs.is_sound(&name).unwrap());
        // Another file of the same length in its place.
        blobs.write(b"one").unwrap();
        age(&blobs, &name);
        assert!(blobs.is_sound(&name).unwrap());
        std::fs::write(directory.path().join("other"), "two").unwrap();
        std::fs::rename(directory.path().join("other"), blobs.path(&name)).unwrap();
        assert!(!blobs.is_sound(&name).unwrap());
    }
}
