//! Drift: whether the resources of a stack are as its template describes them.

use std::fmt;

use anyhow::{Context as _, Result, anyhow};
use aws_sdk_cloudformation::types::{
    StackDriftDetectionStatus, StackDriftStatus, StackResourceDriftStatus,
};
use jiff::Timestamp;
use mlops_core::wait::{Poll, Waiter};

use super::{AwsResultExt, Clients, Missing};

/// The result of the last detection of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detected {
    /// Drift was never detected.
    Never,
    /// All resources were as the template describes them.
    InSync(Option<Timestamp>),
    /// Resources were changed or deleted by hand.
    Drifted(Option<Timestamp>),
}

/// A resource that differs from the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The name in the template.
    pub resource: String,
    /// The resource type.
    pub r#type: String,
    /// True if it was deleted.
    pub deleted: bool,
    /// The paths of the properties that differ.
    pub properties: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.deleted {
            return write!(f, "{} was deleted", self.resource);
        }
        write!(f, "{} was changed", self.resource)?;
        if self.properties.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.properties.join(", "))
        }
    }
}

/// Returns the result of the last detection, which CloudFormation keeps; `None` without the stack.
pub async fn last(clients: &Clients, stack: &str) -> Result<Option<Detected>> {
    let answer = clients
        .cloudformation
        .describe_stacks()
        .stack_name(stack)
        .send()
        .await
        .aws_if_found(format!("cannot describe the stack {stack}"), Missing::Stack)?;
    let stacks = answer.and_then(|answer| answer.stacks).unwrap_or_default();
    Ok(stacks.into_iter().next().map(|stack| {
        let Some(drift) = stack.drift_information else {
            return Detected::Never;
        };
        let checked = drift
            .last_check_timestamp
            .and_then(|time| Timestamp::from_second(time.secs()).ok());
        match drift.stack_drift_status {
            Some(StackDriftStatus::InSync) => Detected::InSync(checked),
            Some(StackDriftStatus::Drifted) => Detected::Drifted(checked),
            _ => Detected::Never,
        }
    }))
}

/// Detects the drift of a stack and returns what differs.
///
/// # Errors
/// The detection fails, or takes longer than the waiter allows.
pub async fn detect(clients: &Clients, stack: &str, waiter: &Waiter) -> Result<Vec<Difference>> {
    let doing = format!("cannot detect the drift of the stack {stack}");
    let started = clients
        .cloudformation
        .detect_stack_drift()
        .stack_name(stack)
        .send()
        .await
        .aws(&doing)?;
    let detection = started
        .stack_drift_detection_id
        .with_context(|| format!("{doing}: the response has no id"))?;
    let probe = || async {
        let answer = clients
            .cloudformation
            .describe_stack_drift_detection_status()
            .stack_drift_detection_id(&detection)
            .send()
            .await
            .aws(&doing)?;
        match answer.detection_status {
            Some(StackDriftDetectionStatus::DetectionInProgress) | None => {
                Ok(Poll::Pending("DETECTION_IN_PROGRESS".to_owned()))
            }
            Some(StackDriftDetectionStatus::DetectionComplete) => Ok(Poll::Ready(
                answer.stack_drift_status == Some(StackDriftStatus::Drifted),
            )),
            // Some resources may have been compared; the result is not the whole stack's.
            Some(_) => Err(anyhow!(
                "{doing}: {}",
                answer.detection_status_reason.unwrap_or_default()
            )),
        }
    };
    let what = format!("the drift detection of {stack}");
    if !waiter.until(&what, |_| {}, probe).await? {
        return Ok(Vec::new());
    }
    differences(clients, stack, &doing).await
}

async fn differences(clients: &Clients, stack: &str, doing: &str) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    let mut next = None;
    loop {
        let answer = clients
            .cloudformation
            .describe_stack_resource_drifts()
            .stack_name(stack)
            .stack_resource_drift_status_filters(StackResourceDriftStatus::Modified)
            .stack_resource_drift_status_filters(StackResourceDriftStatus::Deleted)
            .set_next_token(next)
            .send()
            .await
            .aws(doing)?;
        for drift in answer.stack_resource_drifts.unwrap_or_default() {
            let deleted =
                drift.stack_resource_drift_status == Some(StackResourceDriftStatus::Deleted);
            let differences = drift.property_differences.unwrap_or_default();
            found.push(Difference {
                resource: drift.logical_resource_id.unwrap_or_default(),
                r#type: drift.resource_type.unwrap_or_default(),
                deleted,
                properties: differences
                    .into_iter()
                    .filter_map(|difference| difference.property_path)
                    .collect(),
            });
        }
        next = answer.next_token;
        if next.is_none() {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_resource_and_its_properties() {
        let mut difference = Difference {
            resource: "DataBucket".to_owned(),
            r#type: "AWS::S3::Bucket".to_owned(),
            deleted: false,
            properties: vec!["/VersioningConfiguration/Status".to_owned()],
        };
        assert_eq!(
            difference.to_string(),
            "DataBucket was changed (/VersioningConfiguration/Status)"
        );
        difference.deleted = true;
        assert_eq!(difference.to_string(), "DataBucket was deleted");
    }
}
