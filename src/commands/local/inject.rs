//! `mlops local inject`: loads data that the local cloud cannot compute.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_local_cloud as local;
use mlops_oci::{Digest, InvalidDigest};
use serde::Serialize;

use super::StateArgs;
use crate::config::LOCAL_HOST;
use crate::context::Context;

/// Load data that the local cloud cannot compute
#[derive(Debug, clap::Subcommand)]
pub enum InjectCommand {
    Scan(InjectScanArgs),
}

/// Load the findings of a vulnerability scan for an image
///
/// FILE is the output of `aws ecr describe-image-scan-findings`, or its `imageScanFindings` object.
/// The image then counts as scanned, with these findings; loading again replaces them. Works
/// whether or not the local cloud is running.
///
/// Example: mlops local inject scan --repository flights --digest sha256:… findings.json
#[derive(Debug, clap::Args)]
pub struct InjectScanArgs {
    /// The name of the ECR repository
    #[arg(long)]
    repository: String,
    /// The image's digest
    #[arg(long)]
    digest: String,
    /// The JSON file with the findings
    file: PathBuf,
    #[command(flatten)]
    state: StateArgs,
}

/// The data that was loaded.
#[derive(Debug, Serialize)]
pub struct Injected {
    repository: String,
    digest: Digest,
    /// The number of findings by severity.
    findings: BTreeMap<String, u64>,
}

pub(super) fn run(ctx: &Context, command: &InjectCommand) -> Result<Injected> {
    let InjectCommand::Scan(args) = command;
    let digest: Digest = args
        .digest
        .parse()
        .map_err(|error: InvalidDigest| Failure::usage(error.to_string()))?;
    let directory = args.state.directory(ctx);
    if !directory.is_dir() {
        return Err(Failure::usage(format!(
            "no local cloud in {}",
            directory.display()
        )))
        .hint("pass its state directory with --state");
    }
    let bytes = std::fs::read(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let findings = local::inject_scan(
        &LOCAL_HOST,
        &directory,
        &args.repository,
        &digest.to_string(),
        &bytes,
    )
    .with_context(|| format!("cannot load {}", args.file.display()))?;
    Ok(Injected {
        repository: args.repository.clone(),
        digest,
        findings,
    })
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self
            .findings
            .iter()
            .map(|(severity, count)| format!("{count} {severity}"))
            .collect();
        let found = if counts.is_empty() {
            "no findings".to_owned()
        } else {
            counts.join(", ")
        };
        write!(
            f,
            "{}@{} now counts as scanned: {found}",
            self.repository, self.digest
        )
    }
}
