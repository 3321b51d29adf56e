//! Limits on the transfers of a job: stop requests end them early, and the volume's size bounds them.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use tokio::sync::watch;

use super::Wish;
use crate::api::{ApiError, ApiResult};
use crate::beneath::{Directory, WalkEntry};

/// Bytes of a gigabyte of `VolumeSizeInGB`: EBS counts in powers of two.
const GIGABYTE: u64 = 1 << 30;

/// Gigabytes of a job whose request has no `VolumeSizeInGB`: the default of the SageMaker SDKs.
const DEFAULT_VOLUME: u64 = 30;

/// The interrupt of a transfer, which is checked before each entry and each read.
#[derive(Debug, Clone)]
pub(super) struct Interrupt {
    /// Changes with every stop request that applies to this transfer.
    stop: watch::Receiver<Wish>,
    /// True if the server ended before the transfer began.
    ended: bool,
}

impl Interrupt {
    pub(super) fn new(stop: watch::Receiver<Wish>, ended: bool) -> Self {
        Self { stop, ended }
    }

    /// An interrupt that never fires.
    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self::new(watch::channel(None).1, false)
    }

    /// True if a stop was requested.
    pub(super) fn is_wanted(&self) -> bool {
        // Without a sender the job has ended and cannot be stopped any more.
        self.ended || self.stop.has_changed().unwrap_or(false)
    }

    /// Fails if a stop was requested.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_wanted() {
            // `ErrorKind::Interrupted` would be retried.
            return Err(io::Error::other("the job was stopped"));
        }
        Ok(())
    }

    /// Wraps a reader such that it fails once a stop is requested.
    pub(super) fn reader<R: Read>(&self, inner: R) -> Interruptible<'_, R> {
        Interruptible {
            inner,
            interrupt: self,
        }
    }
}

/// A reader of a transfer that can be stopped.
pub(super) struct Interruptible<'a, R> {
    pub(super) inner: R,
    interrupt: &'a Interrupt,
}

impl<R: Read> Read for Interruptible<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt.check()?;
        self.inner.read(buffer)
    }
}

/// Fails if the files in these directories, by apparent size, exceed the job's volume. Then nothing
/// is uploaded: a sparse file is cheap for a program, but takes hours to upload.
///
/// AWS's words for a full volume at the upload are "Artifact upload failed:Insufficient disk space"
/// (seen in huggingface/blog issue 114); the rest of the message is ours. Unverified against AWS
/// [job-interruption]: that sparse files count in full, and how large the volume is without
/// `VolumeSizeInGB`.
pub(super) fn check_volume<'a>(
    directories: impl IntoIterator<Item = &'a Directory>,
    gigabytes: Option<u64>,
    interrupt: &Interrupt,
) -> ApiResult<()> {
    let gigabytes = gigabytes.filter(|size| *size > 0).unwrap_or(DEFAULT_VOLUME);
    let mut sizes = Vec::new();
    let mut total = 0_u64;
    let mut linked = HashSet::new();
    for directory in directories {
        let size = size_of(directory, &mut linked, interrupt)?;
        total = total.saturating_add(size);
        sizes.push(format!(
            "{} holds {size} bytes",
            directory.shown("".as_ref()).display()
        ));
    }
    let limit = gigabytes.saturating_mul(GIGABYTE);
    if total <= limit {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "Artifact upload failed:Insufficient disk space. {}, {total} in total; VolumeSizeInGB is \
         {gigabytes}, which is {limit} bytes. Raise VolumeSizeInGB, or have the program leave less",
        sizes.join(", ")
    )))
}

/// The apparent size of the files in a directory, in bytes. Hard links to one file count once:
/// `linked` collects the device and inode numbers of files with several names.
fn size_of(
    directory: &Directory,
    linked: &mut HashSet<(u64, u64)>,
    interrupt: &Interrupt,
) -> ApiResult<u64> {
    let mut total = 0_u64;
    directory.walk(|_, found| {
        interrupt.check()?;
        if let WalkEntry::File(_, metadata) = found
            && (metadata.nlink() == 1 || linked.insert((metadata.dev(), metadata.ino())))
        {
            total = total.saturating_add(metadata.len());
        }
        Ok::<_, ApiError>(())
    })?;
    Ok(total)
}
