//! `mlops models`: the versions in the model registry.

use std::fmt;

use anyhow::Result;
use mlops_core::names::Version;
use serde::Serialize;

use crate::context::Context;
use crate::output::Report;

mod approval;
mod compare;
mod image;
mod listed;

use approval::{Decision, DecisionArgs};
use compare::{CompareArgs, Comparison};
use image::ImageReport;
use listed::{ListedModel, ModelList};

/// Inspect, approve and reject the versions in the model registry
#[derive(Debug, clap::Subcommand)]
pub enum ModelsCommand {
    /// List the newest versions with their metrics
    ///
    /// Example: mlops models list --wide
    List {
        /// Maximum number of versions to list
        #[arg(long, value_name = "NUMBER", default_value_t = 20)]
        limit: usize,
        /// Show every metric, one line per version
        #[arg(long)]
        wide: bool,
    },
    /// Show a version: its inputs, metrics and artifact
    ///
    /// Example: mlops models show 3
    Show {
        /// The version [default: the newest]
        version: Option<Version>,
    },
    /// Compare two versions, or report what a new image did to the metrics
    ///
    /// Shows metrics, parameters, data, image and commit of both side by side, then the changes of
    /// the pipeline definition from A to B. Whether a larger metric is better is not judged.
    ///
    /// With --image DIGEST, shows the newest run with that image next to the newest version from the
    /// branch's previous image and the live version, and judges each metric whose direction
    /// [deploy.metrics] of mlops.toml or the model package declares. If a gate refused the model, or
    /// the run failed, the report says so; it is a report all the same, and exits with 0.
    ///
    /// Example: mlops models compare 2 3
    Compare(CompareArgs),
    /// Approve a version, so that it may be deployed
    ///
    /// Only the approver's role may do this. `mlops promote` deploys the version.
    ///
    /// Example: mlops models approve 3 --note better-on-june
    Approve(DecisionArgs),
    /// Reject a version, so that it is never deployed
    ///
    /// A version that is live cannot be rejected. Approving it later is possible.
    ///
    /// Example: mlops models reject 3 --note incomplete-data
    Reject(DecisionArgs),
}

/// The result of a `models` command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ModelsReport {
    /// `models list`
    List(ModelList),
    /// `models show`
    Show(Box<ListedModel>),
    /// `models compare`
    Compare(Box<Comparison>),
    /// `models compare --image`
    Image(Box<ImageReport>),
    /// `models approve` and `models reject`
    Decision(Decision),
}

/// Runs a `models` command.
pub async fn run(ctx: &Context, command: &ModelsCommand) -> Result<ModelsReport> {
    Ok(match command {
        ModelsCommand::List { limit, wide } => {
            ModelsReport::List(listed::list(ctx, *limit, *wide).await?)
        }
        ModelsCommand::Show { version } => {
            ModelsReport::Show(Box::new(listed::show(ctx, *version).await?))
        }
        ModelsCommand::Compare(args) => match args.of_image.image {
            Some(digest) => {
                let report = Box::pin(image::run(ctx, &args.of_image, digest)).await?;
                ModelsReport::Image(Box::new(report))
            }
            None => ModelsReport::Compare(Box::new(compare::run(ctx, args).await?)),
        },
        ModelsCommand::Approve(args) => ModelsReport::Decision(approval::approve(ctx, args).await?),
        ModelsCommand::Reject(args) => ModelsReport::Decision(approval::reject(ctx, args).await?),
    })
}

impl Report for ModelsReport {}

impl fmt::Display for ModelsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(list) => list.fmt(f),
            Self::Show(shown) => shown.fmt(f),
            Self::Compare(comparison) => comparison.fmt(f),
            Self::Image(report) => report.fmt(f),
            Self::Decision(decision) => decision.fmt(f),
        }
    }
}
