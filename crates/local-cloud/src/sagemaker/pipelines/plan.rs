//! Plans the next steps from the graph and the started steps (pure functions).

use std::collections::BTreeMap;

use mlops_pipeline::Graph;

use super::records::StepRecord;
use super::states::ExecutionStatus;

/// The steps that can start now, in the order of the graph. After a failure no step starts; running
/// steps continue.
pub(super) fn ready<'a>(graph: &'a Graph, started: &[StepRecord]) -> Vec<&'a str> {
    if started.iter().any(|step| {
        matches!(
            step.status,
            ExecutionStatus::Failed | ExecutionStatus::Stopped | ExecutionStatus::Stopping
        )
    }) {
        return Vec::new();
    }
    let by_name: BTreeMap<&str, &StepRecord> = started
        .iter()
        .map(|step| (step.name.as_str(), step))
        .collect();
    graph
        .nodes
        .iter()
        .filter(|node| !by_name.contains_key(node.step.name.as_str()))
        .filter(|node| {
            node.needs.iter().all(|need| {
                by_name
                    .get(need.as_str())
                    .is_some_and(|step| step.status == ExecutionStatus::Succeeded)
            })
        })
        .filter(|node| {
            node.parent.as_ref().is_none_or(|(name, wanted)| {
                by_name
                    .get(name.as_str())
                    .is_some_and(|step| step.outcome == Some(*wanted))
            })
        })
        .map(|node| node.step.name.as_str())
        .collect()
}

/// The outcome of an execution without running or ready steps, with the failure reason.
pub(super) fn conclusion(
    stopping: bool,
    started: &[StepRecord],
) -> (ExecutionStatus, Option<String>) {
    let failed = || {
        started
            .iter()
            .filter(|step| step.status == ExecutionStatus::Failed)
    };
    if let Some(message) = failed().find_map(fail_message) {
        return (ExecutionStatus::Failed, Some(message));
    }
    if failed().next().is_some() && !stopping {
        return (
            ExecutionStatus::Failed,
            Some("Step failure: One or multiple steps failed.".to_owned()),
        );
    }
    if stopping
        || started
            .iter()
            .any(|step| step.status == ExecutionStatus::Stopped)
    {
        return (ExecutionStatus::Stopped, None);
    }
    (ExecutionStatus::Succeeded, None)
}

/// The message of a Fail step.
fn fail_message(step: &StepRecord) -> Option<String> {
    step.metadata
        .as_ref()?
        .pointer("/Fail/ErrorMessage")?
        .as_str()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use mlops_pipeline::Definition;

    fn graph() -> Graph {
        let definition = json!({"Version": "2020-12-01", "Steps": [
            {"Name": "Left", "Type": "Processing", "Arguments": {}},
            {"Name": "Right", "Type": "Processing", "Arguments": {}},
            {"Name": "Train", "Type": "Training", "Arguments": {"RoleArn": {"Get": "Steps.Left.A"}}},
            {"Name": "Gate", "Type": "Condition", "DependsOn": ["Train", "Right"], "Arguments": {
                "Conditions": [{"Type": "Equals", "LeftValue": 1, "RightValue": 1}],
                "IfSteps": [{"Name": "Yes", "Type": "Model", "Arguments": {"ExecutionRoleArn": "r"}}],
                "ElseSteps": [{"Name": "No", "Type": "Fail",
                    "Arguments": {"ErrorMessage": "x"}}]}}]});
        let definition = Definition::checked(&definition.to_string()).unwrap();
        Graph::new(&definition).unwrap()
    }

    fn step(name: &str, status: ExecutionStatus) -> StepRecord {
        StepRecord {
            status,
            ..StepRecord::begin(name, None, 0.0)
        }
    }

    #[test]
    fn independent_steps_start_together() {
        let graph = graph();
        assert_eq!(ready(&graph, &[]), ["Left", "Right"]);
        let mut started = vec![
            step("Left", ExecutionStatus::Succeeded),
            step("Right", ExecutionStatus::Executing),
        ];
        assert_eq!(ready(&graph, &started), ["Train"]);
        started.push(step("Train", ExecutionStatus::Succeeded));
        assert!(ready(&graph, &started).is_empty());
        started[1].status = ExecutionStatus::Succeeded;
        assert_eq!(ready(&graph, &started), ["Gate"]);
    }

    #[test]
    fn the_outcome_chooses_the_branch() {
        let graph = graph();
        let mut started: Vec<_> = ["Left", "Right", "Train", "Gate"]
            .iter()
            .map(|name| step(name, ExecutionStatus::Succeeded))
            .collect();
        started[3].outcome = Some(true);
        assert_eq!(ready(&graph, &started), ["Yes"]);
        started[3].outcome = Some(false);
        assert_eq!(ready(&graph, &started), ["No"]);
    }

    #[test]
    fn nothing_starts_after_a_failure() {
        let started = [
            step("Left", ExecutionStatus::Succeeded),
            step("Right", ExecutionStatus::Failed),
        ];
        assert!(ready(&graph(), &started).is_empty());
        let (status, reason) = conclusion(false, &started);
        assert_eq!(status, ExecutionStatus::Failed);
        assert_eq!(
            reason.unwrap(),
            "Step failure: One or multiple steps failed."
        );
    }

    #[test]
    fn a_fail_step_reports_its_message() {
        let mut failed = step("No", ExecutionStatus::Failed);
        failed.metadata = Some(json!({"Fail": {"ErrorMessage": "too bad"}}));
        let started = [step("Gate", ExecutionStatus::Succeeded), failed];
        assert_eq!(
            conclusion(false, &started),
            (ExecutionStatus::Failed, Some("too bad".to_owned()))
        );
    }

    #[test]
    fn stopped_is_stopped() {
        let started = [step("Left", ExecutionStatus::Stopped)];
        assert_eq!(conclusion(true, &started), (ExecutionStatus::Stopped, None));
        assert_eq!(
            conclusion(false, &[step("Left", ExecutionStatus::Succeeded)]).0,
            ExecutionStatus::Succeeded
        );
    }
}
