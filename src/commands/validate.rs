//! `mlops validate`: data against its baseline.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Exit, Failure, Hint};
use crate::monitoring;
use crate::output::{self, Report};
use crate::validation::{self, Baseline, Constraints, Format, Violation, files};

mod remote;
mod sources;

/// Check data against its baseline
///
/// Profiles the data in one pass and compares it with the constraints and statistics of the
/// baseline: types, completeness, domains, drift. Exit code 3 when something does not hold. With
/// --suggest, makes the baseline instead. Reads and writes the files of SageMaker Model Monitor.
/// Needs no project, credentials or network for local files.
///
/// Example: mlops validate data/may.csv
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    /// Files, directories, `-` for stdin, or `s3://BUCKET/KEY`; together one data set
    #[arg(required = true)]
    data: Vec<String>,
    /// Make a baseline from the data instead of checking it
    #[arg(long, conflicts_with_all = ["constraints", "statistics"])]
    suggest: bool,
    /// The constraints to check (default: those of the project's baseline)
    #[arg(long, value_name = "FILE")]
    constraints: Option<PathBuf>,
    /// The statistics that drift is measured from
    #[arg(long, value_name = "FILE", requires = "constraints")]
    statistics: Option<PathBuf>,
    /// What the data is (default: capture when it ends in .jsonl, else csv)
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<DataFormat>,
    /// Where the result's files go (with --suggest, default: the project's baseline)
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// What runs the validation; elsewhere than here, the data is in S3
    #[arg(long, value_enum, value_name = "WHERE", default_value_t)]
    on: On,
    #[command(flatten)]
    remote: remote::RemoteArgs,
}

/// What runs a validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum On {
    /// This process
    #[default]
    Here,
    /// A Lambda function made of this binary
    Lambda,
    /// A SageMaker Processing job
    Processing,
    /// Apache Spark
    Spark,
}

/// What data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DataFormat {
    /// Comma-separated values with a header line
    Csv,
    /// What an endpoint captured (JSON Lines)
    Capture,
}

/// What the data is like.
#[derive(Debug, Serialize)]
pub struct Validation {
    rows: u64,
    columns: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<PathBuf>,
    violations: Vec<Violation>,
    files: Vec<PathBuf>,
}

/// Profiles, then suggests or checks.
pub async fn run(ctx: &Context, args: &ValidateArgs) -> Result<Validation> {
    if args.on != On::Here {
        return remote::run(ctx, args).await;
    }
    args.remote.refuse_here()?;
    if args.suggest {
        let directory = match &args.output_dir {
            Some(directory) => directory.clone(),
            None => baseline_directory(ctx)?
                .ok_or_else(|| Failure::usage("there is no project to put the baseline into"))
                .hint("pass --output-dir DIR")?,
        };
        return suggest(ctx, args, &directory).await;
    }
    let constraints = match (&args.constraints, baseline_directory(ctx)?) {
        (Some(path), _) => path.clone(),
        (None, Some(directory)) => directory.join(files::CONSTRAINTS),
        (None, None) => {
            return Err(Failure::usage("there is no baseline to check against")).hint(
                "pass --constraints FILE, or make a baseline with --suggest --output-dir DIR",
            );
        }
    };
    let statistics = match (&args.statistics, &args.constraints) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(constraints.with_file_name(files::STATISTICS)),
    };
    let baseline = Baseline::read(&constraints, statistics.as_deref())
        .hint("make a baseline with `mlops validate --suggest DATA`")?;
    let profile = profile(ctx, args, Some(baseline.clone())).await?;
    let found = profile.statistics();
    let violations = validation::check(&profile, &found, &baseline)
        .map_err(|text| Failure::new(Exit::Failed, text))?;
    let mut written = Vec::new();
    if let Some(directory) = &args.output_dir {
        written.push(files::write(directory, files::STATISTICS, &found)?);
        let suggested = Constraints::suggest(&found);
        written.push(files::write(directory, files::CONSTRAINTS, &suggested)?);
        written.push(files::write(directory, files::VIOLATIONS, &violations)?);
    }
    Ok(Validation {
        rows: profile.rows(),
        columns: found.features.len(),
        baseline: Some(constraints),
        violations: violations.violations,
        files: written,
    })
}

async fn suggest(ctx: &Context, args: &ValidateArgs, directory: &Path) -> Result<Validation> {
    let profile = profile(ctx, args, None).await?;
    let statistics = profile.statistics();
    let constraints = Constraints::suggest(&statistics);
    Ok(Validation {
        rows: profile.rows(),
        columns: statistics.features.len(),
        baseline: None,
        violations: Vec::new(),
        files: vec![
            files::write(directory, files::STATISTICS, &statistics)?,
            files::write(directory, files::CONSTRAINTS, &constraints)?,
        ],
    })
}

fn baseline_directory(ctx: &Context) -> Result<Option<PathBuf>> {
    let project = ctx.config.find_project()?;
    Ok(project.map(|project| project.path(&project.file.monitor.baseline)))
}

async fn profile(
    ctx: &Context,
    args: &ValidateArgs,
    baseline: Option<Baseline>,
) -> Result<validation::Profile> {
    let format = match args.format {
        Some(format) => format,
        None if args
            .data
            .iter()
            .all(|data| sources::has_suffix(data, "jsonl")) =>
        {
            DataFormat::Capture
        }
        None => DataFormat::Csv,
    };
    let sources = sources::open(ctx, &args.data, format).await?;
    let format = match format {
        DataFormat::Csv => Format::Csv,
        DataFormat::Capture => Format::Capture(validation::capture::Window::default()),
    };
    let profiled = tokio::task::spawn_blocking(move || {
        validation::profile(sources, &format, baseline.as_ref())
    });
    Ok(profiled.await??)
}

impl Report for Validation {
    fn exit(&self) -> Exit {
        if self.violations.is_empty() {
            Exit::Done
        } else {
            Exit::Refused
        }
    }
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = format!("{} rows, {} columns", self.rows, self.columns);
        if self.baseline.is_none() {
            writeln!(f, "{size}: baseline made")?;
        } else if self.violations.is_empty() {
            writeln!(f, "{size}: no violations")?;
        } else {
            f.write_str(&monitoring::violations(&self.violations))?;
            let count = self.violations.len();
            let plural = if count == 1 { "" } else { "s" };
            writeln!(f, "\n{size}: {count} violation{plural}")?;
        }
        for file in &self.files {
            writeln!(f, "wrote {}", output::clean(&file.display().to_string()))?;
        }
        Ok(())
    }
}
