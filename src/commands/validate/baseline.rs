//! The baseline of a validation: its files and its rules.

use std::path::{Path, PathBuf};

use anyhow::Result;
use mlops_core::error::{Failure, Hint};
use mlops_validation::{self as validation, Baseline, Constraints, RuleSet, Statistics, files};

use super::{ValidateArgs, Validation};
use crate::context::Context;

/// Rules for the cases in which AWS's analyzer is known to differ from what we recommend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Rules {
    /// The behavior of AWS's analyzer
    Aws,
    /// Also detects drift of columns with few values and of changed types; integers count as
    /// Fractional
    Mlops,
}

impl From<Rules> for RuleSet {
    fn from(rules: Rules) -> Self {
        match rules {
            Rules::Aws => Self::Aws,
            Rules::Mlops => Self::Mlops,
        }
    }
}

/// Reads a baseline's files; the rules are those of the command line, the file, or mlops.toml.
pub(super) fn read(
    ctx: &Context,
    args: &ValidateArgs,
    constraints: &Path,
    statistics: Option<&Path>,
) -> Result<Baseline> {
    let mut baseline = Baseline::read(constraints, statistics)
        .hint("create a baseline with `mlops validate --suggest DATA`")?;
    let own = baseline.constraints.rule_set();
    if (args.rules.is_some() || own.is_none())
        && let Some(rules) = rules(ctx, args)?
    {
        baseline.constraints.set_rules(rules);
    }
    Ok(baseline)
}

/// Returns the rules of the command line or of mlops.toml.
pub(super) fn rules(ctx: &Context, args: &ValidateArgs) -> Result<Option<RuleSet>> {
    if let Some(rules) = args.rules {
        return Ok(Some(rules.into()));
    }
    let project = ctx.config.find_project()?;
    Ok(project.and_then(|project| project.file.validate.rules))
}

/// Derives constraints that the data satisfies. They record the requested rules.
pub(super) fn suggestion(statistics: &Statistics, rules: Option<RuleSet>) -> Constraints {
    let mut constraints = Constraints::suggest_by(statistics, rules.unwrap_or_default());
    if let Some(rules) = rules {
        constraints.set_rules(rules);
    }
    constraints
}

/// Writes the baseline derived from the data.
pub(super) fn suggest(
    profile: &validation::Profile,
    directory: &Path,
    rules: Option<RuleSet>,
) -> Result<Validation> {
    let statistics = profile.statistics();
    let constraints = suggestion(&statistics, rules);
    Ok(Validation {
        rows: profile.rows(),
        columns: statistics.features.len(),
        baseline: None,
        violations: Vec::new(),
        version: None,
        explanation: None,
        files: vec![
            files::write(directory, files::STATISTICS, &statistics)?,
            files::write(directory, files::CONSTRAINTS, &constraints)?,
        ],
        profile_only: false,
    })
}

/// Returns the directory for a suggested baseline.
pub(super) fn suggested(ctx: &Context, args: &ValidateArgs) -> Result<PathBuf> {
    match &args.output_dir {
        Some(directory) => Ok(directory.clone()),
        None => directory(ctx)?
            .ok_or_else(|| Failure::usage("no mlops.toml found: the baseline has nowhere to go"))
            .hint("pass --output-dir DIR"),
    }
}

/// Returns the constraints to check and the statistics to measure drift from: those given on the
/// command line, or the project's.
pub(super) fn named(ctx: &Context, args: &ValidateArgs) -> Result<(PathBuf, Option<PathBuf>)> {
    if let Some(constraints) = &args.constraints {
        return Ok((constraints.clone(), args.statistics.clone()));
    }
    let directory = directory(ctx)?
        .ok_or_else(|| Failure::usage("no baseline to check against"))
        .hint("pass --constraints FILE, or create a baseline with --suggest --output-dir DIR")?;
    let statistics = directory.join(files::STATISTICS);
    Ok((directory.join(files::CONSTRAINTS), Some(statistics)))
}

fn directory(ctx: &Context) -> Result<Option<PathBuf>> {
    let project = ctx.config.find_project()?;
    Ok(project.map(|project| project.path(&project.file.monitor.baseline)))
}
