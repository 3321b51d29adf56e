//! What SageMaker's resources announce to EventBridge.

use serde_json::{Value, json};

use crate::events::Event;

/// The source of the events.
pub(super) const SOURCE: &str = "aws.sagemaker";

/// An event about a resource.
pub(super) fn event(detail_type: &'static str, arn: &Value, detail: Value) -> Event {
    Event {
        source: SOURCE,
        detail_type,
        resources: arn.as_str().map(str::to_owned).into_iter().collect(),
        detail,
    }
}

/// A record without members that are null, and with its times in milliseconds since the epoch.
fn in_milliseconds(record: &Value) -> Value {
    match record {
        Value::Object(members) => {
            let shown = members.iter().filter(|(_, value)| !value.is_null());
            let shown = shown.map(|(name, value)| {
                let value = match value.as_f64().filter(|_| name.ends_with("Time")) {
                    #[expect(clippy::cast_possible_truncation, reason = "a time in milliseconds")]
                    Some(seconds) => json!((seconds * 1000.0).round() as i64),
                    None => in_milliseconds(value),
                };
                (name.clone(), value)
            });
            Value::Object(shown.collect())
        }
        Value::Array(items) => items.iter().map(in_milliseconds).collect(),
        other => other.clone(),
    }
}

/// A time of a record, as ISO 8601.
pub(super) fn iso(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "a time in seconds")]
    let time = jiff::Timestamp::from_second(seconds as i64).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A job whose status has changed: `word` is `Training` or `Processing`.
pub(super) fn job(word: &str, before: Option<&Value>, after: &Value) -> Option<Event> {
    let status = format!("{word}JobStatus");
    let state = |job: &Value| (job[&status].clone(), job["SecondaryStatus"].clone());
    if before.is_some_and(|before| state(before) == state(after)) {
        return None;
    }
    let detail_type = if word == "Training" {
        "SageMaker Training Job State Change"
    } else {
        "SageMaker Processing Job State Change"
    };
    let arn = &after[format!("{word}JobArn")];
    Some(event(detail_type, arn, in_milliseconds(after)))
}

/// The members of a model package whose updates an event names. Public programs read `UpdatedModelPackageFields`; the
/// developer guide does not describe it. Unverified against AWS [package-updated-fields]: which members it can have.
const UPDATED: [&str; 4] = [
    "ModelApprovalStatus",
    "ApprovalDescription",
    "ModelLifeCycle",
    "CustomerMetadataProperties",
];

/// A model package whose state has changed. Its times are ISO 8601.
pub(super) fn package(before: Option<&Value>, after: &Value) -> Option<Event> {
    let state = |package: &Value| {
        let members = [
            "ModelPackageStatus",
            "ModelApprovalStatus",
            "ModelLifeCycle",
        ];
        members.map(|name| package[name].clone())
    };
    if before.is_some_and(|before| state(before) == state(after)) {
        return None;
    }
    let mut detail = after.clone();
    if let Some(members) = detail.as_object_mut() {
        // An event has at most 256 KB; the card is read with DescribeModelPackage.
        members.shift_remove("ModelCard");
        members.retain(|_, value| !value.is_null());
        for (name, value) in members.iter_mut() {
            if let Some(seconds) = value.as_f64().filter(|_| name.ends_with("Time")) {
                *value = iso(seconds).into();
            }
        }
    }
    if let Some(before) = before {
        let updated = UPDATED
            .iter()
            .filter(|name| before[**name] != after[**name]);
        detail["UpdatedModelPackageFields"] = updated.copied().collect();
    }
    let arn = &after["ModelPackageArn"];
    Some(event("SageMaker Model Package State Change", arn, detail))
}

/// `InService` as events write it: `IN_SERVICE`.
fn upper_snake(status: &str) -> String {
    let mut result = String::new();
    for character in status.chars() {
        if character.is_ascii_uppercase() && !result.is_empty() {
            result.push('_');
        }
        result.push(character.to_ascii_uppercase());
    }
    result
}

/// The states of an endpoint's variants, such as the progress of scaling. A variant that is in none has no
/// `VariantStatus`.
fn variant_states(endpoint: &Value) -> Vec<(&Value, &Value)> {
    let variants = endpoint["ProductionVariants"].as_array();
    let variants = variants.into_iter().flatten();
    let states = variants.map(|variant| (&variant["VariantName"], &variant["VariantStatus"]));
    states.filter(|(_, status)| !status.is_null()).collect()
}

