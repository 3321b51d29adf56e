//! `mlops validate`: checks data against its baseline.

use std::path::PathBuf;

use anyhow::Result;
use mlops_core::error::{Exit, Failure};
use mlops_core::names::DatasetName;
use mlops_validation::{self as validation, Baseline, files};

use crate::context::Context;

mod arguments;
mod baseline;
mod dataset;
mod explain;
mod location;
mod remote;
mod report;
mod sources;

pub use remote::binary as lambda_binary;

pub use report::Validation;

use location::DataLocation;

/// Check data against its baseline
///
/// Profiles the data in one pass and compares it with the constraints and statistics of the
/// baseline: types, completeness, domains, drift. Exits with 3 if there are violations. With
/// --suggest, creates the baseline instead. Reads and writes the files of SageMaker Model Monitor.
/// Local files need no project, credentials or network.
///
/// Example: mlops validate data/may.csv
#[derive(Debug, Clone, clap::Args)]
pub struct ValidateArgs {
    /// Files, directories, patterns, `s3://BUCKET/KEY[?versionId=ID]`, `s3://BUCKET/PREFIX/`, or
    /// `-` for stdin; all of them form one data set
    #[arg(required_unless_present_any = ["resume", "dataset"])]
    data: Vec<DataLocation>,
    /// Check a version of a data set, as `mlops train` reads it [default: the project's data set]
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        conflicts_with_all = ["data", "merge", "resume"]
    )]
    #[expect(clippy::option_option, reason = "the flag has an optional value")]
    dataset: Option<Option<DatasetName>>,
    /// The version of the data set: an id, `latest` or `previous` [default: the newest]
    #[arg(
        long,
        value_name = "VERSION",
        requires = "dataset",
        conflicts_with = "data"
    )]
    data_version: Option<String>,
    /// Create a baseline from the data instead of checking it
    #[arg(long, conflicts_with_all = ["constraints", "statistics"])]
    suggest: bool,
    /// The constraints to check [default: those of the project's baseline]
    #[arg(long, value_name = "FILE")]
    constraints: Option<PathBuf>,
    /// The statistics to measure drift from
    #[arg(long, value_name = "FILE", requires = "constraints")]
    statistics: Option<PathBuf>,
    /// The rules to apply [default: those of constraints.json, of mlops.toml, or aws]
    #[arg(long, value_enum, value_name = "RULES")]
    rules: Option<baseline::Rules>,
    /// Compare one column with its baseline: quantiles, categories, every distance
    #[arg(long, value_name = "FEATURE", conflicts_with_all = ["suggest", "profile_out"])]
    explain: Option<String>,
    /// The format of the data [default: by extension, .csv, .jsonl or .parquet; else csv]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<DataFormat>,
    /// Write a mergeable profile of the data instead of a verdict; --constraints and
    /// --statistics determine which categories are always counted
    #[arg(long, value_name = "FILE", conflicts_with_all = ["suggest", "output_dir"])]
    profile_out: Option<PathBuf>,
    /// Treat DATA as profiles written by --profile-out, of parts of one data set
    #[arg(long, conflicts_with = "format")]
    merge: bool,
    /// The directory for the result's files (with --suggest, default: the project's baseline)
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Only read and parse the data: the lower bound for benches/validate.py
    #[arg(long, hide = true)]
    parse_only: bool,
    /// Where to run the validation; for lambda and processing, the data must be in S3
    #[arg(long, value_enum, value_name = "WHERE", default_value_t)]
    on: On,
    #[command(flatten)]
    remote: remote::RemoteArgs,
}

/// Where a validation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum On {
    /// This process
    #[default]
    Here,
    /// A Lambda function built from this binary
    Lambda,
    /// A SageMaker Processing job
    Processing,
    /// Apache Spark
    Spark,
}

/// The format of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DataFormat {
    /// Comma-separated values with a header line
    Csv,
    /// One flat JSON object per line
    Jsonl,
    /// Apache Parquet
    Parquet,
    /// Requests and predictions captured by an endpoint (JSON Lines)
    Capture,
}

