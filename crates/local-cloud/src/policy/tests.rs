use serde_json::{Value, json};

use super::*;

const ACCOUNT: &str = "111122223333";
const ROLE: &str = "arn:aws:iam::111122223333:role/r";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/r/s";

fn session() -> Principal {
    let tags = [("team".to_owned(), "blue".to_owned())];
    Principal::session(SESSION, ROLE, "AROA:s", ACCOUNT, tags)
}

fn document(statements: impl Into<Value>) -> Document {
    let statements = statements.into();
    Document::of(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap()
}

fn policy(statements: Value) -> Policy {
    Policy {
        arn: None,
        document: Arc::new(document(statements)),
    }
}

fn call(action: &str, resource: &str) -> Call {
    Call {
        action: action.to_owned(),
        resource: resource.to_owned(),
        context: Context::default(),
    }
}

const OBJECT: &str = "arn:aws:s3:::b/k";

fn get() -> Call {
    call("s3:GetObject", OBJECT)
}

fn allow_all() -> Value {
    json!({"Effect": "Allow", "Action": "*", "Resource": "*"})
}

fn why(decision: Decision, call: &Call) -> String {
    match decision {
        Decision::Allowed => String::new(),
        Decision::Denied(reason) => reason.message(&session(), call),
    }
}

/// True if an identity-based policy of one statement allows a call.
fn allows(statement: Value, call: &Call) -> bool {
    let policies = Policies {
        identity: vec![policy(statement)],
        ..Policies::default()
    };
    evaluate(&session(), &policies, None, call) == Decision::Allowed
}

#[test]
fn messages_are_those_of_aws() {
    let user = format!("User: {SESSION} is not authorized to perform: ");
    let nothing = Policies::default();
    let denied = why(evaluate(&session(), &nothing, None, &get()), &get());
    assert_eq!(
        denied,
        format!(
            "{user}s3:GetObject on resource: \"{OBJECT}\" because no identity-based policy allows the \
             s3:GetObject action"
        )
    );
    let deny = json!({"Effect": "Deny", "Action": "sagemaker:*", "Resource": "*"});
    let create = call("sagemaker:CreateModel", "arn:aws:sagemaker:r:1:model/m");
    let mut policies = Policies {
        identity: vec![policy(json!([allow_all(), deny]))],
        ..Policies::default()
    };
    let denied = why(evaluate(&session(), &policies, None, &create), &create);
    let on = "sagemaker:CreateModel on resource: arn:aws:sagemaker:r:1:model/m";
    assert_eq!(
        denied,
        format!("{user}{on} with an explicit deny in an identity-based policy")
    );
    policies.identity[0].arn = Some("arn:aws:iam::1:policy/p".to_owned());
    let denied = why(evaluate(&session(), &policies, None, &create), &create);
    let expected = "with an explicit deny in an identity-based policy: arn:aws:iam::1:policy/p";
    assert_eq!(denied, format!("{user}{on} {expected}"));
    let words = |kind, explicit| {
        let reason = Reason {
            kind,
            explicit,
            policy: None,
        };
        let message = reason.message(&session(), &create);
        message[user.len() + on.len() + 1..].to_owned()
    };
    let because = |kind| format!("because no {kind} allows the sagemaker:CreateModel action");
    assert_eq!(
        words(Kind::Boundary, false),
        because("permissions boundary")
    );
    assert_eq!(words(Kind::Session, false), because("session policy"));
    assert_eq!(words(Kind::Trust, false), because("role trust policy"));
    let with = |kind| format!("with an explicit deny in {kind}");
    assert_eq!(words(Kind::Boundary, true), with("a permissions boundary"));
    assert_eq!(words(Kind::Session, true), with("a session policy"));
    assert_eq!(words(Kind::Resource, true), with("a resource-based policy"));
    assert_eq!(words(Kind::Trust, true), with("the role trust policy"));
}

#[test]
fn actions_and_resources_have_wildcards_and_negations() {
    let with = |action: (&str, Value), resource: (&str, Value)| json!({"Effect": "Allow", action.0: action.1, resource.0: resource.1});
    let any = || ("Resource", json!("*"));
    for (action, allowed) in [
        (("Action", json!("s3:getobject")), true),
        (("Action", json!(["s3:List*", "s3:Get*"])), true),
        (("Action", json!("s3:Get?bject")), true),
        (("Action", json!("s3:GetObject?")), false),
        (("Action", json!("*")), true),
        (("Action", json!("*:*")), true),
        (("Action", json!("ec2:*")), false),
        (("NotAction", json!("ec2:*")), true),
        (("NotAction", json!(["ec2:*", "S3:*Object"])), false),
    ] {
        assert_eq!(
            allows(with(action.clone(), any()), &get()),
            allowed,
            "{action:?}"
        );
    }
    let any = || ("Action", json!("*"));
    for (resource, allowed) in [
        (json!(OBJECT), true),
        (json!("arn:aws:s3:::b/*"), true),
        (json!("arn:aws:s3:::?/k"), true),
        (json!("arn:*:s3:::b/k"), true),
        (json!("arn:aws:s3:::b"), false),
        (json!("arn:aws:s3:::b/k/*"), false),
        (json!("arn:aws:s3:*"), true),
        // A wildcard does not match beyond a colon, except in the resource.
        (json!("arn:a*:b/k"), false),
        (json!(["arn:aws:s3:::other/*", "arn:aws:s3:::*"]), true),
    ] {
        let named = with(any(), ("Resource", resource.clone()));
        let others = with(any(), ("NotResource", resource.clone()));
        assert_eq!(allows(named, &get()), allowed, "{resource}");
        assert_eq!(allows(others, &get()), !allowed, "not {resource}");
    }
    let list = call("s3:ListAllMyBuckets", "*");
    assert!(!allows(
        with(any(), ("Resource", json!("arn:aws:s3:::*"))),
        &list
    ));
    assert!(allows(
        with(any(), ("NotResource", json!("arn:aws:s3:::*"))),
        &list
    ));
}

#[test]
fn variables_are_values_and_never_wildcards() {
    let allowed = |resource: &str, key: &str| {
        let statement = json!({"Effect": "Allow", "Action": "s3:*", "Resource": resource});
        allows(
            statement,
            &call("s3:GetObject", &format!("arn:aws:s3:::b/{key}")),
        )
    };
    assert!(allowed(
        "arn:aws:s3:::b/${aws:PrincipalTag/team}/*",
        "blue/x"
    ));
    assert!(!allowed(
        "arn:aws:s3:::b/${aws:PrincipalTag/team}/*",
        "red/x"
    ));
    assert!(allowed(
        "arn:aws:s3:::b/${aws:PrincipalTag/no, 'none'}/*",
        "none/x"
    ));
    assert!(!allowed("arn:aws:s3:::b/${aws:PrincipalTag/no}*", "x"));
    assert!(allowed("arn:aws:s3:::b/${*}", "*"));
    assert!(!allowed("arn:aws:s3:::b/${*}", "x"));
    assert!(allowed("arn:aws:s3:::b/${$}{x}", "${x}"));
    // The value of a key is not a pattern.
    let tags = [("team".to_owned(), "*".to_owned())];
    let principal = Principal::session(SESSION, ROLE, "AROA:s", ACCOUNT, tags);
    let statement = json!({"Effect": "Allow", "Action": "s3:*",
        "Resource": "arn:aws:s3:::b/${aws:PrincipalTag/team}"});
    let policies = Policies {
        identity: vec![policy(statement)],
        ..Policies::default()
    };
    assert!(evaluate(&principal, &policies, None, &get()) != Decision::Allowed);
    // Version 2008-10-17 has no variables.
    let old = json!({"Version": "2008-10-17", "Statement": {"Effect": "Allow", "Action": "*",
        "Resource": "arn:aws:s3:::b/${aws:PrincipalTag/team}"}});
    let old = Policies {
        identity: vec![Policy {
            arn: None,
            document: Arc::new(Document::of(&old).unwrap()),
        }],
        ..Policies::default()
    };
    let literal = call("s3:GetObject", "arn:aws:s3:::b/${aws:PrincipalTag/team}");
    assert_eq!(
        evaluate(&session(), &old, None, &literal),
        Decision::Allowed
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of operators")]
fn operators_compare_what_a_request_has() {
    let mut wanted = get();
    let context = &mut wanted.context;
    context.set("t:text", "Blue");
    context.set("t:number", "10");
    context.set("t:date", "2026-11-29T12:00:00Z");
    context.set("t:bool", "true");
    context.set("t:ip", "10.1.2.3");
    context.set("t:ip6", "2001:db8::1");
    context.set("t:arn", "arn:aws:sns:us-east-1:1:topic");
    context.set("t:binary", "aGk=");
    context.set_list("t:list", vec!["a".to_owned(), "b".to_owned()]);
    context.set_list("t:empty", Vec::new());
    for (operator, key, value, met) in [
        ("StringEquals", "T:Text", json!("Blue"), true),
        ("StringEquals", "t:text", json!("blue"), false),
        ("StringEquals", "t:text", json!(["x", "Blue"]), true),
        ("StringEquals", "t:text", json!("B*"), false),
        ("StringEqualsIgnoreCase", "t:text", json!("blue"), true),
        ("StringNotEqualsIgnoreCase", "t:text", json!("blue"), false),
        ("StringLike", "t:text", json!("B*e"), true),
        ("StringNotLike", "t:text", json!("B*e"), false),
        ("StringNotEquals", "t:text", json!(["x", "Blue"]), false),
        ("StringNotEquals", "t:text", json!(["x", "y"]), true),
        ("StringNotEquals", "t:none", json!("x"), true),
        ("StringEquals", "t:none", json!("x"), false),
        ("StringEqualsIfExists", "t:none", json!("x"), true),
        ("StringEqualsIfExists", "t:text", json!("x"), false),
        ("StringNotEqualsIfExists", "t:none", json!("x"), true),
        ("NumericEquals", "t:number", json!("10.0"), true),
        ("NumericEquals", "t:number", json!(10), true),
        ("NumericNotEquals", "t:number", json!("10"), false),
        ("NumericLessThan", "t:number", json!("10"), false),
        ("NumericLessThanEquals", "t:number", json!("10"), true),
        ("NumericGreaterThan", "t:number", json!("9"), true),
        ("NumericGreaterThanEquals", "t:number", json!("11"), false),
        ("NumericNotEquals", "t:text", json!("1"), false),
        ("DateEquals", "t:date", json!("2026-11-29T12:00:00Z"), true),
        (
            "DateEquals",
            "t:date",
            json!("2026-11-29T13:00:00+01:00"),
            true,
        ),
        ("DateLessThan", "t:date", json!("2026-11-30"), true),
        ("DateGreaterThan", "t:date", json!("1700000000"), true),
        ("DateLessThanEquals", "t:date", json!("2026-11-29"), false),
        ("DateNotEquals", "t:date", json!("2026-11-29"), true),
        ("Bool", "t:bool", json!(true), true),
        ("Bool", "t:bool", json!("FALSE"), false),
        ("BoolIfExists", "t:none", json!("true"), true),
        ("BinaryEquals", "t:binary", json!("aGk="), true),
        ("BinaryEquals", "t:binary", json!("aGo="), false),
        ("IpAddress", "t:ip", json!("10.0.0.0/8"), true),
        ("IpAddress", "t:ip", json!("10.1.2.3"), true),
        ("IpAddress", "t:ip", json!("0.0.0.0/0"), true),
        (
            "ForAnyValue:StringEqualsIfExists",
            "t:none",
            json!("x"),
            true,
        ),
        (
            "IpAddress",
            "t:ip",
            json!(["192.168.0.0/16", "10.2.0.0/16"]),
            false,
        ),
        ("NotIpAddress", "t:ip", json!("10.0.0.0/8"), false),
        ("NotIpAddress", "t:ip", json!("192.168.0.0/16"), true),
        ("IpAddress", "t:ip6", json!("2001:db8::/32"), true),
        ("IpAddress", "t:ip6", json!("0.0.0.0/0"), false),
        ("ArnLike", "t:arn", json!("arn:aws:sns:*:1:top*"), true),
        ("ArnEquals", "t:arn", json!("arn:aws:sns:*:1:topic"), true),
        ("ArnLike", "t:arn", json!("arn:aws:*:topic"), false),
        ("ArnNotLike", "t:arn", json!("arn:aws:sns:*:2:*"), true),
        ("ArnNotEquals", "t:arn", json!("arn:aws:sns:*:1:*"), false),
        ("Null", "t:none", json!("true"), true),
        ("Null", "t:text", json!(false), true),
        ("Null", "t:text", json!("true"), false),
        // A list needs a set operator.
        ("StringEquals", "t:list", json!("a"), false),
        ("ForAnyValue:StringEquals", "t:list", json!("a"), true),
        ("ForAnyValue:StringEquals", "t:list", json!("c"), false),
        ("ForAnyValue:StringEquals", "t:none", json!("a"), false),
        (
            "ForAllValues:StringEquals",
            "t:list",
            json!(["a", "b", "c"]),
            true,
        ),
        ("ForAllValues:StringEquals", "t:list", json!("a"), false),
        ("ForAllValues:StringEquals", "t:none", json!("a"), true),
        ("ForAllValues:StringEquals", "t:empty", json!("a"), true),
        ("ForAnyValue:StringEquals", "t:empty", json!("a"), false),
        ("ForAllValues:StringNotEquals", "t:list", json!("c"), true),
        ("ForAllValues:StringNotEquals", "t:list", json!("b"), false),
        ("ForAnyValue:StringNotEquals", "t:list", json!("b"), true),
        ("ForAllValues:StringLike", "t:text", json!("B*"), true),
    ] {
        let statement = json!({"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {operator: {key: value}}});
        assert_eq!(allows(statement.clone(), &wanted), met, "{statement}");
    }
    let several = json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {
        "StringEquals": {"t:text": "Blue"}, "Bool": {"t:bool": "false"}}});
    assert!(!allows(several, &wanted), "all conditions must be met");
}

#[test]
fn documents_that_could_be_misunderstood_are_refused() {
    for (statement, expected) in [
        (
            json!({"Effect": "allow"}),
            "Effect is neither Allow nor Deny",
        ),
        (json!({"Effect": "Allow"}), "a statement has no Action"),
        (
            json!({"Effect": "Allow", "Actions": "*"}),
            "unknown field Actions",
        ),
        (
            json!({"Effect": "Allow", "Action": "*", "Resource": "b"}),
            "the resource b is not an ARN",
        ),
        (
            json!({"Effect": "Allow", "Action": "*", "Principal": {"Who": "x"}}),
            "unknown kind of principal Who",
        ),
        (
            json!({"Effect": "Allow", "Action": "*", "Condition": {"StringLikes": {"a": "b"}}}),
            "Invalid Condition type : StringLikes",
        ),
        (
            json!({"Effect": "Allow", "Action": "*", "Condition": {"NullIfExists": {"a": "true"}}}),
            "Invalid Condition type : NullIfExists",
        ),
        (
            json!({"Effect": "Allow", "Action": "*", "NotAction": "*"}),
            "a statement has both Action and NotAction",
        ),
    ] {
        let error = Document::of(&json!({"Statement": [statement]})).unwrap_err();
        assert_eq!(error.0, expected);
    }
}

/// The user guide's table "Resource-based policies and implicit denies in other policy types".
#[test]
fn a_resource_based_policy_counts_by_whom_it_names() {
    let other = || policy(json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}));
    let all = || policy(allow_all());
    let granted = |principal: Value| {
        document(
            json!({"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject",
            "Resource": OBJECT}),
        )
    };
    let decide = |principal: Value, identity: Policy, boundary: Policy, session_: Policy| {
        let policies = Policies {
            identity: vec![identity],
            boundary: Some(boundary),
            session: Some(vec![session_]),
        };
        let resource = granted(principal);
        match evaluate(&session(), &policies, Some(&resource), &get()) {
            Decision::Allowed => None,
            Decision::Denied(reason) => Some((reason.kind, reason.explicit)),
        }
    };
    let (own, role) = (json!({"AWS": SESSION}), json!({"AWS": ROLE}));
    let account = json!({"AWS": ACCOUNT});
    assert_eq!(decide(own, other(), other(), other()), None);
    let limited = decide(role.clone(), other(), other(), all());
    assert_eq!(limited, Some((Kind::Boundary, false)));
    let limited = decide(role.clone(), other(), all(), other());
    assert_eq!(limited, Some((Kind::Session, false)));
    assert_eq!(decide(role, other(), all(), all()), None);
    let delegated = decide(account.clone(), other(), all(), all());
    assert_eq!(delegated, Some((Kind::Identity, false)));
    assert_eq!(decide(account, all(), all(), all()), None);
    assert_eq!(decide(json!("*"), other(), other(), all()), None);
    let others = json!({"AWS": "arn:aws:iam::111122223333:role/other"});
    assert_eq!(
        decide(others, other(), all(), all()),
        Some((Kind::Identity, false))
    );
}

#[test]
fn an_explicit_deny_wins_wherever_it_is() {
    let deny = || json!([allow_all(), {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]);
    let all = || policy(allow_all());
    for (kind, policies) in [
        (
            Kind::Identity,
            Policies {
                identity: vec![all(), policy(deny())],
                ..Policies::default()
            },
        ),
        (
            Kind::Boundary,
            Policies {
                identity: vec![all()],
                boundary: Some(policy(deny())),
                ..Policies::default()
            },
        ),
        (
            Kind::Session,
            Policies {
                identity: vec![all()],
                session: Some(vec![all(), policy(deny())]),
                ..Policies::default()
            },
        ),
    ] {
        let own = document(json!({"Effect": "Allow", "Principal": {"AWS": SESSION},
            "Action": "*", "Resource": "*"}));
        let decision = evaluate(&session(), &policies, Some(&own), &get());
        assert_eq!(decision, denied(kind, true, None));
    }
    let policies = Policies {
        identity: vec![all()],
        ..Policies::default()
    };
    for (principal, is_denied) in [
        (json!({"Principal": "*"}), true),
        (json!({"Principal": {"AWS": ACCOUNT}}), true),
        (json!({"Principal": {"AWS": ROLE}}), true),
        (json!({"Principal": {"AWS": SESSION}}), true),
        (json!({"Principal": {"Service": "s3.amazonaws.com"}}), false),
        (json!({"NotPrincipal": {"AWS": ROLE}}), false),
        (
            json!({"NotPrincipal": {"AWS": "arn:aws:iam::1:role/r"}}),
            true,
        ),
    ] {
        let mut statement = json!({"Effect": "Deny", "Action": "s3:*", "Resource": "*"});
        for (name, value) in principal.as_object().unwrap() {
            statement[name] = value.clone();
        }
        let decision = evaluate(&session(), &policies, Some(&document(statement)), &get());
        let expected = if is_denied {
            denied(Kind::Resource, true, None)
        } else {
            Decision::Allowed
        };
        assert_eq!(decision, expected, "{principal}");
    }
}

#[test]
fn a_key_policy_must_delegate_to_the_account() {
    let decrypt = call("kms:Decrypt", "arn:aws:kms:r:111122223333:key/k");
    let policies = Policies {
        identity: vec![policy(allow_all())],
        ..Policies::default()
    };
    let key = |principal: &str| {
        document(
            json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*",
            "Resource": "*"}),
        )
    };
    let decide = |policies: &Policies, principal: &str| {
        evaluate(&session(), policies, Some(&key(principal)), &decrypt)
    };
    let root = "arn:aws:iam::111122223333:root";
    let nothing = Policies::default();
    assert_eq!(decide(&policies, root), Decision::Allowed);
    assert_eq!(decide(&nothing, root), denied(Kind::Identity, false, None));
    let other = "arn:aws:iam::111122223333:role/other";
    let undelegated = denied(Kind::Resource, false, None);
    assert_eq!(decide(&policies, other), undelegated);
    assert_eq!(evaluate(&session(), &policies, None, &decrypt), undelegated);
    assert_eq!(decide(&nothing, ROLE), Decision::Allowed);
    // Actions without a key need no key policy.
    let list = call("kms:ListKeys", "*");
    assert_eq!(
        evaluate(&session(), &policies, None, &list),
        Decision::Allowed
    );
}

