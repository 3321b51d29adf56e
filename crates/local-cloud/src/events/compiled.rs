//! The enabled rules in memory, with compiled patterns, until a record of a rule changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Transaction;
use serde_json::Value;

use super::pattern::{self, Pattern, Steps};
use super::rules::{self, Rule};
use crate::api::ApiResult;
use crate::{Cloud, log};

/// The enabled rules that have targets.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    /// The number of changes to records of this service when these were read.
    changes: u64,
    rules: Vec<(Arc<Pattern>, Arc<Rule>)>,
    /// The rules that match only events of a source, by their positions.
    by_source: HashMap<String, Vec<usize>>,
    /// The rules that match events of other sources, too.
    others: Vec<usize>,
}

/// The last compiled rules.
#[derive(Debug, Default)]
struct Last(Mutex<Option<Arc<Compiled>>>);

/// The rules as they are now. `tx` is the current transaction, if there is one.
pub(super) fn current(cloud: &Cloud, tx: Option<&Transaction<'_>>) -> ApiResult<Arc<Compiled>> {
    let last = || {
        let last = &cloud.state::<Last>().0;
        last.lock().unwrap_or_else(PoisonError::into_inner)
    };
    // Before the records are read: a change in between is noticed by the next event.
    let changes = cloud.store().changes_of("events");
    let before = last().clone();
    if let Some(found) = &before
        && found.changes == changes
    {
        return Ok(found.clone());
    }
    let records = rules::records(cloud);
    let found = match tx {
        Some(tx) => records.list_in(tx, "")?,
        None => records.list("")?,
    };
    let compiled = Arc::new(Compiled::new(
        changes,
        found.into_iter().map(|(_, rule)| rule),
        &before.unwrap_or_default(),
    ));
    *last() = Some(compiled.clone());
    Ok(compiled)
}

impl Compiled {
    /// Compiles the patterns that are not in `before`: one record has changed, and all others are as they were.
    fn new(changes: u64, rules: impl Iterator<Item = Rule>, before: &Self) -> Self {
        let known = before.rules.iter();
        let known: HashMap<&str, &Arc<Pattern>> = known
            .map(|(pattern, rule)| (rule.pattern.as_str(), pattern))
            .collect();
        let mut compiled = Self {
            changes,
            ..Self::default()
        };
        for rule in rules.filter(|rule| rule.is_enabled && !rule.targets.is_empty()) {
            let pattern = match known.get(rule.pattern.as_str()) {
                Some(pattern) => (*pattern).clone(),
                None => match Pattern::parse(&rule.pattern) {
                    Ok(pattern) => Arc::new(pattern),
                    // An earlier version accepted it.
                    Err(reason) => {
                        let name = &rule.name;
                        log::write_line(&format!("the rule {name} matches nothing: {reason}"));
                        continue;
                    }
                },
            };
            let position = compiled.rules.len();
            match pattern.sources() {
                Some(sources) => {
                    for source in sources {
                        let positions = compiled.by_source.entry(source.to_owned()).or_default();
                        if positions.last() != Some(&position) {
                            positions.push(position);
                        }
                    }
                }
                None => compiled.others.push(position),
            }
            compiled.rules.push((pattern, Arc::new(rule)));
        }
        compiled
    }

    /// True if no rule could match an event of a source, whatever it contains.
    pub(super) fn ignores(&self, source: &str) -> bool {
        self.others.is_empty() && !self.by_source.contains_key(source)
    }

    /// The rules that match an event of a source. A rule whose pattern takes too many steps with this event does not.
    pub(super) fn matching(&self, source: &str, event: &Value) -> Vec<Arc<Rule>> {
        if self.ignores(source) {
            return Vec::new();
        }
        let event = pattern::normalized(event);
        let steps = Steps::of_event();
        let matches = |pattern: &Pattern, rule: &Rule| {
            let result = steps.part(|steps| pattern.matches_within(&event, steps));
            result.unwrap_or_else(|_| {
                let name = &rule.name;
                log::write_line(&format!(
                    "an event is too large for the pattern of the rule {name}"
                ));
                false
            })
        };
        let of_source = self.by_source.get(source).into_iter().flatten();
        let candidates = of_source.chain(&self.others);
        candidates
            .map(|position| &self.rules[*position])
            .filter(|(pattern, rule)| matches(pattern, rule))
            .map(|(_, rule)| rule.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(name: &str, pattern: &Value) -> Rule {
        let target = json!({"Id": "t", "Arn": "a"});
        let rule = json!({"name": name, "arn": name, "pattern": pattern.to_string(), "is_enabled": true,
            "description": null, "tags": {}, "targets": [target]});
        serde_json::from_value(rule).unwrap()
    }

    #[test]
    fn a_change_of_a_rule_compiles_only_its_pattern() {
        let (a, b, c) = (json!({"a": [1]}), json!({"b": [1]}), json!({"c": [1]}));
        let first = [rule("a", &a), rule("b", &b)];
        let first = Compiled::new(1, first.into_iter(), &Compiled::default());
        let second = [rule("a", &a), rule("b", &c), rule("d", &a)];
        let second = Compiled::new(2, second.into_iter(), &first);
        let pattern = |compiled: &Compiled, at: usize| compiled.rules[at].0.clone();
        assert!(Arc::ptr_eq(&pattern(&first, 0), &pattern(&second, 0)));
        assert!(Arc::ptr_eq(&pattern(&first, 0), &pattern(&second, 2)));
        assert!(!Arc::ptr_eq(&pattern(&first, 1), &pattern(&second, 1)));
    }

    #[test]
    fn a_rule_that_is_too_slow_does_not_hold_up_others() {
        let digits: Vec<Value> = (0..10).map(|n| json!({"x": [n]})).collect();
        let slow = json!({"a": {"$or": digits, "b": {"$or": digits, "c": {"$or": digits}}}});
        let rules = [rule("slow", &slow), rule("fast", &json!({"source": ["s"]}))];
        let compiled = Compiled::new(1, rules.into_iter(), &Compiled::default());
        let items: Vec<Value> = (0..20_000).map(|n| json!({"x": n, "b": {}})).collect();
        let found = compiled.matching("s", &json!({"source": "s", "a": items}));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "fast");
    }
}
