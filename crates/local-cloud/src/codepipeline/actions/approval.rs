//! Manual approvals: they wait for `PutApprovalResult`.

use serde_json::json;

use super::{Outcome, Running};

/// Maximum number of characters of a message's subject (SNS).
const SUBJECT: usize = 100;

/// Publishes the token and, if the action has a topic, notifies its subscribers. After the end of a server in between,
/// it runs again with the same token; subscribers may be notified twice.
pub(super) async fn run(running: &Running<'_>) -> Outcome {
    let token = running.run.token.clone();
    let token = token.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let topic = running.get("NotificationArn");
    running
        .note(|run| {
            run.token = Some(token.clone());
            run.is_notified = topic.is_none();
        })
        .await?;
    let Some(topic) = topic else {
        return Ok(None);
    };
    let pipeline = &running.launch.pipeline;
    let name = &running.action.name;
    let expires = jiff::Timestamp::from_millisecond(running.run.deadline).unwrap_or_default();
    // The local cloud has no console: the links of AWS's message are absent.
    let mut approval = json!({
        "pipelineName": pipeline,
        "stageName": running.stage,
        "actionName": name,
        "token": token,
        "expires": expires.strftime("%Y-%m-%dT%H:%MZ").to_string(),
    });
    for (member, property) in [
        ("externalEntityLink", "ExternalEntityLink"),
        ("customData", "CustomData"),
    ] {
        if let Some(value) = running.get(property) {
            approval[member] = json!(value);
        }
    }
    let message = json!({"region": running.cloud.region(), "approval": approval});
    let subject = format!("APPROVAL NEEDED: AWS CodePipeline {pipeline} for action {name}");
    let request = json!({
        "TopicArn": topic,
        "Subject": subject.chars().take(SUBJECT).collect::<String>(),
        "Message": message.to_string(),
    });
    if running.is_open()? {
        running.cloud.call("sns", "Publish", request).await?;
        running.note(|run| run.is_notified = true).await?;
    }
    Ok(None)
}
