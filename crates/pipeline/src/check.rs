//! Checks of a definition: each problem with its location.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::arguments;
use super::definition::{Definition, Step, StepType, VERSION, check_text};
use super::expression::{Call, Path, Reference, call};
use super::graph::{Graph, Node, collect, own_arguments};
use super::members;
use super::policies::RetryPolicy;
use super::problem::Problem;

impl Definition {
    /// Parses and checks a definition. The error lists everything that the format does not allow
    /// or, if there is nothing, everything that is inconsistent.
    pub fn checked(text: &str) -> Result<Self, Vec<Problem>> {
        check_text(text).map_err(|problem| vec![problem])?;
        if let Ok(value) = serde_json::from_str(text) {
            let problems = members::problems(&value);
            if !problems.is_empty() {
                return Err(problems);
            }
        }
        let definition = Self::parse(text).map_err(|problem| vec![problem])?;
        let problems = problems(&definition);
        if problems.is_empty() {
            Ok(definition)
        } else {
            Err(problems)
        }
    }
}

/// Everything that is wrong with a definition.
pub(super) fn problems(definition: &Definition) -> Vec<Problem> {
    let mut found = Vec::new();
    if definition.version != VERSION {
        found.push(Problem::new(
            "$.Version",
            format!(
                "the version is `{}`; it must be {VERSION}",
                definition.version
            ),
        ));
    }
    parameters(definition, &mut found);
    let mut nodes = Vec::new();
    if let Err(problem) = collect(&definition.steps, "$.Steps", None, &mut nodes) {
        found.push(problem);
        return found;
    }
    let checker = Checker {
        definition,
        nodes: &nodes,
    };
    let mut names = BTreeSet::new();
    for node in &nodes {
        if !names.insert(node.step.name.as_str()) {
            found.push(Problem::new(
                format!("{}.Name", node.path),
                format!("two steps are named `{}`", node.step.name),
            ));
        }
        checker.step(node, &mut found);
    }
    for (config, path) in [
        (
            &definition.pipeline_experiment_config,
            "$.PipelineExperimentConfig",
        ),
        (&definition.mlflow_config, "$.MlflowConfig"),
    ] {
        if let Some(config) = config {
            checker.expression(config, path, None, &mut found);
        }
    }
    if found.is_empty()
        && let Err(problem) = Graph::new(definition)
    {
        found.push(problem);
    }
    found
}

fn parameters(definition: &Definition, found: &mut Vec<Problem>) {
    let mut names = BTreeSet::new();
    for (index, parameter) in definition.parameters.iter().enumerate() {
        let path = format!("$.Parameters[{index}]");
        let name = &parameter.name;
        if !names.insert(name.as_str()) {
            found.push(Problem::new(
                format!("{path}.Name"),
                format!("two parameters are named `{name}`"),
            ));
        }
        if let (Some(default), Some(allowed)) = (&parameter.default_value, &parameter.enum_values)
            && !allowed.contains(default)
        {
            found.push(Problem::new(
                format!("{path}.DefaultValue"),
                format!("{default} is not among the EnumValues of `{name}`"),
            ));
        }
    }
}

struct Checker<'a> {
    definition: &'a Definition,
    nodes: &'a [Node],
}

