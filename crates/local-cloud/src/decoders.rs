//! Entry points of the decoders for the fuzz targets (`fuzz/`). Each function decodes its input and
//! panics if an invariant is violated.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use serde_json::Value;

use crate::cloudformation::intrinsics::Scope;
use crate::cloudformation::template::Template;
use crate::events::pattern::{Pattern, Steps, normalized};
use crate::lambda::code::archive;
use crate::limits;
use crate::wire::cbor;
use crate::wire::query::form as query;

/// Texts of more bytes than this may be refused for the number of their values.
pub const MAX_VALUES: usize = limits::MAX_VALUES;

/// Decodes a form. Accepted forms are within the limits.
pub fn form(bytes: &[u8]) {
    if let Ok((action, input)) = query::decode(bytes) {
        assert!(limits::is_within(&input, limits::MAX_DEPTH));
        assert!(action.len() + input.to_string().len() < 40 * bytes.len() + 100);
    }
}

/// Decodes a request in CBOR. An accepted one is within the limits, and the same after it was encoded again.
pub fn cbor(bytes: &[u8]) {
    let Ok(value) = cbor::decode(bytes) else {
        return;
    };
    assert!(limits::is_within(&value, limits::MAX_DEPTH));
    // No value at all is written as an empty map.
    if !value.is_null() {
        let encoded = cbor::encoded(&value, &[]);
        assert_eq!(cbor::decode(&encoded).expect("is CBOR"), value);
    }
}

/// Checks JSON before it is decoded; the error is the reason for refusing it.
pub fn check_json(bytes: &[u8]) -> Result<(), String> {
    limits::check_json(bytes, limits::MAX_DEPTH)
}

/// True for a value within the nesting depth of a request.
pub fn is_within(value: &Value) -> bool {
    limits::is_within(value, limits::MAX_DEPTH)
}

/// Parses a template and evaluates its conditions and properties.
pub fn template(text: &str) {
    let Ok(template) = Template::parse(text) else {
        return;
    };
    let parameters = template.section("Parameters").keys();
    let parameters = parameters
        .map(|name| (name.clone(), Value::from("value")))
        .collect();
    let pseudo = BTreeMap::from([("AWS::Region".to_owned(), Value::from("us-east-1"))]);
    let Ok(scope) = Scope::new(template.clone(), parameters, pseudo, BTreeMap::new()) else {
        return;
    };
    let _ = scope.present();
    for resource in template.section("Resources").values() {
        if let Ok(value) = scope.value(resource) {
            // The value of a record must be readable again.
            let text = value.to_string();
            assert_eq!(
                serde_json::from_str::<Value>(&text).expect("is JSON"),
                value
            );
        }
    }
}

/// Compiles an event pattern and matches it with an event. A match has a source that the pattern allows, and also
/// matches after the event was normalized once more.
pub fn event_pattern(pattern: &str, event: &str) {
    let (Ok(pattern), Ok(event)) = (Pattern::parse(pattern), limits::document(event.as_bytes()))
    else {
        return;
    };
    let event = normalized(&event);
    assert_eq!(*normalized(&event), *event);
    if pattern.matches_within(&event, &Steps::of_pattern()) == Ok(true)
        && let Some(sources) = pattern.sources()
    {
        let is_listed = |value: &Value| value.as_str().is_some_and(|text| sources.contains(&text));
        let is_allowed = match &event["source"] {
            Value::Array(items) => items.iter().flat_map(leaves).any(is_listed),
            value => is_listed(value),
        };
        assert!(is_allowed, "the source is none of {sources:?}");
    }
}

/// The values in nested lists.
fn leaves(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter().flat_map(leaves)),
        other => Box::new(std::iter::once(other)),
    }
}

/// Checks a function's zip and unpacks it.
pub fn unpack(bytes: &[u8], directory: &Path) {
    if let Ok(mut archive) = archive::open(Cursor::new(bytes))
        && archive::check(&mut archive).is_ok()
    {
        let _ = archive::extract(&mut archive, directory);
    }
}
