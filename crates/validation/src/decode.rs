//! Decompresses sources, whose compression is detected by their first bytes and not by their names.
//!
//! gzip (RFC 1952, all members) and Zstandard (RFC 8878, all frames) are decoded as streams. Other
//! compressions and UTF-16 are rejected by name; anything else passes through unchanged.

use std::fmt;
use std::io::{self, BufReader, Cursor, Read};

use super::DataError;

/// Length of the longest signature in bytes.
const MARK: usize = 10;

/// Bytes per read.
const BUFFER: usize = 256 * 1024;

/// The encoding of a source by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// No known signature: text or Parquet.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Known but not supported: its name, and a suggestion.
    Foreign(&'static str, &'static str),
}

/// Text in UTF-16.
pub(super) const UTF16: Encoding =
    Encoding::Foreign("UTF-16", "convert it (iconv -f UTF-16 -t UTF-8)");

/// Detects the encoding by the first bytes. Ten are sufficient; it also accepts fewer.
pub fn encoding(start: &[u8]) -> Encoding {
    const DECOMPRESS: &str = "decompress it first; only gzip and Zstandard are supported";
    match start {
        [0x1f, 0x8b, ..] => Encoding::Gzip,
        // A frame, or a skippable frame before one (written by pzstd).
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Encoding::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Encoding::Foreign("xz", DECOMPRESS),
        [
            b'B',
            b'Z',
            b'h',
            b'1'..=b'9',
            0x31,
            0x41,
            0x59,
            0x26,
            0x53,
            0x59,
        ] => Encoding::Foreign("bzip2", DECOMPRESS),
        [0x04, 0x22, 0x4d, 0x18, ..] => Encoding::Foreign("LZ4", DECOMPRESS),
        [0xff, 0x06, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y'] => {
            Encoding::Foreign("Snappy", DECOMPRESS)
        }
        [b'P', b'K', 3, 4, ..] => Encoding::Foreign("a ZIP archive", "unpack it first"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => UTF16,
        _ => Encoding::Plain,
    }
}

/// Returns the bytes of a source, decompressed if necessary. If compressed data is truncated or
/// damaged, reading fails with an error that says which.
///
/// # Errors
/// The first bytes cannot be read, or the compression is not supported.
pub fn decoded(
    name: &str,
    mut input: Box<dyn Read + Send>,
) -> Result<Box<dyn Read + Send>, DataError> {
    let mut start = Vec::with_capacity(MARK);
    (&mut input)
        .take(MARK as u64)
        .read_to_end(&mut start)
        .map_err(|error| DataError::unread(name, error))?;
    let encoding = encoding(&start);
    let input = Cursor::new(start).chain(input);
    let origin = |input| BufReader::with_capacity(BUFFER, Origin(input));
    let compressed = |kind, reader| Ok(Box::new(Compressed { kind, reader }) as _);
    match encoding {
        Encoding::Plain => Ok(Box::new(input)),
        Encoding::Gzip => {
            let decoder = flate2::bufread::MultiGzDecoder::new(origin(input));
            compressed("gzip", Box::new(decoder))
        }
        Encoding::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(origin(input))
                .map_err(|error| DataError::unread(name, error))?;
            compressed("Zstandard", Box::new(decoder))
        }
        Encoding::Foreign(what, hint) => Err(DataError::new(
            name,
            format!("this is {what}, which is not supported: {hint}"),
        )),
    }
}

/// Marks errors of the source, to distinguish them from those of the decoder.
struct Origin<R>(R);

#[derive(Debug)]
struct OriginError(io::Error);

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for OriginError {}

impl<R: Read> Read for Origin<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => io::Error::new(kind, OriginError(error)),
        })
    }
}

/// A decoder whose errors describe what is wrong with the source.
struct Compressed {
    kind: &'static str,
    reader: Box<dyn Read + Send>,
}

impl Read for Compressed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| {
            let error = match error.downcast::<OriginError>() {
                Ok(OriginError(error)) => return error,
                Err(error) => error,
            };
            let text = match error.kind() {
                io::ErrorKind::Interrupted => return error,
                io::ErrorKind::UnexpectedEof => {
                    format!("the {} data is truncated", self.kind)
                }
                _ => format!("the {} data is damaged: {error}", self.kind),
            };
            io::Error::new(error.kind(), text)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 1).unwrap()
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        decoded("x", Box::new(Cursor::new(bytes)))
            .map_err(|error| error.to_string())?
            .read_to_end(&mut out)
            .map_err(|error| error.to_string())?;
        Ok(out)
    }

    fn table() -> Vec<u8> {
        (0..5_000)
            .flat_map(|i| format!("{i},x{}\n", i % 7).into_bytes())
            .collect()
    }

    #[test]
    fn all_members_and_frames_are_read() {
        let table = table();
        let (left, right) = table.split_at(20_000);
        assert_eq!(read(table.clone()).unwrap(), table);
        assert_eq!(
            read([gzip(left), gzip(b""), gzip(right)].concat()).unwrap(),
            table
        );
        let skippable = [b"\x53\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zstd(&table)].concat();
        assert_eq!(read(skippable).unwrap(), table);
        assert_eq!(read([zstd(left), zstd(right)].concat()).unwrap(), table);
        for short in [&b""[..], b"\x1e", b"a\n1\n"] {
            assert_eq!(read(short.to_vec()).unwrap(), short);
        }
    }

    #[test]
    fn truncation_at_any_offset_is_an_error() {
        let table = table();
        for (kind, whole) in [("gzip", gzip(&table)), ("Zstandard", zstd(&table))] {
            for length in (4..whole.len()).step_by(97).chain([whole.len() - 1]) {
                let error = read(whole[..length].to_vec()).unwrap_err();
                let expected = format!("the {kind} data is truncated");
                assert_eq!(error, expected, "{length} of {} bytes", whole.len());
            }
            // A second member or frame that is truncated.
            let twice = [whole.clone(), whole[..whole.len() / 2].to_vec()].concat();
            assert!(read(twice).unwrap_err().contains("truncated"), "{kind}");
        }
    }

    #[test]
    fn damage_and_unsupported_compressions_are_reported() {
        let mut damaged = gzip(&table());
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        assert!(
            read(damaged)
                .unwrap_err()
                .starts_with("the gzip data is damaged: ")
        );
        for (start, name) in [
            (&b"BZh91AY&SY\x12\x34"[..], "bzip2"),
            (b"\xfd7zXZ\0\0\x04", "xz"),
            (b"PK\x03\x04rest of it", "a ZIP archive"),
            (b"\xff\xfea\0,\0", "UTF-16"),
        ] {
            let error = read(start.to_vec()).unwrap_err();
            assert!(
                error.starts_with(&format!("x: this is {name}, which")),
                "{error}"
            );
        }
        assert_eq!(read(b"BZh,other\n".to_vec()).unwrap(), b"BZh,other\n");
    }

    #[test]
    fn the_sources_own_errors_keep_their_words() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let bytes = gzip(&table());
                let rest = &bytes[self.0..1_000];
                if rest.is_empty() {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the wire was cut",
                    ));
                }
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                self.0 += length;
                Ok(length)
            }
        }
        let mut reader = decoded("x", Box::new(Broken(0))).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the wire was cut");
    }
}
