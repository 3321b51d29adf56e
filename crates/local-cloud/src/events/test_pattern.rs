//! `TestEventPattern`

use serde::Deserialize;
use serde_json::{Value, json};

use super::pattern::{Pattern, Steps, normalized};
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, limits};

/// Members that an event needs (API reference: `TestEventPattern`).
const REQUIRED: [&str; 7] = [
    "id",
    "account",
    "source",
    "time",
    "region",
    "resources",
    "detail-type",
];

/// Maximum size of an event, in bytes; AWS's own limit.
const MAX_EVENT: usize = 256 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TestEventPattern {
    event_pattern: String,
    event: String,
}

/// Compiles the pattern of a request.
pub(super) fn compile(text: &str) -> ApiResult<Pattern> {
    Pattern::parse(text).map_err(|reason| {
        ApiError::new(
            "InvalidEventPatternException",
            format!("Event pattern is not valid. Reason: {reason}"),
        )
    })
}

/// `TestEventPattern`. Unverified against AWS [events-test-pattern]: the messages for an event that is not valid.
pub(super) async fn test(_cloud: &Cloud, input: TestEventPattern) -> ApiResult<Value> {
    let pattern = compile(&input.event_pattern)?;
    let invalid = |reason: String| {
        ApiError::validation(format!("Parameter Event is not valid. Reason: {reason}"))
    };
    if input.event.len() > MAX_EVENT {
        return Err(invalid(format!(
            "the event is larger than {MAX_EVENT} bytes"
        )));
    }
    let event = limits::document(input.event.as_bytes()).map_err(invalid)?;
    if !event.is_object() {
        return Err(invalid("Event must be a JSON object".to_owned()));
    }
    if let Some(name) = REQUIRED.iter().find(|name| event.get(name).is_none()) {
        return Err(invalid(format!("{name} is missing")));
    }
    let result = pattern.matches_within(&normalized(&event), &Steps::of_pattern());
    let result =
        result.map_err(|_| invalid("the event is too large for the pattern".to_owned()))?;
    Ok(json!({"Result": result}))
}
