//! `mlops validate --on …`: the same validation, run elsewhere. Each way has a file.

use std::path::PathBuf;

use anyhow::Result;
use mlops_core::error::Failure;

use super::{On, ValidateArgs, Validation};
use crate::context::Context;

mod exchange;
mod lambda;
mod processing;
pub(super) mod spark;

pub use lambda::binary;

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
    /// Spark's launcher (--on spark; default: that of `SPARK_HOME`, on PATH, or of pyspark)
    #[arg(long, value_name = "FILE")]
    spark_submit: Option<PathBuf>,
    /// A setting of Spark, as spark.master=yarn (--on spark; default: this machine, all cores)
    #[arg(long, value_name = "KEY=VALUE")]
    spark_conf: Vec<String>,
    /// Read each CSV file in one piece: its fields hold line breaks (--on spark)
    #[arg(long)]
    whole_files: bool,
}

impl RemoteArgs {
    /// Refuses what belongs to another way than this one.
    pub(super) fn refuse_but(&self, on: On) -> Result<()> {
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
            (
                self.spark_submit.is_some(),
                "--spark-submit belongs to --on spark",
                On::Spark,
            ),
            (
                !self.spark_conf.is_empty(),
                "--spark-conf belongs to --on spark",
                On::Spark,
            ),
            (
                self.whole_files,
                "--whole-files belongs to --on spark",
                On::Spark,
            ),
        ] {
            if given && on != belongs {
                return Err(Failure::usage(flag));
            }
        }
        Ok(())
    }
}

/// Runs the validation where `--on` selects.
pub(super) async fn run(ctx: &Context, args: &ValidateArgs) -> Result<Validation> {
    match args.on {
        // Spark makes the profile only: see `spark::profile`.
        On::Here | On::Spark => Err(Failure::usage("the verdict is made here")),
        On::Lambda => lambda::run(ctx, args).await,
        On::Processing => processing::run(ctx, args).await,
    }
}
