//! `mlops invoke --repeat`: a load at a fixed rate.
//!
//! The load is open: each request has its due time, however slow the answers to earlier ones are, and its
//! latency counts from then. A client that waited for answers would send fewer requests exactly while the
//! endpoint is slow, and hide it ("coordinated omission").

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sagemakerruntime::Client;
use mlops_core::wait::sleep_until;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::latency::Latency;
use super::report::{LoadReport, RequestErrors};
use crate::aws::invocation::{self, Header};
use crate::context::Context;

/// Maximum number of unanswered requests; protects file descriptors. Requests that have to wait for a free one
/// are late, which their latency includes.
const IN_FLIGHT: usize = 500;

/// Maximum size in bytes of the bodies of unanswered requests together.
const BYTES_IN_FLIGHT: usize = 256 << 20;

/// The number of requests with a body of this size that may be unanswered.
fn in_flight(body: usize) -> usize {
    (BYTES_IN_FLIGHT / body.max(1)).clamp(1, IN_FLIGHT)
}

/// The accuracy of the timer. A request that is sent within this time of its due time is not late.
const TIMER: Duration = Duration::from_millis(2);

/// A load to send.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) client: Client,
    pub(super) endpoint: String,
    pub(super) header: Header,
    pub(super) body: Vec<u8>,
    pub(super) count: u32,
    /// Requests per second.
    pub(super) rate: f64,
}

/// The outcome of one request: its latency, or what failed.
type Outcome = Result<Duration, (String, String)>;

impl Load {
    /// Sends the requests and measures them, until all are answered or Ctrl-C is pressed.
    pub(super) async fn run(self, ctx: &Context) -> LoadReport {
        let interrupt = ctx.claim_interrupt();
        let started = Instant::now();
        let task = ctx.progress.items(
            format!("{} at {}/s", self.endpoint, self.rate),
            u64::from(self.count),
        );
        let (count, rate) = (self.count, self.rate);
        let (endpoint, body_bytes) = (self.endpoint.clone(), self.body.len());
        let (report, mut outcomes) = mpsc::unbounded_channel();
        let sending = tokio::spawn(self.send(started, report));
        let mut measured = Measured::default();
        let interrupted = {
            let mut pressed = std::pin::pin!(interrupt.pressed());
            loop {
                tokio::select! {
                    outcome = outcomes.recv() => match outcome {
                        Some(outcome) => {
                            measured.add(outcome);
                            task.advance(1);
                        }
                        None => break false,
                    },
                    () = &mut pressed => break true,
                }
            }
        };
        sending.abort();
        let seconds = started.elapsed().as_secs_f64();
        measured.report(endpoint, body_bytes, count, rate, seconds, interrupted)
    }

    /// Sends each request when it is due. Dropping this future drops the requests in flight.
    async fn send(self, started: Instant, report: mpsc::UnboundedSender<Outcome>) {
        let free = Arc::new(Semaphore::new(in_flight(self.body.len())));
        let (count, rate) = (self.count, self.rate);
        let load = Arc::new(self);
        let mut requests = tokio::task::JoinSet::new();
        for index in 0..count {
            let due = started + Duration::from_secs_f64(f64::from(index) / rate);
            sleep_until(due).await;
            let Ok(permit) = free.clone().acquire_owned().await else {
                return;
            };
            let (load, report) = (load.clone(), report.clone());
            requests.spawn(async move {
                let now = Instant::now();
                let from = if now - due < TIMER { now } else { due };
                let (header, body) = (&load.header, load.body.clone());
                let sent = invocation::send(&load.client, &load.endpoint, header, body).await;
                let outcome = match sent {
                    Ok(_) => Ok(from.elapsed()),
                    Err(refused) => Err((refused.kind, mlops_core::error::message(&refused.error))),
                };
                // The receiver is gone after Ctrl-C.
                let _ = report.send(outcome);
                drop(permit);
            });
            while requests.try_join_next().is_some() {}
        }
        drop(report);
        while requests.join_next().await.is_some() {}
    }
}

/// What was measured.
#[derive(Debug, Default)]
struct Measured {
    latencies: Vec<Duration>,
    errors: BTreeMap<String, RequestErrors>,
}

impl Measured {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Ok(latency) => self.latencies.push(latency),
            Err((kind, example)) => {
                let errors = self.errors.entry(kind.clone()).or_insert(RequestErrors {
                    kind,
                    count: 0,
                    example,
                });
                errors.count += 1;
            }
        }
    }

    fn report(
        self,
        endpoint: String,
        body_bytes: usize,
        requests: u32,
        rate: f64,
        seconds: f64,
        interrupted: bool,
    ) -> LoadReport {
        let mut errors: Vec<RequestErrors> = self.errors.into_values().collect();
        errors.sort_by_key(|errors| std::cmp::Reverse(errors.count));
        let failed: u32 = errors.iter().map(|errors| errors.count).sum();
        let succeeded = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX);
        LoadReport {
            endpoint,
            body_bytes,
            requests,
            rate,
            succeeded,
            failed,
            seconds,
            throughput: f64::from(succeeded) / seconds,
            latency_ms: Latency::of(self.latencies),
            errors,
            interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_limit_the_requests_in_flight() {
        assert_eq!(in_flight(0), IN_FLIGHT);
        assert_eq!(in_flight(1000), IN_FLIGHT);
        assert_eq!(in_flight(20 << 20), 12);
        assert_eq!(in_flight(usize::MAX), 1);
    }

    #[test]
    fn errors_are_counted_by_kind() {
        let mut measured = Measured::default();
        measured.add(Ok(Duration::from_millis(2)));
        for text in ["first", "second"] {
            measured.add(Err(("model error 500".to_owned(), text.to_owned())));
        }
        measured.add(Err(("timeout".to_owned(), "late".to_owned())));
        let report = measured.report("e".to_owned(), 1, 10, 5.0, 2.0, true);
        assert_eq!((report.succeeded, report.failed), (1, 3));
        assert_eq!(report.errors[0].kind, "model error 500");
        assert_eq!(
            (report.errors[0].count, report.errors[0].example.as_str()),
            (2, "first")
        );
        assert!((report.throughput - 0.5).abs() < 1e-9);
        assert!(report.interrupted);
    }
}
