//! The documented rules of the pattern language.

use serde_json::{Value, json};

use super::*;

mod limits;
mod structure;

fn matches(pattern: &Value, event: &Value) -> bool {
    let parsed = Pattern::parse(&pattern.to_string());
    let parsed = parsed.unwrap_or_else(|reason| panic!("{pattern}: {reason}"));
    parsed.matches_within(&normalized(event), &Steps::of_pattern()) == Ok(true)
}

/// A pattern, events that match, and events that do not.
#[expect(clippy::needless_pass_by_value, reason = "reads as a table")]
fn check(pattern: Value, matching: &[Value], others: &[Value]) {
    for event in matching {
        assert!(matches(&pattern, event), "{pattern} has to match {event}");
    }
    for event in others {
        assert!(
            !matches(&pattern, event),
            "{pattern} must not match {event}"
        );
    }
}

/// The same for the values of one field.
#[expect(clippy::needless_pass_by_value, reason = "reads as a table")]
fn check_values(values: Value, matching: &[Value], others: &[Value]) {
    let event = |value: &Value| json!({"detail": {"f": value}});
    let matching: Vec<Value> = matching.iter().map(event).collect();
    let others: Vec<Value> = others.iter().map(event).collect();
    check(json!({"detail": {"f": values}}), &matching, &others);
}

#[test]
fn exact_values() {
    check_values(
        json!(["a", "b"]),
        &[json!("a"), json!(["x", "b"])],
        &[json!("A"), json!("ab"), json!({"a": "a"}), json!([])],
    );
    check_values(
        json!([300]),
        &[json!(300), json!(300.0), json!(3.0e2)],
        &[json!("300"), json!(301)],
    );
    check_values(json!([0]), &[json!(0), json!(-0.0)], &[json!(null)]);
    check_values(json!([0.1]), &[json!(0.1), json!(0.10)], &[json!(0.11)]);
    check_values(
        json!([123_456_789_012_i64]),
        &[json!(123_456_789_012_i64)],
        &[json!("123456789012")],
    );
    check_values(
        json!([9_007_199_254_740_993_i64]),
        &[json!(9_007_199_254_740_993_i64)],
        &[json!(9_007_199_254_740_992_i64)],
    );
    // The shortest text of the number, as event-ruler writes it.
    check_values(
        json!([{"numeric": ["=", 1_152_921_504_606_847_000_i64]}]),
        &[json!(1_152_921_504_606_847_000_i64)],
        &[json!(1_152_921_504_606_846_976_i64)],
    );
    check_values(
        json!([null]),
        &[json!(null), json!([1, null])],
        &[json!("null"), json!(""), json!(false)],
    );
    check_values(json!([true]), &[json!(true)], &[json!("true"), json!(1)]);
    check_values(json!([""]), &[json!("")], &[json!(" "), json!(null)]);
    check_values(json!([{"exactly": "a"}]), &[json!("a")], &[json!("b")]);
    // A field that the event lacks.
    check(
        json!({"detail": {"f": ["a"]}}),
        &[],
        &[json!({}), json!({"detail": "a"}), json!({"f": "a"})],
    );
}

#[test]
fn beginnings_and_ends() {
    check_values(
        json!([{"prefix": "ab"}]),
        &[json!("ab"), json!("abc")],
        &[json!("Ab"), json!("a"), json!(12)],
    );
    check_values(json!([{"prefix": "1"}]), &[json!("12")], &[json!(12)]);
    check_values(
        json!([{"prefix": ""}]),
        &[json!(""), json!("a")],
        &[json!(1), json!(null)],
    );
    check_values(
        json!([{"suffix": ".png"}]),
        &[json!("a.png"), json!(".png")],
        &[json!("a.PNG"), json!("a.png ")],
    );
    check_values(
        json!([{"prefix": {"equals-ignore-case": "EventBridge"}}]),
        &[json!("EVENTBRIDGE.x")],
        &[json!("event")],
    );
    check_values(
        json!([{"suffix": {"equals-ignore-case": ".png"}}]),
        &[json!("a.PnG")],
        &[json!("a.pn")],
    );
    check_values(
        json!([{"equals-ignore-case": "alice"}]),
        &[json!("ALICE"), json!("Alice")],
        &[json!("alice "), json!("alic")],
    );
    // The forms of these characters have different lengths.
    check_values(
        json!([{"equals-ignore-case": "ⱥb"}]),
        &[json!("ȺB"), json!("ⱥB")],
        &[json!("ab")],
    );
    check_values(
        json!([{"suffix": {"equals-ignore-case": "ŉ"}}]),
        &[json!("xʼN")],
        &[json!("N")],
    );
}

