//! Finds the parts of a run by name.

use anyhow::{Result, anyhow};
use mlops_core::error::Hint;

use crate::aws::project_runs::RunPart;

/// Returns the parts of this name, or with this path (`Train/Evaluate`): an exact match first, else any case.
pub(super) fn named<'a>(parts: &'a [RunPart], name: &str) -> Vec<&'a RunPart> {
    let is = |part: &&RunPart| part.name == name || part.path == name;
    let exact: Vec<&RunPart> = parts.iter().filter(is).collect();
    if !exact.is_empty() {
        return exact;
    }
    let lower = name.to_lowercase();
    let same = |part: &&RunPart| {
        [&part.name, &part.path]
            .iter()
            .any(|it| it.to_lowercase() == lower)
    };
    parts.iter().filter(same).collect()
}

/// Returns all parts, or those of a name; the error lists the available ones.
pub(super) fn chosen<'a>(
    run: &str,
    parts: &'a [RunPart],
    name: Option<&str>,
) -> Result<Vec<&'a RunPart>> {
    let Some(name) = name else {
        return Ok(parts.iter().collect());
    };
    let found = named(parts, name);
    if !found.is_empty() {
        return Ok(found);
    }
    let steps: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    Err(anyhow!("the run `{run}` has not started a step `{name}`")).hint(if steps.is_empty() {
        "it has not started any step".to_owned()
    } else {
        format!("its steps are {}", steps.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parts_name_is_found_in_any_case() {
        let part = |path: &str| RunPart {
            path: path.to_owned(),
            stage: None,
            name: path.rsplit('/').next().unwrap().to_owned(),
            kind: "Training".to_owned(),
            status: "Succeeded".to_owned(),
            started: None,
            ended: None,
            note: String::new(),
            waits_for_approval: false,
            log: None,
            is_nested: false,
        };
        let parts = [
            part("Train"),
            part("train"),
            part("Evaluate"),
            part("Check/Validate"),
            part("Check/Validate/Evaluate"),
        ];
        let paths = |name: &str| -> Vec<&str> {
            let found = named(&parts, name);
            found.into_iter().map(|part| part.path.as_str()).collect()
        };
        assert_eq!(paths("train"), ["train"]);
        assert_eq!(paths("TRAIN"), ["Train", "train"]);
        assert_eq!(paths("evaluate"), ["Evaluate", "Check/Validate/Evaluate"]);
        assert_eq!(paths("check/validate"), ["Check/Validate"]);
        assert!(paths("eval").is_empty());
    }
}
