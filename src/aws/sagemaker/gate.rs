//! Explains why a run was refused: the conditions of its gate, with the values that they compared.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result, anyhow};
use aws_sdk_sagemaker::types::ProcessingOutputConfig;
use mlops_pipeline::{
    self as pipeline, Condition, Definition, ExpressionError, Reference, Scope, Step, StepType,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::models;
use super::steps::{RunStep, fail_step, parameters};
use crate::aws::s3::S3Uri;
use crate::aws::{AwsResultExt, Clients};

/// A gate that refused a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gate {
    /// The Fail step that ended the run.
    pub step: String,
    /// The Condition step that led to it; null if there was none.
    pub condition: Option<String>,
    /// The Fail step's message.
    pub message: String,
    /// The requirements that were not met.
    pub checks: Vec<Check>,
    /// The metrics that the conditions were evaluated on.
    pub metrics: Map<String, Value>,
    /// Why some values are missing.
    pub note: Option<String>,
}

/// One requirement of a gate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The compared metric.
    pub metric: String,
    /// Its value; null if it is no longer available.
    pub value: Option<Value>,
    /// How it must compare with the limit.
    pub operator: Operator,
    /// The limit; null if it is no longer available.
    pub limit: Option<Value>,
    /// The pipeline parameter that sets the limit.
    pub parameter: Option<String>,
}

/// How a value must compare with its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "named as in the format")]
pub enum Operator {
    Equals,
    NotEquals,
    LessThan,
    LessThanOrEqualTo,
    GreaterThan,
    GreaterThanOrEqualTo,
    In,
    NotIn,
}

impl Operator {
    /// Returns the opposite comparison.
    fn negated(self) -> Self {
        match self {
            Self::Equals => Self::NotEquals,
            Self::NotEquals => Self::Equals,
            Self::LessThan => Self::GreaterThanOrEqualTo,
            Self::LessThanOrEqualTo => Self::GreaterThan,
            Self::GreaterThan => Self::LessThanOrEqualTo,
            Self::GreaterThanOrEqualTo => Self::LessThan,
            Self::In => Self::NotIn,
            Self::NotIn => Self::In,
        }
    }

    /// Returns the same comparison with its sides swapped.
    fn mirrored(self) -> Self {
        match self {
            Self::LessThan => Self::GreaterThan,
            Self::LessThanOrEqualTo => Self::GreaterThanOrEqualTo,
            Self::GreaterThan => Self::LessThan,
            Self::GreaterThanOrEqualTo => Self::LessThanOrEqualTo,
            other => other,
        }
    }

    /// Whether `value` satisfies the comparison with `limit`; `None` if they cannot be compared.
    fn holds(self, value: &Value, limit: &Value) -> Option<bool> {
        let order = || value.as_f64()?.partial_cmp(&limit.as_f64()?);
        let same = |limit: &Value| match (value.as_f64(), limit.as_f64()) {
            (Some(value), Some(limit)) => value.total_cmp(&limit).is_eq(),
            _ => value == limit,
        };
        let within = || limit.as_array().map(|all| all.iter().any(same));
        match self {
            Self::Equals => Some(same(limit)),
            Self::NotEquals => Some(!same(limit)),
            Self::LessThan => order().map(std::cmp::Ordering::is_lt),
            Self::LessThanOrEqualTo => order().map(std::cmp::Ordering::is_le),
            Self::GreaterThan => order().map(std::cmp::Ordering::is_gt),
            Self::GreaterThanOrEqualTo => order().map(std::cmp::Ordering::is_ge),
            Self::In => within(),
            Self::NotIn => within().map(|found| !found),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Equals => "must be",
            Self::NotEquals => "must not be",
            Self::LessThan => "must be below",
            Self::LessThanOrEqualTo => "must be at most",
            Self::GreaterThan => "must be above",
            Self::GreaterThanOrEqualTo => "must be at least",
            Self::In => "must be one of",
            Self::NotIn => "must be none of",
        }
    }
}

