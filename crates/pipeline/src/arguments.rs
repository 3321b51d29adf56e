//! The arguments of a step: the request of the operation that the step calls, with functions in
//! place of values.

use serde_json::{Map, Value};

use super::definition::{Definition, ParameterType};
use super::expression::{Call, Reference, call};
use super::problem::Problem;
use crate::shapes::{Calls, Check, Fault, Scalars, Table};

/// A member of `ModelMetrics` that the published schema of definitions has, but the service model
/// lacks.
pub const SCHEMA_ONLY: &str = "DeploymentSpecification";

/// The operation behind a type of step. Its input describes the step's arguments.
pub(super) fn operation(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Processing" | "QualityCheck" | "ClarifyCheck" => "CreateProcessingJob",
        "Training" => "CreateTrainingJob",
        "Transform" => "CreateTransformJob",
        "Tuning" => "CreateHyperParameterTuningJob",
        "AutoML" => "CreateAutoMLJob",
        "Model" => "CreateModel",
        "RegisterModel" => "CreateModelPackage",
        "EndpointConfig" => "CreateEndpointConfig",
        "Endpoint" => "CreateEndpoint",
        _ => return None,
    })
}

/// Reports members that the operation does not have, and values of a wrong type. Required members
/// and limits are checked at run time, because a definition may omit what AWS's own checks accept.
pub(super) fn shape(kind: &str, arguments: &Value, path: &str, found: &mut Vec<Problem>) {
    // A RegisterModel step names its group; the version is assigned (sagemaker-python-sdk, pull
    // request 3472).
    if kind == "RegisterModel" && arguments.get("ModelPackageName").is_some() {
        found.push(unknown("ModelPackageName", path));
    }
    if kind == "Model" && arguments.get("ExecutionRoleArn").is_none() {
        let message = "Missing required property 'ExecutionRoleArn'";
        found.push(Problem::new(path, message));
    }
    compare(kind, arguments, path, &|_, _| Some(Ok(())), found);
}

/// Reports parameters and functions whose type does not match the argument.
pub(super) fn assignments(
    definition: &Definition,
    kind: &str,
    arguments: &Value,
    path: &str,
    found: &mut Vec<Problem>,
) {
    let assignable = |members: &Map<String, Value>, wanted: &'static str| {
        Some(assign(definition, call(members)?, wanted))
    };
    compare(kind, arguments, path, &assignable, found);
}

/// Returns whether a function's value can be assigned to an argument of this type. Values that are
/// only known at run time (a member of another step's result, a property file) are always
/// assignable.
pub(super) fn assign(
    definition: &Definition,
    function: Call<'_>,
    wanted: &'static str,
) -> Result<(), String> {
    let (name, given) = match function {
        Call::Get(Value::String(text)) => match Reference::parse(text) {
            Ok(Reference::Parameter(name)) => match definition.parameter(&name) {
                Some(parameter) => (text.as_str(), parameter.kind),
                None => return Ok(()),
            },
            Ok(Reference::Execution(_)) => (text.as_str(), ParameterType::String),
            _ => return Ok(()),
        },
        Call::Join(_) => ("Std:Join", ParameterType::String),
        _ => return Ok(()),
    };
    let fits = match given {
        ParameterType::String => matches!(wanted, "String" | "Blob" | "Timestamp"),
        ParameterType::Integer => matches!(wanted, "Integer" | "Float" | "Timestamp"),
        ParameterType::Float => matches!(wanted, "Float" | "Timestamp"),
        ParameterType::Boolean => wanted == "Boolean",
    };
    if fits {
        return Ok(());
    }
    // AWS's wording (sagemaker-python-sdk, issue 4867).
    Err(format!(
        "Cannot assign property reference [{name}] to argument of type [{wanted}]."
    ))
}

fn compare(
    kind: &str,
    arguments: &Value,
    path: &str,
    assignable: &Calls<'_>,
    found: &mut Vec<Problem>,
) {
    let Some((table, input)) =
        Table::of("sagemaker").and_then(|table| Some((table, table.input(operation(kind)?)?)))
    else {
        return;
    };
    let calls = |members: &Map<String, Value>, wanted: &'static str| {
        call(members)?;
        assignable(members, wanted)
    };
    let check = Check {
        table,
        scalars: Scalars::Json,
        limits: false,
        calls: Some(&calls),
    };
    for finding in check.run(input, arguments) {
        if finding.path == "ModelMetrics"
            && matches!(&finding.fault, Fault::Unknown { member, .. } if member == SCHEMA_ONLY)
        {
            continue;
        }
        let path = match finding.path.as_str() {
            "" => path.to_owned(),
            inner => format!("{path}.{inner}"),
        };
        found.push(match finding.fault {
            Fault::Unknown { member, .. } => unknown(&member, &path),
            Fault::Type { wanted, found } => match wanted {
                "List" => Problem::parsing(path, "Expecting start of Json Array"),
                "Structure" | "Map" => Problem::parsing(path, "Expecting start of Json Object"),
                _ => Problem::new(
                    path,
                    format!("{found}_VALUE cannot be assigned to argument of type [{wanted}]"),
                ),
            },
            Fault::Call(message) => Problem::assignment(path, message),
            Fault::Limit { constraint, .. } => Problem::new(path, constraint),
        });
    }
}

/// AWS's wording (sagemaker-python-sdk, pull request 3472 and issue 4994).
fn unknown(member: &str, path: &str) -> Problem {
    Problem::parsing(path, format!("Unknown Argument member '{member}'"))
}
