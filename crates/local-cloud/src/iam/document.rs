//! Policy documents: IAM's validation, and evaluation of trust policies.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::limit_exceeded;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::limits;
use crate::policy::{self, Call, Context, Missing, Principal, STATEMENT_ELEMENTS};

/// A policy document as it was sent: text, or (from CloudFormation) the document itself.
#[derive(Debug, Clone)]
pub(super) struct Document(String);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            value => value.to_string(),
        }))
    }
}

impl From<String> for Document {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Default maximum size of a trust policy (IAM's quotas).
const LARGEST_TRUST: usize = 2_048;

/// The size of a policy as IAM's quotas count it: characters without white space.
pub(super) fn size(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

impl Document {
    /// The text of a role's trust policy; `MalformedPolicyDocument` if it is invalid.
    pub(super) fn trust(self) -> ApiResult<String> {
        for statement in statements(&self.0)? {
            require(&statement, &["Principal", "NotPrincipal"])?;
            require(&statement, &["Action", "NotAction"])?;
            if statement.contains_key("Resource") {
                return Err(malformed("Has prohibited field Resource"));
            }
        }
        if self.size() > LARGEST_TRUST {
            return Err(limit_exceeded(format!(
                "Cannot exceed quota for ACLSizePerRole: {LARGEST_TRUST}"
            )));
        }
        self.parsed()
    }

    /// The text of a policy that grants; `MalformedPolicyDocument` if it is invalid.
    pub(super) fn identity(self) -> ApiResult<String> {
        for statement in statements(&self.0)? {
            if statement.contains_key("Principal") {
                return Err(malformed("Policy document should not specify a principal."));
            }
            require(&statement, &["Action", "NotAction"])
                .map_err(|_| malformed("Policy statement must contain actions."))?;
            require(&statement, &["Resource", "NotResource"])
                .map_err(|_| malformed("Policy statement must contain resources."))?;
            for resource in texts(statement.get("Resource")) {
                if resource != "*" && !resource.starts_with("arn:") {
                    return Err(malformed(format!(
                        "Resource {resource} must be in ARN format or \"*\"."
                    )));
                }
            }
        }
        self.parsed()
    }

    /// The policy's size as IAM's quotas count it: characters without white space.
    pub(super) fn size(&self) -> usize {
        size(&self.0)
    }

    /// The text, if it can be evaluated.
    fn parsed(self) -> ApiResult<String> {
        match policy::Document::parse(&self.0) {
            Ok(_) => Ok(self.0),
            Err(error) => Err(malformed(error.to_string())),
        }
    }
}

/// A document as in responses: percent-encoded (RFC 3986).
pub(super) fn encoded(document: &str) -> String {
    utf8_percent_encode(document, NON_ALPHANUMERIC).to_string()
}

/// True if a trust policy lets the service `principal` assume the role for this account: a statement
/// allows it and none denies it.
pub(super) fn trusts(document: &str, principal: &str) -> bool {
    // AWS's services send more keys than are known here, such as aws:SourceArn.
    let context = Context::incomplete(Missing::Assumed);
    let wanted = Assumption {
        principal: Principal::service(principal, ACCOUNT),
        action: "sts:AssumeRole",
        context,
    };
    wanted.is_allowed_by(document)
}

/// A request that a trust policy allows or denies.
#[derive(Debug)]
pub(crate) struct Assumption {
    pub(crate) principal: Principal,
    pub(crate) action: &'static str,
    /// The known condition keys of the request.
    pub(crate) context: Context,
}

impl Assumption {
    /// True if a statement of the policy allows the request and none denies it.
    pub(super) fn is_allowed_by(&self, document: &str) -> bool {
        let call = Call {
            action: self.action.to_owned(),
            // A trust policy is about its role only.
            resource: "*".to_owned(),
            context: self.context.clone(),
        };
        policy::Document::parse(document).is_ok_and(|it| it.allows(&self.principal, &call))
    }
}

fn statements(document: &str) -> ApiResult<Vec<Map<String, Value>>> {
    // Unverified against AWS [iam-repeated-key]: its words for a key that occurs twice.
    let document = limits::document(document.as_bytes())
        .map_err(|error| malformed(format!("This policy contains invalid Json ({error})")))?;
    let Value::Object(document) = document else {
        return Err(malformed("This policy contains invalid Json"));
    };
    if let Some(version) = document.get("Version")
        && !matches!(version.as_str(), Some("2012-10-17" | "2008-10-17"))
    {
        return Err(malformed("Syntax errors in policy."));
    }
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.clone(),
        Some(statement @ Value::Object(_)) => vec![statement.clone()],
        _ => return Err(malformed("Syntax errors in policy.")),
    };
    statements
        .into_iter()
        .map(|statement| {
            let Value::Object(statement) = statement else {
                return Err(malformed("Syntax errors in policy."));
            };
            let effect = statement.get("Effect").and_then(Value::as_str);
            if !matches!(effect, Some("Allow" | "Deny"))
                || statement.keys().any(|key| !STATEMENT_ELEMENTS.contains(&key.as_str()))
                // `Action` and `NotAction`, and the other such pairs, exclude each other.
                || ["Principal", "Action", "Resource"].iter().any(|field| {
                    statement.contains_key(*field)
                        && statement.contains_key(&format!("Not{field}"))
                })
            {
                return Err(malformed("Syntax errors in policy."));
            }
            let actions = [statement.get("Action"), statement.get("NotAction")];
            for action in actions.into_iter().flat_map(texts) {
                if action != "*" && !action.contains(':') {
                    return Err(malformed(
                        "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
                    ));
                }
            }
            Ok(statement)
        })
        .collect()
}

fn require(statement: &Map<String, Value>, fields: &[&str]) -> ApiResult<()> {
    if fields.iter().any(|field| statement.contains_key(*field)) {
        Ok(())
    } else {
        Err(malformed(format!("Missing required field {}", fields[0])))
    }
}

/// One text, or a list of them.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::new("MalformedPolicyDocument", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(statement: &Value) -> Document {
        Document(json!({"Version": "2012-10-17", "Statement": statement}).to_string())
    }

