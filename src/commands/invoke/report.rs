//! The reports of `mlops invoke`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mlops_core::error::Exit;
use mlops_core::text::{clean, table};
use serde::Serialize;

use super::latency::{Latency, shown};
use crate::aws::invocation::Answer;
use crate::output::Report;

/// The result of `mlops invoke`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum InvokeReport {
    /// One response, as JSON.
    Single(Single),
    /// The responses, which are already printed.
    Printed,
    /// The latencies of `--repeat`.
    Measured(Box<LoadReport>),
}

/// A response.
#[derive(Debug, Serialize)]
pub struct Single {
    endpoint: String,
    /// The variant that answered.
    variant: Option<String>,
    content_type: Option<String>,
    /// The body as text; null if it is not UTF-8.
    body: Option<String>,
    /// The body in Base64, if it is not UTF-8.
    body_base64: Option<String>,
}

/// A measured load.
#[derive(Debug, Serialize)]
pub struct LoadReport {
    pub(super) endpoint: String,
    /// The size of each request's body.
    pub(super) body_bytes: usize,
    /// The number of requests to send.
    pub(super) requests: u32,
    /// Requests per second to send.
    pub(super) rate: f64,
    pub(super) succeeded: u32,
    pub(super) failed: u32,
    /// From the first request to the last answer.
    pub(super) seconds: f64,
    /// Successful requests per second.
    pub(super) throughput: f64,
    /// Latencies of successful requests; null if there are none.
    pub(super) latency_ms: Option<Latency>,
    pub(super) errors: Vec<RequestErrors>,
    /// True if Ctrl-C ended it.
    pub(super) interrupted: bool,
}

/// Failed requests of one kind.
#[derive(Debug, Serialize)]
pub(super) struct RequestErrors {
    pub(super) kind: String,
    pub(super) count: u32,
    /// The message of the first one.
    pub(super) example: String,
}

impl Single {
    pub(super) fn new(endpoint: &str, answer: Answer) -> Self {
        let (body, body_base64) = match String::from_utf8(answer.body) {
            Ok(text) => (Some(text), None),
            Err(bytes) => (None, Some(STANDARD.encode(bytes.as_bytes()))),
        };
        Self {
            endpoint: endpoint.to_owned(),
            variant: answer.variant,
            content_type: answer.content_type,
            body,
            body_base64,
        }
    }
}

impl Report for InvokeReport {
    fn exit(&self) -> Exit {
        match self {
            Self::Measured(load) if load.interrupted => Exit::Interrupted,
            Self::Measured(load) if load.succeeded < load.requests => Exit::Failed,
            _ => Exit::Done,
        }
    }

    fn is_printed(&self) -> bool {
        matches!(self, Self::Printed)
    }
}

impl fmt::Display for InvokeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Printed as bytes, or as JSON.
            Self::Single(_) | Self::Printed => Ok(()),
            Self::Measured(load) => load.fmt(f),
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered = self.succeeded + self.failed;
        let of = if self.interrupted {
            format!("{answered} of {} (interrupted)", self.requests)
        } else {
            answered.to_string()
        };
        writeln!(f, "endpoint    {}", clean(&self.endpoint))?;
        writeln!(
            f,
            "requests    {of} in {:.1} s, sent at {}/s",
            self.seconds, self.rate
        )?;
        writeln!(
            f,
            "succeeded   {} ({:.1}/s)",
            self.succeeded, self.throughput
        )?;
        writeln!(f, "failed      {}", self.failed)?;
        if let Some(latency) = &self.latency_ms {
            let row = [
                latency.p50,
                latency.p90,
                latency.p95,
                latency.p99,
                latency.max,
            ];
            let row = row.into_iter().map(shown).collect();
            writeln!(f)?;
            f.write_str(&table(&["P50", "P90", "P95", "P99", "MAX"], [row]))?;
        }
        if !self.errors.is_empty() {
            let rows = self.errors.iter().map(|errors| {
                vec![
                    errors.kind.clone(),
                    errors.count.to_string(),
                    errors.example.clone(),
                ]
            });
            writeln!(f)?;
            f.write_str(&table(&["ERROR", "COUNT", "EXAMPLE"], rows))?;
        }
        Ok(())
    }
}
