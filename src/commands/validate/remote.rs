//! `mlops validate --on …`: the same validation, run elsewhere. Each way has a file.

use std::path::PathBuf;

use anyhow::Result;

use super::{On, ValidateArgs, Validation};
use crate::context::Context;
use crate::error::Failure;

mod exchange;
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
    /// The job's instance type (--on processing; default: that of mlops.toml)
    #[arg(long, value_name = "TYPE")]
    instance_type: Option<String>,
    /// Wait for a job that was started before (--on processing; the id is what Ctrl-C said)
    #[arg(long, value_name = "ID")]
    resume: Option<String>,
}

impl RemoteArgs {
    /// Refuses what has no meaning when this process does the work.
    pub(super) fn refuse_here(&self) -> Result<()> {
        self.refuse_but(On::Here)
    }

    /// Refuses what belongs to another way than this one.
    fn refuse_but(&self, on: On) -> Result<()> {
        for (given, flag, belongs) in [
            (
                self.function_binary.is_some(),
                "--function-binary belongs to --on lambda",
                On::Lambda,
            ),
            (
                self.instance_type.is_some(),
                "--instance-type belongs to --on processing",
                On::Processing,
            ),
            (
                self.resume.is_some(),
                "--resume belongs to --on processing",
                On::Processing,
            ),
        ] {
            if given && on != belongs {
                return Err(Failure::usage(flag));
            }
        }
        Ok(())
    }
}

/// Validates where `--on` says.
pub(super) async fn run(ctx: &Context, args: &ValidateArgs) -> Result<Validation> {
    args.remote.refuse_but(args.on)?;
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
