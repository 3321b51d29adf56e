//! `mlops validate --on …`: the same validation, run elsewhere. Each way has a file.

use std::path::PathBuf;

use anyhow::Result;

use super::{On, ValidateArgs, Validation};
use crate::context::Context;
use crate::error::Failure;

mod lambda;
mod processing;
mod spark;

/// What only one of the ways takes.
#[derive(Debug, clap::Args)]
pub(super) struct RemoteArgs {
    /// The executable for the function: Linux, no glibc symbol newer than 2.34 (--on lambda;
    /// default: this one)
    #[arg(long, value_name = "FILE")]
    function_binary: Option<PathBuf>,
}

impl RemoteArgs {
    /// Refuses what has no meaning when this process does the work.
    pub(super) fn refuse_here(&self) -> Result<()> {
        if self.function_binary.is_some() {
            return Err(Failure::usage("--function-binary belongs to --on lambda"));
        }
        Ok(())
    }
}

/// Validates where `--on` says.
pub(super) async fn run(ctx: &Context, args: &ValidateArgs) -> Result<Validation> {
    match args.on {
        On::Here => Err(Failure::usage("this process validates without --on")),
        On::Lambda => lambda::run(ctx, args).await,
        On::Processing => processing::run(ctx, args).await,
        On::Spark => spark::run(ctx, args).await,
    }
}

fn not_in_this_build(way: &str) -> anyhow::Error {
    crate::error::hinted(
        Failure::usage(format!("--on {way} is not in this build of mlops")),
        "leave --on out to validate here",
    )
}