impl Checker<'_> {
    fn find(&self, name: &str) -> Option<&Step> {
        self.nodes
            .iter()
            .map(|node| &node.step)
            .find(|step| step.name == name)
    }

    fn step(&self, node: &Node, found: &mut Vec<Problem>) {
        let (step, path) = (&node.step, &node.path);
        if let StepType::Other(name) = &step.kind
            && !StepType::OTHERS.contains(&name.as_str())
        {
            found.push(Problem::new(
                format!("{path}.Type"),
                format!("no step type `{name}`"),
            ));
        }
        for (index, name) in step.depends_on.iter().enumerate() {
            let path = format!("{path}.DependsOn[{index}]");
            if *name == step.name {
                found.push(Problem::new(path, format!("`{name}` depends on itself")));
            } else if self.find(name).is_none() {
                found.push(Problem::new(path, format!("no step `{name}`")));
            }
        }
        for (member, value) in own_arguments(step) {
            let path = format!("{path}.Arguments.{member}");
            self.expression(value, &path, Some(node), found);
        }
        for (member, value) in &step.rest {
            self.expression(value, &format!("{path}.{member}"), Some(node), found);
        }
        property_files(step, path, found);
        policies(step, path, found);
        let arguments = format!("{path}.Arguments");
        arguments::assignments(
            self.definition,
            step.kind.name(),
            &step.arguments,
            &arguments,
            found,
        );
        let message = step
            .arguments
            .get("ErrorMessage")
            .and_then(Value::as_object);
        if step.kind == StepType::Fail
            && let Some(function) = message.and_then(call)
            && let Err(message) = arguments::assign(self.definition, function, "String")
        {
            let path = format!("{arguments}.ErrorMessage");
            found.push(Problem::assignment(path, message));
        }
    }

    /// Checks every function call in a value.
    fn expression(&self, value: &Value, path: &str, node: Option<&Node>, found: &mut Vec<Problem>) {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.expression(item, &format!("{path}[{index}]"), node, found);
                }
            }
            Value::Object(members) => match call(members) {
                Some(Call::Get(reference)) => self.reference(reference, path, node, false, found),
                Some(Call::Join(argument)) => {
                    let path = format!("{path}['Std:Join']");
                    self.join(argument, &path, node, found);
                }
                Some(Call::JsonGet(argument)) => self.json_get(argument, path, node, found),
                Some(Call::Unknown(name)) => {
                    found.push(Problem::new(path, format!("no function `{name}`")));
                }
                None => {
                    for (key, item) in members {
                        self.expression(item, &format!("{path}.{key}"), node, found);
                    }
                }
            },
            _ => {}
        }
    }

    fn join(&self, argument: &Value, path: &str, node: Option<&Node>, found: &mut Vec<Problem>) {
        known_members(argument, &["On", "Values"], path, found);
        if argument.get("On").is_some_and(|on| !on.is_string()) {
            found.push(Problem::new(format!("{path}.On"), "it is not a String"));
        }
        let Some(values) = argument.get("Values").and_then(Value::as_array) else {
            found.push(Problem::new(path, "Std:Join has no list Values"));
            return;
        };
        for (index, value) in values.iter().enumerate() {
            let path = format!("{path}.Values[{index}]");
            let data = match value {
                Value::Object(members) => call(members).is_none(),
                value => value.is_null() || value.is_array(),
            };
            if data {
                found.push(Problem::new(&path, format!("Std:Join cannot join {value}")));
            }
            self.expression(value, &path, node, found);
        }
    }

    fn json_get(
        &self,
        argument: &Value,
        path: &str,
        node: Option<&Node>,
        found: &mut Vec<Problem>,
    ) {
        let path = format!("{path}['Std:JsonGet']");
        known_members(argument, &["PropertyFile", "S3Uri", "Path"], &path, found);
        match (argument.pointer("/PropertyFile/Get"), argument.get("S3Uri")) {
            (Some(reference), _) => {
                self.reference(
                    reference,
                    &format!("{path}.PropertyFile"),
                    node,
                    true,
                    found,
                );
            }
            (None, Some(uri)) => self.expression(uri, &format!("{path}.S3Uri"), node, found),
            (None, None) => found.push(Problem::new(
                path.clone(),
                "Std:JsonGet has neither a PropertyFile with a Get nor an S3Uri",
            )),
        }
        match argument.get("Path") {
            Some(Value::String(text)) => {
                if let Err(error) = Path::parse(text) {
                    found.push(Problem::new(format!("{path}.Path"), error.0));
                }
            }
            Some(other) => self.expression(other, &format!("{path}.Path"), node, found),
            None => found.push(Problem::new(path, "Std:JsonGet has no Path")),
        }
    }

    fn reference(
        &self,
        reference: &Value,
        path: &str,
        node: Option<&Node>,
        in_json_get: bool,
        found: &mut Vec<Problem>,
    ) {
        let Some(text) = reference.as_str() else {
            found.push(Problem::new(path, "the argument of Get is not text"));
            return;
        };
        let message = match Reference::parse(text) {
            Err(error) => Some(error.0),
            Ok(Reference::PropertyFile { step, file }) => match self.find(&step) {
                _ if !in_json_get => Some(format!("`{text}` can be used in Std:JsonGet only")),
                None => Some(format!("`{text}`: no step `{step}`")),
                Some(found) if found.property_file(&file).is_none() => Some(format!(
                    "`{text}`: step `{step}` declares no property file `{file}`"
                )),
                Some(_) => None,
            },
            Ok(_) if in_json_get => Some(format!("`{text}` does not name a property file")),
            Ok(Reference::Parameter(name)) => self
                .definition
                .parameter(&name)
                .is_none()
                .then(|| format!("`{text}`: no parameter `{name}`")),
            Ok(Reference::Execution(_)) => None,
            Ok(Reference::Step { step, .. }) if node.is_none() => {
                Some(format!("`{text}`: step `{step}` has not run here"))
            }
            Ok(Reference::Step { step, path }) => match self.find(&step) {
                None => Some(format!("`{text}`: no step `{step}`")),
                Some(found) if found.kind == StepType::Fail => {
                    Some(format!("`{text}`: a Fail step has no properties"))
                }
                Some(found) if found.kind == StepType::Condition => (path.to_string() != "Outcome")
                    .then(|| format!("`{text}`: the only property of a Condition step is Outcome")),
                Some(_) if path.is_empty() => {
                    Some(format!("`{text}` names a step, not a property of it"))
                }
                Some(_) => None,
            },
        };
        if let Some(message) = message {
            found.push(Problem::new(path, message));
        }
    }
}

