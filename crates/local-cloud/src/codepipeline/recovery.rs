//! After the end of a server: actions that were running have failed, approvals keep waiting, and executions that wait
//! for a stage continue.

use super::catalog::{self, Provider};
use super::engine::{self, Launch};
use super::executor;
use super::outcome::{Ended, Failure};
use super::records::{ErrorDetails, pipelines};
use crate::api::ApiResult;
use crate::{Cloud, log};

/// Why an action failed whose server ended.
const REASON: &str =
    "InternalServerError: the local cloud ended while the action was running. Retry the stage.";

pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    for name in pipelines(cloud).keys("")? {
        executor::ensure_running(cloud);
        match recover_pipeline(cloud, &name) {
            Err(error) if error.is_unavailable() => return Err(error),
            // Its records are damaged: the others go on.
            Err(error) => log::write_line(&format!(
                "cannot continue the executions of the pipeline {name}: {error}"
            )),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn recover_pipeline(cloud: &Cloud, name: &str) -> ApiResult<()> {
    engine::change(cloud, name, |board| {
        let mut again = Vec::new();
        let mut failed = Vec::new();
        for entry in &board.entries {
            let number = entry.execution.number;
            for (stage, run) in entry.execution.open_runs() {
                let action = entry.structure.action(&stage.name, &run.action);
                let kind = action.and_then(|action| catalog::find(&action.action_type_id));
                let is_approval = kind.is_some_and(|kind| kind.runs == Provider::Manual);
                if !is_approval {
                    failed.push((number, run.id.clone()));
                } else if run.token.is_none() || !run.is_notified {
                    again.push(Launch {
                        pipeline: name.to_owned(),
                        number,
                        run: run.id.clone(),
                    });
                }
            }
        }
        for (number, run) in failed {
            let ended = Ended::Failed(Failure {
                error: Some(ErrorDetails {
                    code: "SystemUnavailable".to_owned(),
                    message: REASON.to_owned(),
                }),
                summary: None,
                external_id: None,
                updated_by: None,
            });
            board.finish(number, &run, &ended)?;
        }
        for launch in again {
            board.launch_again(launch);
        }
        Ok(())
    })
}
