//! Renders the project on one screen: at most 24 lines of 80 columns.

use std::fmt;

use mlops_core::names::Version;
use mlops_core::text::{clean, states, time};

use super::report::{NewestImage, StatusReport};
use crate::aws::state::ModelApproval;

impl NewestImage {
    /// Formats an image: `sha256:1f2e3d4c5b6a, develop, commit 1234567890`. A tag of 40 hexadecimal
    /// digits is the commit; any other tag is the branch.
    fn short(&self) -> String {
        let (commits, mut branches): (Vec<&String>, Vec<&String>) = self
            .tags
            .iter()
            .partition(|tag| tag.len() == 40 && tag.chars().all(|c| c.is_ascii_hexdigit()));
        branches.truncate(2);
        let mut parts: Vec<String> = vec![format!("sha256:{}", self.digest.short())];
        parts.extend(branches.into_iter().cloned());
        parts.extend(
            commits
                .first()
                .map(|commit| format!("commit {}", &commit[..10])),
        );
        parts.join(", ")
    }
}

/// Formats the name of a run's directory (`2026-01-02T03-04-05Z`) as a time.
fn shown_time(directory: &str) -> String {
    match jiff::fmt::strtime::parse("%Y-%m-%dT%H-%M-%SZ", directory)
        .and_then(|parsed| parsed.to_datetime())
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
    {
        Ok(at) => time(at.timestamp()),
        Err(_) => directory.to_owned(),
    }
}

/// Limits a line of the screen to 80 columns.
fn line(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    let text = clean(text);
    let text = if text.chars().count() > 68 {
        format!("{}…", text.chars().take(67).collect::<String>())
    } else {
        text
    };
    writeln!(f, "{label:<10} {}", states(&text))
}

fn list(versions: impl Iterator<Item = Version>) -> String {
    let all: Vec<String> = versions.map(|version| version.to_string()).collect();
    match all.len() {
        0 => "none".to_owned(),
        1..=5 => all.join(", "),
        more => format!("{} and {} more", all[..5].join(", "), more - 5),
    }
}

impl fmt::Display for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = || "none".to_owned();
        line(
            f,
            "project",
            &format!(
                "{} in account {}, {}",
                self.project, self.account, self.region
            ),
        )?;
        for stack in &self.stacks {
            let status = stack.status.as_deref().unwrap_or("not deployed");
            line(f, "stack", &format!("{:<10} {status}", stack.part.as_str()))?;
        }
        line(
            f,
            "image",
            &self.image.as_ref().map_or_else(none, NewestImage::short),
        )?;
        let data = self.data.as_ref().map_or_else(none, |data| {
            let version = data.version.as_deref();
            version.map_or_else(none, |version| {
                format!("{} version {version}", data.dataset)
            })
        });
        line(f, "data", &data)?;
        let run = self.run.as_ref();
        line(
            f,
            "last run",
            &run.map_or_else(none, |run| match &run.gate {
                Some(gate) => format!("{} {}: {}", run.id, run.status, gate.sentence()),
                None => format!("{} {}", run.id, run.status),
            }),
        )?;
        line(
            f,
            "models",
            &format!(
                "approved: {}; pending: {}; rejected: {}",
                list(self.versions(ModelApproval::is_approved)),
                list(self.versions(ModelApproval::is_pending)),
                list(self.versions(ModelApproval::is_rejected))
            ),
        )?;
        let endpoint = self.endpoint.as_ref().map_or_else(none, |endpoint| {
            let live = self
                .live
                .map_or_else(none, |version| format!("version {version}"));
            format!("{} {}, live: {live}", endpoint.name, endpoint.status)
        });
        line(f, "endpoint", &endpoint)?;
        if let Some(failure) = self.endpoint.as_ref().and_then(|e| e.failure.as_deref()) {
            line(f, "", &format!("last deployment failed: {failure}"))?;
        }
        let monitor = self.monitor.as_ref().map_or_else(none, |monitor| {
            format!(
                "{} violations at {}",
                monitor.violations,
                shown_time(&monitor.time)
            )
        });
        line(f, "monitoring", &monitor)?;
        writeln!(f, "{:<10} {}", "next", clean(&self.next))
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sagemaker::types::{EndpointStatus, ModelApprovalStatus};

    use super::super::report::{Data, Stack};
    use super::*;
    use crate::aws::hosting::Endpoint;
    use crate::aws::sagemaker::models::ModelVersion;
    use crate::infra::PARTS;

    fn report() -> StatusReport {
        StatusReport {
            project: "flights".to_owned(),
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            stacks: PARTS
                .map(|part| Stack {
                    part,
                    status: Some("CREATE_COMPLETE".to_owned()),
                })
                .into(),
            image: Some(NewestImage {
                tags: vec!["a1".repeat(20), "develop".to_owned()],
                digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            }),
            data: Some(Data {
                dataset: "flights".to_owned(),
                version: Some("v".to_owned()),
            }),
            run: None,
            models: (1..=9)
                .rev()
                .map(|version| ModelVersion {
                    version: Version(version),
                    arn: format!("arn/{version}"),
                    status: ModelApprovalStatus::Approved.into(),
                })
                .collect(),
            endpoint: Some(Endpoint {
                name: "flights".to_owned(),
                status: EndpointStatus::InService.into(),
                configuration: None,
                failure: Some("x".repeat(500)),
                model_package: Some("arn/9".to_owned()),
            }),
            live: Some(Version(9)),
            monitor: None,
            next: "n".to_owned(),
        }
    }

    #[test]
    fn it_is_one_screen() {
        let text = report().to_string();
        assert!(text.lines().count() <= 24, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }

    #[test]
    fn an_image_is_its_digest_branch_and_commit() {
        let text = report().to_string();
        let short = "sha256:000000000000, develop, commit a1a1a1a1a1\n";
        assert!(text.contains(short), "{text}");
    }

    #[test]
    fn a_monitoring_run_is_shown_as_a_time() {
        assert_eq!(shown_time("2026-01-02T03-04-05Z"), "2026-01-02 03:04Z");
        assert_eq!(shown_time("first"), "first");
    }

    #[test]
    fn the_next_step_follows_the_story() {
        let mut report = report();
        assert_eq!(report.next_step(), "monitor run");
        report.live = Some(Version(7));
        assert_eq!(report.next_step(), "promote 9");
        report.models.clear();
        report.live = None;
        assert_eq!(report.next_step(), "train");
        report.data.as_mut().unwrap().version = None;
        assert_eq!(report.next_step(), "data push DIR flights");
        report.image = None;
        assert_eq!(report.next_step(), "image push");
        report.stacks[1].status = None;
        assert_eq!(report.next_step(), "init");
    }
}