impl Check {
    fn holds(&self) -> Option<bool> {
        self.operator
            .holds(self.value.as_ref()?, self.limit.as_ref()?)
    }

    /// Formats the value with four digits, or with all digits if four would seem to satisfy the
    /// limit.
    fn shown(&self) -> String {
        let Some(value) = &self.value else {
            return "(unknown)".to_owned();
        };
        let rounded = value.as_f64().map(models::significant);
        let passes = |text: &String| {
            let limit = self.limit.as_ref();
            let value = text.parse::<f64>().ok().map(Value::from);
            value
                .zip(limit)
                .is_some_and(|(value, limit)| self.operator.holds(&value, limit) == Some(true))
        };
        rounded
            .filter(|text| !passes(text))
            .unwrap_or_else(|| plain(value))
    }
}

/// Formats text without quotes, and a list without brackets.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

impl fmt::Display for Check {
    /// `rmse 15.78, must be at most 10.0 (MaxRmse)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self
            .limit
            .as_ref()
            .map_or_else(|| "(unknown)".to_owned(), plain);
        write!(
            f,
            "{} {}, {} {limit}",
            self.metric,
            self.shown(),
            self.operator.words()
        )?;
        match &self.parameter {
            Some(parameter) => write!(f, " ({parameter})"),
            None => Ok(()),
        }
    }
}

impl Gate {
    /// Describes the unmet requirements, or returns the message if they are unknown.
    pub fn sentence(&self) -> String {
        if self.checks.is_empty() {
            return self.message.clone();
        }
        let checks: Vec<String> = self.checks.iter().map(ToString::to_string).collect();
        checks.join("; ")
    }
}

/// Returns the gate that refused a run; `None` if no Fail step ended it. Values that are no longer
/// available (of a deleted object) are omitted, and a note explains why.
pub async fn of(clients: &Clients, arn: &str, steps: &[RunStep]) -> Option<Gate> {
    let fail = fail_step(steps)?;
    let mut gate = Gate {
        step: fail.name.clone(),
        condition: None,
        message: fail.failure.clone().unwrap_or_default(),
        checks: Vec::new(),
        metrics: Map::new(),
        note: None,
    };
    if let Err(error) = explain(clients, arn, steps, &mut gate).await {
        gate.note = Some(mlops_core::error::message(&error));
    }
    Some(gate)
}

/// Returns the definition that a run was started with.
pub async fn definition(clients: &Clients, arn: &str) -> Result<Definition> {
    Definition::parse(&definition_text(clients, arn).await?)
        .map_err(|problem| anyhow!("cannot parse the definition of the run: {problem}"))
}

/// Returns the definition that a run was started with, as SageMaker keeps it.
pub async fn definition_text(clients: &Clients, arn: &str) -> Result<String> {
    let described = clients
        .sagemaker
        .describe_pipeline_definition_for_execution()
        .pipeline_execution_arn(arn)
        .send()
        .await
        .aws("cannot read the definition of the run")?;
    Ok(described.pipeline_definition.unwrap_or_default())
}

async fn explain(clients: &Clients, arn: &str, steps: &[RunStep], gate: &mut Gate) -> Result<()> {
    let definition = definition(clients, arn).await?;
    let Some((condition, refused_when)) = leading_to(&definition.steps, &gate.step) else {
        return Ok(());
    };
    gate.condition = Some(condition.name.clone());
    let given = parameters(clients, arn).await?;
    let parameters = definition
        .parameters
        .iter()
        .filter_map(|parameter| {
            let given = given.get(&parameter.name);
            let value = given.and_then(|text| parameter.read(text).ok());
            Some((
                parameter.name.clone(),
                value.or_else(|| parameter.default_value.clone())?,
            ))
        })
        .collect();
    let mut facts = Facts {
        parameters,
        files: BTreeMap::new(),
    };
    let conditions = condition
        .arguments
        .get("Conditions")
        .cloned()
        .unwrap_or_default();
    let mut problem = None;
    for (step, file) in property_files(&conditions) {
        match property_file(clients, &definition, steps, &step, &file).await {
            Ok(document) => {
                gate.metrics.extend(models::quality(&document));
                facts.files.insert((step, file), document);
            }
            Err(error) => problem = Some(error),
        }
    }
    let conditions: Vec<Condition> = serde_json::from_value(conditions)
        .with_context(|| format!("cannot parse the conditions of `{}`", condition.name))?;
    gate.checks = violated(&conditions, !refused_when, &facts);
    for check in &gate.checks {
        if let Some(value) = check.value.as_ref().filter(|value| value.is_number()) {
            gate.metrics
                .entry(check.metric.clone())
                .or_insert_with(|| value.clone());
        }
    }
    problem.map_or(Ok(()), Err)
}

