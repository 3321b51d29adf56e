//! The permissions that an operation requires: its own action, dependent actions (`iam:PassRole`, tagging),
//! their resources and condition keys. `tools/iam_actions.py` generates the table, actions.json.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::{Call, Context};
use crate::api::{ApiError, ApiResult};

mod template;

use template::{Template, values};

/// A name in a request whose resource only a service knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    /// A key of KMS, by id, ARN, alias or the alias's ARN: its ARN.
    Key(&'a str),
    /// A role, by its name: its ARN.
    Role(&'a str),
    /// A change set, by its ARN: the ARN of its stack.
    ChangeSet(&'a str),
    /// A pull request, by its id: the ARN of its repository.
    PullRequest(&'a str),
    /// A pull request, by its id: the reference that it is merged into.
    Destination(&'a str),
}

/// Where a request is made.
pub(crate) struct Place<'a> {
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    /// Finds the ARN of what a request names; `None` if it does not exist.
    pub(crate) find: &'a dyn Fn(Named<'_>) -> Option<String>,
}

/// Maximum number of calls that a request needs; the longest list of names that an operation accepts has 1,000.
const MAX_CALLS: usize = 5000;

/// Maximum number of tags, and of keys of tags, in a request: far more than any service accepts.
const MAX_TAGS: usize = 500;

/// A call that an operation needs.
#[derive(Debug, Deserialize)]
struct Needed {
    action: String,
    resource: Vec<Template>,
    when: Option<When>,
    #[serde(default)]
    keys: BTreeMap<String, Vec<Template>>,
    #[serde(default)]
    set: BTreeMap<String, String>,
}

/// A member that a request must have, or must not have.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
struct When {
    negated: bool,
    member: Template,
}

impl From<String> for When {
    fn from(text: String) -> Self {
        let member = text.strip_prefix('!').unwrap_or(&text);
        Self {
            negated: member.len() < text.len(),
            member: Template::from(format!("${{{member}}}")),
        }
    }
}

/// The table, by `SERVICE:OPERATION`.
static TABLE: LazyLock<HashMap<String, Vec<Needed>>> = LazyLock::new(|| {
    let text = include_str!("actions.json");
    let mut table: HashMap<String, Value> = serde_json::from_str(text).unwrap_or_default();
    table.remove("iam-data");
    table
        .into_iter()
        .filter_map(|(name, needed)| Some((name, serde_json::from_value(needed).ok()?)))
        .collect()
});

/// The calls that an operation needs with this input. None: everybody may run it.
///
/// # Errors
/// An operation without an entry: it must not run unchecked.
pub(crate) fn calls(
    service: &str,
    operation: &str,
    input: &Value,
    place: &Place<'_>,
) -> ApiResult<Vec<Call>> {
    let name = format!("{service}:{operation}");
    let needed = TABLE.get(&name).ok_or_else(|| {
        ApiError::not_implemented(format_args!("the permission of {name} (actions.json)"))
    })?;
    let mut calls = Vec::new();
    let tags = tags(input)?;
    for needed in needed {
        if let Some(when) = &needed.when
            && when.member.is_present(input, place) == when.negated
        {
            continue;
        }
        let context = needed.context(&tags, input, place);
        let resources = needed.resource.iter();
        let mut resources: Vec<_> = resources
            .flat_map(|template| template.resources(input, place))
            .collect();
        if resources.is_empty() {
            resources.push("*".to_owned());
        }
        if calls.len() + resources.len() > MAX_CALLS {
            return Err(too_many("resources"));
        }
        calls.extend(resources.into_iter().map(|resource| Call {
            action: needed.action.clone(),
            resource,
            context: context.clone(),
        }));
    }
    Ok(calls)
}

fn too_many(what: &str) -> ApiError {
    ApiError::validation(format!("the request names too many {what}"))
}

impl Needed {
    fn context(&self, tags: &Context, input: &Value, place: &Place<'_>) -> Context {
        if self.action == "iam:PassRole" {
            let mut context = Context::default();
            for (key, value) in &self.set {
                context.set(key, value);
            }
            return context;
        }
        let mut context = tags.clone();
        for (key, value) in &self.set {
            context.set(key, value);
        }
        for (key, templates) in &self.keys {
            let templates = templates.iter();
            let mut all = templates.flat_map(|template| template.known(input, place));
            if let Some(key) = key.strip_suffix("[]") {
                let all: Vec<String> = all.collect();
                if !all.is_empty() {
                    context.set_list(key, all);
                }
            } else if let Some(value) = all.next() {
                context.set(key, value);
            }
        }
        context
    }
}

/// The condition keys of the tags in a request, in any of the forms that services have.
fn tags(input: &Value) -> ApiResult<Context> {
    let mut tags: Vec<(String, Option<String>)> = Vec::new();
    for member in ["Tags", "tags", "Tag", "TagSpecification.Tag"] {
        let path: Vec<&str> = member.split('.').collect();
        for value in values(input, &path) {
            let Value::Object(tag) = value else {
                continue;
            };
            if let Some(key) = named(tag, &["Key", "key", "TagKey"]) {
                tags.push((key, named(tag, &["Value", "value", "TagValue"])));
                continue;
            }
            // A map of tags.
            tags.extend(tag.iter().filter_map(|(key, value)| {
                let value = value.as_str()?.to_owned();
                Some((key.clone(), Some(value)))
            }));
        }
    }
    let mut context = Context::default();
    // The header of S3.
    if let Some(text) = input.get("Tagging").and_then(Value::as_str) {
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        let mut keys = Vec::new();
        for (key, value) in pairs {
            context.set(&format!("s3:RequestObjectTag/{key}"), value);
            keys.push(key.into_owned());
        }
        context.set_list("s3:RequestObjectTagKeys", keys);
    }
    let mut keys: Vec<String> = tags.iter().map(|(key, _)| key.clone()).collect();
    for member in ["TagKeys", "tagKeys"] {
        let listed = values(input, &[member]).into_iter();
        keys.extend(listed.filter_map(|key| Some(key.as_str()?.to_owned())));
    }
    if keys.len() > MAX_TAGS {
        return Err(too_many("tags"));
    }
    for (key, value) in tags {
        context.set(&format!("aws:RequestTag/{key}"), value.unwrap_or_default());
    }
    if !keys.is_empty() {
        context.set_list("aws:TagKeys", keys);
    }
    Ok(context)
}

/// The text of the first of these members that an object has.
fn named(object: &serde_json::Map<String, Value>, names: &[&str]) -> Option<String> {
    let mut found = names.iter().filter_map(|name| object.get(*name));
    Some(found.next()?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests;
