//! Properties: which a type allows, what type their scalars have, and which cannot be changed.

use serde_json::{Map, Number, Value};

use super::Type;
use crate::api::ApiError;
use crate::cloudformation::template::text_of;
use crate::system_tags;

/// Property names, at any depth of any type, whose value is a whole or decimal number.
const NUMBERS: &[&str] = &[
    "ContainerStartupHealthCheckTimeoutInSeconds",
    "Days",
    "DaysAfterInitiation",
    "ExpirationInDays",
    "InitialInstanceCount",
    "InitialSamplingPercentage",
    "InitialVariantWeight",
    "MaxConcurrency",
    "MaxConcurrentInvocationsPerInstance",
    "MaxParallelExecutionSteps",
    "MaxSessionDuration",
    "MaximumExecutionTimeoutInSeconds",
    "MemorySize",
    "MemorySizeInMB",
    "ModelDataDownloadTimeoutInSeconds",
    "NewerNoncurrentVersions",
    "NoncurrentDays",
    "NoncurrentVersionExpirationInDays",
    "PendingWindowInDays",
    "ProvisionedConcurrency",
    "RetentionInDays",
    "RotationPeriodInDays",
    "Size",
    "TerminationWaitInSeconds",
    "Timeout",
    "TransitionInDays",
    "VolumeSizeInGB",
    "WaitIntervalInSeconds",
];

/// The same for booleans.
const BOOLEANS: &[&str] = &[
    "AcceptEula",
    "BlockPublicAcls",
    "BlockPublicPolicy",
    "BucketKeyEnabled",
    "EmptyOnDelete",
    "EnableCapture",
    "EnableDnsHostnames",
    "EnableDnsSupport",
    "EnableKeyRotation",
    "EnableNetworkIsolation",
    "EnableSSMAccess",
    "Enabled",
    "EventBridgeEnabled",
    "ExpiredObjectDeleteMarker",
    "IgnorePublicAcls",
    "MapPublicIpOnLaunch",
    "MultiRegion",
    "PrivateDnsEnabled",
    "RestrictPublicBuckets",
    "ScanOnPush",
];

/// Properties that are documents of their own, left as they are written.
const DOCUMENTS: &[&str] = &[
    "AssumeRolePolicyDocument",
    "KeyPolicy",
    "LifecyclePolicyText",
    "ModelPackageGroupPolicy",
    "PipelineDefinitionBody",
    "PolicyDocument",
    "RepositoryPolicyText",
];

/// The properties with each scalar in the type that the service's API wants.
pub(crate) fn coerce(properties: &Map<String, Value>) -> Map<String, Value> {
    properties
        .iter()
        .map(|(name, value)| (name.clone(), coerced("", name, value)))
        .collect()
}

/// True for a map of text to text, whose members are named by the template's author: the
/// environment of a container, the variables of a Lambda function's environment.
fn is_text_map(name: &str, object: &Map<String, Value>) -> bool {
    name == "Variables" || (name == "Environment" && !object.values().any(Value::is_object))
}

fn coerced(parent: &str, name: &str, value: &Value) -> Value {
    if DOCUMENTS.contains(&name) {
        return value.clone();
    }
    match value {
        Value::Array(items) => items
            .iter()
            .map(|item| coerced(parent, name, item))
            .collect(),
        Value::Object(object) if is_text_map(name, object) => Value::Object(
            object
                .iter()
                .map(|(key, value)| (key.clone(), Value::String(text_of(value))))
                .collect(),
        ),
        Value::Object(object) => Value::Object(
            object
                .iter()
                .map(|(key, value)| (key.clone(), coerced(name, key, value)))
                .collect(),
        ),
        Value::Null => Value::Null,
        scalar => {
            let text = text_of(scalar);
            let is_size = name == "Value" && parent.ends_with("Size");
            if NUMBERS.contains(&name) || is_size {
                number(&text).unwrap_or(Value::String(text))
            } else if BOOLEANS.contains(&name) {
                match text.as_str() {
                    "true" | "True" => Value::Bool(true),
                    "false" | "False" => Value::Bool(false),
                    _ => Value::String(text),
                }
            } else {
                Value::String(text)
            }
        }
    }
}

fn number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Value::Number(whole.into()));
    }
    text.parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map(Value::Number)
}

/// Refuses properties that the type does not have, or that the local cloud does not.
pub(crate) fn check(
    kind: &Type,
    logical: &str,
    properties: &Map<String, Value>,
) -> Result<(), ApiError> {
    for name in properties.keys() {
        if kind.missing.contains(&name.as_str()) {
            return Err(ApiError::not_implemented(format_args!(
                "the property {name} of {}",
                kind.name
            )));
        }
    }
    let extra = properties
        .keys()
        .filter(|name| !kind.properties.contains(&name.as_str()))
        .map(|name| format!("#: extraneous key [{name}] is not permitted"));
    let absent = kind
        .required
        .iter()
        .filter(|name| !properties.contains_key(**name))
        .map(|name| format!("#: required key [{name}] not found"));
    let wrong = properties
        .iter()
        .filter_map(|(name, value)| wrong_scalar(&format!("#/{name}"), name, value));
    let found: Vec<String> = extra.chain(absent).chain(wrong).collect();
    if !found.is_empty() {
        return Err(ApiError::new(
            "InvalidRequest",
            format!(
                "Properties validation failed for resource {logical} with message:\n{}",
                found.join("\n")
            ),
        ));
    }
    let keys = super::list(properties, "Tags");
    let mut keys = keys.iter().filter_map(|tag| tag.get("Key")?.as_str());
    if keys.any(system_tags::is_reserved) {
        return Err(ApiError::new("InvalidRequest", system_tags::RESERVED));
    }
    Ok(())
}