#[test]
fn a_boundary_makes_every_deny_with_not_principal_apply() {
    let resource = document(
        json!({"Effect": "Deny", "NotPrincipal": {"AWS": [ROLE, SESSION]},
        "Action": "s3:*", "Resource": "*"}),
    );
    let mut policies = Policies {
        identity: vec![policy(allow_all())],
        ..Policies::default()
    };
    let decide = |policies: &Policies| evaluate(&session(), policies, Some(&resource), &get());
    assert_eq!(decide(&policies), Decision::Allowed);
    policies.boundary = Some(policy(allow_all()));
    assert_eq!(decide(&policies), denied(Kind::Resource, true, None));
}

/// The cases of `tools/policy_cases.mjs`, with the decisions of `@cloud-copilot/iam-simulate`.
#[test]
fn decisions_are_those_of_iam_simulate() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/data/policy-cases.json.gz"
    );
    let file = std::fs::File::open(path).unwrap();
    let cases: Vec<Value> = serde_json::from_reader(flate2::read::GzDecoder::new(file)).unwrap();
    assert_eq!(cases.len(), 1000);
    let differing: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let decided = decide_case(case);
            (case["decision"] != decided).then(|| format!("{decided}: {case}"))
        })
        .collect();
    assert!(
        differing.is_empty(),
        "{} cases differ, such as\n{}",
        differing.len(),
        differing[..differing.len().min(3)].join("\n")
    );
}

