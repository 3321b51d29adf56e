//! One attempt to deliver an event.

use super::kinds::{Delivery, Kind, PRINCIPAL};
use super::path::Path;
use super::rules;
use super::stored::Stored;
use super::transform::{Context, MAX_TEXT, TooLarge};
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::{Cloud, sts};

tokio::task_local! {
    /// The ARN of the rule whose event is delivered.
    static RULE: String;
}

/// The ARN of the rule that calls the code that is running, by delivering an event to its target. No client can
/// pretend it, in contrast to the name of a session.
pub(crate) fn delivering_rule() -> Option<String> {
    RULE.try_with(Clone::clone).ok()
}

/// The text that the target receives.
fn payload(stored: &Stored, rule_arn: &str) -> ApiResult<String> {
    let (target, event) = (&stored.target, &stored.envelope);
    if let Some(input) = &target.input {
        return Ok(input.clone());
    }
    if let Some(path) = &target.input_path {
        let found = Path::parse(path).and_then(|path| path.find(event));
        return Ok(found.unwrap_or_default().to_string());
    }
    match &target.input_transformer {
        Some(transformer) => {
            let context = Context {
                event,
                rule: &stored.rule,
                rule_arn,
                ingested: stored.accepted,
            };
            let too_large = |TooLarge| {
                ApiError::validation(format!(
                    "The text of the input transformer is larger than {MAX_TEXT} bytes."
                ))
            };
            transformer.apply(&context).map_err(too_large)
        }
        None => Ok(event.to_string()),
    }
}

/// Delivers an event to its target, with the target's role if it has one.
pub(super) async fn attempt(cloud: &Cloud, stored: &Stored) -> ApiResult<()> {
    let target = &stored.target;
    let kind = Kind::of(cloud, &target.arn)?;
    let rule_arn = rules::arn(cloud, &stored.rule);
    let delivery = Delivery {
        target,
        rule: &stored.rule,
        event: &stored.envelope,
        token: &format!("{}-{}", stored.id, stored.number),
        payload: &payload(stored, &rule_arn)?,
    };
    let Some(role) = &target.role_arn else {
        // The policy of the target decides. Log groups have none here: on AWS, the console adds one.
        let caller = match kind {
            Kind::Logs(_) => Caller::LocalCloud,
            _ => Caller::service(PRINCIPAL, rule_arn.clone()),
        };
        let work = RULE.scope(rule_arn.clone(), kind.deliver(cloud, delivery));
        return caller.scope(work).await;
    };
    let session = sts::for_service(cloud, role, &session_name(&stored.id), PRINCIPAL);
    let session = session.map_err(|error| {
        if error.is_unavailable() {
            return error;
        }
        // The role does not exist, or does not trust EventBridge.
        ApiError::denied("AccessDeniedException", error.message)
    })?;
    let work = RULE.scope(rule_arn.clone(), kind.deliver(cloud, delivery));
    session.caller().scope(work).await
}

/// The name of the session for an event.
fn session_name(event: &str) -> String {
    format!("EventBridge-{event}")
}
