//! Filter policies: which messages a subscription receives.
//!
//! A policy is an event pattern of `EventBridge`, with the keys of message attributes or of the message's body.

use std::cell::OnceCell;

use serde_json::{Map, Value};

use super::invalid;
use super::message::{Attribute, Message};
use crate::api::ApiResult;
use crate::events::pattern::{Pattern, Steps, normalized};
use crate::limits;

/// Maximum number of keys of a policy (developer guide, "Filter policy constraints").
const MAX_KEYS: usize = 5;

/// Maximum number of combinations of the values of a policy (the same).
const MAX_COMBINATIONS: usize = 150;

/// The member whose elements are alternatives.
const OR: &str = "$or";

/// A filter policy.
#[derive(Debug)]
pub(super) struct Filter {
    pattern: Pattern,
    of_body: bool,
}

/// The number of keys of a policy, and of the combinations of their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    keys: usize,
    combinations: usize,
}

impl Size {
    /// The size of the members of a policy at a depth of nested objects.
    fn of(members: &Map<String, Value>, depth: usize) -> Self {
        let mut size = Self {
            keys: 0,
            combinations: 1,
        };
        for (name, value) in members {
            let inner = match value {
                Value::Object(inner) => Self::of(inner, depth + 1),
                Value::Array(alternatives) if name == OR => {
                    let inner = alternatives.iter().filter_map(Value::as_object);
                    inner.map(|inner| Self::of(inner, depth)).fold(
                        Self {
                            keys: 0,
                            combinations: 0,
                        },
                        |all, one| Self {
                            keys: all.keys + one.keys,
                            combinations: all.combinations.saturating_add(one.combinations),
                        },
                    )
                }
                Value::Array(values) => Self {
                    keys: 1,
                    // The values of a nested key count once for each level.
                    combinations: values.len().saturating_mul(depth),
                },
                _ => continue,
            };
            size.keys += inner.keys;
            size.combinations = size.combinations.saturating_mul(inner.combinations);
        }
        size
    }
}

impl Filter {
    /// Reads a filter policy.
    pub(super) fn parse(text: &str, of_body: bool) -> ApiResult<Self> {
        let wrong =
            |reason: &str| invalid(format_args!("Attributes Reason: FilterPolicy: {reason}"));
        let members = limits::document(text.as_bytes())
            .ok()
            .and_then(|value| value.as_object().cloned())
            .ok_or_else(|| wrong("failed to parse JSON."))?;
        let is_nested = |(name, value): (&String, &Value)| value.is_object() && name != OR;
        if !of_body && members.iter().any(is_nested) {
            return Err(wrong(
                "Filter policy scope MessageAttributes does not support nested filter policy",
            ));
        }
        let size = Size::of(&members, 1);
        if size.keys > MAX_KEYS {
            return Err(wrong("Filter policy can not have more than 5 keys"));
        }
        if size.combinations > MAX_COMBINATIONS {
            return Err(wrong("Filter policy is too complex"));
        }
        let pattern = Pattern::parse(text).map_err(|reason| wrong(&reason))?;
        Ok(Self { pattern, of_body })
    }

    /// True if a message passes. A body that is not a JSON object passes no filter, and neither does a message that
    /// takes too many steps.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        let message = subject.message;
        let values = if self.of_body {
            subject.body.get_or_init(|| of_body(message)).as_ref()
        } else {
            let attributes = &subject.attributes;
            Some(attributes.get_or_init(|| of_attributes(message)))
        };
        let Some(values) = values else {
            return false;
        };
        let pattern = &self.pattern;
        let matched = subject
            .steps
            .part(|steps| pattern.matches_within(values, steps));
        matched.unwrap_or(false)
    }
}

/// A message that filters look at: what they compare is read once, and all of them share its steps.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    message: &'a Message,
    body: OnceCell<Option<Value>>,
    attributes: OnceCell<Value>,
    steps: Steps,
}

impl<'a> Subject<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        Self {
            message,
            body: OnceCell::new(),
            attributes: OnceCell::new(),
            steps: Steps::of_event(),
        }
    }
}

fn of_body(message: &Message) -> Option<Value> {
    let values = limits::document(message.text.as_bytes()).ok()?;
    values.is_object().then(|| normalized(&values).into_owned())
}

fn of_attributes(message: &Message) -> Value {
    let attributes = message.attributes.iter();
    let values = attributes.filter_map(|(name, it)| Some((name.clone(), value(it)?)));
    normalized(&Value::Object(values.collect())).into_owned()
}

