//! Finds requests with both `Content-Length` and `Transfer-Encoding`. A proxy and this server could
//! disagree about where such a request ends (RFC 9112, section 6.3), and hyper drops the length
//! before anyone sees it, so the bytes are tracked on their way to hyper.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::MAX_HEAD;

/// Index of the first ambiguous request of a connection; `usize::MAX` if there is none.
#[derive(Debug)]
pub(super) struct Ambiguous(AtomicUsize);

impl Default for Ambiguous {
    fn default() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }
}

impl Ambiguous {
    /// True for an ambiguous request, and for everything after it.
    pub(super) fn includes(&self, request: usize) -> bool {
        request >= self.0.load(Ordering::Relaxed)
    }
}

/// The position of the next byte in the stream of requests.
#[derive(Debug)]
enum Position {
    Head,
    /// A body of known length, with the number of remaining bytes.
    Body(u64),
    /// The line with the size of a chunk.
    Size,
    /// A chunk and its line ending, with the number of remaining bytes.
    Chunk(u64),
    /// The lines after the last chunk.
    Trailers,
    /// No longer tracked: hyper closes a connection with such a request.
    Lost,
}

/// Tracks the bytes that a client sends.
#[derive(Debug)]
pub(super) struct Framing {
    position: Position,
    line: Vec<u8>,
    request: usize,
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            position: Position::Head,
            line: Vec::new(),
            request: 0,
            begun: false,
            length: None,
            chunked: false,
        }
    }
}

impl Framing {
    /// Processes the next bytes and records the first ambiguous request.
    pub(super) fn follow(&mut self, mut bytes: &[u8], ambiguous: &Ambiguous) {
        while !bytes.is_empty() {
            match &mut self.position {
                Position::Lost => return,
                Position::Body(left) | Position::Chunk(left) => {
                    let count = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    *left -= count as u64;
                    bytes = &bytes[count..];
                    match self.position {
                        Position::Body(0) => self.position = Position::Head,
                        Position::Chunk(0) => self.position = Position::Size,
                        _ => {}
                    }
                }
                Position::Head | Position::Size | Position::Trailers => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    if self.line.len() + part.len() > MAX_HEAD {
                        self.position = Position::Lost;
                        return;
                    }
                    self.line.extend_from_slice(part);
                    if end.is_some() {
                        let line = std::mem::take(&mut self.line);
                        let stripped = line.strip_suffix(b"\r");
                        // hyper closes the connection if a chunk-size or trailer line ends with a bare LF.
                        if stripped.is_none()
                            && matches!(self.position, Position::Size | Position::Trailers)
                        {
                            self.position = Position::Lost;
                            return;
                        }
                        self.process_line(stripped.unwrap_or(&line), ambiguous);
                    }
                    bytes = rest.get(1..).unwrap_or_default();
                }
            }
        }
    }

    /// Processes a line.
    fn process_line(&mut self, line: &[u8], ambiguous: &Ambiguous) {
        match self.position {
            Position::Head if line.is_empty() && self.begun => {
                self.begun = false;
                let (length, chunked) = (self.length.take(), std::mem::take(&mut self.chunked));
                self.position = match (length, chunked) {
                    (Some(_), true) => {
                        ambiguous.0.store(self.request, Ordering::Relaxed);
                        Position::Lost
                    }
                    (None, true) => Position::Size,
                    (Some(length), false) if length > 0 => Position::Body(length),
                    _ => Position::Head,
                };
                self.request += 1;
            }
            // Empty lines before a request are skipped.
            Position::Head if line.is_empty() => {}
            Position::Head if !self.begun => self.begun = true,
            Position::Head => {
                let colon = line.iter().position(|byte| *byte == b':');
                let (name, value) = line.split_at(colon.unwrap_or(line.len()));
                if name.eq_ignore_ascii_case(b"transfer-encoding") {
                    self.chunked = true;
                } else if name.eq_ignore_ascii_case(b"content-length") {
                    let value = value.get(1..).unwrap_or_default().trim_ascii();
                    let length = std::str::from_utf8(value).ok();
                    // A length that is not a number is ambiguous next to a transfer coding; without
                    // one, hyper refuses it.
                    self.length = Some(length.and_then(|length| length.parse().ok()).unwrap_or(0));
                }
            }
            Position::Size => {
                let digits = line
                    .iter()
                    .take_while(|byte| byte.is_ascii_hexdigit())
                    .count();
                let size = std::str::from_utf8(&line[..digits]).ok();
                self.position = match size.and_then(|size| u64::from_str_radix(size, 16).ok()) {
                    Some(0) => Position::Trailers,
                    // The size does not include the line ending.
                    Some(size) => size.checked_add(2).map_or(Position::Lost, Position::Chunk),
                    None => Position::Lost,
                };
            }
            Position::Trailers if line.is_empty() => self.position = Position::Head,
            Position::Trailers | Position::Body(_) | Position::Chunk(_) | Position::Lost => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first ambiguous request, if the bytes arrive in chunks of `size`.
    fn first(text: &str, size: usize) -> Option<usize> {
        let (mut framing, ambiguous) = (Framing::default(), Ambiguous::default());
        for piece in text.as_bytes().chunks(size) {
            framing.follow(piece, &ambiguous);
        }
        (0..100).find(|request| ambiguous.includes(*request))
    }

    #[test]
    fn content_length_with_transfer_encoding_is_detected_in_any_request() {
        let both = "PUT / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        let other = "PUT / HTTP/1.1\ntransfer-encoding:chunked\nX: y\nCONTENT-LENGTH:0\n\n";
        let get = "\r\nGET / HTTP/1.1\r\nX-Content-Length: 1\r\nTransfer: chunked\r\n\r\n";
        let sized = format!(
            "PUT / HTTP/1.1\r\nContent-Length:  {} \r\n\r\n{both}",
            both.len()
        );
        let inner = format!("{:x};a=b\r\n{both}\r\n1\r\n\n\r\n", both.len());
        let chunked =
            format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{inner}0\r\nX: y\r\n\r\n");
        for size in [1, 2, 7, 64, 100_000] {
            assert_eq!(first(both, size), Some(0));
            assert_eq!(first(other, size), Some(0));
            // Requests inside a body are not parsed.
            for fine in [get, &sized, &chunked] {
                assert_eq!(first(fine, size), None, "{fine}");
                assert_eq!(
                    first(&format!("{fine}{fine}{other}"), size),
                    Some(2),
                    "{fine}"
                );
            }
        }
        // A bare LF does not end a chunk-size or trailer line.
        let trailers = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\n\n";
        assert_eq!(first(&format!("{trailers}{both}"), 7), None);
        // Bytes that are not a request, as hyper finds too.
        assert_eq!(
            first(&format!("{}{both}", "x".repeat(MAX_HEAD + 1)), 4096),
            None
        );
    }
}