fn decide_case(case: &Value) -> &'static str {
    let arn = case["principal"].as_str().unwrap();
    let account = arn.split(':').nth(4).unwrap();
    let mut principal = if arn.contains(":assumed-role/") {
        let role = "arn:aws:iam::111122223333:role/scientist";
        Principal::session(arn, role, "AROA:ana", account, [])
    } else {
        Principal::user(arn, "AIDA", account)
    };
    // A case has its own.
    principal.context = Context::default();
    let mut wanted = call(
        case["action"].as_str().unwrap(),
        case["resource"].as_str().unwrap(),
    );
    for (key, value) in case["context"].as_object().unwrap() {
        match value {
            Value::String(value) => wanted.context.set(key, value),
            values => {
                let values = serde_json::from_value(values.clone()).unwrap();
                wanted.context.set_list(key, values);
            }
        }
    }
    let of = |document: &Value| Policy {
        arn: None,
        document: Arc::new(Document::of(document).unwrap()),
    };
    let policies = Policies {
        identity: case["identity"]
            .as_array()
            .unwrap()
            .iter()
            .map(of)
            .collect(),
        boundary: case.get("boundary").map(of),
        session: case.get("session").map(|document| vec![of(document)]),
    };
    let resource = case.get("resourcePolicy").map(of);
    let resource = resource.as_ref().map(|policy| &*policy.document);
    match evaluate(&principal, &policies, resource, &wanted) {
        Decision::Allowed => "Allowed",
        Decision::Denied(reason) if reason.explicit => "ExplicitlyDenied",
        Decision::Denied(_) => "ImplicitlyDenied",
    }
}
