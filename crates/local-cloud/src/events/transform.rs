//! What a target receives: the event, a part of it, a constant, or a text with parts of it.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::path::Path;

/// How the variables begin that a client cannot define.
const RESERVED: &str = "aws.";

/// Maximum size of the text that a target receives: that of the largest target, SQS. A template can repeat an event
/// thousands of times.
pub(super) const MAX_TEXT: usize = 1 << 20;

/// A value by which a check recognizes variables.
const MARK: &str = "\u{f8ff}variable\u{f8ff}";

/// The text is larger than [`MAX_TEXT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// The predefined variables.
const PREDEFINED: [&str; 5] = [
    "aws.events.rule-arn",
    "aws.events.rule-name",
    "aws.events.event",
    "aws.events.event.json",
    "aws.events.event.ingestion-time",
];

/// `InputTransformer` of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Transformer {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) input_paths_map: BTreeMap<String, String>,
    pub(super) input_template: String,
}

/// What is known of an event besides its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) event: &'a Value,
    pub(super) rule: &'a str,
    pub(super) rule_arn: &'a str,
    pub(super) ingested: Timestamp,
}

/// A piece of a template.
enum Piece<'a> {
    Text(&'a str),
    /// A variable, and whether it is inside of quotes.
    Variable(&'a str, bool),
}

/// Splits a template at its variables: names between `<` and `>`, which are known.
fn pieces(template: &str, is_known: impl Fn(&str) -> bool) -> Vec<Piece<'_>> {
    let (mut found, mut start, mut at, mut is_quoted) = (Vec::new(), 0, 0, false);
    let bytes = template.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => is_quoted = !is_quoted,
            b'<' => {
                let name = template[at + 1..].split_once('>').map(|(name, _)| name);
                if let Some(name) = name.filter(|name| is_known(name)) {
                    found.push(Piece::Text(&template[start..at]));
                    found.push(Piece::Variable(name, is_quoted));
                    at += name.len() + 1;
                    start = at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    found.push(Piece::Text(template.get(start..).unwrap_or_default()));
    found
}

impl Transformer {
    /// Checks the paths and the template; the error is the reason why a target cannot have them.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, path) in &self.input_paths_map {
            if name.to_ascii_lowercase().starts_with(RESERVED) {
                return Err(format!("the variable {name} is reserved"));
            }
            if Path::parse(path).is_none() {
                return Err(format!("{path} of {name} is not a JSON path"));
            }
        }
        let looks_like_name = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        for piece in pieces(&self.input_template, looks_like_name) {
            if let Piece::Variable(name, _) = piece
                && !self.has(name)
            {
                return Err(format!("the variable <{name}> is not defined"));
            }
        }
        let template = self.input_template.trim_start();
        if template.starts_with(['{', '[']) {
            let sample = |value: Value| {
                let text = self.render(|_| Some(value.clone()));
                let text = text.map_err(|TooLarge| "the template is too large".to_owned())?;
                serde_json::from_str::<Value>(&text)
                    .map_err(|error| format!("the template is not valid JSON: {error}"))
            };
            sample(Value::from(0))?;
            // Several members could become the same one.
            if has_marked_name(&sample(MARK.into())?) {
                return Err("a variable is in the name of a member".to_owned());
            }
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.input_paths_map.contains_key(name) || PREDEFINED.contains(&name)
    }

    /// The text that the target receives.
    pub(super) fn apply(&self, context: &Context<'_>) -> Result<String, TooLarge> {
        self.render(|name| self.value(name, context))
    }

    fn value(&self, name: &str, context: &Context<'_>) -> Option<Value> {
        let event = context.event;
        match name {
            "aws.events.rule-arn" => Some(context.rule_arn.into()),
            "aws.events.rule-name" => Some(context.rule.into()),
            "aws.events.event.ingestion-time" => Some(
                context
                    .ingested
                    .strftime("%Y-%m-%dT%H:%M:%SZ")
                    .to_string()
                    .into(),
            ),
            "aws.events.event.json" => Some(event.clone()),
            "aws.events.event" => {
                let mut event = event.clone();
                if let Some(members) = event.as_object_mut() {
                    members.shift_remove("detail");
                }
                Some(event)
            }
            name => Path::parse(self.input_paths_map.get(name)?)?.find(event),
        }
    }

    /// Replaces the variables. In a JSON object or list, a variable outside of quotes is replaced with JSON;
    /// everywhere else with its text. A value that the event lacks is empty text. Unverified against AWS
    /// [events-transformer-absent]: what a value outside of quotes becomes if the event lacks it.
    fn render(&self, value: impl Fn(&str) -> Option<Value>) -> Result<String, TooLarge> {
        let is_json = self.input_template.trim_start().starts_with(['{', '[']);
        let mut known: HashMap<(&str, bool), String> = HashMap::new();
        let mut result = String::new();
        for piece in pieces(&self.input_template, |name| self.has(name)) {
            let text: &str = match piece {
                Piece::Text(text) => text,
                Piece::Variable(name, is_quoted) => known
                    .entry((name, is_quoted))
                    .or_insert_with(|| shown(value(name), is_quoted, is_json)),
            };
            if result.len() + text.len() > MAX_TEXT {
                return Err(TooLarge);
            }
            result.push_str(text);
        }
        Ok(result)
    }
}

/// A value in a template.
fn shown(value: Option<Value>, is_quoted: bool, is_json: bool) -> String {
    match value.unwrap_or_else(|| "".into()) {
        value if is_quoted => quoted(&value),
        Value::String(text) if !is_json => text,
        value => value.to_string(),
    }
}

/// True if [`MARK`] is in the name of a member.
fn has_marked_name(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains(MARK) || has_marked_name(value)),
        Value::Array(items) => items.iter().any(has_marked_name),
        _ => false,
    }
}

