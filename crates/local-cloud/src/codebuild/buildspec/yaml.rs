//! Parses the YAML of a buildspec into JSON in which every scalar is text, as it is written: `0.10` stays `0.10`,
//! and `- true` is the command `true`.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use crate::limits::{self, MAX_DOCUMENT_DEPTH};

/// Maximum number of values of a buildspec, with those that aliases repeat; protects memory against aliases of
/// aliases.
const MAX_NODES: usize = 20_000;

/// Maximum size of a buildspec in memory, in bytes: with what aliases repeat, and with the copies that anchors keep.
const MAX_BYTES: usize = 8 << 20;

/// What a value takes without its text, in bytes.
const NODE: usize = 64;

/// How much a value is.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
}

impl Weight {
    fn of(value: &Value) -> Self {
        let mut weight = Self {
            nodes: 1,
            bytes: NODE,
        };
        match value {
            Value::String(text) => weight.bytes += text.len(),
            Value::Array(items) => items.iter().for_each(|item| weight.add(Self::of(item))),
            Value::Object(members) => {
                for (key, value) in members {
                    weight.bytes += key.len();
                    weight.add(Self::of(value));
                }
            }
            _ => {}
        }
        weight
    }

    fn add(&mut self, more: Self) {
        self.nodes = self.nodes.saturating_add(more.nodes);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }

    /// Fails for more than a buildspec may be.
    fn check(self) -> Result<(), String> {
        if self.nodes > MAX_NODES {
            return Err(format!("more than {MAX_NODES} values"));
        }
        if self.bytes > MAX_BYTES {
            return Err(format!("more than {MAX_BYTES} bytes with its aliases"));
        }
        Ok(())
    }
}

/// Values by their anchors.
type Anchors = HashMap<usize, (Value, Weight)>;

/// A mapping or sequence that is not complete yet.
struct Open {
    anchor: usize,
    value: Value,
    key: Option<String>,
    line: usize,
}

impl Open {
    fn new(anchor: usize, value: Value, line: usize) -> Self {
        Self {
            anchor,
            value,
            key: None,
            line,
        }
    }

    fn add(&mut self, value: Value) -> Result<(), String> {
        match (&mut self.value, self.key.take()) {
            (Value::Array(items), _) => items.push(value),
            (Value::Object(members), Some(key)) => {
                members.insert(key, value);
            }
            (Value::Object(members), None) => match value {
                Value::String(key) if key == "<<" => {
                    return Err(refused("merge keys (<<)"));
                }
                Value::String(key) if members.contains_key(&key) => {
                    return Err(format!("key {key:?} already set in map"));
                }
                Value::String(key) => self.key = Some(key),
                _ => return Err("a key must be text".to_owned()),
            },
            _ => {}
        }
        Ok(())
    }
}

/// The message for something in a buildspec that the local cloud does not have.
pub(super) fn refused(what: &str) -> String {
    format!("NotImplemented: the local cloud does not have {what} in a buildspec")
}

