//! Event patterns: the language in which a rule describes its events.
//!
//! ```text
//! text ── compile ── sub-rules (one per alternative of each $or) ── structure ── event
//!            └── value (matchers of a field), glob, address, folding
//! ```
//!
//! The language is that of AWS's open-source event-ruler, held to its documentation. Matching needs neither
//! backtracking nor a state machine: its time is bounded by the size of the event times that of the pattern, and by
//! [`Steps`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::limits;

mod address;
mod folding;
mod glob;
mod steps;
mod structure;
mod value;

pub(crate) use steps::{Steps, TooManySteps};
use structure::Node;
use value::Field;

/// Maximum number of alternatives of a pattern, over all combinations of its `$or`; AWS's own limit.
const MAX_COMBINATIONS: usize = 1000;

/// Maximum complexity of the wildcards of a pattern: the number of places in them that one event can reach at the
/// same time. Unverified against AWS [events-wildcard-complexity]: its limit is not published.
const MAX_COMPLEXITY: usize = 300;

/// Maximum number of names in a path, in patterns and in events. event-ruler has no such limit; deeper documents are
/// refused anyway, but a name with dots is a path without any nesting.
const MAX_PATH: usize = limits::MAX_DOCUMENT_DEPTH;

/// Maximum number of names in the paths of all alternatives of a pattern. Each takes about 80 bytes, and 300 rules
/// can have one such pattern each. AWS's limit is not published; a pattern has at most 4,096 characters, so only one
/// with hundreds of alternatives reaches this.
const MAX_NAMES: usize = 30_000;

/// The member whose elements are alternatives.
const OR: &str = "$or";

/// Names that a field in an alternative of `$or` cannot have.
const RESERVED: [&str; 25] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
    OR,
];

/// The fields of a sub-rule by their paths, whose names are joined with dots: event-ruler compares them in this
/// order, in which `a-b` is before `a.b`. Sub-rules share their fields and paths.
type Fields = BTreeMap<Arc<str>, Arc<Field>>;

/// An alternative of a pattern.
#[derive(Debug, Clone, Default)]
struct SubRule {
    fields: Fields,
    /// The number of names in its paths.
    names: usize,
}

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// The event matches if it matches one of these.
    alternatives: Vec<Node>,
}

impl Pattern {
    /// Compiles a pattern; the error is the reason why it is not valid, in the words of event-ruler. (AWS appends
    /// the position in the text.)
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value = limits::document(text.as_bytes())?;
        let Value::Object(members) = &value else {
            return Err("Filter is not an object".to_owned());
        };
        let mut compiler = Compiler::default();
        compiler.object(&mut Vec::new(), members, false)?;
        if compiler.complexity > MAX_COMPLEXITY {
            return Err(
                "Rule is too complex - try using fewer wildcard characters or fewer repeating character \
                 sequences after a wildcard character"
                    .to_owned(),
            );
        }
        let rules = compiler.rules.into_iter();
        let alternatives = rules.map(|rule| Node::new(rule.fields)).collect();
        Ok(Self { alternatives })
    }

    /// True if an event matches, with at most these steps. The event must be [`normalized`].
    pub(crate) fn matches_within(
        &self,
        event: &Value,
        steps: &Steps,
    ) -> Result<bool, TooManySteps> {
        for node in &self.alternatives {
            if node.matches(event, steps)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The values of the field `source` that events can have; `None` if others are possible.
    pub(crate) fn sources(&self) -> Option<Vec<&str>> {
        let mut sources = Vec::new();
        for node in &self.alternatives {
            sources.extend(node.exact("source")?);
        }
        Some(sources)
    }
}

/// An event in which no name of a member contains a dot: a dot separates the names of a path, in events as in
/// patterns. What is deeper than a pattern can be is left out: no pattern sees it.
pub(crate) fn normalized(event: &Value) -> Cow<'_, Value> {
    if has_dots(event) {
        Cow::Owned(without_dots(event, MAX_PATH))
    } else {
        Cow::Borrowed(event)
    }
}

fn has_dots(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('.') || has_dots(value)),
        Value::Array(items) => items.iter().any(has_dots),
        _ => false,
    }
}

