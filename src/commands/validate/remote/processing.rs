//! `mlops validate --on processing`: a SageMaker Processing job.

use anyhow::Result;

use super::not_in_this_build;
use crate::commands::validate::{ValidateArgs, Validation};
use crate::context::Context;

/// Refuses: this build cannot.
#[expect(clippy::unused_async, reason = "the signature that every way has")]
pub(super) async fn run(_ctx: &Context, _args: &ValidateArgs) -> Result<Validation> {
    Err(not_in_this_build("processing"))
}