/// Parses one document.
///
/// # Errors
/// What is wrong, and where.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut stack: Vec<Open> = Vec::new();
    let mut anchors = Anchors::new();
    let mut document = None;
    let mut total = Weight::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let line = error.marker().line();
            format!("{} at line {line}", error.info())
        })?;
        let line = span.start.line();
        let at = |message: String| format!("{message} at line {line}");
        let (done, weight) = match event {
            Event::MappingStart(anchor, _) => {
                stack.push(Open::new(anchor, Value::Object(Map::new()), line));
                (None, Weight::of(&Value::Null))
            }
            Event::SequenceStart(anchor, _) => {
                stack.push(Open::new(anchor, Value::Array(Vec::new()), line));
                (None, Weight::of(&Value::Null))
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let Some(open) = stack.pop() else { continue };
                let kept = keep(&mut anchors, open.anchor, &open.value);
                (Some(open.value), kept)
            }
            Event::Scalar(text, style, anchor, _) => {
                let is_null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                let value = if is_null {
                    Value::Null
                } else {
                    Value::String(text.into_owned())
                };
                let mut weight = Weight::of(&value);
                weight.add(keep(&mut anchors, anchor, &value));
                (Some(value), weight)
            }
            Event::Alias(anchor) => {
                let found = anchors.get(&anchor);
                let (value, weight) = found
                    .ok_or_else(|| at("an alias refers to a value that contains it".to_owned()))?;
                // Before the value is copied.
                total.add(*weight);
                total.check().map_err(at)?;
                (Some(value.clone()), Weight::default())
            }
            Event::DocumentStart(_) if document.is_some() => {
                return Err(at("a buildspec is one document".to_owned()));
            }
            _ => (None, Weight::default()),
        };
        total.add(weight);
        total.check().map_err(at)?;
        if stack.len() > MAX_DOCUMENT_DEPTH {
            return Err(at(limits::too_deep(MAX_DOCUMENT_DEPTH)));
        }
        if let Some(value) = done {
            match stack.last_mut() {
                Some(open) => open.add(value).map_err(at)?,
                None => document = Some(value),
            }
        }
    }
    if let Some(open) = stack.last() {
        return Err(format!(
            "unexpected end of a value that began at line {}",
            open.line
        ));
    }
    match document {
        Some(value) if limits::is_within(&value, MAX_DOCUMENT_DEPTH) => Ok(value),
        Some(_) => Err(limits::too_deep(MAX_DOCUMENT_DEPTH)),
        None => Err("the buildspec is empty".to_owned()),
    }
}

/// Remembers a value with an anchor. Returns what the copy weighs.
fn keep(anchors: &mut Anchors, anchor: usize, value: &Value) -> Weight {
    if anchor == 0 {
        return Weight::default();
    }
    let weight = Weight::of(value);
    anchors.insert(anchor, (value.clone(), weight));
    Weight { nodes: 0, ..weight }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_text_as_written() {
        let text = "a: 0.10\nb: yes\nc:\nd: ''\ne: [true, 012, null]\n1: x\n";
        let expected = json!({"a": "0.10", "b": "yes", "c": null, "d": "", "e": ["true", "012", null], "1": "x"});
        assert_eq!(parse(text).unwrap(), expected);
        let block = "a: |\n  one\n  two\nb: >-\n  x\n  y\n";
        assert_eq!(
            parse(block).unwrap(),
            json!({"a": "one\ntwo\n", "b": "x y"})
        );
        assert_eq!(parse("{\"a\": [1]}").unwrap(), json!({"a": ["1"]}));
    }

    #[test]
    fn aliases_repeat_values_within_a_limit() {
        let text = "a: &x\n  - one\nb: *x\n";
        assert_eq!(parse(text).unwrap(), json!({"a": ["one"], "b": ["one"]}));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = level - 1;
            let many = vec![format!("*a{before}"); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{many}]\n"));
        }
        assert!(parse(&bomb).unwrap_err().contains("more than 20000"));
        assert!(parse("a: &x [*x]\n").is_err());
        // A few values with a long text, and anchors within anchors.
        let long = "x".repeat(500_000);
        let bomb = format!("a: &a {long}\nb: [{}]\n", ["*a"; 20].join(", "));
        assert!(parse(&bomb).unwrap_err().contains("bytes with its aliases"));
        let nested: Vec<String> = (0..40).map(|level| format!("&a{level} [")).collect();
        let nested = nested.concat();
        let bomb = format!("a: {nested}{long}{}\n", "]".repeat(40));
        assert!(parse(&bomb).unwrap_err().contains("bytes with its aliases"));
    }

    #[test]
    fn errors_have_a_line() {
        for (text, part) in [
            ("a: b\na: c\n", "line 2"),
            ("a: [b\nc: d\n", "line"),
            ("<<: {a: b}\n", "merge keys"),
            ("[a]: b\n", "must be text"),
            ("a: b\n---\nc: d\n", "one document"),
            ("", "empty"),
            ("# nothing\n", "empty"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(parse(&deep).is_err());
    }
}
