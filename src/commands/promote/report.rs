//! The report of `mlops promote`.

use std::fmt;
use std::path::PathBuf;

use mlops_core::names::Version;
use serde::Serialize;

use crate::aws::state::EndpointState;
use crate::output::Report;

/// The deployed version and its endpoint.
#[derive(Debug, Serialize)]
pub struct PromoteReport {
    /// The model package group.
    pub model: String,
    /// The version that is live.
    pub version: Version,
    /// Its ARN.
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

/// The endpoint's response to the sample.
#[derive(Debug, Serialize)]
pub struct SampleAnswer {
    /// Path of the sample, relative to mlops.toml.
    pub file: PathBuf,
    /// Content type of the request.
    pub content_type: &'static str,
    /// Body of the response.
    pub answer: String,
}

impl Report for PromoteReport {}

impl fmt::Display for PromoteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let was = if self.changed { "is" } else { "was already" };
        writeln!(f, "Version {} of {} {was} live.", self.version, self.model)?;
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