#[test]
fn anything_but() {
    check_values(
        json!([{"anything-but": "x"}]),
        &[
            json!("y"),
            json!(5),
            json!(null),
            json!(true),
            json!(["x", "y"]),
        ],
        &[json!("x"), json!(["x"]), json!([]), json!({"x": "y"})],
    );
    check_values(
        json!([{"anything-but": 5}]),
        &[json!(6), json!("5")],
        &[json!(5), json!(5.0)],
    );
    check_values(
        json!([{"anything-but": ["a", "b"]}]),
        &[json!("c"), json!(1)],
        &[json!("a"), json!("b")],
    );
    check_values(
        json!([{"anything-but": [1, 2]}]),
        &[json!(3), json!("1")],
        &[json!(1), json!(2.0)],
    );
    check_values(
        json!([{"anything-but": {"prefix": "init"}}]),
        &[json!("x"), json!(1)],
        &[json!("init"), json!("initial")],
    );
    check_values(
        json!([{"anything-but": {"prefix": ["a", "b"]}}]),
        &[json!("c")],
        &[json!("ax"), json!("bx")],
    );
    check_values(
        json!([{"anything-but": {"suffix": ["1", "2"]}}]),
        &[json!("3")],
        &[json!("x1"), json!("x2")],
    );
    check_values(
        json!([{"anything-but": {"equals-ignore-case": ["Stopped"]}}]),
        &[json!("run")],
        &[json!("STOPPED")],
    );
    check_values(
        json!([{"anything-but": {"wildcard": ["*/bin/*.jar", "*.class"]}}]),
        &[json!("/lib/a.jar")],
        &[json!("x/bin/a.jar"), json!("a.class")],
    );
    check_values(
        json!([{"anything-but": {"prefix": []}}]),
        &[json!("a")],
        &[],
    );
    // The field has to exist.
    check(
        json!({"detail": {"f": [{"anything-but": "x"}]}}),
        &[],
        &[json!({"detail": {}})],
    );
}

#[test]
fn numbers() {
    let of = |range: Value| json!([{"numeric": range}]);
    check_values(
        of(json!(["=", 3.018e2])),
        &[json!(301.8)],
        &[json!(301), json!("301.8")],
    );
    check_values(
        of(json!(["<", 10])),
        &[json!(9.99), json!(-1)],
        &[json!(10)],
    );
    check_values(of(json!(["<=", 10])), &[json!(10)], &[json!(10.01)]);
    check_values(
        of(json!([">", 10])),
        &[json!(10.01)],
        &[json!(10), json!("11")],
    );
    check_values(of(json!([">=", 10])), &[json!(10)], &[json!(9)]);
    check_values(
        of(json!([">", 0, "<=", 5])),
        &[json!(1), json!(5), json!([9, 3])],
        &[json!(0), json!(6), json!(null)],
    );
    check_values(
        of(json!([">=", -5e9, "<", 5e9])),
        &[json!(-5e9)],
        &[json!(5e9)],
    );
}

#[test]
fn addresses() {
    let of = |block: &str| json!([{"cidr": block}]);
    check_values(
        of("10.0.0.0/24"),
        &[json!("10.0.0.0"), json!("10.0.0.255")],
        &[json!("10.0.1.0"), json!("9.255.255.255"), json!("x")],
    );
    check_values(
        of("10.1.2.3/8"),
        &[json!("10.255.0.1")],
        &[json!("11.0.0.0")],
    );
    check_values(
        of("0.0.0.0/0"),
        &[json!("255.255.255.255")],
        &[json!("::1")],
    );
    check_values(
        of("2001:db8::/56"),
        &[json!("2001:db8::1"), json!("2001:DB8:0:ff::")],
        &[json!("2001:db8:0:100::")],
    );
    check_values(
        of("2001:db8::ff00:42:8329/127"),
        &[json!("2001:db8::ff00:42:8328")],
        &[json!("2001:db8::ff00:42:832a")],
    );
    // An address in text matches in every spelling.
    check_values(json!(["::1"]), &[json!("0:0:0:0:0:0:0:1")], &[json!("::2")]);
    check_values(
        json!(["10.0.0.1"]),
        &[json!("10.0.0.01")],
        &[json!("10.0.0.11")],
    );
    check_values(
        json!(["300.0.0.1"]),
        &[json!("300.0.0.1")],
        &[json!("300.0.0.01")],
    );
}

#[test]
fn existence() {
    check_values(
        json!([{"exists": true}]),
        &[json!(null), json!(0), json!([1])],
        &[json!({"x": 1}), json!([]), json!({})],
    );
    check_values(
        json!([{"exists": false}]),
        &[json!({"x": 1}), json!([])],
        &[json!(null), json!("x")],
    );
    check(
        json!({"a": [{"exists": false}], "b": ["x"]}),
        &[json!({"b": "x"})],
        &[json!({"b": "x", "a": 1}), json!({})],
    );
    check_values(
        json!([{"exists": false}, "x"]),
        &[json!("x"), json!([])],
        &[json!("y")],
    );
}

