//! The members of a definition: their names, types, and which are required.
//!
//! Follows AWS's published JSON schema of definitions (aws-sagemaker-mlops,
//! sagemaker-model-building-pipeline-definition-JSON-schema), plus what the SageMaker Python SDK
//! writes beyond it: `PipelineExperimentConfig`, `MlflowConfig` (from version 3), `EnumValues`,
//! `PropertyFiles`, the conditions `Not`, `QueryValue` and `Values` of `In`, lists of exception
//! types, and functions in place of any value.

use serde_json::{Map, Value};

use super::arguments;
use super::expression::call;
use super::parameters::whole;
use super::problem::Problem;

/// Maximum length in characters of the name of a parameter or step (`^[A-Za-z0-9\-_]{1,64}$`).
const NAME: usize = 64;

/// Maximum length in characters of a description, of a parameter's default, of a display name
/// (service model:
/// `StepDisplayName`, 256) and of a value of `Metadata`.
const DESCRIPTION: usize = 4096;
const DISPLAY_NAME: usize = 256;
const METADATA: usize = 1024;

/// The type of a member.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A name: letters, digits, `-` and `_`.
    Name,
    /// Text of at most this many characters.
    Text(usize),
    /// One of these words.
    Word(&'static [&'static str]),
    Boolean,
    /// An integer.
    Whole,
    Number,
    List,
    Object,
    /// A scalar, or a function that returns one.
    Scalar,
    /// Checked elsewhere, or unknown to this program.
    Any,
}

/// A member's name and type.
type Member = (&'static str, Kind);

const DEFINITION: &[Member] = &[
    ("Version", Kind::Text(DESCRIPTION)),
    ("Metadata", Kind::Object),
    ("Parameters", Kind::List),
    ("PipelineExperimentConfig", Kind::Any),
    ("MlflowConfig", Kind::Any),
    ("Steps", Kind::List),
];

/// Members of a definition that are objects or, as the SDK writes an absent one, `null`.
const CONFIGS: &[(&str, &[Member])] = &[
    (
        "PipelineExperimentConfig",
        &[
            ("ExperimentName", Kind::Scalar),
            ("TrialName", Kind::Scalar),
        ],
    ),
    (
        "MlflowConfig",
        &[
            ("MlflowResourceArn", Kind::Scalar),
            ("MlflowExperimentName", Kind::Scalar),
        ],
    ),
];

const STEP: &[Member] = &[
    ("Name", Kind::Name),
    ("Type", Kind::Text(DESCRIPTION)),
    ("DependsOn", Kind::List),
    ("DisplayName", Kind::Text(DISPLAY_NAME)),
    ("Description", Kind::Text(DESCRIPTION)),
    ("Arguments", Kind::Object),
    // A step type that cannot be cached may still disable caching explicitly.
    ("CacheConfig", Kind::Object),
];

const CACHE: &[Member] = &[
    ("Enabled", Kind::Boolean),
    ("ExpireAfter", Kind::Text(DESCRIPTION)),
];

const RETRY: &[Member] = &[
    ("ExceptionType", Kind::Any),
    ("IntervalSeconds", Kind::Whole),
    ("BackoffRate", Kind::Number),
    ("ExpireAfterMin", Kind::Whole),
    ("MaxAttempts", Kind::Whole),
];

const PROPERTY_FILE: &[Member] = &[
    ("PropertyFileName", Kind::Text(DESCRIPTION)),
    ("OutputName", Kind::Text(DESCRIPTION)),
    ("FilePath", Kind::Text(DESCRIPTION)),
];

const CHECK: &[Member] = &[
    ("CheckType", Kind::Text(DESCRIPTION)),
    ("ModelPackageGroupName", Kind::Any),
    ("SkipCheck", Kind::Any),
    ("FailOnViolation", Kind::Any),
    ("RegisterNewBaseline", Kind::Any),
    ("SuppliedBaselineConstraints", Kind::Any),
    ("SuppliedBaselineStatistics", Kind::Any),
    ("ModelName", Kind::Any),
    ("PropertyFiles", Kind::List),
    ("RetryPolicies", Kind::List),
];

/// Step types that can be cached (developer guide, "Caching pipeline steps"; the schema also lists
/// Lambda and Callback).
pub(super) const CACHED: &[&str] = &[
    "Processing",
    "Training",
    "Tuning",
    "AutoML",
    "Transform",
    "ClarifyCheck",
    "QualityCheck",
    "EMR",
    "Lambda",
    "Callback",
];

/// Members that only this step type has; `None` for types that the schema does not describe.
fn own_members(kind: &str) -> Option<&'static [Member]> {
    const RETRIED: &[Member] = &[("RetryPolicies", Kind::List)];
    Some(match kind {
        "Processing" => &[("RetryPolicies", Kind::List), ("PropertyFiles", Kind::List)],
        "Training" | "Tuning" | "Transform" | "AutoML" | "Model" | "RegisterModel" | "EMR"
        | "EndpointConfig" => RETRIED,
        "Condition" | "Fail" | "Endpoint" => &[],
        "Lambda" => &[
            ("FunctionArn", Kind::Text(DESCRIPTION)),
            ("OutputParameters", Kind::List),
        ],
        "Callback" => &[
            ("SqsQueueUrl", Kind::Text(DESCRIPTION)),
            ("OutputParameters", Kind::List),
        ],
        "QualityCheck" | "ClarifyCheck" => CHECK,
        _ => return None,
    })
}