fn property_files(step: &Step, path: &str, found: &mut Vec<Problem>) {
    let outputs: Option<Vec<&str>> = step
        .arguments
        .pointer("/ProcessingOutputConfig/Outputs")
        .and_then(Value::as_array)
        .and_then(|outputs| {
            outputs
                .iter()
                .map(|output| output.get("OutputName").and_then(Value::as_str))
                .collect()
        });
    let mut names = BTreeSet::new();
    for (index, file) in step.property_files.iter().enumerate() {
        let path = format!("{path}.PropertyFiles[{index}]");
        if !names.insert(file.property_file_name.as_str()) {
            found.push(Problem::new(
                path.clone(),
                format!("two property files are named `{}`", file.property_file_name),
            ));
        }
        if let Some(outputs) = &outputs
            && !outputs.contains(&file.output_name.as_str())
        {
            found.push(Problem::new(
                format!("{path}.OutputName"),
                format!("step `{}` has no output `{}`", step.name, file.output_name),
            ));
        }
    }
}

/// `CacheConfig` and `RetryPolicies`.
fn policies(step: &Step, path: &str, found: &mut Vec<Problem>) {
    if let Some(cache) = &step.cache_config
        && cache.enabled
        && let Err(message) = cache.age()
    {
        found.push(Problem::new(
            format!("{path}.CacheConfig.ExpireAfter"),
            message,
        ));
    }
    for (index, policy) in step.retry_policies.iter().enumerate() {
        if let Err(message) = RetryPolicy::parse(policy) {
            found.push(Problem::new(
                format!("{path}.RetryPolicies[{index}]"),
                message,
            ));
        }
    }
}