/// What is no number where a number must be, and so on.
fn wrong_scalar(path: &str, name: &str, value: &Value) -> Option<String> {
    match value {
        _ if DOCUMENTS.contains(&name) => None,
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| wrong_scalar(&format!("{path}/{index}"), name, item)),
        Value::Object(object) if !is_text_map(name, object) => object
            .iter()
            .find_map(|(key, value)| wrong_scalar(&format!("{path}/{key}"), key, value)),
        Value::String(_) if NUMBERS.contains(&name) => {
            Some(format!("{path}: expected type: Number, found: String"))
        }
        Value::String(_) if BOOLEANS.contains(&name) => {
            Some(format!("{path}: expected type: Boolean, found: String"))
        }
        Value::Null => Some(format!("{path}: Null values are not allowed in templates")),
        _ => None,
    }
}

/// The top-level properties that differ, and of each whether its change makes a new resource.
pub(crate) fn create_only_changes(
    kind: &Type,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) -> Vec<(String, bool)> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| {
            let recreates = kind
                .create_only
                .iter()
                .any(|path| match path.split_once('/') {
                    None => path == name,
                    Some((outer, inner)) => {
                        let of = |properties: &Map<String, Value>| {
                            properties
                                .get(outer)
                                .and_then(|value| value.get(inner))
                                .cloned()
                        };
                        outer == name && of(old) != of(new)
                    }
                });
            (name.clone(), recreates)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::by_name;
    use super::*;
    use serde_json::json;

    fn object(mut value: Value) -> Map<String, Value> {
        std::mem::take(value.as_object_mut().unwrap())
    }

    #[test]
    fn scalars_get_the_types_of_the_api() {
        let properties = object(json!({
            "ProductionVariants": [{"InitialInstanceCount": "2", "InitialVariantWeight": "0.5", "VariantName": 1}],
            "EnableNetworkIsolation": "true",
            "Environment": {"Days": 3, "B": true},
            "Function": {"Environment": {"Variables": {"Days": 3}}, "Timeout": "5"},
            "PolicyDocument": {"Days": "3"},
            "Tags": [{"Key": "k", "Value": 7}],
        }));
        assert_eq!(
            Value::Object(coerce(&properties)),
            json!({
                "ProductionVariants": [{"InitialInstanceCount": 2, "InitialVariantWeight": 0.5, "VariantName": "1"}],
                "EnableNetworkIsolation": true,
                "Environment": {"Days": "3", "B": "true"},
                "Function": {"Environment": {"Variables": {"Days": "3"}}, "Timeout": 5},
                "PolicyDocument": {"Days": "3"},
                "Tags": [{"Key": "k", "Value": "7"}],
            })
        );
    }

    #[test]
    fn properties_are_checked_against_the_type() {
        let kind = by_name("AWS::S3::Bucket").unwrap();
        let message = |value| {
            check(kind, "Data", &coerce(&object(value)))
                .unwrap_err()
                .message
        };
        assert!(
            message(json!({"Bucketname": "x"}))
                .contains("extraneous key [Bucketname] is not permitted")
        );
        assert!(
            message(json!({"WebsiteConfiguration": {}}))
                .contains("the property WebsiteConfiguration of AWS::S3::Bucket")
        );
        assert!(
            message(json!({"PublicAccessBlockConfiguration": {"BlockPublicAcls": "maybe"}}))
                .contains(
                    "#/PublicAccessBlockConfiguration/BlockPublicAcls: expected type: Boolean"
                )
        );
        let reserved = message(json!({"Tags": [{"Key": "aws:mine", "Value": "v"}]}));
        assert_eq!(reserved, system_tags::RESERVED);
        // Issue 8, 3.6: the reason names the resource, and all that is wrong with it.
        assert_eq!(
            message(json!({"Bucketname": "x", "Other": 1})),
            "Properties validation failed for resource Data with message:\n\
             #: extraneous key [Bucketname] is not permitted\n\
             #: extraneous key [Other] is not permitted"
        );
        let policy = by_name("AWS::S3::BucketPolicy").unwrap();
        let error = check(policy, "Policy", &object(json!({"Bucket": "b"}))).unwrap_err();
        assert!(
            error
                .message
                .contains("required key [PolicyDocument] not found")
        );
    }

    #[test]
    fn only_create_only_properties_make_a_new_resource() {
        let kind = by_name("AWS::SageMaker::CodeRepository").unwrap();
        let old = object(
            json!({"CodeRepositoryName": "r", "GitConfig": {"RepositoryUrl": "u", "SecretArn": "a"}}),
        );
        let secret = object(
            json!({"CodeRepositoryName": "r", "GitConfig": {"RepositoryUrl": "u", "SecretArn": "b"}}),
        );
        let url = object(
            json!({"CodeRepositoryName": "r", "GitConfig": {"RepositoryUrl": "v", "SecretArn": "a"}}),
        );
        assert_eq!(create_only_changes(kind, &old, &old), []);
        assert_eq!(
            create_only_changes(kind, &old, &secret),
            [("GitConfig".to_owned(), false)]
        );
        assert_eq!(
            create_only_changes(kind, &old, &url),
            [("GitConfig".to_owned(), true)]
        );
    }

    #[test]
    fn every_type_lists_what_it_requires() {
        for name in super::super::names() {
            let kind = by_name(name).unwrap();
            for property in kind.required.iter().chain(kind.create_only) {
                let property = property.split('/').next().unwrap();
                assert!(
                    kind.properties.contains(&property) || kind.missing.contains(&property),
                    "{name}: {property}"
                );
            }
        }
    }
}