#[test]
fn wildcards() {
    let of = |text: &str| json!([{"wildcard": text}]);
    check_values(
        of("Simple*Service"),
        &[json!("SimpleQueueService"), json!("SimpleService")],
        &[json!("simpleService"), json!("SimpleServic")],
    );
    check_values(of("*"), &[json!(""), json!("x")], &[json!(1), json!(null)]);
    check_values(
        of("a*b*a"),
        &[json!("aba"), json!("axbxa"), json!("abba")],
        &[json!("aa"), json!("ab"), json!("a")],
    );
    check_values(
        of("*.txt"),
        &[json!(".txt"), json!("a.txt.txt")],
        &[json!("a.txt.")],
    );
    check_values(of(r"a\*b\\"), &[json!(r"a*b\")], &[json!(r"axb\")]);
    check_values(of(""), &[json!("")], &[json!("x")]);
    check_values(
        of("dir/*/file_*"),
        &[json!("dir/a/b/file_1"), json!("dir//file_")],
        &[json!("dir/file_1")],
    );
    // Neither a long text nor many wildcards take exponential time.
    let many = format!("{}b", "*a".repeat(100));
    check_values(of(&many), &[], &[json!("a".repeat(200_000))]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of patterns")]
fn bad_patterns_have_reasons() {
    let reason = |text: &str| Pattern::parse(text).expect_err(text);
    for (text, expected) in [
        ("[]", "Filter is not an object"),
        ("{}", "Empty objects are not allowed"),
        (r#"{"a": {}}"#, "Empty objects are not allowed"),
        (r#"{"a": []}"#, "Empty arrays are not allowed"),
        (r#"{"a": 1}"#, "\"a\" must be an object or an array"),
        (
            r#"{"a": [[1]]}"#,
            "Match value must be String, number, true, false, or null",
        ),
        (r#"{"a": [{}]}"#, "Match expression name not found"),
        (r#"{"a": [{"foo": 1}]}"#, "Unrecognized match type foo"),
        (
            r#"{"a": [{"prefix": 1}]}"#,
            "prefix match pattern must be a string",
        ),
        (
            r#"{"a": [{"prefix": "a", "suffix": "b"}]}"#,
            "Only one key allowed in match expression",
        ),
        (
            r#"{"a": [{"prefix": {"wildcard": "a"}}]}"#,
            "Unsupported prefix pattern: wildcard",
        ),
        (
            r#"{"a": [{"suffix": {"equals-ignore-case": 5}}]}"#,
            "equals-ignore-case match pattern must be a string",
        ),
        (
            r#"{"a": [{"anything-but": []}]}"#,
            "Inside anything but list, either all values are number or string, mixed type is not supported",
        ),
        (
            r#"{"a": [{"anything-but": [1, "a"]}]}"#,
            "Inside anything but list, either all values are number or string, mixed type is not supported",
        ),
        (
            r#"{"a": [{"anything-but": [null]}]}"#,
            "Inside anything but list, start|null|boolean is not supported.",
        ),
        (
            r#"{"a": [{"anything-but": true}]}"#,
            "Value of anything-but must be an array or single string/number value.",
        ),
        (
            r#"{"a": [{"anything-but": {"cidr": "a"}}]}"#,
            "Unsupported anything-but pattern: cidr",
        ),
        (
            r#"{"a": [{"anything-but": {"prefix": ""}}]}"#,
            "Null prefix/suffix not allowed",
        ),
        (
            r#"{"a": [{"anything-but": {"suffix": [1]}}]}"#,
            "prefix/suffix match pattern must be a string",
        ),
        (
            r#"{"a": [{"anything-but": {"prefix": "a", "x": 1}}]}"#,
            "Too many elements in numeric expression",
        ),
        (
            r#"{"a": [{"exists": "x"}]}"#,
            "exists match pattern must be either true or false.",
        ),
        (
            r#"{"a": [{"exists": false, "x": 1}]}"#,
            "Only one key allowed in match expression",
        ),
        (
            r#"{"a": [{"wildcard": "a**b"}]}"#,
            "Consecutive wildcard characters at pos 2",
        ),
        (
            r#"{"a": [{"wildcard": "a\\b"}]}"#,
            "Invalid escape character at pos 2",
        ),
        (
            r#"{"a": [{"anything-but": {"wildcard": ["x", "a\\"]}}]}"#,
            "Invalid escape character at pos 2",
        ),
        (
            r#"{"a": [{"numeric": 1}]}"#,
            "Value of numeric must be an array.",
        ),
        (
            r#"{"a": [{"numeric": []}]}"#,
            "Invalid member in numeric match: ]",
        ),
        (
            r#"{"a": [{"numeric": ["=", "1"]}]}"#,
            "Value of equals must be numeric",
        ),
        (
            r#"{"a": [{"numeric": ["<"]}]}"#,
            "Value of < must be numeric",
        ),
        (
            r#"{"a": [{"numeric": ["<>", 1]}]}"#,
            "Unrecognized numeric range operator: <>",
        ),
        (
            r#"{"a": [{"numeric": ["<", 1, ">", 0]}]}"#,
            "Too many elements in numeric expression",
        ),
        (
            r#"{"a": [{"numeric": [">", 1, "<", 1]}]}"#,
            "Bottom must be less than top",
        ),
        (
            r#"{"a": [{"numeric": [">", 1, ">", 2]}]}"#,
            "Bad numeric range operator: >",
        ),
        (
            r#"{"a": [{"numeric": [">", 1, "<", 30, false]}]}"#,
            "Too many terms in numeric range expression",
        ),
        (
            r#"{"a": [{"cidr": "foo"}]}"#,
            "Malformed CIDR, one '/' required",
        ),
        (
            r#"{"a": [{"cidr": "foo/8"}]}"#,
            "Nonstandard IP address: foo",
        ),
        (
            r#"{"a": [{"cidr": "700.1.1.1/8"}]}"#,
            "Invalid IP address: 700.1.1.1",
        ),
        (
            r#"{"a": [{"cidr": "1.1.1.1/x"}]}"#,
            "Malformed CIDR, mask bits must be an integer",
        ),
        (
            r#"{"a": [{"cidr": "1.1.1.1/-1"}]}"#,
            "Malformed CIDR, mask bits must not be negative",
        ),
        (
            r#"{"a": [{"cidr": "1.1.1.1/32"}]}"#,
            "IPv4 mask bits must be < 32",
        ),
        (
            r#"{"a": [{"cidr": "::/128"}]}"#,
            "IPv6 mask bits must be < 128",
        ),
        (
            r#"{"$or": {"a": [1]}}"#,
            "It must be an Array followed with $or.",
        ),
        (
            r#"{"$or": [{"a": [1]}]}"#,
            "There must have at least 2 Objects in $or relationship.",
        ),
        (
            r#"{"$or": [{"a": [1]}, 2]}"#,
            "Only JSON object is allowed in array of $or relationship.",
        ),
        (
            r#"{"$or": [{"a": [1]}, {"prefix": ["b"]}]}"#,
            "prefix is Ruler reserved fieldName which cannot be used inside $or.",
        ),
        (
            r#"{"a.b": [1], "a": {"b": [2]}}"#,
            "Path `a.b` cannot be allowed multiple times",
        ),
    ] {
        assert_eq!(reason(text), expected, "{text}");
    }
    assert!(!reason("{").is_empty());
    assert!(!reason(r#"{"a": [1], "a": [2]}"#).is_empty());
}

#[test]
fn patterns_are_bounded() {
    let three = json!([{"a": [1]}, {"b": [1]}, {"c": [1]}]);
    let nested = |levels: usize| {
        let mut pattern = json!({"x": [1]});
        for level in 0..levels {
            let mut alternatives = three.clone();
            alternatives[0] = json!({(format!("a{level}")): [1]});
            pattern = json!({(format!("f{level}")): {"$or": alternatives}, "inner": pattern});
        }
        Pattern::parse(&pattern.to_string())
    };
    assert_eq!(nested(6).unwrap().alternatives.len(), 729);
    assert_eq!(
        nested(7).unwrap_err(),
        "There are over 1000 rule combinations"
    );
    let wildcards = |text: &str| Pattern::parse(&json!({"a": [{"wildcard": text}]}).to_string());
    wildcards(&"*ab".repeat(100)).unwrap();
    for complex in ["*ab".repeat(301), format!("*{}", "a".repeat(400))] {
        let reason = wildcards(&complex).unwrap_err();
        assert!(reason.starts_with("Rule is too complex"), "{reason}");
    }
}

#[test]
fn sources_of_a_pattern() {
    for (pattern, expected) in [
        (
            json!({"source": ["aws.s3", "aws.ecr"]}),
            Some(vec!["aws.s3", "aws.ecr"]),
        ),
        (json!({"source": [{"prefix": "aws."}]}), None),
        (json!({"source": ["a", {"exists": false}]}), None),
        (json!({"detail": {"source": ["a"]}}), None),
        (
            json!({"$or": [{"source": ["a"]}, {"source": ["b"]}]}),
            Some(vec!["a", "b"]),
        ),
        (
            json!({"$or": [{"source": ["a"]}, {"account": ["b"]}]}),
            None,
        ),
    ] {
        let parsed = Pattern::parse(&pattern.to_string()).unwrap();
        assert_eq!(parsed.sources(), expected, "{pattern}");
    }
}
