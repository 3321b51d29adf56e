//! A compressed layer whose stored parts are not copied: they are read from the source, together
//! with the few bytes between them that the format requires.
//!
//! Gzip (RFC 1951, 3.2.4): stored blocks of up to 65,535 bytes, each after a header of five. Zstd
//! (RFC 8878, 3.1.1.2): raw blocks of up to 128 KiB, each after a header of three.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::compression::Compression;

/// An extent of a compressed layer, in the order of the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// The next bytes of the output file.
    Written { size: u64 },
    /// Bytes of the source, each chunk after its header.
    Stored { offset: u64, size: u64 },
}

/// A compressed layer in two files.
#[derive(Debug, Clone)]
pub(super) struct Extents {
    pub(super) written: PathBuf,
    pub(super) source: PathBuf,
    pub(super) compression: Compression,
    pub(super) order: Vec<Extent>,
}

impl Extents {
    /// Reads the layer from its start.
    pub(super) fn reader(&self) -> io::Result<Reader> {
        Ok(Reader {
            written: File::open(&self.written)?,
            source: File::open(&self.source)?,
            compression: self.compression,
            extents: self.order.clone().into_iter(),
            now: Now::Written { left: 0 },
        })
    }
}

/// Reads a layer.
#[derive(Debug)]
pub(super) struct Reader {
    written: File,
    source: File,
    compression: Compression,
    extents: std::vec::IntoIter<Extent>,
    now: Now,
}

/// The position of a reader.
#[derive(Debug)]
enum Now {
    Written {
        left: u64,
    },
    /// In stored data: the rest of a header, of its chunk, and of the chunks after it.
    Stored {
        header: Header,
        chunk: u64,
        rest: u64,
    },
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.now {
                Now::Written { left } if *left > 0 => {
                    let count = (&mut self.written).take(*left).read(buffer)?;
                    *left -= count as u64;
                    return whole(count, buffer);
                }
                Now::Stored { header, .. } if !header.as_ref().is_empty() => {
                    return Ok(header.take(buffer));
                }
                Now::Stored { chunk, .. } if *chunk > 0 => {
                    let count = (&mut self.source).take(*chunk).read(buffer)?;
                    *chunk -= count as u64;
                    return whole(count, buffer);
                }
                Now::Stored { rest, .. } if *rest > 0 => {
                    self.now = chunk_of(self.compression, *rest);
                }
                Now::Written { .. } | Now::Stored { .. } => match self.extents.next() {
                    None => return Ok(0),
                    Some(Extent::Written { size }) => self.now = Now::Written { left: size },
                    Some(Extent::Stored { offset, size }) => {
                        self.source.seek(SeekFrom::Start(offset))?;
                        self.now = chunk_of(self.compression, size);
                    }
                },
            }
        }
    }
}

/// Fails if a file is shorter than expected; otherwise the layer would be truncated too.
fn whole(count: usize, buffer: &[u8]) -> io::Result<usize> {
    if count == 0 && !buffer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file was truncated",
        ));
    }
    Ok(count)
}

fn chunk_of(compression: Compression, left: u64) -> Now {
    let chunk = left.min(most(compression));
    Now::Stored {
        header: Header::of(compression, chunk, chunk == left),
        chunk,
        rest: left - chunk,
    }
}

/// Maximum size of a chunk in bytes.
fn most(compression: Compression) -> u64 {
    match compression {
        Compression::Gzip => 0xffff,
        Compression::Zstd => 128 << 10,
    }
}

/// Returns the header of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    bytes: [u8; 5],
    from: usize,
    to: usize,
}

impl Header {
    fn of(compression: Compression, size: u64, last: bool) -> Self {
        let mut bytes = [0; 5];
        let to = match compression {
            Compression::Gzip => {
                let [low, high, ..] = size.to_le_bytes();
                bytes = [u8::from(last), low, high, !low, !high];
                5
            }
            Compression::Zstd => {
                let [a, b, c, ..] = (size << 3 | u64::from(last)).to_le_bytes();
                bytes[..3].copy_from_slice(&[a, b, c]);
                3
            }
        };
        Self { bytes, from: 0, to }
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.to - self.from);
        buffer[..count].copy_from_slice(&self.bytes[self.from..self.from + count]);
        self.from += count;
        count
    }
}