/// A value inside of quotes: text with escapes, or JSON from which the quotes are removed.
fn quoted(value: &Value) -> String {
    let json = value.to_string();
    if value.is_string() {
        return json[1..json.len() - 1].to_owned();
    }
    json.replace(['\\', '"'], "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply(paths: &Value, template: &str) -> String {
        let transformer = Transformer {
            input_paths_map: serde_json::from_value(paths.clone()).unwrap(),
            input_template: template.to_owned(),
        };
        transformer.check().unwrap();
        let event = json!({"version": "0", "id": "7bf7", "resources": ["arn:i"], "detail": {
            "instance-id": "i-0123", "state": "RUN\"NING", "count": 2, "tags": {"a": "b"}}});
        transformer
            .apply(&Context {
                event: &event,
                rule: "r",
                rule_arn: "arn:r",
                ingested: Timestamp::UNIX_EPOCH,
            })
            .unwrap()
    }

    #[test]
    fn the_text_is_limited() {
        let paths = json!({"all": "$"});
        let transformer = Transformer {
            input_paths_map: serde_json::from_value(paths).unwrap(),
            input_template: format!("\"{}\"", "<all>".repeat(1500)),
        };
        transformer.check().unwrap();
        let apply = |size: usize| {
            let event = json!({"detail": "x".repeat(size)});
            let context = Context {
                event: &event,
                rule: "r",
                rule_arn: "arn:r",
                ingested: Timestamp::UNIX_EPOCH,
            };
            transformer.apply(&context).map(|text| text.len())
        };
        assert!(apply(500).unwrap() > 1500 * 500);
        assert_eq!(apply(200_000), Err(TooLarge));
    }

    #[test]
    fn templates_as_in_the_user_guide() {
        let paths = json!({"instance": "$.detail.instance-id", "state": "$.detail.state", "count": "$.detail.count",
            "tags": "$.detail.tags", "none": "$.detail.none", "resource": "$.resources[0]"});
        for (template, expected) in [
            (
                r#""instance <instance> is in state <state>""#,
                r#""instance i-0123 is in state RUN\"NING""#,
            ),
            (
                "<instance> has <count> of <tags>",
                r#"i-0123 has 2 of {"a":"b"}"#,
            ),
            ("\"<instance>\"\n\"<resource>\"", "\"i-0123\"\n\"arn:i\""),
            (
                r#"{"instance": <instance>, "state": <state>}"#,
                r#"{"instance": "i-0123", "state": "RUN\"NING"}"#,
            ),
            (
                r#"{"a": "<instance>", "b": "is \"<state>\""}"#,
                r#"{"a": "i-0123", "b": "is \"RUN\"NING\""}"#,
            ),
            (
                r#"{"a": <tags>, "b": "<tags>", "c": <count>, "d": "<count>"}"#,
                r#"{"a": {"a":"b"}, "b": "{a:b}", "c": 2, "d": "2"}"#,
            ),
            (r#"{"a": <none>, "b": "<none>"}"#, r#"{"a": "", "b": ""}"#),
            (
                r#"{"rule": <aws.events.rule-arn>, "name": "<aws.events.rule-name>"}"#,
                r#"{"rule": "arn:r", "name": "r"}"#,
            ),
            (
                r#"{"at": <aws.events.event.ingestion-time>}"#,
                r#"{"at": "1970-01-01T00:00:00Z"}"#,
            ),
            (
                r#"{"e": <aws.events.event>}"#,
                r#"{"e": {"version":"0","id":"7bf7","resources":["arn:i"]}}"#,
            ),
            (r#"[<instance>, "a < b > c"]"#, r#"["i-0123", "a < b > c"]"#),
        ] {
            assert_eq!(apply(&paths, template), expected, "{template}");
        }
        let whole = apply(&paths, r#"{"e": <aws.events.event.json>}"#);
        assert!(
            whole.contains(r#""detail":{"instance-id":"i-0123""#),
            "{whole}"
        );
    }

    #[test]
    fn templates_are_checked() {
        let check = |paths: Value, template: &str| {
            let input_paths_map = serde_json::from_value(paths).unwrap();
            let input_template = template.to_owned();
            Transformer {
                input_paths_map,
                input_template,
            }
            .check()
        };
        check(json!({}), "{\"a\": \"constant\"}").unwrap();
        for (paths, template, part) in [
            (json!({"aws.x": "$.a"}), "x", "reserved"),
            (json!({"a": "detail"}), "x", "JSON path"),
            (json!({}), "<b>", "<b> is not defined"),
            (json!({"a": "$.a"}), "{\"a\": <a>", "not valid JSON"),
            (json!({"a": "$.a"}), "{<a>: 1}", "not valid JSON"),
            (json!({"a": "$.a"}), "{\"<a>\": 1}", "name of a member"),
            (
                json!({"a": "$.a"}),
                "[{\"b\": {\"x-<a>\": <a>}}]",
                "name of a member",
            ),
        ] {
            let reason = check(paths, template).unwrap_err();
            assert!(reason.contains(part), "{reason}");
        }
    }
}