/// Returns everything in a definition that its format does not allow.
pub(super) fn problems(definition: &Value) -> Vec<Problem> {
    let mut found = Vec::new();
    let Some(members) = object(definition, "$", &mut found) else {
        return found;
    };
    compare(members, DEFINITION, &["Steps"], "$", &mut found);
    if let Some(Value::Object(metadata)) = members.get("Metadata") {
        for (key, value) in metadata {
            expect(
                value,
                Kind::Text(METADATA),
                &format!("$.Metadata.{key}"),
                &mut found,
            );
        }
    }
    for (name, known) in CONFIGS {
        let Some(config) = members.get(*name).filter(|config| !config.is_null()) else {
            continue;
        };
        let path = format!("$.{name}");
        if let Some(config) = object(config, &path, &mut found) {
            compare(config, known, &[], &path, &mut found);
        }
    }
    for (path, parameter) in items(members, "Parameters", "$") {
        if let Some(parameter) = object(parameter, &path, &mut found) {
            declared(parameter, &path, &mut found);
        }
    }
    for (path, inner) in items(members, "Steps", "$") {
        step(inner, &path, &mut found);
    }
    found
}

fn declared(parameter: &Map<String, Value>, path: &str, found: &mut Vec<Problem>) {
    const TYPES: &[&str] = &["String", "Integer", "Float", "Boolean"];
    let value = match parameter.get("Type").and_then(Value::as_str) {
        None | Some("String") => Kind::Text(DESCRIPTION),
        Some("Integer") => Kind::Whole,
        Some("Float") => Kind::Number,
        Some("Boolean") => Kind::Boolean,
        Some(_) => Kind::Any,
    };
    let known = [
        ("Name", Kind::Name),
        ("Type", Kind::Word(TYPES)),
        ("Description", Kind::Text(DESCRIPTION)),
        ("DefaultValue", value),
        ("EnumValues", Kind::List),
    ];
    // A parameter without a type is a String.
    compare(parameter, &known, &["Name"], path, found);
    for (path, allowed) in items(parameter, "EnumValues", path) {
        expect(allowed, value, &path, found);
    }
}

