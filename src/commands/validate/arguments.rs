//! What can be checked before the data is read.

use anyhow::Result;
use mlops_core::error::Failure;
use mlops_validation::Baseline;

use super::{ValidateArgs, baseline, explain};
use crate::context::Context;

/// Checks what does not depend on the data.
pub(super) fn check(ctx: &Context, args: &ValidateArgs) -> Result<()> {
    if args.profile_out.is_some() {
        return profile_baseline(args).map(drop);
    }
    if args.suggest {
        baseline::suggested(ctx, args)?;
        return baseline::rules(ctx, args).map(drop);
    }
    let (constraints, statistics) = baseline::named(ctx, args)?;
    let baseline = baseline::read(ctx, args, &constraints, statistics.as_deref())?;
    match &args.explain {
        Some(name) => explain::find(&baseline, name).map(drop),
        None => Ok(()),
    }
}

/// Returns the baseline whose categories a profile counts.
pub(super) fn profile_baseline(args: &ValidateArgs) -> Result<Option<Baseline>> {
    if args
        .profile_out
        .as_ref()
        .is_some_and(|file| file.as_os_str() == "-")
    {
        return Err(Failure::usage(
            "--profile-out takes a file; stdout is for the report",
        ));
    }
    let Some(constraints) = &args.constraints else {
        return Ok(None);
    };
    Ok(Some(Baseline::read(
        constraints,
        args.statistics.as_deref(),
    )?))
}
