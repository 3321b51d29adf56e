//! `mlops image scan`: the vulnerabilities of an image, and a gate.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, anyhow};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::text::{clean, table, time};
use mlops_core::wait::Poll;
use mlops_oci::Digest;
use serde::Serialize;

use crate::aws::Clients;
use crate::aws::branch_image;
use crate::aws::ecr::scan::{self, Finding, Scan, Severity};
use crate::aws::ecr::{self, content};
use crate::aws::state::ScanState;
use crate::context::Context;
use crate::infra;

/// Show the vulnerabilities that ECR found in an image
///
/// REF is a tag, a digest, or the first characters of one. Without it: the image of the branch
/// that is checked out. An image that was not scanned is scanned now. With --fail-on the exit code
/// is 3 when a finding is that bad or worse. A scan that goes on is exit 5, and one without
/// findings data exit 1: neither passes a gate. The local cloud has no such data; `mlops local
/// inject scan` loads some.
///
/// Example: mlops image scan develop --fail-on high --wait
#[derive(Debug, clap::Args)]
pub struct ScanArgs {
    /// A tag, a digest, or the first characters of one (default: the branch's image)
    #[arg(value_name = "REF")]
    reference: Option<String>,
    /// End with exit code 3 when a finding is this bad or worse
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<FailOn>,
    /// Wait for a scan that goes on
    #[arg(long)]
    wait: bool,
}

/// The severity from which a finding is too bad.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FailOn {
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

/// What a scan found.
#[derive(Debug, Serialize)]
pub struct Scanned {
    repository: String,
    digest: Digest,
    tags: Vec<String>,
    /// ECR's own word.
    status: ScanState,
    /// False while the scan is in progress: there is nothing to judge yet.
    done: bool,
    completed: Option<jiff::Timestamp>,
    /// How many there are of each severity.
    counts: BTreeMap<&'static str, usize>,
    /// The worst first.
    findings: Vec<Finding>,
    fail_on: Option<Severity>,
    /// How many are as bad as `fail_on`, or worse.
    too_bad: usize,
    #[serde(skip)]
    again: String,
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
            "{} is an index, which is not scanned, but its images are:{}",
            image.digest,
            list.concat()
        )))
        .hint("name one of them");
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

/// The scan of an image, which is started where there is none.
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
            "there are no findings data for {digest}: {}: {why}",
            scan.status
        ))
        .hint("nothing is known of this image's vulnerabilities, neither good nor bad");
    }
    Ok(scan)
}

/// Asks for a scan. One that is said to be complete is read: the answer itself has no findings.
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

impl Scanned {
    pub(super) fn exit(&self) -> Exit {
        match (self.done, self.too_bad) {
            (false, _) => Exit::TimedOut,
            (true, 0) => Exit::Done,
            (true, _) => Exit::Refused,
        }
    }
}

impl fmt::Display for Scanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image      {}", self.repository)?;
        writeln!(f, "digest     {}", self.digest)?;
        let when = self.completed.map(|at| format!(" at {}", time(at)));
        writeln!(f, "scan       {}{}", self.status, when.unwrap_or_default())?;
        if !self.done {
            return writeln!(f, "\nThe scan goes on: {}", self.again);
        }
        let count = |severity: Severity| {
            let count = self.counts.get(severity.as_str())?;
            Some(format!("{count} {}", severity.as_str()))
        };
        let counts: Vec<String> = Severity::ALL.into_iter().filter_map(count).collect();
        let found = if counts.is_empty() {
            "none".to_owned()
        } else {
            counts.join(", ")
        };
        writeln!(f, "findings   {found}")?;
        if let Some(limit) = self.fail_on {
            writeln!(
                f,
                "gate       {} of them {} or worse",
                self.too_bad,
                limit.as_str()
            )?;
        }
        if self.findings.is_empty() {
            return Ok(());
        }
        let rows = self.findings.iter().map(|finding| {
            vec![
                finding.severity.as_str().to_owned(),
                clean(&finding.name),
                finding.package.clone().unwrap_or_default(),
            ]
        });
        writeln!(f)?;
        f.write_str(&table(&["SEVERITY", "NAME", "PACKAGE"], rows))
    }
}