    fn user() -> Principal {
        Principal::user(&format!("arn:aws:iam::{ACCOUNT}:user/u"), "AIDA", ACCOUNT)
    }

    fn with_external_id(id: Option<&str>) -> Context {
        let mut context = Context::incomplete(Missing::Unknown);
        match id {
            Some(id) => context.set("sts:ExternalId", id),
            None => context.set_absent("sts:ExternalId"),
        }
        context
    }

    fn refusal(result: ApiResult<String>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.code, "MalformedPolicyDocument");
        error.message
    }

    #[test]
    fn documents_that_cannot_be_policies_are_refused() {
        let json = refusal(Document("{".to_owned()).identity());
        assert!(json.contains("invalid Json"), "{json}");
        let allow = |more: Value| {
            let mut statement = json!({"Effect": "Allow"});
            statement
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            document(&json!([statement]))
        };
        let no_resource = allow(json!({"Action": "s3:GetObject"})).identity();
        assert!(refusal(no_resource).contains("resources"));
        let no_vendor = allow(json!({"Action": "GetObject", "Resource": "*"})).identity();
        assert!(refusal(no_vendor).contains("vendor"));
        let no_arn = allow(json!({"Action": "s3:*", "Resource": ["*", "bucket"]})).identity();
        assert!(refusal(no_arn).contains("Resource bucket"));
        let typo = allow(json!({"Actions": "s3:*", "Resource": "*"})).identity();
        assert!(refusal(typo).contains("Syntax"));
        let both = allow(json!({"Action": "s3:*", "NotAction": "s3:*", "Resource": "*"}));
        assert!(refusal(both.identity()).contains("Syntax"));
        let no_vendor = allow(json!({"NotAction": "GetObject", "Resource": "*"})).identity();
        assert!(refusal(no_vendor).contains("vendor"));
        let no_principal = allow(json!({"Action": "sts:AssumeRole"})).trust();
        assert!(refusal(no_principal).contains("Principal"));
        assert!(refusal(document(&json!([])).identity()).contains("Syntax"));
    }

    #[test]
    fn trust_names_the_service_and_the_account() {
        let trust = |account: &str| {
            document(&json!({
                "Effect": "Allow",
                "Principal": {"Service": ["lambda.amazonaws.com", "sagemaker.amazonaws.com"]},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": account}},
            }))
            .trust()
            .unwrap()
        };
        assert!(trusts(&trust(ACCOUNT), "sagemaker.amazonaws.com"));
        assert!(!trusts(&trust(ACCOUNT), "ec2.amazonaws.com"));
        assert!(!trusts(&trust("111122223333"), "sagemaker.amazonaws.com"));
    }

    #[test]
    fn a_denied_service_is_not_trusted() {
        let trusted = |deny: Value| {
            let allow = json!({"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Action": "sts:AssumeRole"});
            let text = json!({"Version": "2012-10-17", "Statement": [allow, deny]}).to_string();
            let text = Document(text).trust().unwrap();
            trusts(&text, "sagemaker.amazonaws.com")
        };
        let deny = |more: Value| {
            let mut statement = json!({"Effect": "Deny", "Action": "sts:AssumeRole",
                "Principal": {"Service": "sagemaker.amazonaws.com"}});
            for (name, value) in more.as_object().unwrap() {
                statement[name] = value.clone();
            }
            statement
        };
        for more in [
            json!({}),
            json!({"Action": ["sts:Assume*"]}),
            json!({"Principal": "*"}),
            json!({"Principal": {"AWS": "*"}}),
            json!({"Condition": {"StringEquals": {"AWS:sourceaccount": ACCOUNT}}}),
            json!({"Condition": {"StringNotEquals": {"aws:SourceAccount": "111122223333"}}}),
            // Unknown operators and keys never widen access.
            json!({"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:sagemaker:*"}}}),
        ] {
            assert!(!trusted(deny(more.clone())), "{more}");
        }
        for more in [
            json!({"Action": "sts:TagSession"}),
            json!({"Principal": {"Service": "ec2.amazonaws.com"}}),
            json!({"Condition": {"StringEquals": {"aws:SourceAccount": "111122223333"}}}),
            // The user guide's protection against confused deputies.
            json!({"Condition": {"StringNotEquals": {"aws:SourceAccount": ACCOUNT}}}),
            json!({"Condition": {"StringNotEqualsIfExists": {"aws:SourceAccount": ACCOUNT},
                "Bool": {"aws:PrincipalIsAWSService": "true"}}}),
        ] {
            assert!(trusted(deny(more.clone())), "{more}");
        }
        let others = json!({"Effect": "Deny", "NotPrincipal": {"Service": "lambda.amazonaws.com"},
            "NotAction": "sts:TagSession"});
        assert!(!trusted(others));
    }

    #[test]
    fn a_key_that_occurs_twice_is_malformed() {
        let statement =
            r#"{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*", "Action": "*"}"#;
        let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#);
        let error = Document(text).identity().unwrap_err();
        assert_eq!(error.code, "MalformedPolicyDocument");
        assert!(
            error
                .message
                .contains("the key 'Action' occurs twice in $.Statement[0]"),
            "{}",
            error.message
        );
    }

    #[test]
    fn a_null_condition_is_about_the_external_id() {
        for (key, value, id, allowed) in [
            ("sts:ExternalId", json!("true"), None, true),
            ("sts:ExternalId", json!("true"), Some("x"), false),
            ("sts:ExternalId", json!(false), Some("x"), true),
            ("aws:TokenIssueTime", json!("true"), None, false),
        ] {
            let trust = document(&json!([{
                "Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole",
                "Condition": {"Null": {key: value}},
            }]));
            let wanted = Assumption {
                principal: user(),
                action: "sts:AssumeRole",
                context: with_external_id(id),
            };
            let trust = trust.trust().unwrap();
            assert_eq!(wanted.is_allowed_by(&trust), allowed, "{key} {id:?}");
        }
    }

    #[test]
    fn a_role_can_only_be_assumed_by_principals_of_its_trust_policy() {
        let root = format!("arn:aws:iam::{ACCOUNT}:root");
        let wanted = |id: Option<&str>| Assumption {
            principal: user(),
            action: "sts:AssumeRole",
            context: with_external_id(id),
        };
        let allow = |more: Value| {
            let mut statement =
                json!({"Effect": "Allow", "Principal": {"AWS": root}, "Action": "sts:AssumeRole"});
            statement
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            statement
        };
        let deny = allow(json!({"Effect": "Deny"}));
        let unknown = json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}});
        for (statements, id, allowed) in [
            (json!([allow(json!({}))]), None, true),
            (json!([allow(json!({"Principal": "*"}))]), None, true),
            (json!([allow(json!({"Action": "sts:*"}))]), None, true),
            (
                json!([allow(json!({"Action": "sts:TagSession"}))]),
                None,
                false,
            ),
            (
                json!([allow(json!({"Principal": {"AWS": "arn:aws:iam::1:root"}}))]),
                None,
                false,
            ),
            (
                json!([allow(json!({"Principal": {"Service": root}}))]),
                None,
                false,
            ),
            (
                json!([allow(
                    json!({"Condition": {"StringEquals": {"sts:ExternalId": "x"}}})
                )]),
                None,
                false,
            ),
            (
                json!([allow(
                    json!({"Condition": {"StringEquals": {"sts:ExternalId": "x"}}})
                )]),
                Some("x"),
                true,
            ),
            (
                json!([allow(
                    json!({"Condition": {"StringLike": {"sts:ExternalId": "x-*"}}})
                )]),
                Some("x-1"),
                true,
            ),
            (json!([allow(json!({"Condition": unknown}))]), None, false),
            (json!([allow(json!({})), deny]), None, false),
            (
                json!([
                    allow(json!({})),
                    allow(json!({"Effect": "Deny", "Condition": unknown}))
                ]),
                None,
                false,
            ),
        ] {
            let trust = document(&statements).trust().unwrap();
            assert_eq!(wanted(id).is_allowed_by(&trust), allowed, "{statements}");
        }
    }

    #[test]
    fn trust_policies_can_use_negated_elements() {
        fn statement(effect: &str, who: (&str, &str), what: (&str, &str)) -> Value {
            json!({"Effect": effect, who.0: {"AWS": [who.1]}, what.0: what.1})
        }

        let wanted = Assumption {
            principal: user(),
            action: "sts:AssumeRole",
            context: with_external_id(None),
        };
        let (own, not_own) = (("Principal", ACCOUNT), ("NotPrincipal", ACCOUNT));
        let not_another = ("NotPrincipal", "111122223333");
        let all = ("Action", "sts:*");
        for (effect, who, what, is_meant) in [
            ("Allow", not_another, all, true),
            ("Allow", not_own, all, false),
            ("Allow", own, ("NotAction", "sts:TagSession"), true),
            ("Allow", own, ("NotAction", "STS:assume*"), false),
            ("Allow", not_another, ("NotAction", "iam:*"), true),
            ("Deny", not_another, all, true),
            ("Deny", not_own, all, false),
            ("Deny", own, ("NotAction", "sts:TagSession"), true),
            ("Deny", own, ("NotAction", "sts:AssumeRole"), false),
            ("Deny", own, ("Action", "STS:assumerole"), true),
        ] {
            let tried = statement(effect, who, what);
            let (statements, allowed) = if effect == "Deny" {
                (json!([statement("Allow", own, all), tried]), !is_meant)
            } else {
                (json!([tried]), is_meant)
            };
            let trust = document(&statements).trust().unwrap();
            assert_eq!(wanted.is_allowed_by(&trust), allowed, "{statements}");
        }
    }
}
