//! The resource types: what each allows, and how it is made, changed and removed through the
//! service that has it.
//!
//! Which properties are required, cannot change, or are of which type, the provider schemas of AWS
//! say ([`schema`]).

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::stacks::Stack;
use super::template::text_of;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

mod alike;
mod codecommit;
mod ecr;
mod iam;
mod kms;
mod lambda;
mod logs;
mod network;
mod notebook;
mod properties;
mod routing;
mod s3;
mod sagemaker;
mod schema;
mod security_group;
mod serving;
mod wait;

pub(crate) use alike::alike;
pub(crate) use properties::{check, coerce, create_only_changes};

/// A resource type.
pub(crate) struct Type {
    /// `AWS::SERVICE::NAME`.
    pub(crate) name: &'static str,
    /// The properties that the local cloud has.
    pub(crate) properties: &'static [&'static str],
    /// How it is named.
    pub(crate) naming: Option<Naming>,
    /// What `Fn::GetAtt` can ask of it.
    pub(crate) attributes: &'static [&'static str],
    /// What does the work.
    pub(crate) handler: &'static dyn Handler,
}

impl std::fmt::Debug for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// How a resource that may have a name of its own is named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Naming {
    /// The property that names it.
    pub(crate) property: &'static str,
    /// The longest name, in bytes.
    pub(crate) longest: usize,
    /// True when upper case is not allowed.
    pub(crate) lower: bool,
}

/// What a handler is given.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) cloud: &'a Cloud,
    /// Its properties: functions worked out, scalars in the types that the service's API wants.
    pub(crate) properties: &'a Map<String, Value>,
    /// Its name: the one that the template gives, else a generated one. Empty without `naming`.
    pub(crate) name: &'a str,
}

/// A resource that was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    /// Its physical id: the answer to `Ref`.
    pub(crate) physical: String,
    /// The answers to `Fn::GetAtt`.
    pub(crate) attributes: Map<String, Value>,
}

/// Makes, changes and removes the resources of one type.
#[async_trait]
pub(crate) trait Handler: Send + Sync {
    /// Makes the resource.
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made>;

    /// Waits until the resource works; an error when it never will.
    async fn stabilize(&self, _job: &Job<'_>, _physical: &str) -> ApiResult<()> {
        Ok(())
    }

    /// Changes the resource, whose properties were `old`, and waits until it works. Answers the
    /// attributes that changed.
    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>>;

    /// Removes the resource and waits until it is gone; one that is gone already is an error whose
    /// code [`is_gone`] knows.
    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()>;
}

/// Every type that stacks can hold.
const TYPES: &[&[Type]] = &[
    codecommit::TYPES,
    ecr::TYPES,
    iam::TYPES,
    kms::TYPES,
    lambda::TYPES,
    logs::TYPES,
    network::TYPES,
    notebook::TYPES,
    routing::TYPES,
    s3::TYPES,
    sagemaker::TYPES,
    security_group::TYPES,
    serving::TYPES,
    wait::TYPES,
];

/// The type of this name.
pub(crate) fn by_name(name: &str) -> Option<&'static Type> {
    TYPES
        .iter()
        .copied()
        .flatten()
        .find(|kind| kind.name == name)
}

/// The names of every type, in order.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = TYPES
        .iter()
        .copied()
        .flatten()
        .map(|kind| kind.name)
        .collect();
    names.sort_unstable();
    names
}

