//! The report of `mlops promote`.

use std::fmt;
use std::path::PathBuf;

use mlops_core::names::Version;
use serde::Serialize;

use crate::aws::state::EndpointState;
use crate::output::Report;
use crate::releases::plan::Comparison;
use crate::releases::sample::SampleAnswer;

/// The result of `mlops promote`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Promotion {
    /// `--dry-run` deployed nothing.
    Planned(Box<PlannedReport>),
    /// `--prepare` wrote what a pipeline deploys.
    Prepared(PreparedReport),
    /// The version is live.
    Live(Box<PromoteReport>),
}

/// What a pipeline is to deploy.
#[derive(Debug, Serialize)]
pub struct PreparedReport {
    /// The model package group.
    pub model: String,
    /// The version to deploy.
    pub version: Version,
    /// The release's number; null if there is nothing to do.
    pub release: Option<u32>,
    /// Why there is nothing to do.
    pub nothing: Option<String>,
    /// The directory with endpoint.yaml, configuration.json and number, if there is a release.
    pub directory: PathBuf,
}

/// What a promotion would do.
#[derive(Debug, Serialize)]
pub struct PlannedReport {
    /// The model package group.
    pub model: String,
    /// The version to deploy.
    pub version: Version,
    /// Whether it would be approved.
    pub approve: bool,
    /// What would change.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// The deployed version and its endpoint.
#[derive(Debug, Serialize)]
pub struct PromoteReport {
    /// The model package group.
    pub model: String,
    /// The version that is live.
    pub version: Version,
    /// The release's number.
    pub release: u32,
    /// SHA-256 of the release's manifest.
    pub manifest_sha256: String,
    /// The version's ARN.
    pub model_package_arn: String,
    /// True if this command approved it.
    pub approved_now: bool,
    /// False if it was already live with these settings.
    pub changed: bool,
    /// The endpoint's name.
    pub endpoint: String,
    /// The endpoint's status.
    pub endpoint_status: EndpointState,
    /// The live endpoint configuration, compared with the requested one.
    pub endpoint_configuration: String,
    /// The version that was live before, if it was a different one.
    pub replaced: Option<Version>,
    /// The sample and its prediction; null if mlops.toml names no sample.
    pub sample: Option<SampleAnswer>,
    /// The next command to run.
    #[serde(skip)]
    pub next: String,
}

impl Report for Promotion {}

impl fmt::Display for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planned(planned) => planned.fmt(f),
            Self::Prepared(prepared) => prepared.fmt(f),
            Self::Live(live) => live.fmt(f),
        }
    }
}

impl fmt::Display for PreparedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.display();
        match (self.release, &self.nothing) {
            (Some(release), _) => writeln!(
                f,
                "Release {release} deploys version {} of {}: its template and parameters are in {directory}.",
                self.version, self.model
            ),
            (None, why) => writeln!(
                f,
                "Nothing to deploy: {}.",
                why.as_deref().unwrap_or("unknown")
            ),
        }
    }
}

impl fmt::Display for PlannedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.comparison.to_string())?;
        let approve = if self.approve { ", and approve it" } else { "" };
        writeln!(
            f,
            "\nDry run: nothing was changed. It would deploy version {} of {}{approve}.",
            self.version, self.model
        )
    }
}

impl fmt::Display for PromoteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let was = if self.changed { "is" } else { "was already" };
        writeln!(
            f,
            "Version {} of {} {was} live, as release {}.",
            self.version, self.model, self.release
        )?;
        if self.approved_now {
            writeln!(f, "  approved       just now, by you")?;
        }
        if let Some(replaced) = self.replaced {
            writeln!(f, "  replaced       version {replaced}")?;
        }
        writeln!(
            f,
            "  endpoint       {} ({})",
            self.endpoint, self.endpoint_status
        )?;
        writeln!(f, "  configuration  {}", self.endpoint_configuration)?;
        match &self.sample {
            Some(sample) => writeln!(
                f,
                "  prediction     {} for {}",
                mlops_core::text::clean(&sample.answer),
                sample.file.display()
            ),
            None => writeln!(
                f,
                "  prediction     none: deploy.sample is not set in mlops.toml"
            ),
        }?;
        write!(
            f,
            "Next: compare its traffic with the baseline with `{}`",
            self.next
        )
    }
}