/// Returns the innermost Condition step with this step in a branch, and the outcome that leads
/// there.
fn leading_to(steps: &[Step], name: &str) -> Option<(Step, bool)> {
    for step in steps.iter().filter(|step| step.kind == StepType::Condition) {
        for (member, outcome) in [("IfSteps", true), ("ElseSteps", false)] {
            let branch = step.branch(member).unwrap_or_default();
            if let Some(found) = leading_to(&branch, name) {
                return Some(found);
            }
            if branch.iter().any(|inner| inner.name == name) {
                return Some((step.clone(), outcome));
            }
        }
    }
    None
}

/// Finds a step of a definition, including steps in branches.
fn find(steps: &[Step], name: &str) -> Option<Step> {
    steps.iter().find_map(|step| {
        if step.name == name {
            return Some(step.clone());
        }
        ["IfSteps", "ElseSteps"]
            .into_iter()
            .find_map(|member| find(&step.branch(member).unwrap_or_default(), name))
    })
}

/// Returns the property files (step, name) that expressions read.
fn property_files(expressions: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending = vec![expressions];
    while let Some(value) = pending.pop() {
        match value {
            Value::Array(items) => pending.extend(items),
            Value::Object(members) => pending.extend(members.values()),
            Value::String(text) => {
                if let Ok(Reference::PropertyFile { step, file }) = Reference::parse(text)
                    && !found.contains(&(step.clone(), file.clone()))
                {
                    found.push((step, file));
                }
            }
            _ => {}
        }
    }
    found
}

/// Reads a property file that the step's job uploaded.
async fn property_file(
    clients: &Clients,
    definition: &Definition,
    steps: &[RunStep],
    step: &str,
    file: &str,
) -> Result<Value> {
    let declared = find(&definition.steps, step)
        .and_then(|step| step.property_file(file).cloned())
        .with_context(|| format!("step `{step}` declares no property file `{file}`"))?;
    let job = steps
        .iter()
        .find(|ran| ran.name == step)
        .and_then(|ran| ran.arn.as_deref()?.rsplit('/').next())
        .with_context(|| format!("step `{step}` ran no job"))?;
    let described = clients
        .sagemaker
        .describe_processing_job()
        .processing_job_name(job)
        .send()
        .await
        .aws(format!("cannot describe the job `{job}`"))?;
    let prefix = described
        .processing_output_config()
        .into_iter()
        .flat_map(ProcessingOutputConfig::outputs)
        .find(|output| output.output_name() == Some(declared.output_name.as_str()))
        .and_then(|output| Some(output.s3_output()?.s3_uri()?.to_owned()))
        .with_context(|| format!("the job `{job}` has no output `{}`", declared.output_name))?;
    let uri = prefix.parse::<S3Uri>()?.join(&declared.file_path);
    models::document(clients, &uri)
        .await?
        .with_context(|| format!("{uri} no longer exists"))
}

/// The values that conditions can look up after a run.
struct Facts {
    parameters: BTreeMap<String, Value>,
    files: BTreeMap<(String, String), Value>,
}

impl Scope for Facts {
    fn parameter(&self, name: &str) -> Option<Value> {
        self.parameters.get(name).cloned()
    }

    fn execution(&self, _name: &str) -> Option<Value> {
        None
    }

    fn step(&self, _name: &str) -> Option<Value> {
        None
    }

