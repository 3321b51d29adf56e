//! What started an execution: the event, and the revisions of its sources.

use std::fmt;

use aws_sdk_codepipeline::types::{ExecutionTrigger, TriggerType};
use mlops_oci::Digest;
use serde::Serialize;

/// What started an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trigger {
    /// CodePipeline's word, such as `CloudWatchEvent`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The ARN of the rule, or of who started it.
    pub detail: Option<String>,
}

impl Trigger {
    pub(super) fn of(trigger: Option<&ExecutionTrigger>) -> Option<Self> {
        let trigger = trigger?;
        Some(Self {
            kind: trigger.trigger_type()?.as_str().to_owned(),
            detail: trigger.trigger_detail().map(str::to_owned),
        })
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = self.detail.as_deref().unwrap_or_default();
        let name = detail.rsplit(['/', ':']).next().unwrap_or_default();
        match TriggerType::from(self.kind.as_str()) {
            TriggerType::CloudWatchEvent => write!(f, "an event, by the rule {name}"),
            TriggerType::StartPipelineExecution => write!(f, "started by {name}"),
            TriggerType::CreatePipeline => f.write_str("the creation of the pipeline"),
            TriggerType::ManualRollback => write!(f, "a rollback, by {name}"),
            TriggerType::AutomatedRollback => write!(f, "a rollback after the failure of {name}"),
            _ => f.write_str(&self.kind),
        }
    }
}

/// A revision of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Revision {
    /// The source action.
    pub action: String,
    /// A commit, the digest of an image, or the version of an object.
    pub id: Option<String>,
    /// The message of the commit, or what else describes the revision.
    pub summary: Option<String>,
    /// Its page in the console.
    pub url: Option<String>,
}

impl Revision {
    /// Returns the commit, if the revision is one.
    pub fn commit(&self) -> Option<&str> {
        let id = self.id.as_deref()?;
        (id.len() == 40 && id.chars().all(|c| c.is_ascii_hexdigit())).then_some(id)
    }

    /// Returns the digest, if the revision is an image.
    pub fn image(&self) -> Option<Digest> {
        self.id.as_deref()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_names_the_rule_or_the_person() {
        let trigger = |kind: &str, detail: &str| {
            let kind = kind.to_owned();
            let detail = Some(detail.to_owned());
            Trigger { kind, detail }.to_string()
        };
        let rule = "arn:aws:events:us-east-1:000000000000:rule/f-ml-develop";
        assert_eq!(
            trigger("CloudWatchEvent", rule),
            "an event, by the rule f-ml-develop"
        );
        let role = "arn:aws:sts::000000000000:assumed-role/f-ml-engineer/anna";
        assert_eq!(trigger("StartPipelineExecution", role), "started by anna");
        assert_eq!(trigger("Webhook", ""), "Webhook");
    }

    #[test]
    fn a_revision_is_a_commit_an_image_or_something_else() {
        let revision = |id: &str| Revision {
            action: "Code".to_owned(),
            id: Some(id.to_owned()),
            summary: None,
            url: None,
        };
        let commit = "a1".repeat(20);
        assert_eq!(revision(&commit).commit(), Some(commit.as_str()));
        assert_eq!(revision(&commit).image(), None);
        let image = format!("sha256:{}", "0".repeat(64));
        assert_eq!(revision(&image).commit(), None);
        assert_eq!(revision(&image).image().unwrap().to_string(), image);
        assert_eq!(revision("3sL4kqtJlcpXroDTDmJ").commit(), None);
    }
}
