//! The resource types: what each supports, and how its resources are created, changed and deleted through
//! the service that has them.
//!
//! A type is a table ([`table`]), which [`target`] carries out; [`hooks`] is for what a table cannot express.
//! AWS's provider schemas ([`schema`]) define the types of properties, and which are required or cannot
//! change.

use serde_json::{Map, Value, json};

use super::custom;
use super::stacks::Stack;
use super::template::text_of;
use crate::api::ApiError;

mod autoscaling;
mod builder;
mod cloudwatch;
mod codebuild;
mod codecommit;
mod codeconnections;
mod codepipeline;
mod difference;
mod ec2;
mod ecr;
mod errors;
mod events;
mod hooks;
mod iam;
mod kms;
mod lambda;
mod live;
mod logs;
mod properties;
mod s3;
mod sagemaker;
mod scheduler;
mod schema;
mod sns;
mod sqs;
mod ssm;
mod stack;
mod table;
mod target;
mod wire;

pub(crate) use difference::differences;
pub(crate) use properties::{check, coerce, create_only_changes};
pub(crate) use table::Type;
pub(crate) use target::Target;

/// Every type that stacks can hold.
const TYPES: &[&[Type]] = &[
    autoscaling::TYPES,
    cloudwatch::TYPES,
    codebuild::TYPES,
    codecommit::TYPES,
    codeconnections::TYPES,
    codepipeline::TYPES,
    ec2::TYPES,
    ecr::TYPES,
    events::TYPES,
    iam::TYPES,
    kms::TYPES,
    lambda::TYPES,
    logs::TYPES,
    s3::TYPES,
    sagemaker::TYPES,
    scheduler::TYPES,
    sns::TYPES,
    sqs::TYPES,
    ssm::TYPES,
    stack::TYPES,
];

/// All types, except that of custom resources.
pub(crate) fn all() -> impl Iterator<Item = &'static Type> {
    TYPES.iter().copied().flatten()
}

/// The type with this name.
pub(crate) fn by_name(name: &str) -> Option<&'static Type> {
    static CUSTOM: Type = stack::CUSTOM;
    if custom::is_name(name) {
        return Some(&CUSTOM);
    }
    all().find(|kind| kind.name == name)
}

/// The names of all types, sorted.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = all().map(|kind| kind.name).collect();
    names.push(custom::TYPE);
    names.sort_unstable();
    names
}

impl Type {
    /// The properties with the tags that `CloudFormation` adds to those of the template.
    pub(crate) fn with_system_tags(
        &self,
        stack: &Stack,
        logical: &str,
        properties: &Map<String, Value>,
    ) -> Map<String, Value> {
        let mut tagged = properties.clone();
        if self.has_system_tags() {
            let mut tags = tags(properties);
            for (name, value) in [
                ("logical-id", logical),
                ("stack-id", &stack.id),
                ("stack-name", &stack.name),
            ] {
                let key = format!("aws:cloudformation:{name}");
                tags.push(json!({"Key": key, "Value": value}));
            }
            tagged.insert("Tags".to_owned(), Value::Array(tags));
        }
        tagged
    }

    /// The name in the properties, or a new one: `STACK-LOGICAL-RANDOM`. For a type without names, a token
    /// that identifies one create call.
    pub(crate) fn name_for(
        &self,
        stack: &Stack,
        logical: &str,
        properties: &Map<String, Value>,
    ) -> String {
        let Some(naming) = self.naming else {
            return uuid::Uuid::new_v4().simple().to_string();
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
        let suffix = naming
            .suffix
            .filter(|(property, _)| properties.get(*property) == Some(&Value::Bool(true)))
            .map_or("", |(_, suffix)| suffix);
        let room = naming
            .longest
            .saturating_sub(random.len() + 1 + suffix.len());
        let logical: String = logical.chars().take(room.saturating_sub(2)).collect();
        let stack: String = naming
            .prefix
            .unwrap_or(&stack.name)
            .chars()
            .take(room.saturating_sub(logical.len() + 1))
            .collect();
        let stack = stack.trim_end_matches('-');
        if naming.lower {
            format!("{stack}-{logical}-{random}").to_lowercase()
        } else {
            format!("{stack}-{logical}-{}{suffix}", random.to_uppercase())
        }
    }

    /// Refuses a change of properties that no call makes and that does not create a new resource either.
    pub(crate) fn check_changes(&self, changes: &[(String, bool)]) -> Result<(), ApiError> {
        if self.name == custom::TYPE {
            return Ok(());
        }
        match changes
            .iter()
            .find(|(name, recreates)| !recreates && !self.can_change(name))
        {
            None => Ok(()),
            Some((name, _)) => Err(ApiError::not_implemented(format_args!(
                "a change of the property {name} of {}",
                self.name
            ))),
        }
    }
}

/// The elements of a list property.
pub(crate) fn list(properties: &Map<String, Value>, name: &str) -> Vec<Value> {
    properties
        .get(name)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// The tags in the properties, as a list of keys and values. Some types have an object of tags.
pub(crate) fn tags(properties: &Map<String, Value>) -> Vec<Value> {
    match properties.get("Tags") {
        Some(Value::Object(tags)) => tags
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect(),
        _ => list(properties, "Tags"),
    }
}

/// The error for a resource that does not exist.
fn absent(kind: &Type, physical: &str) -> ApiError {
    let message = format!("{} {physical} not found", kind.name);
    ApiError::not_found("ResourceNotFound", message)
}
