//! Patterns and events that would take too much of the stack, of memory or of time.

use serde_json::{Value, json};

use super::*;

fn refused(pattern: &Value) -> String {
    Pattern::parse(&pattern.to_string()).unwrap_err()
}

#[test]
fn a_name_with_many_dots_takes_no_stack() {
    let path = "a.".repeat(150_000) + "a";
    assert_eq!(refused(&json!({&path: [1]})), "A path has over 100 names");
    let half = "a.".repeat(60) + "a";
    assert_eq!(
        refused(&json!({&half: {&half: [1]}})),
        "A path has over 100 names"
    );
    // What is deeper than a pattern can be is no value, so that nothing else changes.
    let event = json!({&path: 1, "b.c": 2, "b": [{&path: {&path: 3}, "d.e": 4}]});
    for (pattern, expected) in [
        (json!({"b.c": [2]}), true),
        (json!({"b.d.e": [4]}), true),
        (json!({"a": [{"exists": true}]}), false),
        (json!({"a.a.a": [{"exists": true}]}), false),
    ] {
        assert_eq!(matches(&pattern, &event), expected, "{pattern}");
    }
    let mut nested = json!(1);
    for _ in 0..90 {
        nested = json!({&half: [nested]});
    }
    assert!(matches(&json!({"x": [1]}), &json!({"n": nested, "x": 1})));
    // As deep as a pattern can be.
    let deepest = vec!["a"; 100].join(".");
    assert!(matches(&json!({&deepest: [1]}), &json!({&deepest: 1})));
}

#[test]
fn alternatives_with_long_paths_are_limited() {
    let path = vec!["a"; 90].join(".");
    let ten: Vec<Value> = (0..10).map(|n| json!({&path: [n]})).collect();
    let pattern = json!({"$or": ten, "x": {"$or": ten, "y": {"$or": ten}}});
    let reason = refused(&pattern);
    assert!(reason.starts_with("Rule is too complex"), "{reason}");
    // Each with 90 names, but few of them.
    let few: Vec<Value> = (0..100).map(|n| json!({&path: [n]})).collect();
    Pattern::parse(&json!({"$or": few}).to_string()).unwrap();
}

#[test]
fn each_value_is_visited_once() {
    // An array of arrays, in which each level has a field that must not exist.
    let mut items = json!((0..1000).map(|n| json!({"n": n})).collect::<Vec<_>>());
    for _ in 0..90 {
        items = json!([items, {"m": 1}]);
    }
    let pattern = json!({"d": {"n": [5], "o": [{"exists": false}], "p": [{"exists": false}]}});
    let pattern = Pattern::parse(&pattern.to_string()).unwrap();
    let steps = Steps::of_pattern();
    assert_eq!(
        pattern.matches_within(&json!({"d": items}), &steps),
        Ok(true)
    );
    assert!(steps.left() > 2_000_000 - 20_000, "{steps:?}");
}

#[test]
fn too_many_steps_are_refused() {
    let digits: Vec<Value> = (0..500).map(|n| json!({"x": [n]})).collect();
    let pattern = Pattern::parse(&json!({"$or": digits}).to_string()).unwrap();
    let event = json!({"x": (1000..20_000).collect::<Vec<_>>()});
    let result = pattern.matches_within(&event, &Steps::of_pattern());
    assert_eq!(result, Err(TooManySteps));
    let text = json!({"x": "y".repeat(1 << 20)});
    let result = pattern.matches_within(&text, &Steps::of_pattern());
    assert_eq!(result, Err(TooManySteps));
    // The rest of an event's steps is for the other rules.
    let steps = Steps::of_event();
    let result = steps.part(|part| pattern.matches_within(&event, part));
    assert_eq!(result, Err(TooManySteps));
    assert_eq!(
        steps.part(|part| pattern.matches_within(&json!({"x": 1}), part)),
        Ok(true)
    );
}