    fn property_file(&self, step: &str, file: &str) -> Result<Value, ExpressionError> {
        self.files
            .get(&(step.to_owned(), file.to_owned()))
            .cloned()
            .ok_or_else(|| ExpressionError(format!("property file `{file}` is not available")))
    }

    fn json_object(&self, uri: &str) -> Result<Value, ExpressionError> {
        Err(ExpressionError(format!("{uri} is not available")))
    }
}

/// Returns the requirements that failed or are unknown. `hold` is true if all conditions had to be
/// true, and false if they had to be false.
fn violated(conditions: &[Condition], hold: bool, scope: &dyn Scope) -> Vec<Check> {
    let mut found = Vec::new();
    for condition in conditions {
        required(condition, hold, scope, &mut found);
    }
    found.retain(|check| check.holds() != Some(true));
    found
}

fn required(condition: &Condition, hold: bool, scope: &dyn Scope, found: &mut Vec<Check>) {
    let list;
    let (left, operator, right) = match condition {
        Condition::Not { condition } => return required(condition, !hold, scope, found),
        Condition::Or { conditions } => {
            for condition in conditions {
                required(condition, hold, scope, found);
            }
            return;
        }
        Condition::In {
            query_value,
            values,
        } => {
            list = Value::Array(values.clone());
            (query_value, Operator::In, &list)
        }
        Condition::NotIn {
            query_value,
            values,
        } => {
            list = Value::Array(values.clone());
            (query_value, Operator::NotIn, &list)
        }
        Condition::NotEquals {
            left_value,
            right_value,
        } => (left_value, Operator::NotEquals, right_value),
        Condition::Equals {
            left_value,
            right_value,
        } => (left_value, Operator::Equals, right_value),
        Condition::GreaterThan {
            left_value,
            right_value,
        } => (left_value, Operator::GreaterThan, right_value),
        Condition::GreaterThanOrEqualTo {
            left_value,
            right_value,
        } => (left_value, Operator::GreaterThanOrEqualTo, right_value),
        Condition::LessThan {
            left_value,
            right_value,
        } => (left_value, Operator::LessThan, right_value),
        Condition::LessThanOrEqualTo {
            left_value,
            right_value,
        } => (left_value, Operator::LessThanOrEqualTo, right_value),
    };
    let operator = if hold { operator } else { operator.negated() };
    let (subject, operator, limit) = if is_result(right) && !is_result(left) {
        (right, operator.mirrored(), left)
    } else {
        (left, operator, right)
    };
    found.push(Check {
        metric: name(subject).unwrap_or_else(|| plain(subject)),
        value: pipeline::evaluate(subject, scope).ok(),
        operator,
        limit: pipeline::evaluate(limit, scope).ok(),
        parameter: parameter(limit),
    });
}

/// Returns whether an expression reads the output of a step.
fn is_result(expression: &Value) -> bool {
    expression.get("Std:JsonGet").is_some()
        || reference(expression).is_some_and(|text| text.starts_with("Steps."))
}

fn reference(expression: &Value) -> Option<&str> {
    expression.get("Get").and_then(Value::as_str)
}

fn parameter(expression: &Value) -> Option<String> {
    match Reference::parse(reference(expression)?) {
        Ok(Reference::Parameter(name)) => Some(name),
        _ => None,
    }
}

