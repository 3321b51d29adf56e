//! `mlops validate --on …`: runs the same validation elsewhere. Each target has its own file.

use std::path::PathBuf;

use anyhow::Result;
use mlops_core::error::Failure;

use super::{On, ValidateArgs, Validation};
use crate::context::Context;

mod exchange;
mod lambda;
mod processing;
pub(super) mod spark;

pub use crate::aws::function_code::binary;

/// Options that apply to a single target.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RemoteArgs {
    /// The executable for the function: Linux, no glibc symbol newer than 2.34 (--on lambda;
    /// default: this program)
    #[arg(long, value_name = "FILE")]
    function_binary: Option<PathBuf>,
    /// The job's instance type (--on processing; default: that of mlops.toml)
    #[arg(long, value_name = "TYPE")]
    instance_type: Option<String>,
    /// Wait for a job that was started earlier (--on processing; the id is printed on Ctrl-C)
    #[arg(long, value_name = "ID")]
    resume: Option<String>,
    /// The spark-submit to use (--on spark; default: that of `SPARK_HOME`, on PATH, or of pyspark)
    #[arg(long, value_name = "FILE")]
    spark_submit: Option<PathBuf>,
    /// Set a Spark property, such as spark.master=yarn (--on spark; default: this machine, all
    /// cores)
    #[arg(long, value_name = "KEY=VALUE")]
    spark_conf: Vec<String>,
    /// Do not split CSV files: their fields contain line breaks (--on spark)
    #[arg(long)]
    whole_files: bool,
}

impl RemoteArgs {
    /// Rejects options of a target other than this one.
    pub(super) fn refuse_but(&self, on: On) -> Result<()> {
        for (given, flag, belongs) in [
            (
                self.function_binary.is_some(),
                "--function-binary requires --on lambda",
                On::Lambda,
            ),
            (
                self.instance_type.is_some(),
                "--instance-type requires --on processing",
                On::Processing,
            ),
            (
                self.resume.is_some(),
                "--resume requires --on processing",
                On::Processing,
            ),
            (
                self.spark_submit.is_some(),
                "--spark-submit requires --on spark",
                On::Spark,
            ),
            (
                !self.spark_conf.is_empty(),
                "--spark-conf requires --on spark",
                On::Spark,
            ),
            (
                self.whole_files,
                "--whole-files requires --on spark",
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

/// Runs the validation on the target that `--on` selects.
pub(super) async fn run(ctx: &Context, args: &ValidateArgs) -> Result<Validation> {
    match args.on {
        // Spark only builds the profile: see `spark::profile`.
        On::Here | On::Spark => Err(Failure::usage("the data is checked on this machine")),
        On::Lambda => lambda::run(ctx, args).await,
        On::Processing => processing::run(ctx, args).await,
    }
}
