//! The reports of `mlops releases`.

use std::fmt;

use jiff::Timestamp;
use mlops_core::names::Version;
use mlops_core::text::{clean_paragraph, table, time};
use serde::Serialize;

use crate::aws::sagemaker::models;
use crate::releases::manifest::Manifest;
use crate::releases::plan::Comparison;
use crate::releases::store::{Damaged, Event, Outcome, Release};

/// The releases of an endpoint.
#[derive(Debug, Serialize)]
pub struct ReleaseList {
    /// The endpoint.
    pub endpoint: String,
    /// The releases, newest first.
    pub releases: Vec<Listed>,
    /// Those whose documents cannot be used, newest first.
    pub damaged: Vec<Damaged>,
    /// The command that makes the first one.
    #[serde(skip)]
    pub promote: String,
}

/// A release in the list.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Its number.
    pub release: u32,
    /// The version that it serves.
    pub version: Version,
    /// What became of it: `live`, `replaced`, `failed`, `rolled-back`, `abandoned` or `in-progress`.
    pub outcome: &'static str,
    /// When it was requested.
    pub created: Timestamp,
    /// ARN of the identity that requested it.
    pub created_by: String,
    /// Why: the note, or the reason of a failure.
    pub why: Option<String>,
    /// The release that it repeats, for a rollback.
    pub restores: Option<u32>,
}

impl Listed {
    /// Summarizes a release; `live` is the number of the one that the endpoint serves.
    pub fn new(release: &Release, live: Option<u32>) -> Self {
        let manifest = &release.sealed.manifest;
        let outcome = outcome(release, live == Some(manifest.release));
        let reason = release.last().and_then(|event| event.reason.clone());
        Self {
            release: manifest.release,
            version: manifest.model.version,
            outcome,
            created: manifest.created,
            created_by: manifest.created_by.clone(),
            why: reason.or_else(|| manifest.note.clone()),
            restores: manifest.restores,
        }
    }
}

/// Returns what became of a release. Of those that were live, the endpoint serves one.
fn outcome(release: &Release, is_live: bool) -> &'static str {
    match (release.outcome(), is_live) {
        (Some(Outcome::Live), false) => "replaced",
        (Some(outcome), _) => outcome.as_str(),
        (None, _) => "in-progress",
    }
}

/// Returns the name at the end of an ARN.
fn name(arn: &str) -> &str {
    arn.rsplit(['/', ':']).next().unwrap_or(arn)
}

impl fmt::Display for ReleaseList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.releases.is_empty() && self.damaged.is_empty() {
            return writeln!(
                f,
                "no releases yet: deploy a version with `{}`",
                self.promote
            );
        }
        let rows = self.releases.iter().map(|release| {
            let version = match release.restores {
                Some(restored) => format!("{} (as {restored})", release.version),
                None => release.version.to_string(),
            };
            vec![
                release.release.to_string(),
                version,
                release.outcome.to_owned(),
                time(release.created),
                name(&release.created_by).to_owned(),
                release.why.clone().unwrap_or_default(),
            ]
        });
        let header = ["RELEASE", "VERSION", "STATUS", "CREATED", "BY", "WHY"];
        f.write_str(&table(&header, rows))?;
        for damaged in &self.damaged {
            writeln!(f, "{}", clean_paragraph(&damaged.problem))?;
        }
        Ok(())
    }
}

/// A release with everything that is recorded about it.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Whether the endpoint serves it.
    pub live: bool,
    /// What became of it, as in the list.
    pub outcome: &'static str,
    /// SHA-256 of its manifest.
    pub manifest_sha256: String,
    /// Its manifest.
    pub manifest: Manifest,
    /// What happened to it, oldest first.
    pub events: Vec<Event>,
}

impl Shown {
    /// Describes a release.
    pub fn new(release: Release, live: bool) -> Self {
        Self {
            live,
            outcome: outcome(&release, live),
            manifest_sha256: release.sealed.sha256,
            manifest: release.sealed.manifest,
            events: release.events,
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = &self.manifest;
        let approval = &one.model.approval;
        let approved = match (&approval.by, approval.at) {
            (Some(by), Some(at)) => Some(format!("by {}, {}", name(by), time(at))),
            (None, Some(at)) => Some(time(at)),
            (Some(by), None) => Some(format!("by {}", name(by))),
            (None, None) => None,
        };
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let data = one
            .data
            .as_ref()
            .map(|data| format!("{} {} ({} files)", data.dataset, data.version, data.files));
        let metrics = (!one.metrics.is_empty()).then(|| models::sentence(&one.metrics));
        let rows = [
            (
                "release",
                Some(format!("{} of {}", one.release, one.endpoint)),
            ),
            ("status", Some(self.outcome.to_owned())),
            (
                "created",
                Some(format!(
                    "{} by {}",
                    time(one.created),
                    name(&one.created_by)
                )),
            ),
            ("note", one.note.clone()),
            ("previous", number(one.previous)),
            ("restores", number(one.restores)),
            (
                "version",
                Some(format!("{} of {}", one.model.version, one.model.group)),
            ),
            ("approved", approved),
            ("metrics", metrics),
            (
                "image",
                Some(
                    one.image
                        .digest
                        .clone()
                        .unwrap_or_else(|| one.image.uri.clone()),
                ),
            ),
            (
                "artifact",
                one.artifact
                    .as_ref()
                    .map(|artifact| artifact.uri.to_string()),
            ),
            (
                "",
                one.artifact
                    .as_ref()
                    .map(|artifact| format!("sha256:{}", artifact.sha256)),
            ),
            ("commit", one.code.commit.clone()),
            ("data", data),
            (
                "run",
                one.pipeline.as_ref().map(|pipeline| pipeline.run.clone()),
            ),
            ("instances", Some(one.settings.instance_text())),
            ("strategy", Some(one.settings.strategy_text())),
            ("alarms", Some(one.settings.alarm_text())),
            ("manifest", Some(format!("sha256:{}", self.manifest_sha256))),
        ];
        for (label, value) in rows {
            if let Some(value) = value {
                writeln!(f, "{label:<10} {}", clean_paragraph(&value))?;
            }
        }
        for event in &self.events {
            let what = event.outcome.as_str();
            let why = match (&event.reason, &event.configuration) {
                (Some(reason), _) => format!(": {reason}"),
                (None, Some(configuration)) => format!(": {configuration}"),
                (None, None) => String::new(),
            };
            writeln!(f, "{}  {what}{}", time(event.at), clean_paragraph(&why))?;
        }
        Ok(())
    }
}

/// The comparison of two releases.
#[derive(Debug, Serialize)]
pub struct Compared(pub Comparison);

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