fn step(step: &Value, path: &str, found: &mut Vec<Problem>) {
    let Some(members) = object(step, path, found) else {
        return;
    };
    let kind = members
        .get("Type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let required: &[&str] = match kind {
        "Lambda" => &["Name", "Type", "FunctionArn"],
        "Callback" => &["Name", "Type", "SqsQueueUrl"],
        "QualityCheck" | "ClarifyCheck" => &["Name", "Type", "Arguments", "CheckType"],
        _ => &["Name", "Type", "Arguments"],
    };
    if let Some(own) = own_members(kind) {
        let known: Vec<Member> = STEP.iter().chain(own).copied().collect();
        compare(members, &known, required, path, found);
    } else {
        for (name, kind) in STEP {
            if let Some(value) = members.get(*name) {
                expect(value, *kind, &format!("{path}.{name}"), found);
            }
        }
        missing(members, &["Name", "Type"], path, found);
    }
    for (path, name) in items(members, "DependsOn", path) {
        expect(name, Kind::Text(DESCRIPTION), &path, found);
    }
    if let Some(Value::Object(cache)) = members.get("CacheConfig") {
        let enabled = cache.get("Enabled") == Some(&Value::Bool(true));
        let path = format!("{path}.CacheConfig");
        if enabled && own_members(kind).is_some() && !CACHED.contains(&kind) {
            let message = format!("a step of type {kind} cannot be cached");
            found.push(Problem::new(&path, message));
        }
        compare(cache, CACHE, &[], &path, found);
    }
    for (path, policy) in items(members, "RetryPolicies", path) {
        if let Some(policy) = object(policy, &path, found) {
            compare(policy, RETRY, &["ExceptionType"], &path, found);
        }
    }
    for (path, file) in items(members, "PropertyFiles", path) {
        if let Some(file) = object(file, &path, found) {
            let all = ["PropertyFileName", "OutputName", "FilePath"];
            compare(file, PROPERTY_FILE, &all, &path, found);
        }
    }
    let Some(Value::Object(given)) = members.get("Arguments") else {
        return;
    };
    let path = format!("{path}.Arguments");
    match kind {
        "Condition" => branches(given, &path, found),
        // The schema allows any member here; the local cloud rejects those it does not support.
        "Fail" => {
            if let Some(message) = given.get("ErrorMessage") {
                let path = format!("{path}.ErrorMessage");
                let text = message.is_string() || is_call(message);
                if !text {
                    found.push(Problem::new(path, format!("{message} is not a String")));
                }
            }
        }
        _ => arguments::shape(kind, &members["Arguments"], &path, found),
    }
}

fn branches(given: &Map<String, Value>, path: &str, found: &mut Vec<Problem>) {
    let known = [
        ("Conditions", Kind::List),
        ("IfSteps", Kind::List),
        ("ElseSteps", Kind::List),
    ];
    compare(given, &known, &["Conditions"], path, found);
    for (path, inner) in items(given, "Conditions", path) {
        condition(inner, &path, found);
    }
    for member in ["IfSteps", "ElseSteps"] {
        for (path, inner) in items(given, member, path) {
            step(inner, &path, found);
        }
    }
}

fn condition(condition: &Value, path: &str, found: &mut Vec<Problem>) {
    let Some(members) = object(condition, path, found) else {
        return;
    };
    let kind = members
        .get("Type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let own: &[Member] = match kind {
        "Equals"
        | "NotEquals"
        | "GreaterThan"
        | "GreaterThanOrEqualTo"
        | "LessThan"
        | "LessThanOrEqualTo" => &[("LeftValue", Kind::Scalar), ("RightValue", Kind::Scalar)],
        // The schema and the SDK use different names for the same member.
        "In" | "NotIn" if members.contains_key("In") || members.contains_key("Value") => {
            &[("Value", Kind::Scalar), ("In", Kind::List)]
        }
        "In" | "NotIn" => &[("QueryValue", Kind::Scalar), ("Values", Kind::List)],
        "Not" => &[("Condition", Kind::Object)],
        "Or" => &[("Conditions", Kind::List)],
        _ => {
            let message = match members.get("Type") {
                None => "Missing required property 'Type'".to_owned(),
                Some(other) => format!("no condition of type {other}"),
            };
            found.push(Problem::new(path, message));
            return;
        }
    };
    let type_member = [("Type", Kind::Text(DESCRIPTION))];
    let known: Vec<Member> = type_member.iter().chain(own).copied().collect();
    let required: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    compare(members, &known, &required, path, found);
    for member in ["In", "Values"] {
        for (path, value) in items(members, member, path) {
            expect(value, Kind::Scalar, &path, found);
        }
    }
    for (path, inner) in items(members, "Conditions", path) {
        self::condition(inner, &path, found);
    }
    if let Some(inner @ Value::Object(_)) = members.get("Condition") {
        self::condition(inner, &format!("{path}.Condition"), found);
    }
}

