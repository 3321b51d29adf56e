//! Rules on the default event bus. A rule is one record with its targets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::target::Target;
use super::{buses, test_pattern};
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::store::Collection;

/// Maximum number of rules on an event bus; AWS's default quota.
const MAX_RULES: usize = 300;

/// A rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) arn: String,
    /// The text of its pattern, as the client wrote it.
    pub(super) pattern: String,
    pub(super) is_enabled: bool,
    pub(super) description: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) targets: Vec<Target>,
}

impl Rule {
    fn describe(&self) -> Value {
        let mut answer = json!({
            "Name": self.name,
            "Arn": self.arn,
            "EventPattern": self.pattern,
            "State": if self.is_enabled { "ENABLED" } else { "DISABLED" },
            "EventBusName": buses::DEFAULT,
        });
        if let Some(description) = &self.description {
            answer["Description"] = description.as_str().into();
        }
        answer
    }
}

/// The records of rules, by name.
pub(super) fn records(cloud: &Cloud) -> Collection<'_, Rule> {
    cloud.store().collection("events", "rule")
}

pub(super) fn arn(cloud: &Cloud, name: &str) -> String {
    cloud.arn("events", format_args!("rule/{name}"))
}

fn not_found(name: &str) -> ApiError {
    ApiError::not_found(
        "ResourceNotFoundException",
        format!("Rule {name} does not exist on EventBus {}.", buses::DEFAULT),
    )
}

/// A rule by name.
pub(super) fn require(cloud: &Cloud, name: &str) -> ApiResult<Rule> {
    records(cloud).get(name)?.ok_or_else(|| not_found(name))
}

/// Changes a rule.
pub(super) fn change<R>(
    cloud: &Cloud,
    name: &str,
    change: impl FnOnce(&mut Rule) -> ApiResult<R>,
) -> ApiResult<R> {
    let changed = records(cloud).update(name, change)?;
    changed.ok_or_else(|| not_found(name))
}

/// `LimitExceededException`
pub(super) fn limit_exceeded() -> ApiError {
    ApiError::new(
        "LimitExceededException",
        "The requested resource exceeds the maximum number allowed.",
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRule {
    name: String,
    event_pattern: Option<String>,
    state: Option<String>,
    description: Option<String>,
    event_bus_name: Option<String>,
    #[serde(default)]
    tags: Tags,
}

/// `PutRule`: creates or replaces a rule. The targets of an existing rule stay, and so do its tags.
pub(super) async fn put(cloud: &Cloud, input: PutRule) -> ApiResult<Value> {
    buses::check(cloud, input.event_bus_name.as_deref())?;
    let is_enabled = match input.state.as_deref() {
        None | Some("ENABLED") => true,
        Some("DISABLED") => false,
        Some(other) => {
            return Err(ApiError::not_implemented(format_args!(
                "the state {other} of rules"
            )));
        }
    };
    let pattern = input.event_pattern.filter(|text| !text.is_empty());
    let pattern = pattern.ok_or_else(|| {
        ApiError::validation("Parameter(s) EventPattern or ScheduleExpression must be specified.")
    })?;
    test_pattern::compile(&pattern)?;
    let arn = arn(cloud, &input.name);
    let tags = input.tags.into_map();
    cloud.store().transaction(|tx| {
        let records = records(cloud);
        let existing = records.get_in(tx, &input.name)?;
        if existing.is_none() && records.list_in(tx, "")?.len() >= MAX_RULES {
            return Err(limit_exceeded());
        }
        let (tags, targets) = match existing {
            Some(rule) => (rule.tags, rule.targets),
            None => (tags, Vec::new()),
        };
        let rule = Rule {
            name: input.name.clone(),
            arn: arn.clone(),
            pattern,
            is_enabled,
            description: input.description.clone(),
            tags,
            targets,
        };
        records.put_in(tx, &input.name, &rule)
    })?;
    Ok(json!({"RuleArn": arn}))
}

/// A request that names one rule.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Named {
    name: String,
    event_bus_name: Option<String>,
}

/// `DeleteRule`: a rule without targets. A rule that does not exist is no error.
pub(super) async fn delete(cloud: &Cloud, input: Named) -> ApiResult<Value> {
    buses::check(cloud, input.event_bus_name.as_deref())?;
    cloud.store().transaction(|tx| {
        let records = records(cloud);
        let Some(rule) = records.get_in(tx, &input.name)? else {
            return Ok(());
        };
        if !rule.targets.is_empty() {
            return Err(ApiError::validation(
                "Rule can't be deleted since it has targets.",
            ));
        }
        records.remove_in(tx, &input.name).map(drop)
    })?;
    Ok(json!({}))
}

/// `DescribeRule`
pub(super) async fn describe(cloud: &Cloud, input: Named) -> ApiResult<Value> {
    buses::check(cloud, input.event_bus_name.as_deref())?;
    let mut answer = require(cloud, &input.name)?.describe();
    answer["CreatedBy"] = ACCOUNT.into();
    Ok(answer)
}

fn set_state(cloud: &Cloud, input: &Named, is_enabled: bool) -> ApiResult<Value> {
    buses::check(cloud, input.event_bus_name.as_deref())?;
    change(cloud, &input.name, |rule| {
        rule.is_enabled = is_enabled;
        Ok(())
    })?;
    Ok(json!({}))
}

/// `EnableRule`
pub(super) async fn enable(cloud: &Cloud, input: Named) -> ApiResult<Value> {
    set_state(cloud, &input, true)
}

/// `DisableRule`
pub(super) async fn disable(cloud: &Cloud, input: Named) -> ApiResult<Value> {
    set_state(cloud, &input, false)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListRules {
    #[serde(default)]
    name_prefix: String,
    event_bus_name: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

/// `ListRules`
pub(super) async fn list(cloud: &Cloud, input: ListRules) -> ApiResult<Value> {
    buses::check(cloud, input.event_bus_name.as_deref())?;
    let rules = records(cloud).list(&input.name_prefix)?.into_iter();
    let rules = rules.map(|(name, rule)| (name, rule.describe()));
    let token = input.next_token.as_deref();
    buses::keyed("Rules", rules, input.limit, token)
}
