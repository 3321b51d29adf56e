//! `Invoke`: synchronous, asynchronous, or a dry run.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::api::Event;
use super::environment::{End, Outcome};
use super::records::{Plan, active};
use super::{LATEST, invalid, name_of, pool};
use crate::api::{ApiError, ApiResult};
use crate::store::Collection;
use crate::{Cloud, clock};

/// Maximum payload of a synchronous call (Lambda quotas: 6 MB).
pub(super) const MAX_PAYLOAD: usize = 6 << 20;

/// Maximum payload of an event (Lambda quotas: 1 MB since October 2025).
const MAX_EVENT: usize = 1 << 20;

/// Pauses between the delivery attempts of an event (developer guide: a minute before the second,
/// two before the third).
const PAUSES: [Duration; 2] = [Duration::from_mins(1), Duration::from_mins(2)];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Invoke {
    function_name: String,
    qualifier: Option<String>,
    #[serde(default)]
    invocation_type: InvocationType,
    #[serde(default)]
    log_type: LogType,
    client_context: Option<String>,
    /// In base64, as blobs are in JSON.
    payload: Option<String>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
enum InvocationType {
    #[default]
    RequestResponse,
    Event,
    DryRun,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
enum LogType {
    #[default]
    None,
    Tail,
}

/// An accepted event that is not delivered yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Accepted {
    function: String,
    payload: String,
    client_context: Option<String>,
    attempts: usize,
}

fn accepted(cloud: &Cloud) -> Collection<'_, Accepted> {
    cloud.store().collection("lambda", "event")
}

/// Invokes a function. The response's `Payload` is in Base64, as blobs are in JSON.
pub(super) async fn invoke(cloud: &Cloud, input: Invoke) -> ApiResult<Value> {
    let name = name_of(cloud, &input.function_name, input.qualifier.as_deref())?;
    let plan = active(cloud, &name)?;
    let payload = STANDARD
        .decode(input.payload.unwrap_or_default())
        .map_err(|_| invalid("the payload is not base64"))?;
    check(&payload, input.invocation_type)?;
    let payload = if payload.is_empty() {
        b"{}".to_vec()
    } else {
        payload
    };
    let id = uuid::Uuid::new_v4().to_string();
    match input.invocation_type {
        InvocationType::DryRun => Ok(json!({"StatusCode": 204})),
        InvocationType::Event => {
            let event = Accepted {
                function: name,
                payload: STANDARD.encode(payload),
                client_context: input.client_context,
                attempts: 0,
            };
            accepted(cloud).insert(&id, &event)?;
            deliver(cloud, id.clone(), event);
            Ok(json!({"StatusCode": 202, "RequestId": id}))
        }
        InvocationType::RequestResponse => {
            let outcome = execute(cloud, &plan, &id, payload, input.client_context).await?;
            let mut answer = json!({
                "StatusCode": 200,
                "ExecutedVersion": LATEST,
                "Payload": STANDARD.encode(outcome.payload(&id, &plan)),
                "RequestId": id,
            });
            if !matches!(outcome.end, End::Answer(_)) {
                // All current runtimes report Unhandled, even if a handler raised the error.
                answer["FunctionError"] = json!("Unhandled");
            }
            if input.log_type == LogType::Tail {
                answer["LogResult"] = json!(STANDARD.encode(outcome.tail));
            }
            Ok(answer)
        }
    }
}

