//! `mlops image scan`: the vulnerabilities of an image, and a gate.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::text::clean;
use mlops_core::wait::Poll;
use mlops_oci::Digest;

use crate::aws::Clients;
use crate::aws::branch_image;
use crate::aws::ecr::scan::{self, Scan, Severity};
use crate::aws::ecr::{self, content};
use crate::aws::state::ScanState;
use crate::context::Context;
use crate::infra;

mod report;

pub use report::Scanned;

/// Show the vulnerabilities that ECR found in an image
///
/// REF is a tag, a digest, or a prefix of a digest; the default is the image of the current branch.
/// If the image has not been scanned, a scan is started. With --fail-on, exits with 3 if any
/// finding has this severity or a higher one. A scan in progress exits with 5, and one without
/// findings data with 1, so neither passes a gate. The local cloud has no vulnerability data; load
/// findings with `mlops local inject scan`.
///
/// Example: mlops image scan develop --fail-on high --wait
#[derive(Debug, clap::Args)]
pub struct ScanArgs {
    /// A tag, a digest, or a prefix of a digest [default: the branch's image]
    #[arg(value_name = "REF")]
    reference: Option<String>,
    /// Exit with 3 if any finding has this severity or a higher one
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<FailOn>,
    /// Wait for a scan in progress
    #[arg(long)]
    wait: bool,
}

/// The lowest severity that fails the gate.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum FailOn {
    Low,
    Medium,
    High,
    Critical,
}

impl From<FailOn> for Severity {
    fn from(fail_on: FailOn) -> Self {
        match fail_on {
            FailOn::Low => Self::Low,
            FailOn::Medium => Self::Medium,
            FailOn::High => Self::High,
            FailOn::Critical => Self::Critical,
        }
    }
}

pub(super) async fn run(ctx: &Context, args: &ScanArgs) -> Result<Scanned> {
    let project = ctx.project()?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let repository = platform.image_repository.as_str();
    let reference = match &args.reference {
        Some(reference) => reference.clone(),
        None => branch_image::of_checkout(
            clients,
            &project,
            &platform.image_repository,
            &platform.model_package_group,
        )
        .await?
        .digest
        .to_string(),
    };
    let images = ecr::list(clients, repository).await?;
    let image = ecr::choose(&images, repository, &reference)?;
    if image.is_index() {
        let platforms = content::platforms(clients, repository, image).await?;
        let list: Vec<String> = platforms
            .iter()
            .map(|found| format!("\n  {} {}", found.digest, found.platform))
            .collect();
        return Err(Failure::usage(format!(
            "{} is an index, and ECR scans only its images:{}",
            image.digest,
            list.concat()
        )))
        .hint("pass one of these images");
    }
    let scan = scanned(ctx, clients, repository, image.digest, args.wait).await?;
    let fail_on = args.fail_on.map(Severity::from);
    let bad = |severity: Severity| fail_on.is_some_and(|limit| severity >= limit);
    let mut counts = BTreeMap::new();
    for finding in &scan.findings {
        *counts.entry(finding.severity.as_str()).or_default() += 1;
    }
    Ok(Scanned {
        digest: image.digest,
        tags: image.tags.clone(),
        done: scan.status.is_done(),
        too_bad: scan.findings.iter().filter(|f| bad(f.severity)).count(),
        status: scan.status,
        completed: scan.completed,
        findings: scan.findings,
        counts,
        fail_on,
        again: ctx.command(&format!("image scan {} --wait", image.digest)),
        repository: platform.image_repository,
    })
}

/// Waits for the scan of an image.
///
/// # Errors
/// A finding has this severity or a higher one (exit 3), or there is no findings data.
pub(super) async fn gate(
    ctx: &Context,
    clients: &Clients,
    repository: &str,
    digest: Digest,
    fail_on: FailOn,
) -> Result<()> {
    let limit = Severity::from(fail_on);
    let scan = scanned(ctx, clients, repository, digest, true).await?;
    let bad = scan.findings.iter().filter(|it| it.severity >= limit);
    let names: Vec<String> = bad.map(|finding| clean(&finding.name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let (count, shown) = (names.len(), names[..names.len().min(5)].join(", "));
    Err(Failure::new(
        Exit::Refused,
        format!(
            "the image {digest} has {count} findings of the severity {} or worse, such as {shown}",
            limit.as_str()
        ),
    ))
    .hint(format!(
        "look at them with `{}`",
        ctx.command(&format!("image scan {digest}"))
    ))
}

/// Returns the scan of an image; starts one if there is none.
async fn scanned(
    ctx: &Context,
    clients: &Clients,
    repository: &str,
    digest: Digest,
    wait: bool,
) -> Result<Scan> {
    let mut scan = match scan::find(clients, repository, digest).await? {
        Some(found) => found,
        None => start(clients, repository, digest).await?,
    };
    if scan.status.is_pending() && wait {
        let task = ctx.progress.spinner(format!("scanning {digest}"));
        let what = format!("the scan of {digest}");
        scan = ctx
            .waiter
            .until(
                &what,
                |_| {},
                || async {
                    Ok(match scan::find(clients, repository, digest).await? {
                        // A scan that was just requested may not be visible yet.
                        None => Poll::Pending(ScanState::requested().to_string()),
                        Some(scan) if scan.status.is_pending() => {
                            Poll::Pending(scan.status.to_string())
                        }
                        Some(scan) => Poll::Ready(scan),
                    })
                },
            )
            .await?;
        task.done(format!("scan of {digest}: {}", scan.status));
    }
    if !scan.status.is_done() && !scan.status.is_pending() {
        let why = scan.description.as_deref().unwrap_or("no reason given");
        return Err(anyhow!(
            "no findings data for {digest}: {}: {why}",
            scan.status
        ))
        .hint("it is unknown whether this image has vulnerabilities");
    }
    Ok(scan)
}

/// Requests a scan. If ECR reports that one is already complete, reads it: the response itself has
/// no findings.
async fn start(clients: &Clients, repository: &str, digest: Digest) -> Result<Scan> {
    let requested = scan::start(clients, repository, digest).await?;
    if !requested.status.is_done() {
        return Ok(requested);
    }
    let found = scan::find(clients, repository, digest).await?;
    Ok(found.unwrap_or_else(|| Scan {
        status: ScanState::requested(),
        ..requested
    }))
}
