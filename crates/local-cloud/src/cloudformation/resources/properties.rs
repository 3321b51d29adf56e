//! Checks and conversions of properties by the type's schema.

use serde_json::{Map, Number, Value};

use super::Type;
use super::schema::Schema;
use crate::api::ApiError;
use crate::cloudformation::custom;
use crate::cloudformation::template::text_of;
use crate::system_tags;

/// The properties with each scalar converted to the type in the schema.
pub(crate) fn coerce(kind: &Type, properties: &Map<String, Value>) -> Map<String, Value> {
    let schema = Schema::of(kind.name);
    properties
        .iter()
        .map(|(name, value)| {
            let of = schema.and_then(|schema| schema.member(name));
            (name.clone(), coerced(of, value))
        })
        .collect()
}

fn coerced(schema: Option<Schema>, value: &Value) -> Value {
    match (value, schema) {
        (Value::Array(items), _) => {
            let of = schema.and_then(Schema::item);
            items.iter().map(|item| coerced(of, item)).collect()
        }
        (Value::Object(object), Some(schema)) => object
            .iter()
            .map(|(name, value)| {
                let value = match schema.member(name) {
                    Some(of) => coerced(Some(of), value),
                    // A document is not converted.
                    None => value.clone(),
                };
                (name.clone(), value)
            })
            .collect(),
        (Value::Object(_) | Value::Null, _) => value.clone(),
        (scalar, Some(schema)) if !schema.allows("string") => {
            let text = text_of(scalar);
            let typed = match text.as_str() {
                "true" | "True" if schema.allows("boolean") => Some(Value::Bool(true)),
                "false" | "False" if schema.allows("boolean") => Some(Value::Bool(false)),
                _ if schema.allows("number") || schema.allows("integer") => number(&text),
                _ => None,
            };
            typed.unwrap_or(Value::String(text))
        }
        (scalar, _) => Value::String(text_of(scalar)),
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

/// Refuses properties that the type or the local cloud lacks, and values that the type's schema does not
/// allow.
pub(crate) fn check(
    kind: &Type,
    logical: &str,
    properties: &Map<String, Value>,
) -> Result<(), ApiError> {
    let schema = Schema::of(kind.name)
        .ok_or_else(|| ApiError::internal(format_args!("no schema of {}", kind.name)))?;
    let exists = |name: &str| schema.member(name).is_some() && !schema.is_read_only(name);
    for name in properties.keys() {
        if exists(name) && !kind.supports(name) {
            return Err(ApiError::not_implemented(format_args!(
                "the property {name} of {}",
                kind.name
            )));
        }
    }
    // The other properties of a custom resource are those of its function.
    let is_custom = kind.name == custom::TYPE;
    let mut found: Vec<String> = properties
        .keys()
        .filter(|name| !exists(name) && !is_custom)
        .map(|name| extraneous("#", name))
        .collect();
    found.extend(absent(schema, "#", properties));
    for (name, value) in properties {
        if let Some(of) = schema.member(name).filter(|_| exists(name) && !is_custom) {
            wrong(of, &format!("#/{name}"), value, &mut found);
        }
    }
    if !found.is_empty() {
        return Err(ApiError::new(
            "InvalidRequest",
            format!(
                "Properties validation failed for resource {logical} with message:\n{}",
                found.join("\n")
            ),
        ));
    }
    let keys = super::tags(properties);
    let mut keys = keys.iter().filter_map(|tag| tag.get("Key")?.as_str());
    if !is_custom && keys.any(system_tags::is_reserved) {
        return Err(ApiError::new("InvalidRequest", system_tags::RESERVED));
    }
    Ok(())
}

fn extraneous(path: &str, name: &str) -> String {
    format!("{path}: extraneous key [{name}] is not permitted")
}

/// The members that an object lacks.
fn absent(schema: Schema, path: &str, object: &Map<String, Value>) -> Vec<String> {
    schema
        .required()
        .filter(|name| !object.contains_key(*name))
        .map(|name| format!("{path}: required key [{name}] not found"))
        .collect()
}

/// Adds what the schema does not allow, in AWS's words.
fn wrong(schema: Schema, path: &str, value: &Value, found: &mut Vec<String>) {
    let (kinds, is): (&[_], _) = match value {
        Value::Null => {
            found.push(format!("{path}: Null values are not allowed in templates"));
            return;
        }
        Value::Bool(_) => (&["boolean"], "Boolean"),
        Value::Number(number) if number.is_f64() => (&["number"], "Double"),
        Value::Number(_) => (&["integer", "number"], "Integer"),
        Value::String(_) => (&["string"], "String"),
        Value::Array(_) => (&["array"], "JSONArray"),
        Value::Object(_) => (&["object"], "JSONObject"),
    };
    if !kinds.iter().any(|kind| schema.allows(kind)) {
        let wanted = [
            ("boolean", "Boolean"),
            ("integer", "Number"),
            ("number", "Number"),
            ("array", "JSONArray"),
            ("object", "JSONObject"),
            ("string", "String"),
        ];
        let wanted = wanted.iter().find(|(kind, _)| schema.allows(kind));
        let wanted = wanted.map_or("String", |(_, name)| name);
        found.push(format!("{path}: expected type: {wanted}, found: {is}"));
        return;
    }
    match value {
        Value::Array(items) => {
            let Some(of) = schema.item() else { return };
            for (index, item) in items.iter().enumerate() {
                wrong(of, &format!("{path}/{index}"), item, found);
            }
        }
        Value::Object(object) => {
            found.extend(absent(schema, path, object));
            for (name, value) in object {
                match schema.member(name) {
                    Some(of) => wrong(of, &format!("{path}/{name}"), value, found),
                    None if schema.is_open() => {}
                    None => found.push(extraneous(path, name)),
                }
            }
        }
        scalar if !schema.choices().is_empty() && !schema.choices().contains(scalar) => {
            let text = text_of(scalar);
            found.push(format!("{path}: {text} is not a valid enum value"));
        }
        _ => {}
    }
}

/// The top-level properties that differ, and for each whether the change creates a new resource.
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
            let mut create_only = Schema::of(kind.name)
                .into_iter()
                .flat_map(Schema::create_only);
            let recreates = create_only.any(|path| match path.split_once('/') {
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
            (name.clone(), recreates && kind.name != custom::TYPE)
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
    fn scalars_get_the_types_of_the_schema() {
        let typed = |name, value| Value::Object(coerce(by_name(name).unwrap(), &object(value)));
        assert_eq!(
            typed(
                "AWS::SageMaker::EndpointConfig",
                json!({"ProductionVariants": [
                    {"InitialInstanceCount": "2", "InitialVariantWeight": "0.5", "VariantName": 1},
                ]})
            ),
            json!({"ProductionVariants": [
                {"InitialInstanceCount": 2, "InitialVariantWeight": 0.5, "VariantName": "1"},
            ]})
        );
        assert_eq!(
            typed(
                "AWS::Lambda::Function",
                json!({
                    "Environment": {"Variables": {"Days": 3, "B": true}},
                    "Timeout": "5",
                    "Tags": [{"Key": "k", "Value": 7}],
                })
            ),
            json!({
                "Environment": {"Variables": {"Days": "3", "B": "true"}},
                "Timeout": 5,
                "Tags": [{"Key": "k", "Value": "7"}],
            })
        );
        let document = json!({"PolicyDocument": {"Days": "3", "Many": 1}});
        assert_eq!(typed("AWS::IAM::Policy", document.clone()), document);
    }

    #[test]
    fn values_are_checked_at_every_depth() {
        let kind = by_name("AWS::SageMaker::Model").unwrap();
        let properties = json!({
            "VpcConfig": {"Subnets": "subnet-1", "Other": 1},
            "Containers": {"Image": "i"},
            "EnableNetworkIsolation": "maybe",
            "PrimaryContainer": {"Mode": "Fast", "Environment": {"Any": "thing"}},
        });
        let error = check(kind, "Model", &coerce(kind, &object(properties))).unwrap_err();
        assert_eq!(
            error.message,
            "Properties validation failed for resource Model with message:\n\
             #/VpcConfig: required key [SecurityGroupIds] not found\n\
             #/VpcConfig/Subnets: expected type: JSONArray, found: String\n\
             #/VpcConfig: extraneous key [Other] is not permitted\n\
             #/Containers: expected type: JSONArray, found: JSONObject\n\
             #/EnableNetworkIsolation: expected type: Boolean, found: String\n\
             #/PrimaryContainer/Mode: Fast is not a valid enum value"
        );
        let retention = by_name("AWS::Logs::LogGroup").unwrap();
        let error = check(retention, "Logs", &object(json!({"RetentionInDays": 2}))).unwrap_err();
        assert!(
            error
                .message
                .ends_with("#/RetentionInDays: 2 is not a valid enum value")
        );
    }

    #[test]
    fn properties_are_checked_against_the_type() {
        let kind = by_name("AWS::S3::Bucket").unwrap();
        let message = |value| {
            check(kind, "Data", &coerce(kind, &object(value)))
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
}