/// Returns the short name of an expression's value: `rmse` for `regression_metrics.rmse.value`.
fn name(expression: &Value) -> Option<String> {
    let path = match expression.pointer("/Std:JsonGet/Path") {
        Some(path) => path.as_str()?,
        None => reference(expression)?,
    };
    let mut parts: Vec<&str> = path
        .split(['.', '[', ']', '\'', '"'])
        .filter(|part| !part.is_empty())
        .collect();
    if parts.len() > 1 && parts.last()?.eq_ignore_ascii_case("value") {
        parts.pop();
    }
    parts.pop().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts() -> Facts {
        let document = json!({"regression_metrics": {"rmse": {"value": 15.784}, "r2": {"value": 0.5}},
            "label": "b"});
        Facts {
            parameters: [
                ("MaxRmse".to_owned(), json!(10.0)),
                ("Near".to_owned(), json!(15.78)),
            ]
            .into(),
            files: [(("Evaluate".to_owned(), "Evaluation".to_owned()), document)].into(),
        }
    }

    fn read(path: &str) -> Value {
        json!({"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.Evaluation"},
            "Path": path}})
    }

    fn sentences(conditions: &Value, hold: bool) -> Vec<String> {
        let conditions: Vec<Condition> = serde_json::from_value(conditions.clone()).unwrap();
        let checks = violated(&conditions, hold, &facts());
        checks.iter().map(ToString::to_string).collect()
    }

    /// Issue 8, 5.4: the metric and the limit, whichever side they are on.
    #[test]
    fn a_refusal_names_metric_and_limit() {
        let rmse = read("regression_metrics.rmse.value");
        let max = json!({"Get": "Parameters.MaxRmse"});
        let at_most = json!({"Type": "LessThanOrEqualTo", "LeftValue": rmse, "RightValue": max});
        let expected = ["rmse 15.78, must be at most 10.0 (MaxRmse)"];
        assert_eq!(sentences(&json!([at_most]), true), expected);
        let mirrored =
            json!({"Type": "GreaterThanOrEqualTo", "LeftValue": max, "RightValue": rmse});
        assert_eq!(sentences(&json!([mirrored]), true), expected);
        // The Fail step is in IfSteps: the condition must be false.
        let above = json!({"Type": "GreaterThan", "LeftValue": rmse, "RightValue": max});
        assert_eq!(sentences(&json!([above]), false), expected);
        let not = json!({"Type": "Not", "Condition": above});
        assert_eq!(sentences(&json!([not]), true), expected);

        // A condition that is true is not the cause.
        let r2 = json!({"Type": "GreaterThan", "LeftValue": read("regression_metrics['r2'].value"),
            "RightValue": 0.1});
        assert_eq!(sentences(&json!([r2, at_most]), true), expected);
        let either = json!({"Type": "Or", "Conditions": [
            {"Type": "Equals", "LeftValue": read("label"), "RightValue": "a"},
            {"Type": "In", "QueryValue": read("label"), "Values": ["c", "d"]}]});
        assert_eq!(
            sentences(&json!([either]), true),
            ["label b, must be a", "label b, must be one of c, d"]
        );
    }

    #[test]
    fn a_value_is_not_rounded_to_its_limit() {
        let near = json!([{"Type": "LessThanOrEqualTo",
            "LeftValue": read("regression_metrics.rmse.value"),
            "RightValue": {"Get": "Parameters.Near"}}]);
        assert_eq!(
            sentences(&near, true),
            ["rmse 15.784, must be at most 15.78 (Near)"]
        );
    }

    #[test]
    fn unknown_users_are_reported_as_unknown() {
        let gone = json!([{"Type": "LessThan", "LeftValue":
            {"Get": "Steps.Train.FinalMetricDataList['train:rmse'].Value"}, "RightValue": 3}]);
        assert_eq!(
            sentences(&gone, true),
            ["train:rmse (unknown), must be below 3"]
        );
    }

    #[test]
    fn the_condition_around_a_step_is_found() {
        let definition: Definition = serde_json::from_value(json!({"Version": "2020-12-01", "Steps": [
            {"Name": "Outer", "Type": "Condition", "Arguments": {"Conditions": [], "IfSteps": [
                {"Name": "Inner", "Type": "Condition", "Arguments": {"Conditions": [], "IfSteps": [
                    {"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": "no"}}]}}]}}]}))
        .unwrap();
        let (condition, outcome) = leading_to(&definition.steps, "Refuse").unwrap();
        assert_eq!((condition.name.as_str(), outcome), ("Inner", true));
        assert!(leading_to(&definition.steps, "Other").is_none());
        assert!(find(&definition.steps, "Refuse").is_some());
    }
}
