//! Invokes Lambda functions.

use anyhow::Result;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::LogType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{AwsResultExt, Clients};

/// The result of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invoked {
    /// The function's response.
    Answer(Vec<u8>),
    /// The error of a failed function, from its code or from the runtime.
    Failed {
        /// `Sandbox.Timedout`, `Runtime.ExitError`, or the function's own.
        kind: String,
        /// The error message.
        message: String,
        /// The last 4 KB of its log.
        log: String,
    },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct FunctionError {
    error_type: Option<String>,
    error_message: Option<String>,
}

/// Invokes a function and waits for its response. HTTP 200 only means that it ran; `FunctionError`
/// tells whether it failed.
pub async fn invoke(clients: &Clients, function: &str, event: Vec<u8>) -> Result<Invoked> {
    let answer = clients
        .lambda
        .invoke()
        .function_name(function)
        .log_type(LogType::Tail)
        .payload(Blob::new(event))
        .send()
        .await
        .aws(format!("cannot invoke the function {function}"))?;
    let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
    if answer.function_error.is_none() {
        return Ok(Invoked::Answer(payload));
    }
    let error: FunctionError = serde_json::from_slice(&payload).unwrap_or_default();
    let log = answer
        .log_result
        .and_then(|log| STANDARD.decode(log).ok())
        .unwrap_or_default();
    Ok(Invoked::Failed {
        kind: error.error_type.unwrap_or_else(|| "Unhandled".to_owned()),
        message: error
            .error_message
            .unwrap_or_else(|| String::from_utf8_lossy(&payload).into_owned()),
        log: String::from_utf8_lossy(&log).into_owned(),
    })
}