/// A value with paths of at most `left` names.
fn without_dots(value: &Value, left: usize) -> Value {
    match value {
        Value::Object(members) => {
            let mut result = Map::new();
            for (path, value) in members {
                let names: Vec<&str> = path.split('.').take(left + 1).collect();
                let (names, value) = match left.checked_sub(names.len()) {
                    Some(left) => (names.as_slice(), without_dots(value, left)),
                    // An object is no value that a pattern could match.
                    None => (&names[..left], Value::Object(Map::new())),
                };
                let Some((first, rest)) = names.split_first() else {
                    continue;
                };
                let nested = |value, name: &&str| {
                    Value::Object(Map::from_iter([((*name).to_owned(), value)]))
                };
                add(&mut result, first, rest.iter().rev().fold(value, nested));
            }
            Value::Object(result)
        }
        Value::Array(items) => items.iter().map(|item| without_dots(item, left)).collect(),
        other => other.clone(),
    }
}

/// Adds a member. Values of the same path are merged: both match.
fn add(members: &mut Map<String, Value>, name: &str, value: Value) {
    let merged = match members.remove(name) {
        None => value,
        Some(existing) => merged(existing, value),
    };
    members.insert(name.to_owned(), merged);
}

/// Recurses at most [`MAX_PATH`] levels.
fn merged(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            for (name, value) in second {
                add(&mut first, &name, value);
            }
            Value::Object(first)
        }
        (first, second) => {
            let items = |value| match value {
                Value::Array(items) => items,
                other => vec![other],
            };
            let mut all = items(first);
            all.extend(items(second));
            Value::Array(all)
        }
    }
}

/// The state of a compilation.
#[derive(Default)]
struct Compiler {
    rules: Vec<SubRule>,
    complexity: usize,
}

impl Compiler {
    /// Adds the fields of an object to every sub-rule.
    fn object(
        &mut self,
        path: &mut Vec<String>,
        members: &Map<String, Value>,
        is_alternative: bool,
    ) -> Result<(), String> {
        if members.is_empty() {
            return Err("Empty objects are not allowed".to_owned());
        }
        for (name, value) in members {
            if name == OR {
                self.alternatives(path, value)?;
                continue;
            }
            if is_alternative && RESERVED.contains(&name.as_str()) {
                return Err(format!(
                    "{name} is Ruler reserved fieldName which cannot be used inside {OR}."
                ));
            }
            let length = path.len();
            path.extend(name.split('.').take(MAX_PATH + 1).map(str::to_owned));
            if path.len() > MAX_PATH {
                return Err(format!("A path has over {MAX_PATH} names"));
            }
            match value {
                Value::Object(members) => self.object(path, members, is_alternative)?,
                Value::Array(values) => self.field(path, values)?,
                _ => return Err(format!("\"{name}\" must be an object or an array")),
            }
            path.truncate(length);
        }
        Ok(())
    }

    /// Multiplies the sub-rules by the elements of an `$or`.
    fn alternatives(&mut self, path: &mut Vec<String>, value: &Value) -> Result<(), String> {
        let Value::Array(items) = value else {
            return Err(format!("It must be an Array followed with {OR}."));
        };
        let mut before = std::mem::take(&mut self.rules);
        if before.is_empty() {
            before.push(SubRule::default());
        }
        let mut after = Vec::new();
        for item in items {
            let Value::Object(members) = item else {
                return Err(format!(
                    "Only JSON object is allowed in array of {OR} relationship."
                ));
            };
            self.rules.clone_from(&before);
            self.object(path, members, true)?;
            after.append(&mut self.rules);
            if after.len() > MAX_COMBINATIONS {
                return Err(format!(
                    "There are over {MAX_COMBINATIONS} rule combinations"
                ));
            }
            check_names(&after)?;
        }
        if items.len() < 2 {
            return Err(format!(
                "There must have at least 2 Objects in {OR} relationship."
            ));
        }
        self.rules = after;
        Ok(())
    }

    /// Adds a field to every sub-rule.
    fn field(&mut self, path: &[String], values: &[Value]) -> Result<(), String> {
        let field = Arc::new(Field::compile(values)?);
        self.complexity += field.complexity();
        if self.rules.is_empty() {
            self.rules.push(SubRule::default());
        }
        let joined: Arc<str> = path.join(".").into();
        for rule in &mut self.rules {
            rule.names += path.len();
            if rule.fields.insert(joined.clone(), field.clone()).is_some() {
                return Err(format!("Path `{joined}` cannot be allowed multiple times"));
            }
        }
        check_names(&self.rules)
    }
}

fn check_names(rules: &[SubRule]) -> Result<(), String> {
    let names: usize = rules.iter().map(|rule| rule.names).sum();
    if names > MAX_NAMES {
        return Err(format!(
            "Rule is too complex - the paths of its {OR} alternatives have over {MAX_NAMES} names"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