/// Reports unknown, missing and invalid members of an object.
fn compare(
    given: &Map<String, Value>,
    known: &[Member],
    required: &[&str],
    path: &str,
    found: &mut Vec<Problem>,
) {
    for (name, value) in given {
        match known.iter().find(|(known, _)| known == name) {
            Some((_, kind)) => expect(value, *kind, &format!("{path}.{name}"), found),
            None => found.push(Problem::parsing(
                path,
                format!("Cannot parse object, unknown property '{name}'"),
            )),
        }
    }
    missing(given, required, path, found);
}

fn missing(given: &Map<String, Value>, required: &[&str], path: &str, found: &mut Vec<Problem>) {
    for name in required {
        if !given.contains_key(*name) {
            let message = format!("Missing required property '{name}'");
            found.push(Problem::new(path, message));
        }
    }
}

fn expect(value: &Value, kind: Kind, path: &str, found: &mut Vec<Problem>) {
    let short = |text: &str, most: usize| text.chars().count() <= most;
    let problem = match (kind, value) {
        (Kind::Any, _)
        | (Kind::Boolean, Value::Bool(_))
        | (Kind::Number, Value::Number(_))
        | (Kind::List, Value::Array(_))
        | (Kind::Object, Value::Object(_))
        | (Kind::Scalar, Value::String(_) | Value::Bool(_) | Value::Number(_)) => return,
        (Kind::Scalar, value) if is_call(value) => return,
        (Kind::Name, Value::String(name)) if is_name(name) => return,
        (Kind::Name, Value::String(name)) => {
            format!("`{name}` is not a name: letters, digits, `-` and `_`, 1 to {NAME} characters")
        }
        (Kind::Text(most), Value::String(text)) if short(text, most) => return,
        (Kind::Text(most), Value::String(_)) => {
            format!("the text is longer than {most} characters")
        }
        (Kind::Word(words), Value::String(word)) if words.contains(&word.as_str()) => return,
        (Kind::Word(words), value) => {
            format!("{value} is not one of {}", words.join(", "))
        }
        (Kind::Whole, value) if whole(value).is_some() => return,
        (Kind::List, _) => {
            found.push(Problem::parsing(path, "Expecting start of Json Array"));
            return;
        }
        (Kind::Object, _) => {
            found.push(Problem::parsing(path, "Expecting start of Json Object"));
            return;
        }
        (Kind::Name | Kind::Text(_), value) => format!("{value} is not a String"),
        (Kind::Boolean, value) => format!("{value} is not a Boolean"),
        (Kind::Whole, Value::Number(number))
            if number.as_f64().is_some_and(|n| n.fract() == 0.0) =>
        {
            format!("{number} does not fit in an Integer of 64 bits")
        }
        (Kind::Whole, value) => format!("{value} is not an Integer"),
        (Kind::Number, value) => format!("{value} is not a number"),
        (Kind::Scalar, value) => format!("{value} is neither a value nor a function"),
    };
    found.push(Problem::new(path, problem));
}

/// Whether an object is a function call.
fn is_call(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|members| call(members).is_some())
}

/// Whether a name has 1 to 64 letters, digits, `-` and `_`.
fn is_name(name: &str) -> bool {
    (1..=NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn object<'a>(
    value: &'a Value,
    path: &str,
    found: &mut Vec<Problem>,
) -> Option<&'a Map<String, Value>> {
    if !value.is_object() {
        found.push(Problem::parsing(path, "Expecting start of Json Object"));
    }
    value.as_object()
}

