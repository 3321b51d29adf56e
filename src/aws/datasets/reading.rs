//! Reads the bytes of a push once and hashes them on the way. A file that changes during the read
//! causes an error, never a wrong version.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum_combine};
use mlops_core::error::hinted;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::LocalFile;

/// Number of bytes to read and hash per step, small enough to stay in the CPU's cache.
const STEP: usize = 128 << 10;

/// The digests of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digests {
    /// The SHA-256.
    pub(super) sha256: [u8; 32],
    /// The CRC64NVME.
    pub(super) crc64: u64,
}

impl Digests {
    /// The SHA-256 in a manifest's format.
    pub(super) fn hex(&self) -> String {
        hex::encode(self.sha256)
    }
}

/// A CRC64NVME in S3's format.
pub(super) fn crc64_text(crc64: u64) -> String {
    STANDARD.encode(crc64.to_be_bytes())
}

/// The state of a file, to detect writes.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;

        Self {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn changed(source: &Path) -> anyhow::Error {
    hinted(
        anyhow::anyhow!("{} changed while it was being read", source.display()),
        "push again when no program is writing to it",
    )
}

/// An open file that must not change.
struct Still {
    file: File,
    source: PathBuf,
    stamp: Stamp,
}

impl Still {
    fn open(file: &LocalFile) -> Result<Self> {
        let source = file.source.clone();
        let opened =
            File::open(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let stamp = Stamp::from(&opened.metadata()?);
        if stamp.size != file.size {
            return Err(changed(&source));
        }
        Ok(Self {
            file: opened,
            source,
            stamp,
        })
    }

    /// Fills `buffer` completely, and passes each step to `seen`.
    fn fill(&mut self, buffer: &mut [u8], mut seen: impl FnMut(&[u8])) -> Result<()> {
        for step in buffer.chunks_mut(STEP) {
            match self.file.read_exact(step) {
                Ok(()) => seen(step),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(changed(&self.source));
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot read {}", self.source.display()));
                }
            }
        }
        Ok(())
    }

    /// Fails if the file changed since it was opened.
    fn check(&self) -> Result<()> {
        if Stamp::from(&self.file.metadata()?) == self.stamp {
            Ok(())
        } else {
            Err(changed(&self.source))
        }
    }
}

/// A file's bytes and their SHA-256.
pub(super) fn whole(file: &LocalFile, buffers: &Buffers) -> Result<(Bytes, [u8; 32])> {
    let mut still = Still::open(file)?;
    let mut sha256 = Sha256::new();
    let size = usize::try_from(file.size)?;
    // Buffers for small files must not grow to the size of large ones.
    let mut buffer = if size <= 2 * STEP {
        buffers.take(size)
    } else {
        Buffers::default().take(size)
    };
    still.fill(&mut buffer.bytes, |step| sha256.update(step))?;
    still.check()?;
    Ok((Bytes::from_owner(buffer), sha256.finalize().into()))
}

/// Computes the SHA-256 of each file, in parallel; `count` grows by the number of bytes read.
pub(super) fn sha256_of_each(files: &[LocalFile], count: &AtomicU64) -> Result<Vec<[u8; 32]>> {
    files
        .par_iter()
        .map_init(
            || vec![0; STEP],
            |buffer, file| {
                let mut still = Still::open(file)?;
                let mut sha256 = Sha256::new();
                let mut left = file.size;
                while left > 0 {
                    let length = left.min(STEP as u64);
                    let step = &mut buffer[..usize::try_from(length)?];
                    still.fill(step, |step| sha256.update(step))?;
                    left -= length;
                    count.fetch_add(length, Ordering::Relaxed);
                }
                still.check()?;
                Ok(sha256.finalize().into())
            },
        )
        .collect()
}

/// Computes the digests of a file without keeping its bytes.
pub(super) fn digests(file: &LocalFile) -> Result<Digests> {
    let mut parts = Parts::open(file, STEP as u64, &Buffers::default())?;
    while parts.next()?.is_some() {}
    parts.finish()
}

/// A pool of buffers.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    fn take(&self, size: usize) -> Buffer {
        let mut bytes = self
            .0
            .lock()
            .ok()
            .and_then(|mut free| free.pop())
            .unwrap_or_default();
        bytes.resize(size, 0);
        Buffer {
            bytes,
            home: self.clone(),
        }
    }
}

struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Ok(mut free) = self.home.0.lock() {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// A part of a file.
#[derive(Debug)]
pub(super) struct Part {
    /// The part's number, from 1.
    pub(super) number: i32,
    /// Its bytes.
    pub(super) bytes: Bytes,
    /// Their CRC64NVME.
    pub(super) crc64: u64,
}

/// Reads a file part by part and computes the digests of the file.
pub(super) struct Parts {
    still: Still,
    left: u64,
    size: u64,
    number: i32,
    sha256: Sha256,
    crc64: Option<u64>,
    buffers: Buffers,
}

impl Parts {
    /// Iterates over the parts of `file`, each of `size` bytes except the last.
    pub(super) fn open(file: &LocalFile, size: u64, buffers: &Buffers) -> Result<Self> {
        Ok(Self {
            still: Still::open(file)?,
            left: file.size,
            size,
            number: 0,
            sha256: Sha256::new(),
            crc64: None,
            buffers: buffers.clone(),
        })
    }

    /// Returns the next part; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Part>> {
        if self.left == 0 {
            return Ok(None);
        }
        let length = self.left.min(self.size);
        let mut buffer = self.buffers.take(usize::try_from(length)?);
        let mut crc = crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme);
        let sha256 = &mut self.sha256;
        self.still.fill(&mut buffer.bytes, |step| {
            sha256.update(step);
            crc.update(step);
        })?;
        let crc64 = crc.finalize();
        self.left -= length;
        self.number += 1;
        self.crc64 = Some(match self.crc64 {
            None => crc64,
            Some(before) => checksum_combine(CrcAlgorithm::Crc64Nvme, before, crc64, length),
        });
        Ok(Some(Part {
            number: self.number,
            bytes: Bytes::from_owner(buffer),
            crc64,
        }))
    }

    /// Returns the digests of the file, after the last part.
    pub(super) fn finish(self) -> Result<Digests> {
        if self.left > 0 {
            bail!("{} was not read to the end", self.still.source.display());
        }
        self.still.check()?;
        Ok(Digests {
            sha256: self.sha256.finalize().into(),
            crc64: self
                .crc64
                .unwrap_or_else(|| crc_fast::checksum(CrcAlgorithm::Crc64Nvme, b"")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(directory: &Path, bytes: &[u8]) -> LocalFile {
        let source = directory.join("f");
        std::fs::write(&source, bytes).unwrap();
        LocalFile {
            source,
            path: "f".to_owned(),
            size: bytes.len() as u64,
        }
    }

    #[test]
    fn parts_have_the_digests_of_the_whole() {
        let directory = tempfile::tempdir().unwrap();
        // The check value of CRC-64/NVME.
        assert_eq!(
            crc_fast::checksum(CrcAlgorithm::Crc64Nvme, b"123456789"),
            0xae8b_1486_0a79_9888
        );
        let bytes: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
        let file = file(directory.path(), &bytes);
        let expected = Digests {
            sha256: Sha256::digest(&bytes).into(),
            crc64: crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes),
        };
        assert_eq!(digests(&file).unwrap(), expected);
        assert_eq!(
            whole(&file, &Buffers::default()).unwrap(),
            (bytes.clone().into(), expected.sha256)
        );
        for size in [1_000_003, 1_000_002, 300_000] {
            let mut parts = Parts::open(&file, size, &Buffers::default()).unwrap();
            let mut joined = Vec::new();
            while let Some(part) = parts.next().unwrap() {
                assert_eq!(
                    part.crc64,
                    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &part.bytes)
                );
                joined.extend_from_slice(&part.bytes);
                assert_eq!(
                    u64::try_from(part.number).unwrap(),
                    (joined.len() as u64).div_ceil(size),
                    "numbers count from 1"
                );
            }
            assert!(joined == bytes);
            assert_eq!(parts.finish().unwrap(), expected);
        }
    }

    #[test]
    fn buffers_come_back() {
        let buffers = Buffers::default();
        let bytes = Bytes::from_owner(buffers.take(10));
        let again = bytes.clone();
        drop(bytes);
        assert!(buffers.0.lock().unwrap().is_empty());
        drop(again);
        assert_eq!(buffers.0.lock().unwrap().len(), 1);
        assert_eq!(buffers.take(4).as_ref().len(), 4);
    }

    #[test]
    fn a_file_that_changes_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let before = file(directory.path(), b"abc");
        std::fs::write(&before.source, b"abcd").unwrap();
        let error = whole(&before, &Buffers::default()).unwrap_err();
        assert!(error.to_string().contains("changed while"), "{error}");

        let before = file(directory.path(), b"abcdef");
        let mut parts = Parts::open(&before, 3, &Buffers::default()).unwrap();
        parts.next().unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(&before.source)
            .unwrap()
            .write_all(b"more")
            .unwrap();
        parts.next().unwrap();
        let error = parts.finish().unwrap_err();
        assert!(error.to_string().contains("changed while"), "{error}");

        let before = file(directory.path(), b"abcdef");
        let mut parts = Parts::open(&before, 3, &Buffers::default()).unwrap();
        std::fs::OpenOptions::new()
            .write(true)
            .open(&before.source)
            .unwrap()
            .set_len(2)
            .unwrap();
        let error = parts.next().unwrap_err();
        assert!(error.to_string().contains("changed while"), "{error}");

        std::fs::remove_file(&before.source).unwrap();
        assert!(whole(&before, &Buffers::default()).is_err());
    }
}