/// An endpoint whose status, or whose deployment, has changed.
pub(super) fn endpoint(before: Option<&Value>, after: &Value) -> Vec<Event> {
    let has_changed = |member: &str| before.is_none_or(|before| before[member] != after[member]);
    let mut detail = in_milliseconds(after);
    detail["EndpointStatus"] =
        upper_snake(after["EndpointStatus"].as_str().unwrap_or_default()).into();
    let arn = &after["EndpointArn"];
    let mut events = Vec::new();
    let states = variant_states(after);
    let is_scaling =
        !states.is_empty() && before.is_some_and(|before| variant_states(before) != states);
    let is_deployment =
        has_changed("PendingDeploymentSummary") && !after["PendingDeploymentSummary"].is_null();
    if is_deployment || is_scaling {
        events.push(event(
            "SageMaker Endpoint Deployment State Change",
            arn,
            detail.clone(),
        ));
    }
    if has_changed("EndpointStatus") {
        events.push(event("SageMaker Endpoint State Change", arn, detail));
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_endpoints_are_upper_case() {
        for (status, expected) in [
            ("InService", "IN_SERVICE"),
            ("Updating", "UPDATING"),
            ("UpdateRollbackFailed", "UPDATE_ROLLBACK_FAILED"),
        ] {
            assert_eq!(upper_snake(status), expected);
        }
        let after = json!({"EndpointArn": "a", "EndpointStatus": "InService", "CreationTime": 1.5, "FailureReason": null});
        let events = endpoint(Some(&json!({"EndpointStatus": "Creating"})), &after);
        assert_eq!(events.len(), 1);
        let expected =
            json!({"EndpointArn": "a", "EndpointStatus": "IN_SERVICE", "CreationTime": 1500});
        assert_eq!(events[0].detail, expected);
        assert!(endpoint(Some(&after), &after).is_empty());
    }

    /// As in aws-docs/sagemaker-endpoint-deployment-state-change-scaling-repaired.json.
    #[test]
    fn scaling_is_announced_as_a_deployment() {
        let endpoint = |status: Value| {
            let mut variant = json!({"VariantName": "a", "CurrentInstanceCount": 3});
            if !status.is_null() {
                variant["VariantStatus"] = status;
            }
            json!({"EndpointArn": "a", "EndpointStatus": "Updating", "ProductionVariants": [variant]})
        };
        let scaling = json!([{"Status": "Updating", "StartTime": 1_635_195_269.181,
            "StatusMessage": "Scaling out desired instance count to 6."}]);
        let (before, after) = (endpoint(Value::Null), endpoint(scaling));
        let events = super::endpoint(Some(&before), &after);
        assert_eq!(events.len(), 1);
        assert_eq!(
            events[0].detail_type,
            "SageMaker Endpoint Deployment State Change"
        );
        let status = &events[0].detail["ProductionVariants"][0]["VariantStatus"][0];
        assert_eq!(status["StartTime"], 1_635_195_269_181_i64);
        assert!(super::endpoint(Some(&after), &after).is_empty());
        assert!(super::endpoint(Some(&after), &before).is_empty());
    }

    #[test]
    fn only_changes_of_a_state_are_announced() {
        let job = json!({"TrainingJobArn": "a", "TrainingJobStatus": "InProgress", "SecondaryStatus": "Starting"});
        let mut next = job.clone();
        next["LastModifiedTime"] = json!(2.0);
        assert!(super::job("Training", Some(&job), &next).is_none());
        next["SecondaryStatus"] = json!("Training");
        let event = super::job("Training", Some(&job), &next).unwrap();
        assert_eq!(event.resources, ["a"]);
        assert_eq!(event.detail["LastModifiedTime"], 2000);
        let package = json!({"ModelPackageArn": "a", "ModelApprovalStatus": "PendingManualApproval", "CreationTime": 0.0});
        let mut approved = package.clone();
        approved["ModelApprovalStatus"] = json!("Approved");
        assert!(super::package(Some(&package), &package).is_none());
        let event = super::package(Some(&package), &approved).unwrap();
        assert_eq!(event.detail["CreationTime"], "1970-01-01T00:00:00Z");
    }
}
