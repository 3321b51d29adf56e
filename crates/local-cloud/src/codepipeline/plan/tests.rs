use serde_json::json;

use super::*;

fn structure(on_failure: Option<&str>) -> Declaration {
    let action = |name: &str, order: u32| {
        json!({
            "name": name,
            "runOrder": order,
            "actionTypeId": {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"},
        })
    };
    let mut value = json!({
        "name": "p",
        "roleArn": "r",
        "stages": [
            {"name": "S", "actions": [action("a", 1)]},
            {"name": "B", "actions": [action("b", 1), action("c", 1), action("d", 2)]},
            {"name": "D", "actions": [action("e", 1)]},
        ],
    });
    if let Some(result) = on_failure {
        value["stages"][1]["onFailure"] = json!({"result": result});
    }
    serde_json::from_value(value).unwrap()
}

/// An execution: its number, and the stages that it has entered, each with its status and the runs of its actions.
type Visits<'a> = &'a [(&'a str, StageStatus, &'a [(&'a str, ActionStatus)])];

fn execution(number: u64, mode: ExecutionMode, visits: Visits<'_>) -> Execution {
    let run = |action: &str, status: ActionStatus| {
        json!({
            "id": format!("{action}{number}"), "action": action, "status": status, "is_replaced": false,
            "started": 0.0, "updated": 0.0, "updated_by": null, "deadline": 0, "summary": null, "token": null,
            "external_id": null, "log_stream": null, "error": null, "percent": null,
            "configuration": {}, "inputs": [], "outputs": [], "variables": {}, "revision": null,
        })
    };
    let stages: Vec<_> = visits
        .iter()
        .map(|(name, status, runs)| {
            let runs: Vec<_> = runs
                .iter()
                .map(|(action, status)| run(action, *status))
                .collect();
            json!({
                "name": name, "status": status, "automatic_retries": 0, "manual_retries": 0,
                "last_retry_was_automatic": false, "runs": runs,
            })
        })
        .collect();
    serde_json::from_value(json!({
        "id": format!("e{number}"), "number": number, "version": 1, "mode": mode, "status": "InProgress",
        "summary": null, "started": 0.0, "updated": 0.0,
        "trigger": {"triggerType": "StartPipelineExecution", "triggerDetail": ""},
        "stop": null, "variables": {}, "overrides": [], "revisions": [], "artifacts": {}, "outputs": {},
        "rollback": null, "arrival": number, "stages": stages,
    }))
    .unwrap()
}

fn plan_with(pipeline: &Declaration, executions: &[Execution], closed: &[&str]) -> Option<Step> {
    let all: Vec<_> = executions
        .iter()
        .map(|execution| Open {
            execution,
            pipeline,
        })
        .collect();
    next(&all, &closed.iter().copied().collect())
}

fn plan(executions: &[Execution]) -> Option<Step> {
    plan_with(&structure(None), executions, &[])
}

const DONE: ActionStatus = ActionStatus::Succeeded;
const RUNS: ActionStatus = ActionStatus::InProgress;
const FAILED: ActionStatus = ActionStatus::Failed;
const IN: StageStatus = StageStatus::InProgress;
const OK: StageStatus = StageStatus::Succeeded;
use ExecutionMode::{Parallel, Queued, Superseded};

#[test]
fn actions_start_by_their_run_order() {
    let source = ("S", OK, &[("a", DONE)][..]);
    let at = |runs| plan(&[execution(1, Superseded, &[source, ("B", IN, runs)])]);
    let start = |actions| {
        Some(Step::Start {
            execution: 0,
            stage: 1,
            actions,
        })
    };
    assert_eq!(
        plan(&[execution(1, Superseded, &[])]),
        Some(Step::Enter {
            execution: 0,
            stage: 0
        })
    );
    assert_eq!(at(&[]), start(vec![0, 1]));
    assert_eq!(at(&[("b", RUNS), ("c", DONE)]), None);
    assert_eq!(at(&[("b", DONE), ("c", DONE)]), start(vec![2]));
    let ended = at(&[("b", DONE), ("c", DONE), ("d", DONE)]);
    assert_eq!(
        ended,
        Some(Step::EndStage {
            execution: 0,
            status: OK
        })
    );
    // The other actions of a run order go on after a failure, and nothing starts after it.
    assert_eq!(at(&[("b", FAILED), ("c", RUNS)]), None);
    let failed = Some(Step::EndStage {
        execution: 0,
        status: StageStatus::Failed,
    });
    assert_eq!(at(&[("b", FAILED), ("c", DONE)]), failed);
}

#[test]
fn an_execution_ends_with_its_last_stage_or_the_first_that_fails() {
    let all = [("S", OK, &[][..]), ("B", OK, &[]), ("D", OK, &[])];
    let end = |status| {
        Some(Step::End {
            execution: 0,
            status,
        })
    };
    assert_eq!(
        plan(&[execution(1, Queued, &all)]),
        end(ExecutionStatus::Succeeded)
    );
    let failed = [("S", OK, &[][..]), ("B", StageStatus::Failed, &[])];
    assert_eq!(
        plan(&[execution(1, Queued, &failed)]),
        end(ExecutionStatus::Failed)
    );
    let stopped = [("S", StageStatus::Stopped, &[][..])];
    assert_eq!(
        plan(&[execution(1, Queued, &stopped)]),
        end(ExecutionStatus::Stopped)
    );
    let skipped = [("S", OK, &[][..]), ("B", StageStatus::Skipped, &[])];
    assert_eq!(
        plan(&[execution(1, Queued, &skipped)]),
        Some(Step::Enter {
            execution: 0,
            stage: 2
        })
    );
}

#[test]
fn a_newer_execution_supersedes_those_that_wait() {
    let source = ("S", OK, &[("a", DONE)][..]);
    let first = execution(
        1,
        Superseded,
        &[source, ("B", IN, &[("b", RUNS), ("c", RUNS)])],
    );
    let waiting = |number| execution(number, Superseded, &[source]);
    // The stage is locked.
    assert_eq!(plan(&[first.clone(), waiting(2)]), None);
    let step = plan(&[first.clone(), waiting(2), waiting(3)]);
    assert_eq!(step, Some(Step::Supersede { execution: 1 }));
    assert_eq!(plan(&[first, waiting(3)]), None);
    assert_eq!(
        plan(&[waiting(3)]),
        Some(Step::Enter {
            execution: 0,
            stage: 1
        })
    );
}

#[test]
fn queued_executions_enter_in_the_order_of_their_arrival() {
    let source = ("S", OK, &[("a", DONE)][..]);
    let first = execution(1, Queued, &[source, ("B", IN, &[("b", RUNS), ("c", RUNS)])]);
    let mut second = execution(2, Queued, &[source]);
    let third = execution(3, Queued, &[source]);
    assert_eq!(plan(&[first, second.clone(), third.clone()]), None);
    let enter = |execution| {
        Some(Step::Enter {
            execution,
            stage: 1,
        })
    };
    assert_eq!(plan(&[second.clone(), third.clone()]), enter(0));
    // One that was retried arrives later than a newer one.
    second.arrival = 9;
    assert_eq!(plan(&[second, third]), enter(1));
}

#[test]
fn parallel_executions_do_not_wait() {
    let source = ("S", OK, &[("a", DONE)][..]);
    let first = execution(
        1,
        Parallel,
        &[source, ("B", IN, &[("b", RUNS), ("c", RUNS)])],
    );
    let second = execution(2, Parallel, &[source]);
    assert_eq!(
        plan(&[first, second]),
        Some(Step::Enter {
            execution: 1,
            stage: 1
        })
    );
}

#[test]
fn nothing_enters_through_a_disabled_transition() {
    let source = ("S", OK, &[("a", DONE)][..]);
    for mode in [Superseded, Queued, Parallel] {
        let waiting = [execution(1, mode, &[source])];
        assert_eq!(plan_with(&structure(None), &waiting, &["B"]), None);
        assert!(plan_with(&structure(None), &waiting, &["D"]).is_some());
    }
    // It can still be superseded.
    let waiting = [1, 2].map(|number| execution(number, Superseded, &[source]));
    let step = plan_with(&structure(None), &waiting, &["B"]);
    assert_eq!(step, Some(Step::Supersede { execution: 0 }));
}

#[test]
fn an_execution_that_stops_waits_for_its_actions() {
    let at = |runs| {
        let mut execution = execution(
            1,
            Queued,
            &[("S", OK, &[]), ("B", StageStatus::Stopping, runs)],
        );
        execution.status = ExecutionStatus::Stopping;
        plan(&[execution])
    };
    assert_eq!(at(&[("b", RUNS), ("c", DONE)]), None);
    let stopped = Some(Step::EndStage {
        execution: 0,
        status: StageStatus::Stopped,
    });
    assert_eq!(at(&[("b", DONE), ("c", DONE)]), stopped);
    assert_eq!(at(&[("b", ActionStatus::Abandoned), ("c", DONE)]), stopped);
    let mut inbound = execution(1, Queued, &[("S", OK, &[])]);
    inbound.status = ExecutionStatus::Stopping;
    let step = plan(&[inbound]);
    assert_eq!(
        step,
        Some(Step::End {
            execution: 0,
            status: ExecutionStatus::Stopped
        })
    );
}

#[test]
fn a_failed_stage_has_the_configured_result() {
    let stages: Visits<'_> = &[("S", OK, &[]), ("B", IN, &[("b", FAILED), ("c", DONE)])];
    let failed = execution(1, Queued, stages);
    let at = |result, execution: &Execution| {
        plan_with(
            &structure(Some(result)),
            std::slice::from_ref(execution),
            &[],
        )
    };
    let ends = |status| {
        Some(Step::EndStage {
            execution: 0,
            status,
        })
    };
    assert_eq!(at("FAIL", &failed), ends(StageStatus::Failed));
    assert_eq!(at("SKIP", &failed), ends(StageStatus::Skipped));
    assert_eq!(
        at("ROLLBACK", &failed),
        Some(Step::FailAndRollBack { execution: 0 })
    );
    let retry = Some(Step::Retry {
        execution: 0,
        mode: RetryMode::FailedActions,
    });
    assert_eq!(at("RETRY", &failed), retry);
    // Once.
    let mut again = failed.clone();
    again.stages[1].automatic_retries = 1;
    assert_eq!(at("RETRY", &again), ends(StageStatus::Failed));
}

#[test]
fn a_retry_runs_failed_actions_or_all_again() {
    let stages: Visits<'_> = &[
        ("S", OK, &[]),
        ("B", StageStatus::Failed, &[("b", FAILED), ("c", DONE)]),
    ];
    let start = |mode| {
        let mut failed = execution(1, Queued, stages);
        failed.stages[1].retry(mode);
        plan(&[failed])
    };
    let step = |actions| {
        Some(Step::Start {
            execution: 0,
            stage: 1,
            actions,
        })
    };
    assert_eq!(start(RetryMode::FailedActions), step(vec![0]));
    assert_eq!(start(RetryMode::AllActions), step(vec![0, 1]));
}

#[test]
fn a_rollback_runs_one_stage_before_executions_that_wait() {
    let rollback = |visits| {
        let mut execution = execution(5, Superseded, visits);
        execution.rollback = Some(super::super::records::Rollback {
            target: "e1".to_owned(),
            stage: "B".to_owned(),
        });
        execution
    };
    let waiting = execution(4, Superseded, &[("S", OK, &[])]);
    let step = plan(&[waiting.clone(), rollback(&[])]);
    assert_eq!(
        step,
        Some(Step::Enter {
            execution: 1,
            stage: 1
        })
    );
    // Executions that wait with it supersede each other.
    let newer = execution(6, Superseded, &[("S", OK, &[])]);
    let occupant = execution(3, Superseded, &[("S", OK, &[]), ("B", IN, &[("b", RUNS)])]);
    let step = plan(&[
        occupant.clone(),
        waiting.clone(),
        rollback(&[]),
        newer.clone(),
    ]);
    assert_eq!(step, Some(Step::Supersede { execution: 1 }));
    assert_eq!(plan(&[occupant, rollback(&[]), newer]), None);
    let step = plan(&[rollback(&[("B", OK, &[])])]);
    assert_eq!(
        step,
        Some(Step::End {
            execution: 0,
            status: ExecutionStatus::Succeeded
        })
    );
    let failed = rollback(&[("B", IN, &[("b", FAILED), ("c", DONE)])]);
    let step = plan_with(&structure(Some("ROLLBACK")), &[failed], &[]);
    assert_eq!(
        step,
        Some(Step::EndStage {
            execution: 0,
            status: StageStatus::Failed
        })
    );
}

#[test]
fn a_success_of_the_same_version_is_restored() {
    let succeeded = |number, version| {
        let mut execution = execution(number, Queued, &[("S", OK, &[]), ("B", OK, &[])]);
        execution.version = version;
        execution
    };
    let failed = execution(
        5,
        Queued,
        &[("S", OK, &[]), ("B", StageStatus::Failed, &[])],
    );
    let all = [failed, succeeded(4, 2), succeeded(3, 1), succeeded(2, 1)];
    let found = |stage, version| {
        let mut all = all.iter();
        all.find(|it| can_restore(it, stage, version))
            .map(|it| it.number)
    };
    assert_eq!(found("B", 1), Some(3));
    assert_eq!(found("B", 2), Some(4));
    assert_eq!(found("D", 1), None);
    assert_eq!(found("S", 1), Some(5));
}