/// The value of an attribute in a filter; binary values have none.
fn value(attribute: &Attribute) -> Option<Value> {
    let text = attribute.string_value.as_deref()?;
    match attribute.data_type.as_str() {
        "String.Array" => serde_json::from_str(text).ok(),
        kind if kind.starts_with("Number") => text
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number),
        _ => Some(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::message::Published;
    use super::*;

    fn message(text: &str, attributes: &Value) -> Message {
        let published: Published =
            serde_json::from_value(json!({"Message": text, "MessageAttributes": attributes}))
                .unwrap();
        published.check(0).unwrap()
    }

    #[test]
    fn attributes_are_filtered_as_documented() {
        let text = |value: &str| json!({"DataType": "String", "StringValue": value});
        let number = |value: &str| json!({"DataType": "Number", "StringValue": value});
        let array = |value: &str| json!({"DataType": "String.Array", "StringValue": value});
        let attributes = json!({
            "store": text("example_corp"),
            "event": text("order_cancelled"),
            "price": number("100.5"),
            "interests": array(r#"["rugby", "football", 5]"#),
            "address": text("10.0.0.77"),
        });
        let message = message("m", &attributes);
        for (policy, expected) in [
            (json!({"store": ["example_corp"]}), true),
            (
                json!({"store": ["example_corp"], "event": ["order_placed"]}),
                false,
            ),
            (json!({"event": ["order_placed", "order_cancelled"]}), true),
            (json!({"event": [{"prefix": "order_"}]}), true),
            (json!({"event": [{"suffix": "placed"}]}), false),
            (
                json!({"event": [{"anything-but": ["order_cancelled"]}]}),
                false,
            ),
            (
                json!({"event": [{"anything-but": {"prefix": "order-"}}]}),
                true,
            ),
            (
                json!({"store": [{"equals-ignore-case": "EXAMPLE_CORP"}]}),
                true,
            ),
            (json!({"event": [{"wildcard": "order_*led"}]}), true),
            (json!({"price": [{"numeric": [">", 100, "<=", 150]}]}), true),
            (json!({"price": [100.5]}), true),
            (json!({"price": ["100.5"]}), false),
            (json!({"interests": ["rugby"]}), true),
            (json!({"interests": ["tennis"]}), false),
            (json!({"interests": [5]}), true),
            (
                json!({"absent": [{"exists": false}], "store": [{"exists": true}]}),
                true,
            ),
            (json!({"address": [{"cidr": "10.0.0.0/24"}]}), true),
            (json!({"address": [{"cidr": "10.1.0.0/24"}]}), false),
            (
                json!({"$or": [{"store": ["x"]}, {"price": [{"numeric": ["<", 200]}]}]}),
                true,
            ),
        ] {
            let filter = Filter::parse(&policy.to_string(), false).unwrap();
            assert_eq!(filter.matches(&Subject::of(&message)), expected, "{policy}");
        }
    }

    #[test]
    fn bodies_are_filtered_at_any_depth() {
        let policy = json!({"detail": {"state": ["FAILED"]}}).to_string();
        let filter = Filter::parse(&policy, true).unwrap();
        for (text, expected) in [
            (r#"{"detail": {"state": "FAILED"}}"#, true),
            (r#"{"detail": {"state": "OK"}}"#, false),
            ("FAILED", false),
            ("[]", false),
        ] {
            let message = message(text, &json!({}));
            assert_eq!(filter.matches(&Subject::of(&message)), expected, "{text}");
        }
        assert!(Filter::parse(&policy, false).is_err());
    }

    #[test]
    fn policies_over_the_limits_are_refused() {
        let keys = |count: usize| {
            let keys: BTreeMap<_, _> = (0..count).map(|it| (format!("k{it}"), ["a"])).collect();
            Filter::parse(&json!(keys).to_string(), false)
        };
        assert!(keys(5).is_ok());
        assert!(keys(6).is_err());
        let values: Vec<_> = (0..13).collect();
        let policy = json!({"a": values, "b": values});
        assert!(Filter::parse(&policy.to_string(), false).is_err());
        for wrong in ["x", "[]", r#"{"a": "b"}"#, r#"{"a": [{"before": 1}]}"#] {
            let error = Filter::parse(wrong, false).unwrap_err();
            assert_eq!(error.code, "InvalidParameter", "{wrong}");
        }
    }
}