impl AsRef<[u8]> for Header {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }
}

/// Returns the chunks of a stored block with their headers.
pub(super) fn stored(
    compression: Compression,
    block: &[u8],
) -> impl Iterator<Item = (Header, &[u8])> {
    let most = most(compression);
    let count = (block.len() as u64).div_ceil(most);
    let chunks = block.chunks(usize::try_from(most).unwrap_or(usize::MAX));
    (1..).zip(chunks).map(move |(number, chunk)| {
        let header = Header::of(compression, chunk.len() as u64, number == count);
        (header, chunk)
    })
}

/// Returns the bytes before a stored block: the header of a gzip member (RFC 1952, 2.3: no name, no
/// time, unknown system) or of a zstd frame (RFC 8878, 3.1.1.1: one segment, its size in four
/// bytes).
pub(super) fn before(compression: Compression, block: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff],
        Compression::Zstd => {
            let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
            bytes.extend_from_slice(&length(block));
            bytes
        }
    }
}

/// Returns the bytes after a stored block: CRC and size of a gzip member, nothing for a zstd frame.
pub(super) fn after(compression: Compression, block: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let mut bytes = libdeflater::crc32(block).to_le_bytes().to_vec();
            bytes.extend_from_slice(&length(block));
            bytes
        }
        Compression::Zstd => Vec::new(),
    }
}

/// A block is smaller than 4 GiB.
fn length(block: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = (block.len() as u64).to_le_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::super::compress::compress;
    use super::*;
    use crate::Digest;

    /// Text, noise of several blocks that is not a multiple of a chunk, and text.
    fn mixed() -> Vec<u8> {
        let mut bytes = b"text ".repeat(200_000);
        let mut state = 1_u64;
        for _ in 0..250_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.extend(b"text ".repeat(1000));
        bytes
    }

    #[test]
    fn a_layer_read_by_extents_equals_the_written_layer() {
        let bytes = mixed();
        let source = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&source, [b"before", &bytes[..], b"after"].concat()).unwrap();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut whole = Vec::new();
            let all = compress(&mut &bytes[..], &mut whole, compression, None, &|_| {}).unwrap();
            let mut parts = Vec::new();
            let done =
                compress(&mut &bytes[..], &mut parts, compression, Some(6), &|_| {}).unwrap();
            assert_eq!((&done.digest, done.size), (&all.digest, all.size));
            assert!(
                parts.len() < whole.len() / 4,
                "{} were written",
                parts.len()
            );
            let written = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&written, &parts).unwrap();
            let extents = Extents {
                written: written.path().to_owned(),
                source: source.path().to_owned(),
                compression,
                order: done.extents,
            };
            let mut found = Vec::new();
            let mut reader = extents.reader().unwrap();
            for size in (1..).step_by(7919) {
                let mut buffer = vec![0; size];
                let count = reader.read(&mut buffer).unwrap();
                found.extend_from_slice(&buffer[..count]);
                if count == 0 {
                    break;
                }
            }
            assert!(found == whole);
            assert_eq!(Digest::of(&found), all.digest);
            let mut plain = Vec::new();
            match compression {
                Compression::Gzip => {
                    flate2::read::MultiGzDecoder::new(&found[..]).read_to_end(&mut plain)
                }
                Compression::Zstd => zstd::Decoder::new(&found[..])
                    .unwrap()
                    .read_to_end(&mut plain),
            }
            .unwrap();
            assert!(plain == bytes);
            std::fs::write(&written, &parts[..parts.len() - 1]).unwrap();
            let error = io::copy(&mut extents.reader().unwrap(), &mut io::sink()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
