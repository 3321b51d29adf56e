use super::*;
use serde_json::json;

fn scope() -> Scope {
    let template = Template::parse(
        "Parameters: {Env: {Type: String}}\n\
         Mappings: {M: {us-east-1: {Size: 3, Zones: [x, y]}}}\n\
         Conditions:\n  Both: !And [!Condition Prod, !Not [!Equals [!Ref Env, test]]]\n  \
         Prod: !Equals [!Ref Env, prod]\n  Either: !Or [!Condition Both, !Equals ['1', 1]]\n  \
         Never: !Equals [a, b]\n\
         Resources: {B: {Type: T}, C: {Type: T, Condition: Never}}",
    )
    .unwrap();
    let parameters = BTreeMap::from([
        ("Env".to_owned(), json!("prod")),
        ("Subnets".to_owned(), json!(["s-1", "s-2"])),
    ]);
    let pseudo = BTreeMap::from([("AWS::Region".to_owned(), json!("us-east-1"))]);
    let exports = BTreeMap::from([("net-Vpc".to_owned(), "vpc-1".to_owned())]);
    let mut scope = Scope::new(template, parameters, pseudo, exports).unwrap();
    let mut attributes = Map::new();
    attributes.insert("Arn".to_owned(), json!("arn:b"));
    scope.resources.insert(
        "B".to_owned(),
        Known {
            reference: Some("bucket".to_owned()),
            attributes,
            after_apply: false,
        },
    );
    scope
}

fn resolved(value: &Value) -> Value {
    scope().value(value).unwrap()
}

#[test]
fn conditions_can_refer_to_each_other_in_any_order() {
    let scope = scope();
    assert_eq!(
        scope
            .conditions
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect::<Vec<_>>(),
        [
            ("Both", true),
            ("Either", true),
            ("Never", false),
            ("Prod", true)
        ]
    );
    assert_eq!(
        scope.present().unwrap().into_iter().collect::<Vec<_>>(),
        ["B"]
    );
}

#[test]
fn functions_evaluate_to_their_values() {
    for (expression, value) in [
        (json!({"Ref": "B"}), json!("bucket")),
        (json!({"Fn::GetAtt": ["B", "Arn"]}), json!("arn:b")),
        (json!({"Fn::GetAtt": "B.Arn"}), json!("arn:b")),
        (
            json!({"Fn::Sub": "${B}/${B.Arn}/${!Not}/${AWS::Region}$"}),
            json!("bucket/arn:b/${Not}/us-east-1$"),
        ),
        (
            json!({"Fn::Sub": ["${X}-${Env}", {"X": {"Ref": "B"}}]}),
            json!("bucket-prod"),
        ),
        (
            json!({"Fn::Join": [",", {"Ref": "Subnets"}]}),
            json!("s-1,s-2"),
        ),
        (
            json!({"Fn::Select": ["1", {"Fn::Split": ["-", "a-b"]}]}),
            json!("b"),
        ),
        (json!({"Fn::If": ["Prod", 1, 2]}), json!(1)),
        (
            json!({"a": {"Fn::If": ["Never", 1, {"Ref": "AWS::NoValue"}]}, "b": [1, {"Ref": "AWS::NoValue"}]}),
            json!({"b": [1]}),
        ),
        (
            json!({"Fn::FindInMap": ["M", {"Ref": "AWS::Region"}, "Size"]}),
            json!(3),
        ),
        (
            json!({"Fn::FindInMap": ["M", "x", "Size", {"DefaultValue": "d"}]}),
            json!("d"),
        ),
        (
            json!({"Fn::ImportValue": {"Fn::Sub": "net-Vpc"}}),
            json!("vpc-1"),
        ),
        (json!({"Fn::Base64": "hi"}), json!("aGk=")),
        (
            json!({"Fn::GetAZs": ""}),
            json!(["us-east-1a", "us-east-1b", "us-east-1c"]),
        ),
        (
            json!({"Fn::Cidr": ["10.0.0.0/16", 3, 8]}),
            json!(["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]),
        ),
        (
            json!({"Condition": {"StringEquals": {"a": "b"}}}),
            json!({"Condition": {"StringEquals": {"a": "b"}}}),
        ),
    ] {
        assert_eq!(resolved(&expression), value, "{expression}");
    }
}

#[test]
fn invalid_expressions_are_refused_with_the_reason() {
    for (expression, part) in [
        (json!({"Ref": "C"}), "Unresolved resource dependencies [C]"),
        (
            json!({"Fn::GetAtt": ["B", "Nope"]}),
            "does not support attribute type Nope",
        ),
        (
            json!({"Fn::Sub": "${Subnets}"}),
            "does not resolve to a string",
        ),
        (
            json!({"Fn::Select": [2, ["a", "b"]]}),
            "Fn::Select requires a list argument with two elements: an integer index and a list",
        ),
        (
            json!({"Fn::Select": [2, {"Fn::Split": ["-", "a-b"]}]}),
            "cannot select nonexistent value at index 2",
        ),
        (
            json!({"Fn::Select": ["x", ["a"]]}),
            "Fn::Select requires a list argument",
        ),
        (
            json!({"Fn::Split": ["-"]}),
            "every Fn::Split object requires two parameters, (1) a string delimiter",
        ),
        (
            json!({"Fn::If": ["Nope", 1, 2]}),
            "Unresolved condition dependency Nope",
        ),
        (
            json!({"Fn::ImportValue": "nope"}),
            "No export named nope found.",
        ),
        (
            json!({"Fn::FindInMap": ["M", "us-east-1", "Nope"]}),
            "M::us-east-1::Nope",
        ),
        (
            json!({"Fn::Cidr": ["10.0.0.0/24", 3, 8]}),
            "Fn::Cidr of 10.0.0.0/24: it has room for 1 blocks",
        ),
        (json!({"Fn::Foo": 1}), "Fn::Foo is not known"),
        (json!("{{resolve:ssm:x}}"), "dynamic references"),
    ] {
        let error = scope().value(&expression).unwrap_err();
        assert!(
            error.message.contains(part),
            "{expression}: {}",
            error.message
        );
    }
}
