//! `$or`, nesting and arrays.

use serde_json::{Value, json};

use super::{check, matches};

#[test]
fn or_means_one_of_several() {
    let pattern = json!({"source": ["aws.cloudwatch"], "$or": [
        {"metricName": ["CPUUtilization", "ReadLatency"]},
        {"metricType": ["MetricType"], "namespace": ["AWS/EC2"], "$or": [{"metricId": [1234]}, {"spaceId": [1000]}]},
        {"scope": ["Service"]},
    ]});
    check(
        pattern,
        &[
            json!({"source": "aws.cloudwatch", "metricName": "ReadLatency"}),
            json!({"source": "aws.cloudwatch", "scope": "Service"}),
            json!({"source": "aws.cloudwatch", "metricType": "MetricType", "namespace": "AWS/EC2", "spaceId": 1000}),
        ],
        &[
            json!({"source": "aws.s3", "scope": "Service"}),
            json!({"source": "aws.cloudwatch"}),
            json!({"source": "aws.cloudwatch", "metricType": "MetricType", "metricId": 1234}),
            json!({"source": "aws.cloudwatch", "metricType": "MetricType", "namespace": "AWS/EC2"}),
        ],
    );
    // Two of them are a product.
    let pattern =
        json!({"$or": [{"a": [1]}, {"b": [1]}], "detail": {"$or": [{"c": [1]}, {"d": [1]}]}});
    check(
        pattern,
        &[
            json!({"a": 1, "detail": {"d": 1}}),
            json!({"b": 1, "detail": {"c": 1}}),
        ],
        &[
            json!({"a": 1, "b": 1, "detail": {}}),
            json!({"detail": {"c": 1, "d": 1}}),
        ],
    );
}

#[test]
fn one_element_of_an_array_matches_all_fields() {
    let songs = json!({"Year": 1966, "Songs": [
        {"Name": "Paperback Writer", "Writers": [{"First": "John", "Last": "Lennon"}, {"First": "Paul", "Last": "McCartney"}]},
        {"Name": "Paint It Black", "Writers": [{"First": "Mick", "Last": "Jagger"}, {"First": "Keith", "Last": "Richards"}]},
    ]});
    let song = |name: &str, writer: Value| json!({"Songs": {"Name": [name], "Writers": writer}});
    for (pattern, expected) in [
        (
            song(
                "Paperback Writer",
                json!({"First": ["Paul"], "Last": ["McCartney"]}),
            ),
            true,
        ),
        (
            song(
                "Paperback Writer",
                json!({"First": ["John"], "Last": ["McCartney"]}),
            ),
            false,
        ),
        (song("Paperback Writer", json!({"First": ["Mick"]})), false),
        (
            json!({"Songs": {"Writers": {"First": ["Mick"], "Last": ["Jagger"]}}}),
            true,
        ),
        (
            json!({"Songs": {"Writers": {"First": ["Mick"], "Last": ["Lennon"]}}}),
            false,
        ),
    ] {
        assert_eq!(matches(&pattern, &songs), expected, "{pattern}");
    }
    // Arrays of plain values choose nothing.
    check(
        json!({"d": {"tags": ["a"], "more": ["y"], "kind": ["k"]}}),
        &[json!({"d": {"tags": ["b", "a"], "more": ["x", "y"], "kind": "k"}})],
        &[json!({"d": {"tags": ["b"], "more": ["x", "y"], "kind": "k"}})],
    );
    // Two arrays of one object are independent.
    check(
        json!({"d": {"a": {"x": [1]}, "b": {"x": [2]}}}),
        &[json!({"d": {"a": [{"x": 0}, {"x": 1}], "b": [{"x": 2}, {"x": 0}]}})],
        &[json!({"d": [{"a": {"x": 1}}, {"b": {"x": 2}}]})],
    );
    // Arrays in arrays.
    check(
        json!({"d": {"x": [1], "y": [2]}}),
        &[json!({"d": [[{"x": 1, "y": 2}]]})],
        &[
            json!({"d": [[{"x": 1}, {"y": 2}]]}),
            json!({"d": [[{"x": 1}], [{"y": 2}]]}),
        ],
    );
}

#[test]
fn what_must_not_exist_in_arrays() {
    // The element that `a` has chosen lacks `b`.
    check(
        json!({"d": {"a": [1], "b": [{"exists": false}]}}),
        &[json!({"d": [{"a": 1}, {"b": 2}]})],
        &[json!({"d": [{"a": 1, "b": 2}]}), json!({"d": [{"b": 2}]})],
    );
    // Before any element is chosen, none may have it.
    check(
        json!({"d": {"a": [{"exists": false}], "b": [2]}}),
        &[json!({"d": [{"c": 1}, {"b": 2}]})],
        &[json!({"d": [{"a": 1}, {"b": 2}]})],
    );
    check(
        json!({"d": {"a": [{"exists": false}]}}),
        &[json!({"d": []}), json!({"d": [{"b": 1}]}), json!({})],
        &[
            json!({"d": [{"b": 1}, {"a": 1}]}),
            json!({"d": [[{"a": 1}]]}),
        ],
    );
    check(
        json!({"d": {"a": [{"exists": false}, 1], "b": [{"exists": false}], "c": [3]}}),
        &[
            json!({"d": [{"a": 1, "c": 3}, {"b": 1}]}),
            json!({"d": [{"c": 3}]}),
        ],
        &[
            json!({"d": [{"c": 3}, {"b": 1}]}),
            json!({"d": [{"a": 1, "b": 1, "c": 3}]}),
        ],
    );
}

/// event-ruler compares the fields in the order of their joined paths, in which `-` is before a dot.
#[test]
fn fields_are_in_the_order_of_their_joined_paths() {
    check(
        json!({"d": {"a": {"b": [1]}, "a-c": [{"exists": false}]}}),
        &[json!({"d": [{"a": {"b": 1}}, {"x": 2}]})],
        &[json!({"d": [{"a": {"b": 1}}, {"a-c": 2}]})],
    );
}

#[test]
fn a_dot_separates_names() {
    check(
        json!({"detail.state": ["a"]}),
        &[
            json!({"detail": {"state": "a"}}),
            json!({"detail.state": "a"}),
        ],
        &[json!({"detail": "a"})],
    );
    check(
        json!({"detail": {"c.count": [5], "c": {"x": [1]}}}),
        &[
            json!({"detail": {"c.count": 5, "c": {"x": 1}}}),
            json!({"detail": {"c.x": 1, "c": {"count": 5}}}),
        ],
        &[json!({"detail": {"c.count": 5}})],
    );
}
