//! The aws-chunked encoding, without its signatures: `SIZE[;chunk-signature=…]\r\n DATA\r\n … 0\r\n`
//! and trailing headers.

use std::io;
use std::sync::{Arc, Mutex};

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Maximum length of a chunk header or trailer line, in bytes; protects memory.
const MAX_LINE: usize = 8 * 1024;

/// The trailing headers of a request; empty until the body was read to its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Trailers(Arc<Mutex<HeaderMap>>);

impl Trailers {
    /// The trailing headers received so far.
    pub(super) fn get(&self) -> HeaderMap {
        self.0
            .lock()
            .map(|headers| headers.clone())
            .unwrap_or_default()
    }
}

/// Decodes an aws-chunked body into its bytes and trailing headers.
pub(super) fn decode(body: Body) -> (impl Stream<Item = io::Result<Bytes>> + Send, Trailers) {
    let trailers = Trailers::default();
    let decoder = Decoder {
        body: body.into_data_stream(),
        buffer: BytesMut::new(),
        state: State::Header,
        trailers: trailers.clone(),
    };
    let stream = futures::stream::try_unfold(decoder, |mut decoder| async move {
        Ok(decoder.next().await?.map(|bytes| (bytes, decoder)))
    });
    (stream, trailers)
}

enum State {
    Header,
    Data(usize),
    Trailers,
    Done,
}

struct Decoder {
    body: BodyDataStream,
    buffer: BytesMut,
    state: State,
    trailers: Trailers,
}

impl Decoder {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.state {
                State::Header => {
                    let line = self.line().await?.ok_or_else(incomplete)?;
                    let size = line.split(';').next().unwrap_or_default().trim();
                    let size = usize::from_str_radix(size, 16)
                        .map_err(|_| malformed("a chunk's size is not a number"))?;
                    self.state = if size == 0 {
                        State::Trailers
                    } else {
                        State::Data(size)
                    };
                }
                State::Data(left) => {
                    if self.buffer.is_empty() && !self.fill().await? {
                        return Err(incomplete());
                    }
                    let bytes = self.buffer.split_to(left.min(self.buffer.len())).freeze();
                    if bytes.len() == left {
                        self.end_of_chunk().await?;
                        self.state = State::Header;
                    } else {
                        self.state = State::Data(left - bytes.len());
                    }
                    return Ok(Some(bytes));
                }
                State::Trailers => {
                    match self.line().await? {
                        None => self.state = State::Done,
                        // An empty line ends the trailers; some clients send one before them.
                        Some(line) if line.is_empty() => {}
                        Some(line) => self.add_trailer(&line)?,
                    }
                }
                State::Done => return Ok(None),
            }
        }
    }

    async fn end_of_chunk(&mut self) -> io::Result<()> {
        match self.line().await? {
            Some(line) if line.is_empty() => Ok(()),
            Some(_) => Err(malformed("a chunk is longer than its size")),
            None => Err(incomplete()),
        }
    }

    fn add_trailer(&self, line: &str) -> io::Result<()> {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| malformed("a trailing header has no colon"))?;
        let name = HeaderName::try_from(name.trim().to_ascii_lowercase())
            .map_err(|_| malformed("a trailing header's name"))?;
        let value = HeaderValue::from_str(value.trim())
            .map_err(|_| malformed("a trailing header's value"))?;
        if let Ok(mut headers) = self.trailers.0.lock() {
            headers.insert(name, value);
        }
        Ok(())
    }

    /// The next line without its line ending; `None` at the end of the body.
    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(at + 1);
                let line = String::from_utf8_lossy(&line);
                return Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(malformed("a line is too long"));
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    let rest = self.buffer.split();
                    Ok(Some(String::from_utf8_lossy(&rest).trim().to_owned()))
                };
            }
        }
    }

    async fn fill(&mut self) -> io::Result<bool> {
        match self.body.next().await {
            Some(Ok(bytes)) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(true)
            }
            Some(Err(error)) => Err(io::Error::other(error)),
            None => Ok(false),
        }
    }
}

fn incomplete() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the aws-chunked body ends early",
    )
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the aws-chunked body is malformed: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;

    async fn decoded(text: &'static str, piece: usize) -> io::Result<(Vec<u8>, HeaderMap)> {
        let pieces: Vec<_> = text
            .as_bytes()
            .chunks(piece)
            .map(|bytes| io::Result::Ok(Bytes::from_static(bytes)))
            .collect();
        let (stream, trailers) = decode(Body::from_stream(futures::stream::iter(pieces)));
        let bytes: Vec<Bytes> = stream.try_collect().await?;
        Ok((bytes.concat(), trailers.get()))
    }

    #[tokio::test]
    async fn chunks_and_trailers_can_be_split_at_any_boundary() {
        let text = "4;chunk-signature=ab\r\nabcd\r\nA\r\n0123456789\r\n0\r\nx-amz-checksum-crc32: i9aeUg==\r\n\r\n";
        for piece in 1..text.len() {
            let (bytes, trailers) = decoded(text, piece).await.unwrap();
            assert_eq!(bytes, b"abcd0123456789");
            assert_eq!(trailers["x-amz-checksum-crc32"], "i9aeUg==");
        }
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_refused() {
        assert!(decoded("4\r\nabcd\r\n", 3).await.is_err());
        assert!(decoded("4\r\nab", 3).await.is_err());
        assert!(decoded("4\r\nabcdef\r\n0\r\n\r\n", 3).await.is_err());
        assert!(decoded("zz\r\n", 3).await.is_err());
    }
}
