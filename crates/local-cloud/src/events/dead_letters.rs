//! Dead-letter queues: what could not be delivered, with the reason.

use serde_json::{Value, json};

use super::kinds::PRINCIPAL;
use super::rules;
use super::stored::Stored;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::{Cloud, log, sqs};

/// The code of an error. Unverified against AWS [events-dead-letter-codes]: the codes other than these two, which the
/// user guide lists as samples.
fn code(error: &ApiError) -> &'static str {
    if error.is_denied() {
        "NO_PERMISSIONS"
    } else if error.is_not_found() {
        "NO_RESOURCE"
    } else if error.status >= 500 {
        "INTERNAL_ERROR"
    } else {
        "SDK_CLIENT_ERROR"
    }
}

/// Maximum number of characters in the attribute `ERROR_MESSAGE`. Unverified against AWS [events-dead-letter-message]:
/// its limit is not published. All attributes count for the size of a message.
const MAX_MESSAGE: usize = 1000;

/// An error for an attribute of a message: queues refuse control characters, and an error can quote a request.
pub(crate) fn error_text(error: &ApiError) -> String {
    let characters = error.message.chars().filter(|it| !it.is_control());
    let text: String = characters.take(MAX_MESSAGE).collect();
    if text.is_empty() {
        return error.code.clone();
    }
    text
}

/// Maximum number of characters of an error in the server's log.
const MAX_LOGGED: usize = 120;

/// An error for the server's log. Errors can quote the request, and so the event; what is in quotes or brackets is
/// left out.
fn logged(error: &ApiError) -> String {
    let mut result = format!("{}: ", error.code);
    let mut characters = error.message.chars().take(MAX_LOGGED);
    while let Some(character) = characters.next() {
        let is_apostrophe = character == '\'' && result.ends_with(char::is_alphanumeric);
        let end = match character {
            '"' | '\'' | '`' if !is_apostrophe => character,
            '{' => '}',
            '[' => ']',
            '<' => '>',
            other if other.is_control() => {
                result.push(' ');
                continue;
            }
            other => {
                result.push(other);
                continue;
            }
        };
        result.push('…');
        characters.by_ref().find(|other| *other == end);
    }
    result
}

fn attributes(cloud: &Cloud, stored: &Stored, error: &ApiError, exhausted: Option<&str>) -> Value {
    let text = |value: &str| json!({"DataType": "String", "StringValue": value});
    let mut attributes = json!({
        "RULE_ARN": text(&rules::arn(cloud, &stored.rule)),
        "TARGET_ARN": text(&stored.target.arn),
        "ERROR_CODE": text(code(error)),
        "ERROR_MESSAGE": text(&error_text(error)),
    });
    if let Some(limit) = exhausted {
        attributes["EXHAUSTED_RETRY_CONDITION"] = text(limit);
        attributes["RETRY_ATTEMPTS"] =
            json!({"DataType": "Number", "StringValue": stored.attempts.to_string()});
    }
    attributes
}

async fn try_send(cloud: &Cloud, rule_arn: &str, input: Value) -> ApiResult<()> {
    let call = cloud.call("sqs", "SendMessage", input);
    let caller = Caller::service(PRINCIPAL, rule_arn);
    caller.scope(call).await.map(drop)
}

/// Sends an event that could not be delivered to the queue of its target. Without a queue, or if the queue does not
/// accept it, the event is dropped as on AWS; the server's log has the reason.
///
/// # Errors
/// The state cannot be written at the moment.
pub(super) async fn send(
    cloud: &Cloud,
    stored: &Stored,
    error: &ApiError,
    exhausted: Option<&'static str>,
) -> ApiResult<()> {
    let (rule, target) = (&stored.rule, &stored.target);
    let what = format!(
        "the event {} of the rule {rule} for {}",
        stored.id, target.arn
    );
    let Some(arn) = target.dead_letters() else {
        log::write_line(&format!("dropped {what}: {}", logged(error)));
        return Ok(());
    };
    let input = json!({
        "QueueUrl": sqs::url(cloud, arn),
        "MessageBody": stored.envelope.to_string(),
        "MessageAttributes": attributes(cloud, stored, error, exhausted),
    });
    let rule_arn = rules::arn(cloud, rule);
    if let Err(refused) = try_send(cloud, &rule_arn, input).await {
        if refused.is_unavailable() {
            return Err(refused);
        }
        log::write_line(&format!(
            "dropped {what}: {}; its dead-letter queue {arn} refused it: {}",
            logged(error),
            logged(&refused)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_no_values_of_events() {
        let error = ApiError::validation(
            "The event's value 'secret' at \"x\" is {\"a\": 1}\nnot valid, 'secret",
        );
        assert_eq!(
            logged(&error),
            "ValidationException: The event's value … at … is … not valid, …"
        );
        let long = ApiError::validation("x".repeat(1000));
        assert!(logged(&long).len() < 200);
    }

    #[test]
    fn queues_accept_the_text_of_every_error() {
        let error = |text: &str| ApiError::validation(text.to_owned());
        assert_eq!(error_text(&error("a\u{1}b\n")), "ab");
        assert_eq!(error_text(&error("\u{1}")), "ValidationException");
        assert_eq!(error_text(&error(&"x".repeat(5000))).len(), MAX_MESSAGE);
    }

    #[test]
    fn errors_have_codes() {
        for (error, expected) in [
            (ApiError::denied("AccessDenied", "no"), "NO_PERMISSIONS"),
            (ApiError::not_found("NoSuchQueue", "no"), "NO_RESOURCE"),
            (ApiError::internal("no"), "INTERNAL_ERROR"),
            (ApiError::validation("no"), "SDK_CLIENT_ERROR"),
        ] {
            assert_eq!(code(&error), expected);
        }
    }
}
