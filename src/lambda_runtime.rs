//! Runs this binary as a Lambda function: if its name is `bootstrap`, it polls the Runtime API for
//! events. The function's handler selects the work: `retrain-gate` decides about retraining, any other handler validates
//! the data that the event names. (`provided.al2023`, without a crate: the loop
//! needs four requests, and `lambda_runtime` would bring a second HTTP client.)
//!
//! ```text
//! GET  invocation/next ── event ─┬─ `mlops validate` on S3 ─┬─ POST invocation/ID/response
//!                                └─ retraining::Gate ───────┴─ POST invocation/ID/error
//! ```

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;
use mlops_core::error::{Exit, Failure, Hint, exit, hints, message};
use serde_json::{Value, json};

use crate::progress::write_stderr;

mod event;
mod gate;

/// What the function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handler {
    Validation,
    RetrainGate,
}

impl Handler {
    fn of(name: Option<&str>) -> Self {
        match name {
            Some("retrain-gate") => Self::RetrainGate,
            _ => Self::Validation,
        }
    }

    async fn handle(self, event: &[u8], now: Timestamp) -> Result<Value> {
        match self {
            Self::Validation => event::handle(event).await,
            Self::RetrainGate => Box::pin(gate::handle(event, now)).await,
        }
    }

    /// The beginning of the types of errors.
    fn prefix(self) -> &'static str {
        match self {
            Self::Validation => "Validation",
            Self::RetrainGate => "Retraining",
        }
    }
}

/// The version of the Runtime API.
const VERSION: &str = "2018-06-01";

/// Returns true if the program was started under the name that Lambda uses.
pub fn is_bootstrap() -> bool {
    std::env::args_os()
        .next()
        .is_some_and(|program| Path::new(&program).file_name() == Some("bootstrap".as_ref()))
}

/// Serves events until Lambda ends the process.
pub fn run() -> ExitCode {
    let served = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(serve()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_stderr(&format!("error: {}", one_line(&error)));
            exit(&error).into()
        }
    }
}

async fn serve() -> Result<()> {
    let api = crate::config::lambda_runtime_api()
        .ok_or_else(|| Failure::usage("AWS_LAMBDA_RUNTIME_API is not set"))
        .hint(
            "a program named `bootstrap` runs as a Lambda function; rename it to `mlops` elsewhere",
        )?;
    let handler = Handler::of(crate::config::lambda_handler().as_deref());
    let runtime = format!("http://{api}/{VERSION}/runtime");
    // No timeout: the process may be frozen for hours while it waits for an event.
    let client = reqwest::Client::builder().no_proxy().build()?;
    loop {
        let next = client
            .get(format!("{runtime}/invocation/next"))
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .context("cannot get the next event from the Runtime API")?;
        let id = next
            .headers()
            .get("lambda-runtime-aws-request-id")
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("the event has no request id"))?;
        let now = clock(&next);
        let event = next.bytes().await.context("the event is truncated")?;
        let (what, kind, body) = match handler.handle(&event, now).await {
            Ok(answer) => ("response", None, answer),
            Err(error) => {
                write_stderr(&format!("error: {}", one_line(&error)));
                (
                    "error",
                    Some(kind(handler, &error)),
                    failure(handler, &error),
                )
            }
        };
        let mut request = client
            .post(format!("{runtime}/invocation/{id}/{what}"))
            .header("content-type", "application/json");
        if let Some(kind) = kind {
            request = request.header("lambda-runtime-function-error-type", kind);
        }
        request
            .body(body.to_string())
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .context("cannot send the response to the Runtime API")?;
    }
}

/// The time of the Runtime API's answer; that of this machine if the answer has none.
fn clock(answer: &reqwest::Response) -> Timestamp {
    let date = answer.headers().get("date");
    let date = date.and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    date.map_or_else(Timestamp::now, |date| date.timestamp())
}

/// Formats an error for the Runtime API.
fn failure(handler: Handler, error: &anyhow::Error) -> Value {
    json!({"errorType": kind(handler, error), "errorMessage": one_line(error)})
}

fn kind(handler: Handler, error: &anyhow::Error) -> String {
    let kind = match exit(error) {
        Exit::Usage => "BadEvent",
        Exit::Credentials => "AccessDenied",
        _ => "Failed",
    };
    format!("{}.{kind}", handler.prefix())
}

/// Returns the message and the hints of an error.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = message(error);
    for hint in hints(error) {
        line.push_str(&format!(" (hint: {hint})"));
    }
    line.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_hint() {
        let error = Err::<(), _>(Failure::usage("no\ndata"))
            .hint("name some")
            .unwrap_err();
        assert_eq!(
            failure(Handler::Validation, &error),
            json!({"errorType": "Validation.BadEvent", "errorMessage": "no data (hint: name some)"})
        );
    }
}
