//! The bytes of a blob as the body of a request, read and hashed by a separate thread.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use bytes::Bytes;
use futures::Stream;
use reqwest::Body;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::extents::Extents;
use crate::{Blob, Content, Digest};

/// Bytes per read.
const CHUNK: u64 = 256 << 10;

/// State shared by a body's reader and its sender.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Number of bytes that the connection has accepted.
    pub(super) moved: AtomicU64,
    failure: Mutex<Option<Error>>,
}

impl Flow {
    fn fail(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
    }

    pub(super) fn failure(&self) -> Option<Error> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }
}

/// The body of a request: a blob's bytes from `from` on.
pub(super) fn body(blob: &Blob, from: u64, flow: &Arc<Flow>) -> Result<Body> {
    match &blob.content {
        Content::Bytes(bytes) => {
            if Digest::of(bytes) != blob.digest {
                bail!("the blob {} was built incorrectly", blob.digest);
            }
            let start = usize::try_from(from)?;
            let rest = Bytes::copy_from_slice(&bytes[start.min(bytes.len())..]);
            flow.moved.store(rest.len() as u64, Ordering::Relaxed);
            Ok(Body::from(rest))
        }
        Content::File { path, offset } => {
            let part = FilePart {
                path: path.clone(),
                offset: *offset,
                size: blob.size,
                digest: blob.digest,
            };
            Ok(stream(flow, move |sender| part.read(from, sender)))
        }
        Content::Extents(extents) => {
            let (extents, size) = (extents.clone(), blob.size);
            Ok(stream(flow, move |sender| {
                send_extents(&extents, from, size, sender)
            }))
        }
    }
}

/// Creates a body whose bytes are read by a separate thread.
fn stream(
    flow: &Arc<Flow>,
    read: impl FnOnce(&mpsc::Sender<std::io::Result<Bytes>>) -> Result<()> + Send + 'static,
) -> Body {
    // One chunk in transit and one being read: more would only use memory.
    let (sender, receiver) = mpsc::channel(1);
    let reader = Arc::clone(flow);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(&sender) {
            reader.fail(error);
            let broken = std::io::Error::other("cannot read the blob");
            let _ = sender.blocking_send(Err(broken));
        }
    });
    Body::wrap_stream(Chunks {
        receiver,
        flow: Arc::clone(flow),
    })
}

/// Sends a layer that was compressed here, from byte `from` on. It was hashed during compression,
/// and the registry hashes it again: hashing once more would take as long as the upload.
fn send_extents(
    extents: &Extents,
    from: u64,
    size: u64,
    sender: &mpsc::Sender<std::io::Result<Bytes>>,
) -> Result<()> {
    let mut reader = extents.reader().context("cannot read a compressed layer")?;
    std::io::copy(&mut (&mut reader).take(from), &mut std::io::sink())?;
    let mut left = size - from;
    while left > 0 {
        let wanted = CHUNK.min(left);
        let mut chunk = vec![0; usize::try_from(wanted)?];
        reader
            .read_exact(&mut chunk)
            .context("cannot read a compressed layer")?;
        left -= wanted;
        if sender.blocking_send(Ok(Bytes::from(chunk))).is_err() {
            break;
        }
    }
    Ok(())
}

struct Chunks {
    receiver: mpsc::Receiver<std::io::Result<Bytes>>,
    flow: Arc<Flow>,
}

impl Stream for Chunks {
    type Item = std::io::Result<Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let next = self.receiver.poll_recv(context);
        if let std::task::Poll::Ready(Some(Ok(chunk))) = &next {
            let count = chunk.len() as u64;
            self.flow.moved.fetch_add(count, Ordering::Relaxed);
        }
        next
    }
}

/// A part of a file with an expected digest.
struct FilePart {
    path: PathBuf,
    offset: u64,
    size: u64,
    digest: Digest,
}

impl FilePart {
    /// Reads and hashes all of it, and sends the bytes from `from` on; the last chunk only after
    /// verifying the digest. Returns without an error if the receiver was dropped.
    fn read(&self, from: u64, sender: &mpsc::Sender<std::io::Result<Bytes>>) -> Result<()> {
        let cannot = || format!("cannot read {}", self.path.display());
        let mut file = File::open(&self.path).with_context(cannot)?;
        file.seek(SeekFrom::Start(self.offset))
            .with_context(cannot)?;
        let mut hasher = Sha256::new();
        let mut position = 0;
        loop {
            let wanted = CHUNK.min(self.size - position);
            let mut chunk = Vec::with_capacity(usize::try_from(wanted)?);
            let read = (&mut file).take(wanted).read_to_end(&mut chunk);
            if read.with_context(cannot)? as u64 != wanted {
                return Err(self.changed("was truncated"));
            }
            hasher.update(&chunk);
            let start = position;
            position += wanted;
            let last = position == self.size;
            if last {
                let found = Digest::from(std::mem::take(&mut hasher));
                if found != self.digest {
                    return Err(self.changed(&format!("contains {found}")));
                }
            }
            if position > from {
                let known = usize::try_from(from.saturating_sub(start))?;
                let chunk = Bytes::from(chunk).slice(known..);
                if sender.blocking_send(Ok(chunk)).is_err() {
                    return Ok(());
                }
            }
            if last {
                return Ok(());
            }
        }
    }

    fn changed(&self, how: &str) -> Error {
        anyhow!(
            "{} is not the blob {}: it {how}",
            self.path.display(),
            self.digest
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(part: &FilePart, from: u64) -> (Result<()>, Vec<u8>) {
        let (sender, mut receiver) = mpsc::channel(64);
        let result = part.read(from, &sender);
        drop(sender);
        let mut bytes = Vec::new();
        while let Some(chunk) = receiver.blocking_recv() {
            bytes.extend_from_slice(&chunk.unwrap());
        }
        (result, bytes)
    }

    fn part(size: usize) -> (tempfile::NamedTempFile, Vec<u8>, FilePart) {
        let bytes: Vec<u8> = (0..size + 10)
            .map(|i| u8::try_from(i % 251).unwrap())
            .collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let bytes = bytes[10..].to_vec();
        let part = FilePart {
            path: file.path().to_owned(),
            offset: 10,
            size: size as u64,
            digest: Digest::of(&bytes),
        };
        (file, bytes, part)
    }

    #[test]
    fn a_part_is_read_from_anywhere() {
        let size = usize::try_from(CHUNK).unwrap() * 2 + 5;
        for from in [0, 1, CHUNK, CHUNK * 2 + 4] {
            let (_file, bytes, part) = part(size);
            let (result, read) = read(&part, from);
            result.unwrap();
            assert!(read == bytes[usize::try_from(from).unwrap()..], "{from}");
        }
        let (_file, _, empty) = part(0);
        assert!(read(&empty, 0).0.is_ok());
    }

    #[test]
    fn a_changed_file_never_counts_as_complete() {
        let size = usize::try_from(CHUNK).unwrap() + 5;
        let (file, bytes, changed) = part(size);
        let mut other = std::fs::read(file.path()).unwrap();
        other[20] ^= 1;
        std::fs::write(file.path(), other).unwrap();
        let (result, read_bytes) = read(&changed, 0);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("contains sha256:"), "{error}");
        assert!(read_bytes.len() < bytes.len(), "the last chunk was sent");
        let (file, _, shorter) = part(size);
        file.as_file().set_len(100).unwrap();
        let error = read(&shorter, 0).0.unwrap_err().to_string();
        assert!(error.contains("truncated"), "{error}");
    }
}