fn check(payload: &[u8], kind: InvocationType) -> ApiResult<()> {
    let too_large =
        |message: String| Err(ApiError::new("RequestTooLargeException", message).status(413));
    if kind == InvocationType::Event && payload.len() > MAX_EVENT {
        return too_large(format!(
            "{} byte payload is too large for the Event invocation type (limit {MAX_EVENT} bytes)",
            payload.len()
        ));
    }
    if payload.len() > MAX_PAYLOAD {
        return too_large(format!(
            "{} byte payload is too large for the RequestResponse invocation type (limit \
             {MAX_PAYLOAD} bytes)",
            payload.len()
        ));
    }
    if payload.is_empty() {
        return Ok(());
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(payload) {
        Ok(_) => Ok(()),
        Err(error) => Err(ApiError::new(
            "InvalidRequestContentException",
            format!("Could not parse request body into json: {error}"),
        )),
    }
}

/// Runs an invocation to completion, even if the caller disconnects.
async fn execute(
    cloud: &Cloud,
    plan: &Plan,
    id: &str,
    payload: Vec<u8>,
    client_context: Option<String>,
) -> ApiResult<Outcome> {
    let event = Event {
        id: id.to_owned(),
        payload,
        time: cloud.clock().now(),
        deadline: 0,
        arn: plan.arn.clone(),
        client_context,
    };
    let (done, end) = oneshot::channel();
    let (owned, plan) = (cloud.clone(), plan.clone());
    let work = async move {
        // The caller may have disconnected.
        let _ = done.send(pool::execute(&owned, &plan, event).await);
    };
    // After a panic nothing is sent, and the caller receives an internal error.
    cloud.spawn(format!("invocation {id}"), work, |_| async {});
    end.await.map_err(ApiError::internal)?
}

/// Delivers an accepted event in the background, with three attempts as in Lambda.
fn deliver(cloud: &Cloud, id: String, mut event: Accepted) {
    let (owned, broken, failed) = (cloud.clone(), cloud.clone(), id.clone());
    let what = format!("event {id}");
    let title = what.clone();
    let work = async move {
        loop {
            let delivered = attempt(&owned, &id, &event).await;
            event.attempts += 1;
            if delivered || event.attempts > PAUSES.len() {
                break;
            }
            // If the attempt cannot be recorded, it is repeated after a restart.
            let write = || accepted(&owned).put(&id, &event);
            let _ = owned.persist(&format!("event {id}"), write).await;
            clock::sleep(PAUSES[event.attempts - 1]).await;
        }
        let write = || accepted(&owned).remove(&id);
        let _ = owned.persist(&format!("event {id}"), write).await;
    };
    // An event whose delivery panics would panic again at every start.
    cloud.spawn(what, work, move |_| async move {
        let write = || accepted(&broken).remove(&failed);
        let _ = broken.persist(&title, write).await;
    });
}

/// Attempts to deliver an event. True if no further attempt is needed.
async fn attempt(cloud: &Cloud, id: &str, event: &Accepted) -> bool {
    let (plan, payload) = match (
        active(cloud, &event.function),
        STANDARD.decode(&event.payload),
    ) {
        (Ok(plan), Ok(payload)) => (plan, payload),
        (Err(error), _) if error.is_not_found() => return true,
        (Err(_), _) => return false,
        (_, Err(_)) => return true,
    };
    let context = event.client_context.clone();
    execute(cloud, &plan, id, payload, context)
        .await
        .is_ok_and(|outcome| matches!(outcome.end, End::Answer(_)))
}

/// Delivers events that were accepted before the server ended.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    for (id, event) in accepted(cloud).list("")? {
        deliver(cloud, id, event);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_json_within_the_limits() {
        check(b"", InvocationType::RequestResponse).unwrap();
        check(b"{\"a\": [1, null]}", InvocationType::Event).unwrap();
        let code = |payload: &[u8], kind| check(payload, kind).unwrap_err().code;
        assert_eq!(
            code(b"{", InvocationType::Event),
            "InvalidRequestContentException"
        );
        assert_eq!(
            code(b"{} {}", InvocationType::DryRun),
            "InvalidRequestContentException"
        );
        let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2)).into_bytes();
        check(&text(MAX_PAYLOAD), InvocationType::RequestResponse).unwrap();
        let large = text(MAX_PAYLOAD + 1);
        assert_eq!(
            code(&large, InvocationType::RequestResponse),
            "RequestTooLargeException"
        );
        assert_eq!(
            code(&text(MAX_EVENT + 1), InvocationType::Event),
            "RequestTooLargeException"
        );
    }
}
