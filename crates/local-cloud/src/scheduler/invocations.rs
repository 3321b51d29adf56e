//! Invocations of targets, with retries and dead letters.

use rusqlite::Transaction;
use serde_json::{Map, Value, json};

use super::invocation::Invocation;
use super::store::{self, Pending};
use super::{PRINCIPAL, input, now};
use crate::api::{ApiError, ApiResult};
use crate::cloud::catch_panic;
use crate::{Cloud, events, sqs, sts};

/// Longest pause between two attempts, in seconds. Unverified against AWS [scheduler-backoff]: its pauses grow
/// exponentially, and are not published.
const MAX_PAUSE: i64 = 600;

/// Milliseconds before a dead letter is sent again that its queue could not accept.
const LATER: i64 = 20_000;

/// The problem of a server that cannot write invocations.
pub(super) const WHAT: &str = "the invocations of EventBridge Scheduler";

/// Attempts an invocation, and records its outcome.
pub(super) async fn attempt(cloud: Cloud, id: i64) -> ApiResult<()> {
    let read = || cloud.store().transaction(|tx| store::pending(tx, id));
    let Some(pending) = cloud.persist(WHAT, read).await? else {
        return Ok(());
    };
    let what = format!("an invocation of {}", pending.invocation.schedule);
    let attempt = call(&cloud, &pending.invocation, pending.attempts + 1);
    let Err(error) = catch_panic(&what, attempt).await else {
        return finish(&cloud, &pending).await;
    };
    if let Some(pause) = pause(&cloud, &pending, &error) {
        return postpone(&cloud, id, pause, 1).await;
    }
    crate::log::write_line(&format!("{what} failed: {error}"));
    if bury(&cloud, &pending, &error).await.is_err() {
        return postpone(&cloud, id, LATER, 0).await;
    }
    finish(&cloud, &pending).await
}

/// Records that an invocation is done. If this cannot be recorded, it is repeated after a restart.
async fn finish(cloud: &Cloud, pending: &Pending) -> ApiResult<()> {
    let write = || cloud.store().transaction(|tx| store::finish(tx, pending));
    cloud.persist(WHAT, write).await
}

/// Records that an invocation is attempted again after a pause, and how many attempts that adds.
async fn postpone(cloud: &Cloud, id: i64, pause: i64, attempts: u32) -> ApiResult<()> {
    let due = now(cloud) + pause;
    let write = || {
        let postpone = |tx: &Transaction<'_>| store::postpone(tx, id, due, attempts);
        cloud.store().transaction(postpone)
    };
    cloud.persist(WHAT, write).await
}

/// Calls the target with the role of the schedule.
async fn call(cloud: &Cloud, invocation: &Invocation, attempt: u32) -> ApiResult<()> {
    let target = &invocation.target;
    let text = input::text(cloud, invocation, attempt);
    let request = target.request(cloud, &text, &invocation.id)?;
    let session = sts::for_service(
        cloud,
        &target.role_arn,
        &session_name(invocation),
        PRINCIPAL,
    )?;
    let called = cloud.call(request.service, &request.operation, request.input);
    let answer = session.caller().scope(called).await?;
    // `PutEvents` succeeds although it has refused the event.
    match answer["Entries"][0]["ErrorCode"].as_str() {
        Some(code) if request.operation == "PutEvents" => {
            let message = answer["Entries"][0]["ErrorMessage"].as_str();
            Err(ApiError::new(code.to_owned(), message.unwrap_or_default()))
        }
        _ => Ok(()),
    }
}

/// The name of the session in which a target is called.
fn session_name(invocation: &Invocation) -> String {
    let id = invocation.id.replace('-', "");
    format!("scheduler-{id}")
}

/// Milliseconds before the next attempt; `None` if there is none, also because another attempt would fail, too.
/// Unverified against AWS [scheduler-final-errors].
fn pause(cloud: &Cloud, pending: &Pending, error: &ApiError) -> Option<i64> {
    let policy = pending.invocation.target.retry_policy;
    if events::is_final(error) || pending.attempts >= policy.maximum_retry_attempts {
        return None;
    }
    let seconds = 1_i64 << pending.attempts.min(20);
    let pause = seconds.min(MAX_PAUSE) * 1000;
    let age = now(cloud) + pause - pending.invocation.begun;
    (age <= policy.maximum_event_age_in_seconds * 1000).then_some(pause)
}

/// Sends an invocation that is given up to the dead-letter queue of the schedule, if there is one. Without a queue, or if
/// the queue refuses it, the invocation is dropped; the server's log has the reason.
///
/// # Errors
/// The queue cannot accept it at the moment.
async fn bury(cloud: &Cloud, pending: &Pending, error: &ApiError) -> ApiResult<()> {
    let invocation = &pending.invocation;
    let Some(queue) = invocation.target.dead_letters() else {
        return Ok(());
    };
    let sent = async {
        let role = &invocation.target.role_arn;
        let session = sts::for_service(cloud, role, &session_name(invocation), PRINCIPAL)?;
        let message = dead_letter(cloud, pending, error, &sqs::url(cloud, queue));
        let sent = cloud.call("sqs", "SendMessage", message);
        session.caller().scope(sent).await
    };
    if let Err(refused) = sent.await {
        crate::log::write_line(&format!(
            "cannot send an invocation of {} to {queue}: {refused}",
            invocation.schedule
        ));
        if refused.is_unavailable() {
            return Err(refused);
        }
    }
    Ok(())
}

/// Maximum size of the body of a dead letter, in bytes: 256 KB, less what its attributes need.
const LARGEST_LETTER: usize = (256 << 10) - (8 << 10);

/// The message of an invocation that is given up: the request, and why it failed. Unverified against AWS
/// [scheduler-dead-letter]: the names of the attributes.
fn dead_letter(cloud: &Cloud, pending: &Pending, error: &ApiError, url: &str) -> Value {
    let invocation = &pending.invocation;
    let text = input::text(cloud, invocation, pending.attempts + 1);
    let mut body = match invocation.target.request(cloud, &text, &invocation.id) {
        Ok(request) => request.input.to_string(),
        Err(_) => text,
    };
    let is_truncated = body.len() > LARGEST_LETTER;
    if is_truncated {
        let fits = body.char_indices().map(|(at, _)| at);
        let end = fits.take_while(|at| *at <= LARGEST_LETTER).last();
        body.truncate(end.unwrap_or_default());
    }
    let mut attributes = Map::new();
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            let value = json!({"DataType": "String", "StringValue": value});
            attributes.insert(name.to_owned(), value);
        }
    };
    let is_exhausted = !events::is_final(error);
    add("ERROR_CODE", &error.code);
    add("ERROR_MESSAGE", &events::error_text(error));
    add("EXECUTION_ID", &invocation.id);
    if is_exhausted {
        let policy = invocation.target.retry_policy;
        let is_count = pending.attempts >= policy.maximum_retry_attempts;
        let condition = if is_count {
            "MaximumRetryAttempts"
        } else {
            "MaximumEventAgeInSeconds"
        };
        add("EXHAUSTED_RETRY_CONDITION", condition);
    }
    add("IS_PAYLOAD_TRUNCATED", &is_truncated.to_string());
    add("RETRY_ATTEMPTS", &pending.attempts.to_string());
    add("SCHEDULED_TIME", &invocation.scheduled_time());
    add("SCHEDULE_ARN", &invocation.schedule);
    add("TARGET_ARN", &invocation.target.arn);
    json!({"QueueUrl": url, "MessageBody": body, "MessageAttributes": attributes})
}