/// Resolves the data set, if one is requested, and validates its files or the given ones.
pub async fn run(ctx: &Context, args: &ValidateArgs) -> Result<Validation> {
    args.remote.refuse_but(args.on)?;
    if (args.explain.is_some() || args.merge) && args.on != On::Here {
        return Err(Failure::usage(
            "--explain and --merge cannot be combined with --on",
        ));
    }
    let Some(name) = &args.dataset else {
        return validate(ctx, args).await;
    };
    // A snapshot copies the data: what is wrong with the arguments comes first.
    arguments::check(ctx, args)?;
    let (version, args) = dataset::resolve(ctx, args, name.as_ref()).await?;
    let mut validation = validate(ctx, &args).await?;
    validation.version = Some(version);
    Ok(validation)
}

/// Profiles the data, then suggests or checks a baseline.
async fn validate(ctx: &Context, args: &ValidateArgs) -> Result<Validation> {
    if matches!(args.on, On::Lambda | On::Processing) {
        return remote::run(ctx, args).await;
    }
    if args.parse_only {
        let (sources, format) = sources::open(ctx, &args.data, args.format).await?;
        let read = tokio::task::spawn_blocking(move || validation::parse_only(sources, &format));
        let (rows, columns) = read.await??;
        return Ok(Validation::without_verdict(rows, columns, Vec::new()));
    }
    if let Some(file) = &args.profile_out {
        let profile = profile(ctx, args, arguments::profile_baseline(args)?).await?;
        files::replace(file, &profile.to_bytes())?;
        return Ok(Validation::without_verdict(
            profile.rows(),
            profile.columns(),
            vec![file.clone()],
        ));
    }
    if args.suggest {
        let directory = baseline::suggested(ctx, args)?;
        let rules = baseline::rules(ctx, args)?;
        let profile = profile(ctx, args, None).await?;
        return baseline::suggest(&profile, &directory, rules);
    }
    let (constraints, statistics) = baseline::named(ctx, args)?;
    let baseline = baseline::read(ctx, args, &constraints, statistics.as_deref())?;
    let explained = match &args.explain {
        Some(name) => Some(explain::find(&baseline, name)?),
        None => None,
    };
    let profile = profile(ctx, args, Some(baseline.clone())).await?;
    let found = profile.statistics();
    let violations = validation::check(&profile, &found, &baseline, ctx.now())
        .map_err(|text| Failure::new(Exit::Failed, text))?;
    let mut written = Vec::new();
    if let Some(directory) = &args.output_dir {
        written.push(files::write(directory, files::STATISTICS, &found)?);
        let suggested = baseline::suggestion(&found, baseline.constraints.rule_set());
        written.push(files::write(directory, files::CONSTRAINTS, &suggested)?);
        written.push(files::write(directory, files::VIOLATIONS, &violations)?);
    }
    let explanation = match explained {
        Some(feature) => Some(explain::explain(feature, &baseline, &found, &violations)?),
        None => None,
    };
    Ok(Validation {
        rows: profile.rows(),
        columns: found.features.len(),
        baseline: Some(constraints),
        violations: violations.violations,
        files: written,
        version: None,
        explanation,
        profile_only: false,
    })
}

async fn profile(
    ctx: &Context,
    args: &ValidateArgs,
    baseline: Option<Baseline>,
) -> Result<validation::Profile> {
    if args.merge {
        return merged(&args.data, baseline.as_ref());
    }
    if args.on == On::Spark {
        let files = baseline.map(|_| baseline::named(ctx, args)).transpose()?;
        return remote::spark::profile(ctx, args, files).await;
    }
    let (sources, format) = sources::open(ctx, &args.data, args.format).await?;
    let _task = ctx.progress.spinner("Reading the data");
    let profiled = tokio::task::spawn_blocking(move || {
        validation::profile(sources, &format, baseline.as_ref())
    });
    Ok(profiled.await??)
}

/// Merges the profiles of the parts into one.
fn merged(files: &[DataLocation], baseline: Option<&Baseline>) -> Result<validation::Profile> {
    let mut all: Option<validation::Profile> = None;
    for file in files.iter().map(DataLocation::to_string) {
        let bytes = std::fs::read(&file)
            .map_err(|error| Failure::new(Exit::Failed, format!("{file}: {error}")))?;
        let part = validation::Profile::from_bytes(&file, &bytes)?;
        match &mut all {
            Some(all) => all
                .merge(&part)
                .map_err(|text| Failure::new(Exit::Failed, format!("{file}: {text}")))?,
            None => all = Some(part),
        }
    }
    let mut all = all.ok_or_else(|| Failure::usage("no profile to merge"))?;
    if let Some(baseline) = baseline {
        all.expect(baseline)
            .map_err(|text| Failure::new(Exit::Failed, text))?;
    }
    Ok(all)
}
