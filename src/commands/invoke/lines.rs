//! `mlops invoke --lines`: one request per line, responses in the same order.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use anyhow::{Context as _, Result, anyhow};
use futures::{StreamExt as _, stream};
use mlops_core::error::Hint;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::explained;
use super::input::{Input, too_large};
use crate::aws::Clients;
use crate::aws::invocation::{self, Answer, Header};
use crate::context::Context;

/// Number of requests in parallel.
const PARALLEL: usize = 8;

/// Number of lines that are read ahead.
const AHEAD: usize = 16;

/// A line of the input.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    number: u64,
    body: Vec<u8>,
}

/// The response to a line.
#[derive(Debug, Serialize)]
struct Response {
    /// The number of the line in the input, from 1.
    line: u64,
    /// The variant that answered.
    variant: Option<String>,
    content_type: Option<String>,
    body: String,
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.body)
    }
}

/// Sends every line and prints the responses. Stops at the first failure: its error names the line, and
/// the responses to all earlier lines have been printed.
pub(super) async fn run(
    ctx: &Context,
    clients: &Clients,
    endpoint: &str,
    header: &Header,
    input: &Input,
    limit: usize,
) -> Result<()> {
    let name = input.to_string();
    let (sender, receiver) = mpsc::channel(AHEAD);
    let opened = input.open()?;
    // Reading stdin blocks. The thread ends when the receiver is dropped.
    std::thread::spawn(move || {
        let mut lines = Lines::new(opened, limit);
        while let Some(line) = lines.read().transpose() {
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    let lines = stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    });
    let answers = lines.map(async |line| {
        let Line { number, body } = line?;
        let sent = invocation::send(&clients.runtime, endpoint, header, body).await;
        let answer = sent.map_err(|refused| explained(ctx, refused));
        anyhow::Ok((number, answer.and_then(|answer| response(number, answer))))
    });
    let mut answers = std::pin::pin!(answers.buffered(PARALLEL));
    let mut count: u64 = 0;
    while let Some(answer) = answers.next().await {
        let (number, response) = answer.with_context(|| format!("cannot read {name}"))?;
        let mut response = response.with_context(|| format!("line {number} of {name}"))?;
        if ctx.output.is_interactive() {
            response.body = mlops_core::text::clean(&response.body);
        }
        count += 1;
        if !ctx.output.line(&response)? {
            return Ok(());
        }
    }
    if count == 0 {
        return Err(anyhow!("{name} has no lines to send"));
    }
    ctx.progress
        .detail(format!("{count} lines of {name} were answered"));
    Ok(())
}

/// A response as one line.
fn response(number: u64, answer: Answer) -> Result<Response> {
    let text = String::from_utf8(answer.body)
        .map_err(|_| anyhow!("the response is not text"))
        .hint("send such requests one at a time, without --lines")?;
    let text = text.trim_end_matches(['\n', '\r']);
    let body = if text.contains(['\n', '\r']) {
        // Formatted JSON has line breaks without a meaning.
        let value: Value = serde_json::from_str(text)
            .map_err(|_| anyhow!("the response has {} lines", text.lines().count()))
            .hint("with --lines, the model must answer one line to one line")?;
        value.to_string()
    } else {
        text.to_owned()
    };
    Ok(Response {
        line: number,
        variant: answer.variant,
        content_type: answer.content_type,
        body,
    })
}

/// Reads lines of at most `limit` bytes, without their line breaks.
struct Lines<R> {
    from: BufReader<R>,
    limit: usize,
    number: u64,
}

impl<R: Read> Lines<R> {
    fn new(from: R, limit: usize) -> Self {
        Self {
            from: BufReader::new(from),
            limit,
            number: 0,
        }
    }

    /// The next line that is not empty.
    fn read(&mut self) -> Result<Option<Line>> {
        loop {
            self.number += 1;
            let mut body = Vec::new();
            // A line break has at most two bytes.
            let most = u64::try_from(self.limit)?.saturating_add(2);
            let read = Read::by_ref(&mut self.from)
                .take(most)
                .read_until(b'\n', &mut body)?;
            if read == 0 {
                return Ok(None);
            }
            while body.last().is_some_and(|last| b"\n\r".contains(last)) {
                body.pop();
            }
            if body.len() > self.limit {
                return Err(too_large(&format!("line {}", self.number), self.limit));
            }
            if !body.trim_ascii().is_empty() {
                let number = self.number;
                return Ok(Some(Line { number, body }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, limit: usize) -> Result<Vec<(u64, String)>> {
        let mut lines = Lines::new(text.as_bytes(), limit);
        let mut found = Vec::new();
        while let Some(line) = lines.read()? {
            found.push((line.number, String::from_utf8(line.body).unwrap()));
        }
        Ok(found)
    }

    #[test]
    fn empty_lines_are_skipped_and_counted() {
        let found = all("1,2\r\n\n  \n3,4", 10).unwrap();
        assert_eq!(found, [(1, "1,2".to_owned()), (4, "3,4".to_owned())]);
        assert!(all("", 10).unwrap().is_empty());
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit() {
        assert_eq!(all("1234\r\n5", 4).unwrap().len(), 2);
        let error = all("1\n12345\n", 4).unwrap_err();
        assert!(error.to_string().contains("line 2 is larger"), "{error}");
        assert!(all("12345678", 4).is_err());
    }

    #[test]
    fn a_response_is_one_line() {
        let of = |body: &str| {
            let answer = Answer {
                body: body.as_bytes().to_vec(),
                content_type: None,
                variant: None,
            };
            response(1, answer).map(|response| response.body)
        };
        assert_eq!(of("7.5\n").unwrap(), "7.5");
        assert_eq!(of("{\n  \"a\": 1\n}\n").unwrap(), "{\"a\":1}");
        let error = of("1\n2\n").unwrap_err();
        assert!(error.to_string().contains("2 lines"), "{error}");
    }
}
