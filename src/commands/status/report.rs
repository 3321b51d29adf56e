//! What `mlops status` says.

use std::fmt;

use serde::Serialize;

use crate::aws::hosting::Endpoint;
use crate::aws::sagemaker::models::ModelVersion;
use crate::names::Version;
use crate::output::{Report, clean};

/// The project at a glance.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// Its name.
    pub project: String,
    /// The account that was asked.
    pub account: String,
    /// The region.
    pub region: String,
    /// The stacks.
    pub stacks: Vec<Stack>,
    /// The newest tagged image.
    pub image: Option<Image>,
    /// The newest version of the training data.
    pub data: Option<Data>,
    /// The last pipeline execution.
    pub run: Option<Run>,
    /// The model versions, newest first.
    pub models: Vec<ModelVersion>,
    /// The endpoint.
    pub endpoint: Option<Endpoint>,
    /// The version that the endpoint serves.
    pub live: Option<Version>,
    /// The last monitoring result.
    pub monitor: Option<Monitoring>,
    /// The command to go on with.
    pub next: String,
}

/// A stack of the architecture.
#[derive(Debug, Serialize)]
pub struct Stack {
    /// Which one.
    pub part: &'static str,
    /// CloudFormation's status; null when there is none.
    pub status: Option<String>,
}

/// An image.
#[derive(Debug, Serialize)]
pub struct Image {
    /// Its tags.
    pub tags: Vec<String>,
    /// Its digest.
    pub digest: String,
}

impl Image {
    /// `sha256:1f2e3d4c5b6a, develop, commit 1234567890`: a tag of 40 hexadecimal digits is the
    /// commit, any other the branch.
    fn short(&self) -> String {
        let (commits, mut branches): (Vec<&String>, Vec<&String>) = self
            .tags
            .iter()
            .partition(|tag| tag.len() == 40 && tag.chars().all(|c| c.is_ascii_hexdigit()));
        branches.truncate(2);
        let mut parts: Vec<String> = vec![self.digest.chars().take(19).collect()];
        parts.extend(branches.into_iter().cloned());
        parts.extend(
            commits
                .first()
                .map(|commit| format!("commit {}", &commit[..10])),
        );
        parts.join(", ")
    }
}

/// The training data.
#[derive(Debug, Serialize)]
pub struct Data {
    /// The data set.
    pub dataset: String,
    /// The version id of its manifest; null when nothing was pushed.
    pub version: Option<String>,
}

/// A pipeline execution.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The last part of its ARN.
    pub id: String,
    /// Its status.
    pub status: String,
}

/// A monitoring result.
#[derive(Debug, Serialize)]
pub struct Monitoring {
    /// When it was made, as its directory is named.
    pub time: String,
    /// How many violations it found.
    pub violations: usize,
    /// Where it lies.
    pub report: String,
}

impl StatusReport {
    /// A project of which only the stacks are known.
    pub(super) fn new(project: &str, account: &str, region: &str, stacks: Vec<Stack>) -> Self {
        Self {
            project: project.to_owned(),
            account: account.to_owned(),
            region: region.to_owned(),
            stacks,
            image: None,
            data: None,
            run: None,
            models: Vec::new(),
            endpoint: None,
            live: None,
            monitor: None,
            next: String::new(),
        }
    }

    fn with_status<'a>(&'a self, status: &'a str) -> impl Iterator<Item = Version> + 'a {
        let models = self.models.iter();
        models
            .filter(move |model| model.status == status)
            .map(|model| model.version)
    }

    /// What to do about the first thing of the story that is missing, as `mlops` is told it.
    pub(super) fn next_step(&self) -> String {
        let there = |part: &str| {
            let stack = self.stacks.iter().find(|stack| stack.part == part);
            stack.is_some_and(|stack| stack.status.is_some())
        };
        if !["network", "platform", "workbench"].into_iter().all(there) {
            return "init".to_owned();
        }
        if self.image.is_none() {
            return "image push".to_owned();
        }
        if let Some(data) = &self.data
            && data.version.is_none()
        {
            return format!("data push DIR {}", data.dataset);
        }
        if let Some(run) = &self.run
            && run.status == "Executing"
        {
            return format!("runs show {}", run.id);
        }
        let above_live = |version: &Version| self.live.is_none_or(|live| *version > live);
        let candidate = self
            .with_status("Approved")
            .chain(self.with_status("PendingManualApproval"))
            .filter(above_live)
            .max();
        if let Some(version) = candidate {
            return format!("promote {version}");
        }
        match &self.monitor {
            None if self.live.is_some() => "monitor run".to_owned(),
            Some(monitor) if monitor.violations > 0 => "monitor report".to_owned(),
            _ => "train".to_owned(),
        }
    }
}

impl Report for StatusReport {}

/// A line of the screen: at most 80 columns.
fn line(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    let text = clean(text);
    let text = if text.chars().count() > 68 {
        format!("{}…", text.chars().take(67).collect::<String>())
    } else {
        text
    };
    writeln!(f, "{label:<10} {text}")
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
            line(f, "stack", &format!("{:<10} {status}", stack.part))?;
        }
        line(
            f,
            "image",
            &self.image.as_ref().map_or_else(none, Image::short),
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
            &run.map_or_else(none, |run| format!("{} {}", run.id, run.status)),
        )?;
        line(
            f,
            "models",
            &format!(
                "approved: {}; pending: {}; rejected: {}",
                list(self.with_status("Approved")),
                list(self.with_status("PendingManualApproval")),
                list(self.with_status("Rejected"))
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
            format!("{} violations at {}", monitor.violations, monitor.time)
        });
        line(f, "monitoring", &monitor)?;
        writeln!(f, "{:<10} {}", "next", clean(&self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::super::PARTS;
    use super::*;

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
            image: Some(Image {
                tags: vec!["a1".repeat(20), "develop".to_owned()],
                digest: format!("sha256:{}", "0".repeat(64)),
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
                    status: "Approved".to_owned(),
                })
                .collect(),
            endpoint: Some(Endpoint {
                name: "flights".to_owned(),
                status: "InService".to_owned(),
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