/// The elements of a list member with their paths; empty if it is missing or not a list.
fn items<'a>(
    members: &'a Map<String, Value>,
    name: &'a str,
    path: &'a str,
) -> impl Iterator<Item = (String, &'a Value)> {
    members
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
        .map(move |(index, value)| (format!("{path}.{name}[{index}]"), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(definition: &Value) -> Vec<String> {
        problems(definition)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn fail() -> Value {
        json!({"Name": "F", "Type": "Fail", "Arguments": {"ErrorMessage": "x"}})
    }

    fn with(member: &str, value: Value) -> Value {
        let mut step = fail();
        step[member] = value;
        json!({ "Steps": [step] })
    }

    /// Issue 8, 4.2: members that the published schema does not require are optional.
    #[test]
    fn issue_8_4_2_optional_members_can_be_missing() {
        for definition in [
            json!({"Steps": []}),
            json!({"Steps": [fail()]}),
            json!({"Steps": [fail()], "Parameters": [{"Name": "P", "DefaultValue": "x"}]}),
            with("CacheConfig", json!({"ExpireAfter": "P1D"})),
            with("Arguments", json!({})),
            // As SDK 3 writes a pipeline without either.
            json!({"Steps": [], "PipelineExperimentConfig": null, "MlflowConfig": null}),
            json!({"Steps": [], "MlflowConfig":
                {"MlflowResourceArn": "arn", "MlflowExperimentName": {"Get": "Parameters.P"}}}),
            json!({"Steps": [{"Name": "G", "Type": "Condition", "Arguments": {"Conditions": []}}]}),
            json!({"Steps": [{"Name": "G", "Type": "Condition", "Arguments": {"Conditions": [
                {"Type": "NotEquals", "LeftValue": 1, "RightValue": {"Get": "Parameters.P"}},
                {"Type": "NotIn", "Value": 1, "In": [2, "a", true]},
                {"Type": "Or", "Conditions": [{"Type": "In", "QueryValue": 1, "Values": []}]}]}}]}),
        ] {
            assert!(
                found(&definition).is_empty(),
                "{definition}: {:?}",
                found(&definition)
            );
        }
    }

    /// Issue 8, 4.2: an unknown member is reported by name, wherever it is.
    #[test]
    fn issue_8_4_2_unknown_members_are_refused_by_name() {
        let unknown = |place: &str, name: &str| {
            vec![format!(
                "{place}: Cannot parse object, unknown property '{name}'"
            )]
        };
        let mut top = json!({"Steps": [fail()]});
        top["Parameter"] = json!([]);
        assert_eq!(found(&top), unknown("$", "Parameter"));
        let mlflow = json!({"Steps": [], "MlflowConfig": {"ExperimentName": "x"}});
        assert_eq!(found(&mlflow), unknown("$.MlflowConfig", "ExperimentName"));
        let step = with("DependOn", json!(["First"]));
        assert_eq!(found(&step), unknown("$.Steps[0]", "DependOn"));
        let cache = with("CacheConfig", json!({"Enable": false}));
        assert_eq!(found(&cache), unknown("$.Steps[0].CacheConfig", "Enable"));
        let parameter = json!({"Steps": [], "Parameters": [{"Name": "P", "Default": "x"}]});
        assert_eq!(found(&parameter), unknown("$.Parameters[0]", "Default"));
        let condition = json!({"Steps": [{"Name": "G", "Type": "Condition", "Arguments": {
            "Conditions": [{"Type": "Not", "Expression": {}, "Condition":
                {"Type": "Equals", "LeftValue": 1, "RightValue": 1}}],
            "IfStep": []}}]});
        let place = "$.Steps[0].Arguments";
        assert_eq!(
            found(&condition),
            [
                unknown(place, "IfStep"),
                unknown(&format!("{place}.Conditions[0]"), "Expression")
            ]
            .concat()
        );
    }

    #[test]
    fn wrong_types_are_refused_with_their_place() {
        for (definition, expected) in [
            (json!([]), "$: Expecting start of Json Object"),
            (json!({}), "$: Missing required property 'Steps'"),
            (
                json!({"Steps": {}}),
                "$.Steps: Expecting start of Json Array",
            ),
            (
                with("DependsOn", json!("a")),
                "$.Steps[0].DependsOn: Expecting start of Json Array",
            ),
            (
                with("Description", json!(null)),
                "$.Steps[0].Description: null is not a String",
            ),
            (
                with("Arguments", json!([])),
                "$.Steps[0].Arguments: Expecting start of Json Object",
            ),
            (
                json!({"Steps": [], "Parameters": [{"Name": "P", "Type": "Integer", "DefaultValue": "1"}]}),
                "$.Parameters[0].DefaultValue: \"1\" is not an Integer",
            ),
            (
                json!({"Steps": [], "Parameters": [{"Name": "P", "DefaultValue": 1}]}),
                "$.Parameters[0].DefaultValue: 1 is not a String",
            ),
            (
                with("CacheConfig", json!({"Enabled": true})),
                "$.Steps[0].CacheConfig: a step of type Fail cannot be cached",
            ),
        ] {
            assert_eq!(found(&definition), [expected], "{definition}");
        }
    }
}
