//! Finds the steps of a run by name.

use anyhow::{Result, anyhow};
use mlops_core::error::Hint;

use crate::aws::sagemaker::runs::{Run, RunStep};

/// Returns the steps of this name: an exact match first, else any case.
pub(super) fn named<'a>(steps: &'a [RunStep], name: &str) -> Vec<&'a RunStep> {
    let exact: Vec<&RunStep> = steps.iter().filter(|step| step.name == name).collect();
    if !exact.is_empty() {
        return exact;
    }
    let lower = name.to_lowercase();
    let same = |step: &&RunStep| step.name.to_lowercase() == lower;
    steps.iter().filter(same).collect()
}

/// Returns all steps, or those of a name; the error lists the available steps.
pub(super) fn chosen<'a>(run: &'a Run, name: Option<&str>) -> Result<Vec<&'a RunStep>> {
    let Some(name) = name else {
        return Ok(run.steps.iter().collect());
    };
    let found = named(&run.steps, name);
    if !found.is_empty() {
        return Ok(found);
    }
    let steps: Vec<&str> = run.steps.iter().map(|step| step.name.as_str()).collect();
    Err(anyhow!(
        "the run `{}` has not started a step `{name}`",
        run.run
    ))
    .hint(if steps.is_empty() {
        "it has not started any step".to_owned()
    } else {
        format!("its steps are {}", steps.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_sagemaker::types::StepStatus;
    use mlops_pipeline::StepType;

    use super::*;

    #[test]
    fn a_steps_name_is_found_in_any_case() {
        let step = |name: &str| RunStep {
            name: name.to_owned(),
            kind: Some(StepType::Training),
            status: StepStatus::Succeeded.into(),
            started: None,
            ended: None,
            failure: None,
            arn: None,
            outcome: None,
            cached_from: None,
            attempts: None,
        };
        let steps = [step("Train"), step("train"), step("Evaluate")];
        let names = |name: &str| -> Vec<&str> {
            let found = named(&steps, name);
            found.into_iter().map(|step| step.name.as_str()).collect()
        };
        assert_eq!(names("train"), ["train"]);
        assert_eq!(names("TRAIN"), ["Train", "train"]);
        assert_eq!(names("evaluate"), ["Evaluate"]);
        assert!(names("eval").is_empty());
    }
}
