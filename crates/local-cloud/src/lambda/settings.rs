//! The settings of a function: reading them, checking them, and merging them into its record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::records::Plan;
use super::{LATEST, arn, invalid};
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, iam};

/// The members that `CreateFunction` and `UpdateFunctionConfiguration` share.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Settings {
    runtime: Option<String>,
    role: Option<String>,
    handler: Option<String>,
    description: Option<String>,
    timeout: Option<i64>,
    memory_size: Option<i64>,
    environment: Option<Environment>,
    ephemeral_storage: Option<Storage>,
    logging_config: Option<Logging>,
    tracing_config: Option<Tracing>,
    snap_start: Option<SnapStart>,
    /// All other members, which are refused by name unless empty.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Environment {
    variables: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Tracing {
    mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct SnapStart {
    apply_on: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Storage {
    size: i64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
struct Logging {
    log_format: Option<String>,
    log_group: Option<String>,
}

/// Variables that Lambda sets (developer guide: reserved environment variables).
const RESERVED: &[&str] = &[
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "TZ",
    "_HANDLER",
];

/// Maximum total size of the variables (Lambda quotas).
const MAX_VARIABLES: usize = 4096;

/// AWS runtimes that the local cloud does not support, by prefix.
const ELSEWHERE: &[&str] = &["nodejs", "java", "dotnet", "ruby", "go1.x"];

/// This machine's architecture in Lambda's terms.
pub(super) fn machine() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x86_64"
    }
}

impl Settings {
    /// Refuses unsupported settings, and values that Lambda does not accept.
    pub(super) fn check(&self, cloud: &Cloud) -> ApiResult<()> {
        for (name, value) in &self.others {
            if !says_nothing(value) {
                return Err(ApiError::not_implemented(format_args!(
                    "the member {name} of Lambda functions"
                )));
            }
        }
        let only = |value: Option<&String>, member: &str, only: &str| match value {
            Some(found) if found != only => Err(ApiError::not_implemented(format_args!(
                "{member} {} of Lambda functions",
                json!(found)
            ))),
            _ => Ok(()),
        };
        let tracing = self.tracing_config.as_ref();
        only(
            tracing.and_then(|it| it.mode.as_ref()),
            "Mode",
            "PassThrough",
        )?;
        let snap_start = self.snap_start.as_ref();
        only(
            snap_start.and_then(|it| it.apply_on.as_ref()),
            "ApplyOn",
            "None",
        )?;
        if let Some(runtime) = &self.runtime {
            check_runtime(runtime)?;
        }
        within("timeout", self.timeout, 1, 900)?;
        within("memorySize", self.memory_size, 128, 10_240)?;
        let size = self.ephemeral_storage.as_ref().map(|storage| storage.size);
        within("ephemeralStorage.size", size, 512, 10_240)?;
        if let Some(logging) = &self.logging_config
            && logging.log_format.as_deref().is_some_and(|f| f != "Text")
        {
            return Err(ApiError::not_implemented(
                "LogFormat JSON of Lambda functions",
            ));
        }
        if let Some(environment) = &self.environment {
            check_variables(&environment.variables)?;
        }
        if let Some(role) = &self.role {
            iam::require_role(cloud, role, "lambda.amazonaws.com").map_err(|_| {
                invalid("The role defined for the function cannot be assumed by Lambda.")
            })?;
        }
        Ok(())
    }

    /// The configuration of a new function, with defaults.
    pub(super) fn first(&self, cloud: &Cloud, name: &str, architecture: &str) -> ApiResult<Value> {
        if self.runtime.is_none() || self.handler.is_none() {
            return Err(invalid(
                "Runtime and Handler are mandatory parameters for functions created with \
                 deployment packages.",
            ));
        }
        let mut made = json!({
            "FunctionName": name,
            "FunctionArn": arn(cloud, name),
            "Description": "",
            "Timeout": 3,
            "MemorySize": 128,
            "Version": LATEST,
            "TracingConfig": {"Mode": "PassThrough"},
            "PackageType": "Zip",
            "Architectures": [architecture],
            "EphemeralStorage": {"Size": 512},
            "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": format!("/aws/lambda/{name}")},
        });
        self.merge(&mut made);
        Ok(made)
    }

    /// Writes the given settings to a function's record.
    pub(super) fn merge(&self, into: &mut Value) {
        for (member, value) in [
            ("Runtime", self.runtime.as_ref().map(|v| json!(v))),
            ("Role", self.role.as_ref().map(|v| json!(v))),
            ("Handler", self.handler.as_ref().map(|v| json!(v))),
            ("Description", self.description.as_ref().map(|v| json!(v))),
            ("Timeout", self.timeout.map(|v| json!(v))),
            ("MemorySize", self.memory_size.map(|v| json!(v))),
            (
                "EphemeralStorage",
                self.ephemeral_storage
                    .as_ref()
                    .map(|storage| json!({"Size": storage.size})),
            ),
        ] {
            if let Some(value) = value {
                into[member] = value;
            }
        }
        if let Some(group) = self
            .logging_config
            .as_ref()
            .and_then(|logging| logging.log_group.as_ref())
        {
            into["LoggingConfig"]["LogGroup"] = json!(group);
        }
        if let Some(environment) = &self.environment {
            into["Environment"] = if environment.variables.is_empty() {
                Value::Null
            } else {
                json!({"Variables": environment.variables})
            };
        }
    }
}