impl Type {
    /// The name of the service in messages: `AWS::S3::Bucket` → `S3`.
    pub(crate) fn service(&self) -> &'static str {
        self.name.split("::").nth(1).unwrap_or_default()
    }

    /// True when the properties may hold tags as a list of keys and values.
    pub(crate) fn is_taggable(&self) -> bool {
        self.properties.contains(&"Tags")
    }

    /// True when `CloudFormation` tags the resources with their stack and logical id
    /// (`tagging.cloudFormationSystemTags` of the provider schema).
    pub(crate) fn has_system_tags(&self) -> bool {
        self.is_taggable()
            && schema::Schema::of(self.name).is_some_and(schema::Schema::has_system_tags)
    }

    /// The properties with the tags that `CloudFormation` adds to those of the template.
    pub(crate) fn with_system_tags(
        &self,
        stack: &Stack,
        logical: &str,
        properties: &Map<String, Value>,
    ) -> Map<String, Value> {
        let mut tagged = properties.clone();
        if self.has_system_tags() {
            let mut tags = list(properties, "Tags");
            for (name, value) in [
                ("logical-id", logical),
                ("stack-id", &stack.id),
                ("stack-name", &stack.name),
            ] {
                let key = format!("aws:cloudformation:{name}");
                tags.push(serde_json::json!({"Key": key, "Value": value}));
            }
            tagged.insert("Tags".to_owned(), Value::Array(tags));
        }
        tagged
    }

    /// The name that the properties give, else one of `STACK-LOGICAL-RANDOM`.
    pub(crate) fn name_for(
        &self,
        stack: &Stack,
        logical: &str,
        properties: &Map<String, Value>,
    ) -> String {
        let Some(naming) = self.naming else {
            return String::new();
        };
        if let Some(given) = properties.get(naming.property) {
            return text_of(given);
        }
        let random: String = uuid::Uuid::new_v4()
            .simple()
            .to_string()
            .chars()
            .take(12)
            .collect();
        let room = naming.longest.saturating_sub(random.len() + 1);
        let logical: String = logical.chars().take(room.saturating_sub(2)).collect();
        let stack: String = stack
            .name
            .chars()
            .take(room.saturating_sub(logical.len() + 1))
            .collect();
        let stack = stack.trim_end_matches('-');
        if naming.lower {
            format!("{stack}-{logical}-{random}").to_lowercase()
        } else {
            format!("{stack}-{logical}-{}", random.to_uppercase())
        }
    }
}

impl Job<'_> {
    /// A property.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.properties.get(name)
    }

    /// A property as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.get(name).map(text_of).unwrap_or_default()
    }

    /// The members of a list property.
    pub(crate) fn list(&self, name: &str) -> Vec<Value> {
        list(self.properties, name)
    }

    /// Calls a service.
    pub(crate) async fn call(
        &self,
        service: &'static str,
        operation: &str,
        input: Value,
    ) -> ApiResult<Value> {
        let mut input = prune(input);
        if self.cloud.services().named(service)?.is_form() {
            input = as_text(input);
        }
        self.cloud.call(service, operation, input).await
    }

    /// The named properties, as they are, as a request.
    pub(crate) fn pick(&self, names: &[&str]) -> Map<String, Value> {
        names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.get(name)?.clone())))
            .collect()
    }
}

/// The members of a list property.
pub(crate) fn list(properties: &Map<String, Value>, name: &str) -> Vec<Value> {
    properties
        .get(name)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// Leaves out members that are null: a request has what it has.
fn prune(value: Value) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect(),
        other => other,
    }
}

/// Numbers and booleans as a form writes them.
fn as_text(value: Value) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .map(|(name, value)| (name, as_text(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(as_text).collect(),
        Value::Null => Value::Null,
        scalar => Value::String(text_of(&scalar)),
    }
}

/// A member of an answer, by JSON pointer; an internal error when the service left it out.
pub(crate) fn member(answer: &Value, pointer: &str) -> ApiResult<String> {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| ApiError::internal(format!("the service's answer has no {pointer}")))
}

/// A policy document as the services take it: JSON text.
pub(crate) fn document(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// True for an error that says that the resource does not exist or is being deleted.
pub(crate) fn is_gone(error: &ApiError) -> bool {
    // The last two codes are errors of the handlers here.
    error.is_gone()
        || matches!(
            error.code.as_str(),
            "InvalidAddress.NotFound" | "NoSuchBucket"
        )
}

/// The tag keys that `new` no longer has.
pub(crate) fn removed_tags(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<Value> {
    let keys = |of: &Map<String, Value>| -> Vec<Value> {
        list(of, "Tags")
            .iter()
            .filter_map(|tag| tag.get("Key").cloned())
            .collect()
    };
    let kept = keys(new);
    keys(old)
        .into_iter()
        .filter(|key| !kept.contains(key))
        .collect()
}

/// True when one of the named properties is not what it was.
pub(crate) fn differs(old: &Map<String, Value>, new: &Map<String, Value>, names: &[&str]) -> bool {
    names.iter().any(|name| old.get(*name) != new.get(*name))
}

/// Tags as a JSON object, for the services that take them so.
pub(crate) fn tag_map(properties: &Map<String, Value>) -> Map<String, Value> {
    list(properties, "Tags")
        .iter()
        .filter_map(|tag| {
            Some((
                tag.get("Key")?.as_str()?.to_owned(),
                tag.get("Value")?.clone(),
            ))
        })
        .collect()
}