/// Reports unknown members of a function's argument.
fn known_members(argument: &Value, known: &[&str], path: &str, found: &mut Vec<Problem>) {
    for name in argument.as_object().into_iter().flat_map(Map::keys) {
        if !known.contains(&name.as_str()) {
            found.push(Problem::parsing(
                path,
                format!("Cannot parse object, unknown property '{name}'"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALL_STEPS: &str = include_str!("testdata/all-steps.json");

    #[test]
    fn definitions_of_the_python_sdk_are_valid() {
        let definition = Definition::checked(ALL_STEPS).unwrap();
        assert_eq!(definition.parameters.len(), 5);
        let graph = Graph::new(&definition).unwrap();
        assert_eq!(graph.nodes.len(), 13);
        let again: Value = serde_json::from_str(ALL_STEPS).unwrap();
        assert_eq!(serde_json::to_value(&definition).unwrap(), again);
        let check = graph.node("Check").unwrap();
        assert!(check.needs.contains("Evaluate"));
        let others: BTreeSet<&str> = definition
            .steps
            .iter()
            .filter(|step| matches!(step.kind, StepType::Other(_)))
            .map(|step| step.kind.name())
            .collect();
        assert!(
            others.contains("Lambda") && others.contains("QualityCheck"),
            "{others:?}"
        );
    }

    /// Changes one place of the definition and returns the problems.
    fn broken(pointer: &str, value: Value) -> Vec<String> {
        let mut definition: Value = serde_json::from_str(ALL_STEPS).unwrap();
        *definition.pointer_mut(pointer).unwrap() = value;
        Definition::checked(&definition.to_string())
            .expect_err(pointer)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of faults")]
    fn each_fault_is_named_with_its_place() {
        let jsonget = "/Steps/3/Arguments/Conditions/0/LeftValue/Std:JsonGet";
        for (pointer, value, expected) in [
            ("/Version", json!("2021-01-01"), "$.Version: the version is"),
            (
                "/Steps/1/Name",
                json!("Preprocess"),
                "$.Steps[1].Name: two steps are named",
            ),
            ("/Steps/1/Name", json!("a b"), "`a b` is not a name"),
            (
                "/Steps/1/Type",
                json!("Trainig"),
                "$.Steps[1].Type: no step type `Trainig`",
            ),
            (
                "/Parameters/1/DefaultValue",
                json!("x"),
                "$.Parameters[1].DefaultValue: \"x\" is not",
            ),
            (
                "/Parameters/4/DefaultValue",
                json!("x"),
                "not among the EnumValues",
            ),
            (
                "/Steps/0/CacheConfig/ExpireAfter",
                json!("soon"),
                "$.Steps[0].CacheConfig.ExpireAfter: `soon` is not an ISO 8601 duration",
            ),
            (
                "/Steps/0/RetryPolicies/0/ExceptionType",
                json!(["Step.FAULT"]),
                "$.Steps[0].RetryPolicies[0]: ExceptionType is not",
            ),
            (
                "/Parameters/1/Name",
                json!("Flag"),
                "two parameters are named `Flag`",
            ),
            (
                "/Steps/0/Arguments/ProcessingInputs/0/S3Input/S3Uri/Get",
                json!("Parameters.Nope"),
                "$.Steps[0].Arguments.ProcessingInputs[0].S3Input.S3Uri: `Parameters.Nope`",
            ),
            (
                "/Steps/1/Arguments/InputDataConfig/0/DataSource/S3DataSource/S3Uri/Get",
                json!("Steps.Nope.A"),
                "no step `Nope`",
            ),
            (
                "/Steps/1/Arguments/InputDataConfig/0/DataSource/S3DataSource/S3Uri/Get",
                json!("Steps.Check.A"),
                "the only property of a Condition step is Outcome",
            ),
            (
                "/Steps/1/Arguments/HyperParameters/f",
                json!({"Std:Upper": 1}),
                "no function `Std:Upper`",
            ),
            (
                "/Steps/6/DependsOn/0",
                json!("Nope"),
                "$.Steps[6].DependsOn[0]: no step",
            ),
            ("/Steps/6/DependsOn/0", json!("E"), "depends on itself"),
            (
                "/Steps/2/PropertyFiles/0/OutputName",
                json!("x"),
                "has no output `x`",
            ),
            (
                "/Steps/2/PropertyFiles/0/PropertyFileName",
                json!("x"),
                "no property file `Eval`",
            ),
            (&format!("{jsonget}/Path"), json!("a..b"), "is not a path"),
            (
                "/Steps/3/Arguments/Conditions/0/Type",
                json!("Near"),
                "Conditions[0]: no condition of type",
            ),
            (
                "/Steps/3/Arguments/IfSteps/0/Name",
                json!("Train"),
                "two steps are named `Train`",
            ),
            (
                "/Steps/0/Arguments/RoleArn",
                json!({"Get": "Steps.Train.RoleArn"}),
                "these steps wait for each other: ",
            ),
            (
                "/Steps/0/Arguments/RoleArn",
                json!({"Get": "Steps.Evaluate.PropertyFiles.Eval"}),
                "in Std:JsonGet only",
            ),
        ] {
            let problems = broken(pointer, value);
            assert!(
                problems.iter().any(|problem| problem.contains(expected)),
                "{pointer}: {problems:?} lacks {expected}"
            );
        }
    }

    #[test]
    fn invalid_json_is_reported_with_its_location() {
        let problems = Definition::checked("{\"Version\": }").unwrap_err();
        assert!(problems[0].message.contains("line 1"), "{problems:?}");
    }
}