/// The plan of invocations, from a function's record.
pub(super) fn plan(record: &Value, code: &str) -> ApiResult<Plan> {
    let text = |pointer: &str| {
        record
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let number = |member: &str| record[member].as_u64().unwrap_or_default();
    let variables = record
        .pointer("/Environment/Variables")
        .cloned()
        .unwrap_or_else(|| json!({}));
    Ok(Plan {
        name: text("/FunctionName"),
        arn: text("/FunctionArn"),
        code: code.to_owned(),
        role: text("/Role"),
        runtime: text("/Runtime"),
        handler: text("/Handler"),
        timeout: number("Timeout"),
        memory: number("MemorySize"),
        environment: serde_json::from_value(variables).map_err(ApiError::internal)?,
        log_group: text("/LoggingConfig/LogGroup"),
        revision: text("/RevisionId"),
    })
}

/// The architecture of a request; it must be this machine's for native programs.
pub(super) fn architecture(given: Option<Vec<String>>, runtime: &str) -> ApiResult<Option<String>> {
    let Some(given) = given else {
        return Ok(None);
    };
    let named = match &given[..] {
        [one] => Some(one.as_str()),
        _ => None,
    };
    match named {
        Some(name @ ("x86_64" | "arm64")) => {
            if runtime.starts_with("provided") && name != machine() {
                return Err(ApiError::not_implemented(format_args!(
                    "functions for {name}: it runs them on this machine, which is {}",
                    machine()
                )));
            }
            Ok(Some(name.to_owned()))
        }
        _ => Err(ApiError::validation(format!(
            "1 validation error detected: Value '{}' at 'architectures' failed to satisfy \
             constraint: Member must satisfy constraint: [Member must satisfy enum value set: \
             [x86_64, arm64]]",
            json!(given)
        ))),
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(says_nothing),
        _ => false,
    }
}

fn check_runtime(runtime: &str) -> ApiResult<()> {
    if matches!(runtime, "provided.al2" | "provided.al2023") {
        return Ok(());
    }
    let minor = runtime.strip_prefix("python3.");
    if minor.is_some_and(|minor| minor.parse::<u8>().is_ok()) {
        return Ok(());
    }
    if ELSEWHERE.iter().any(|prefix| runtime.starts_with(prefix)) {
        return Err(ApiError::not_implemented(format_args!(
            "the runtime {runtime}: it has provided.al2023, provided.al2 and python3.*"
        )));
    }
    Err(invalid(format!(
        "Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum \
         value set: [provided.al2, provided.al2023, python3.9, python3.10, python3.11, \
         python3.12, python3.13, python3.14] or be a valid ARN"
    )))
}

fn within(member: &str, value: Option<i64>, least: i64, most: i64) -> ApiResult<()> {
    let Some(value) = value else {
        return Ok(());
    };
    let broken = |word: &str, bound: i64| {
        Err(ApiError::validation(format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy \
             constraint: Member must have value {word} than or equal to {bound}"
        )))
    };
    if value < least {
        broken("greater", least)
    } else if value > most {
        broken("less", most)
    } else {
        Ok(())
    }
}

fn check_variables(variables: &BTreeMap<String, String>) -> ApiResult<()> {
    let reserved: Vec<&str> = variables
        .keys()
        .map(String::as_str)
        .filter(|name| RESERVED.contains(name))
        .collect();
    if !reserved.is_empty() {
        return Err(invalid(format!(
            "Lambda was unable to configure your environment variables because the environment \
             variables you have provided contains reserved keys that are currently not supported \
             for modification. Reserved keys used in this request: {}",
            reserved.join(", ")
        )));
    }
    for name in variables.keys() {
        let sound = name.len() >= 2
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !sound {
            return Err(ApiError::validation(format!(
                "1 validation error detected: Value '{name}' at 'environment.variables' failed to \
                 satisfy constraint: Map keys must satisfy constraint: [Member must satisfy \
                 regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]"
            )));
        }
    }
    let text = json!(variables).to_string();
    if text.len() > MAX_VARIABLES {
        return Err(invalid(format!(
            "Lambda was unable to configure your environment variables because the environment \
             variables you have provided exceeded the 4KB limit. String measured: {text}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(value: Value) -> Settings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn values_out_of_range_and_reserved_variables_are_refused() {
        assert!(within("timeout", Some(0), 1, 900).is_err());
        assert!(within("timeout", Some(901), 1, 900).is_err());
        assert!(within("timeout", Some(900), 1, 900).is_ok());
        let variables = |name: &str| BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        assert!(check_variables(&variables("AWS_REGION")).is_err());
        assert!(check_variables(&variables("1X")).is_err());
        assert!(check_variables(&variables("STAGE")).is_ok());
        let large = BTreeMap::from([("STAGE".to_owned(), "x".repeat(4096))]);
        assert!(check_variables(&large).unwrap_err().message.contains("4KB"));
    }

    #[test]
    fn unsupported_runtimes_are_refused_by_name() {
        check_runtime("python3.12").unwrap();
        check_runtime("provided.al2023").unwrap();
        assert_eq!(
            check_runtime("nodejs22.x").unwrap_err().code,
            "NotImplemented"
        );
        let code = "InvalidParameterValueException";
        assert_eq!(check_runtime("cobol").unwrap_err().code, code);
    }

    #[test]
    fn empty_members_are_accepted_and_others_are_refused() {
        let quiet =
            settings(json!({"VpcConfig": {"SubnetIds": []}, "Layers": [], "Publish": false}));
        assert!(quiet.others.values().all(says_nothing));
        let loud = settings(json!({"Layers": ["arn:x"]}));
        assert!(!loud.others.values().all(says_nothing));
    }
}
