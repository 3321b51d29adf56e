//! `mlops validate --on spark`: builds the profile with Apache Spark.
//!
//! Spark runs `validate.py`, which pipes the partitions of the data through this binary. This
//! process derives the verdict from the resulting profile. docs/spark.md explains how to run the
//! program on clusters without this command.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_validation::{Format, Profile};

use super::super::location::DataLocation;
use super::super::{DataFormat, ValidateArgs, sources};
use crate::context::Context;

mod log;
mod submit;

/// The program that Spark runs; it also works without this command.
const PROGRAM: &str = include_str!("validate.py");

/// Profiles the data with Spark. The `baseline` files determine which categories are always
/// counted.
pub(in super::super) async fn profile(
    ctx: &Context,
    args: &ValidateArgs,
    baseline: Option<(PathBuf, Option<PathBuf>)>,
) -> Result<Profile> {
    let remote = &args.remote;
    let mut command = submit::command(ctx, remote.spark_submit.as_deref()).await?;
    let (data, format) = addresses(ctx, args).await?;
    let scratch = tempfile::tempdir().context("cannot create a temporary directory")?;
    let place = |name: &str| scratch.path().join(name);
    std::fs::write(place("validate.py"), PROGRAM).context("cannot write the program")?;
    let profile = place("profile");

    if submit::is_local(&remote.spark_conf) && !ctx.config.spark_local_ip {
        // Otherwise Spark resolves the machine's own name, which fails on some networks.
        command.env("SPARK_LOCAL_IP", "127.0.0.1");
    }
    for setting in submit::settings(&remote.spark_conf) {
        command.arg("--conf").arg(setting);
    }
    command.arg(place("validate.py"));
    command.arg("--mlops").arg(binary(scratch.path())?);
    command.arg("--format").arg(format);
    if remote.whole_files {
        command.arg("--whole-files");
    }
    if let Some((constraints, statistics)) = &baseline {
        command.arg("--constraints").arg(address(ctx, constraints)?);
        if let Some(statistics) = statistics {
            command.arg("--statistics").arg(address(ctx, statistics)?);
        }
    }
    command
        .args(data)
        .args(["--", "--quiet", "--profile-out"])
        .arg(&profile);
    submit::run(ctx, command, remote.whole_files).await?;
    let bytes = std::fs::read(&profile).context("Spark did not write a profile")?;
    Ok(Profile::from_bytes("Spark's profile", &bytes)?)
}

/// Copies this executable under the name that the program expects.
fn binary(scratch: &Path) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's file")?;
    if own.file_name().is_some_and(|name| name == "mlops") {
        return Ok(own);
    }
    let copy = scratch.join("mlops");
    std::fs::copy(&own, &copy).context("cannot copy this program")?;
    Ok(copy)
}

/// Returns Spark's inputs: `file:` addresses for local files, other addresses unchanged; and the
/// format.
async fn addresses(ctx: &Context, args: &ValidateArgs) -> Result<(Vec<String>, &'static str)> {
    let (mut remote, mut local) = (Vec::new(), Vec::new());
    for location in &args.data {
        match location {
            DataLocation::S3(_) => {
                return Err(Failure::usage("Spark reads S3 as s3a://BUCKET/KEY")).hint(
                    "docs/spark.md explains what it needs for that, and how clusters read s3://",
                );
            }
            DataLocation::Stdin => {
                return Err(Failure::usage(
                    "Spark reads files; stdin (`-`) cannot be partitioned",
                ));
            }
            DataLocation::Other(address) => remote.push(address.clone()),
            DataLocation::Local(_) => local.push(location.clone()),
        }
    }
    if !remote.is_empty() {
        if !local.is_empty() {
            return Err(Failure::usage("pass local files or remote data, not both"));
        }
        let format = args
            .format
            .or_else(|| by_suffix(&remote))
            .ok_or_else(|| Failure::usage("remote data requires --format"))?;
        return Ok((remote, name_of(format)));
    }
    let (sources, format) = sources::open(ctx, &local, args.format).await?;
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    let format = match format {
        Format::Csv => DataFormat::Csv,
        Format::Jsonl => DataFormat::Jsonl,
        Format::Parquet => DataFormat::Parquet,
        Format::Capture(_) => DataFormat::Capture,
    };
    let keys = sources.first().map_or(0, |source| source.partition.len());
    let data = if keys == 0 {
        names
    } else if format == DataFormat::Parquet {
        vec![partitioned(ctx, &names, keys).await?]
    } else {
        return Err(Failure::usage(
            "on Spark, directories named KEY=VALUE become columns of Parquet only",
        ))
        .hint("omit --on to validate here, or write the data as Parquet");
    };
    let data = data.iter().map(|path| address(ctx, Path::new(path)));
    Ok((data.collect::<Result<_>>()?, name_of(format)))
}

/// Returns the directory above the partitions: Spark derives columns only from a complete tree.
async fn partitioned(ctx: &Context, names: &[String], keys: usize) -> Result<String> {
    let above = |name: &String| {
        let root = Path::new(name).ancestors().nth(keys + 1)?;
        Some(root.to_string_lossy().into_owned())
    };
    let root = names
        .first()
        .and_then(above)
        .filter(|root| !root.is_empty());
    let root = root.unwrap_or_else(|| ".".to_owned());
    let directory = DataLocation::Local(root.clone());
    let (all, _) = sources::open(ctx, &[directory], Some(DataFormat::Parquet)).await?;
    if all.len() != names.len() {
        return Err(Failure::usage(format!(
            "Spark derives columns from the partitions of a complete directory: pass {root}"
        )));
    }
    Ok(root)
}

/// A local path as Spark's address.
fn address(ctx: &Context, path: &Path) -> Result<String> {
    let path = ctx.config.directory.join(path);
    let shown = path.display().to_string();
    if path.to_str().is_none() || shown.contains(['*', '?', '[', ']', '{', '}', '\\', ',']) {
        return Err(Failure::usage(format!(
            "{shown}: Spark cannot read a file with this name"
        )))
        .hint("rename the file: Spark treats , * ? [ ] { } and \\ as patterns");
    }
    Ok(format!("file://{shown}"))
}

fn by_suffix(data: &[String]) -> Option<DataFormat> {
    let all = |suffix: &str| data.iter().all(|data| data.ends_with(suffix));
    match () {
        () if all(".csv") => Some(DataFormat::Csv),
        () if all(".parquet") => Some(DataFormat::Parquet),
        () => None,
    }
}

fn name_of(format: DataFormat) -> &'static str {
    match format {
        DataFormat::Csv => "csv",
        DataFormat::Jsonl => "jsonl",
        DataFormat::Parquet => "parquet",
        DataFormat::Capture => "capture",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_at_most_100_lines() {
        assert!(PROGRAM.lines().count() <= 100);
    }

    #[test]
    fn the_format_of_remote_data_is_known_by_its_name() {
        let of = |names: [&str; 2]| by_suffix(&names.map(str::to_owned));
        assert_eq!(
            of(["s3a://b/x.csv", "s3a://b/y.csv"]),
            Some(DataFormat::Csv)
        );
        assert_eq!(of(["s3a://b/x.parquet", "s3a://b/y.csv"]), None);
        assert_eq!(of(["s3a://b/x/", "s3a://b/y/"]), None);
    }
}
