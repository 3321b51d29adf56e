//! Why a run is started.

use anyhow::Result;

use super::TrainArgs;
use crate::aws::Clients;
use crate::aws::delivery::executions;
use crate::retraining;

/// Returns the reason to record: that of an execution of CodePipeline, whoever chose it, in plain characters.
pub(super) async fn of(clients: &Clients, args: &TrainArgs) -> Result<Option<String>> {
    let Some((pipeline, id)) = &args.execution else {
        return Ok(args.reason.clone());
    };
    let reason = executions::reason(clients, pipeline, id).await?;
    Ok(reason.as_deref().map(retraining::plain))
}

pub(super) fn execution(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((pipeline, id)) if !pipeline.is_empty() && !id.is_empty() => {
            Ok((pipeline.to_owned(), id.to_owned()))
        }
        _ => Err("expected PIPELINE/ID".to_owned()),
    }
}

/// Maximum length of a reason, which is stored in the description of the execution.
const LONGEST_REASON: usize = 300;

pub(super) fn reason(text: &str) -> Result<String, String> {
    if text.chars().count() > LONGEST_REASON || text.chars().any(char::is_control) {
        return Err(format!(
            "expected at most {LONGEST_REASON} characters on one line"
        ));
    }
    Ok(text.to_owned())
}
