//! The baseline of a validation: which files, and by which rules.

use std::path::{Path, PathBuf};

use anyhow::Result;
use mlops_core::error::{Failure, Hint};
use mlops_validation::{self as validation, Baseline, Constraints, RuleSet, Statistics, files};

use super::{ValidateArgs, Validation};
use crate::context::Context;

/// Which rules decide where AWS's analyzer is known to do something else than what we think better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Rules {
    /// What AWS's analyzer does
    Aws,
    /// Drift of columns of few values and of another type too; whole numbers are Fractional
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

/// Reads a baseline's files; the rules are those of the command line, of the file, or of mlops.toml.
pub(super) fn read(
    ctx: &Context,
    args: &ValidateArgs,
    constraints: &Path,
    statistics: Option<&Path>,
) -> Result<Baseline> {
    let mut baseline = Baseline::read(constraints, statistics)
        .hint("make a baseline with `mlops validate --suggest DATA`")?;
    let own = baseline.constraints.rule_set();
    if (args.rules.is_some() || own.is_none())
        && let Some(rules) = rules(ctx, args)?
    {
        baseline.constraints.set_rules(rules);
    }
    Ok(baseline)
}

/// The rules of the command line or of mlops.toml.
pub(super) fn rules(ctx: &Context, args: &ValidateArgs) -> Result<Option<RuleSet>> {
    if let Some(rules) = args.rules {
        return Ok(Some(rules.into()));
    }
    let project = ctx.config.find_project()?;
    Ok(project.and_then(|project| project.file.validate.rules))
}

/// The constraints that data of these statistics keeps. They name the rules that were requested.
pub(super) fn suggestion(statistics: &Statistics, rules: Option<RuleSet>) -> Constraints {
    let mut constraints = Constraints::suggest_by(statistics, rules.unwrap_or_default());
    if let Some(rules) = rules {
        constraints.set_rules(rules);
    }
    constraints
}

/// Writes the baseline that the data suggests.
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
        explanation: None,
        files: vec![
            files::write(directory, files::STATISTICS, &statistics)?,
            files::write(directory, files::CONSTRAINTS, &constraints)?,
        ],
        profile_only: false,
    })
}

/// The directory that a suggested baseline goes to.
pub(super) fn suggested(ctx: &Context, args: &ValidateArgs) -> Result<PathBuf> {
    match &args.output_dir {
        Some(directory) => Ok(directory.clone()),
        None => directory(ctx)?
            .ok_or_else(|| Failure::usage("there is no project to put the baseline into"))
            .hint("pass --output-dir DIR"),
    }
}

/// The constraints to check and the statistics that drift is measured from: those that were named,
/// or the project's.
pub(super) fn named(ctx: &Context, args: &ValidateArgs) -> Result<(PathBuf, Option<PathBuf>)> {
    if let Some(constraints) = &args.constraints {
        return Ok((constraints.clone(), args.statistics.clone()));
    }
    let directory = directory(ctx)?
        .ok_or_else(|| Failure::usage("there is no baseline to check against"))
        .hint("pass --constraints FILE, or make a baseline with --suggest --output-dir DIR")?;
    let statistics = directory.join(files::STATISTICS);
    Ok((directory.join(files::CONSTRAINTS), Some(statistics)))
}

fn directory(ctx: &Context) -> Result<Option<PathBuf>> {
    let project = ctx.config.find_project()?;
    Ok(project.map(|project| project.path(&project.file.monitor.baseline)))
}
