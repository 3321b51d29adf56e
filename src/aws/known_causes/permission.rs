//! Denied calls: who lacks which permission, and the statement to add.
//!
//! The messages are AWS's (IAM user guide, "Troubleshoot access denied error messages"):
//!
//! ```text
//! User: arn:aws:sts::1:assumed-role/ROLE/SESSION is not authorized to perform: s3:GetObject on resource: ARN
//!   because no identity-based policy allows the s3:GetObject action
//!   with an explicit deny in a permissions boundary: ARN
//! ```

use serde::Serialize;
use serde_json::{Value, json};

use super::{Cause, PERMISSION};

/// A permission that is missing or denied.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Permission {
    /// The ARN of the user or of the role's session.
    pub principal: String,
    /// The role's name, if it is a role's session.
    pub role: Option<String>,
    /// The action: `s3:GetObject`.
    pub action: String,
    /// The ARN of the resource; null if the message does not contain it.
    pub resource: Option<String>,
    /// The type of policy that denies or does not allow: `identity-based policy`; null if the message does not
    /// contain it.
    pub policy: Option<String>,
    /// Whether a `Deny` statement applies. An `Allow` does not help then.
    pub explicit_deny: bool,
    /// The statement to add to that policy; null if a `Deny` applies.
    pub statement: Option<Value>,
}

/// Finds a message about a denied call in a text.
pub(super) fn find(text: &str) -> Option<Cause> {
    let permission = parse(text)?;
    Some(Cause {
        kind: PERMISSION,
        what: permission.what(),
        fix: permission.fix(),
        location: None,
        permission: Some(permission),
    })
}

fn parse(text: &str) -> Option<Permission> {
    // Messages in JSON, and in JSON in JSON, have escaped quotes.
    let text = text.replace("\\\"", "\"");
    let (before, rest) = text.split_once(" is not authorized to perform: ")?;
    let principal = word(before.rsplit("User: ").next()?)?;
    if !principal.starts_with("arn:") {
        return None;
    }
    let action = word(rest)?;
    if !action.contains(':') {
        return None;
    }
    let rest = &rest[rest.find(&action)? + action.len()..];
    let resource = rest.split_once("on resource: ").and_then(|(gap, after)| {
        // The resource of this message, not that of the next one.
        if !gap.trim().is_empty() {
            return None;
        }
        // A quoted ARN may contain spaces: that of an object.
        match after.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().map(str::to_owned),
            None => word(after),
        }
    });
    let (policy, explicit_deny) = reason(rest);
    let mut found = Permission {
        role: role(&principal),
        principal,
        action,
        resource,
        policy,
        explicit_deny,
        statement: None,
    };
    found.statement = found.statement();
    Some(found)
}

/// The resource of a statement that is right for the next run, too: SageMaker names the jobs of a pipeline's steps
/// `pipelines-EXECUTION-STEP-RANDOM`.
fn lasting(resource: &str) -> String {
    const JOB: &str = "pipelines-";

    let of_job = resource.match_indices(JOB).find(|(at, _)| {
        let id = resource[at + JOB.len()..]
            .split('-')
            .next()
            .unwrap_or_default();
        let follows_path = resource[..*at].ends_with(['/', ':']);
        follows_path && id.len() == 12 && id.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    match of_job {
        Some((at, _)) => format!("{}*", &resource[..at + JOB.len()]),
        None => resource.to_owned(),
    }
}

/// The first word of a text, without quotes and punctuation.
fn word(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?;
    let word = word.trim_matches(|c: char| "\"'`,;.()[]{}\\".contains(c));
    (!word.is_empty()).then(|| word.to_owned())
}

/// The role's name in the ARN of its session.
fn role(principal: &str) -> Option<String> {
    let (_, session) = principal.split_once(":assumed-role/")?;
    let name = session.rsplit_once('/').map_or(session, |(name, _)| name);
    Some(name.to_owned())
}

/// The type of policy, and whether it denies explicitly. A message may break lines within the reason.
fn reason(text: &str) -> (Option<String>, bool) {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // What follows may be another message.
    let text = text.split("is not authorized").next().unwrap_or_default();
    let type_of = |rest: &str| {
        let end = rest.find("policy").map(|at| at + "policy".len());
        let end = end.or_else(|| rest.find("boundary").map(|at| at + "boundary".len()));
        end.map(|end| rest[..end].to_owned())
            .filter(|found| found.split(' ').count() <= 4)
    };
    if let Some((_, rest)) = text.split_once("with an explicit deny in ") {
        let rest = ["an ", "a ", "the "]
            .iter()
            .find_map(|article| rest.strip_prefix(article))
            .unwrap_or(rest);
        // `a permissions boundary: arn:aws:iam::1:policy/limits`
        let rest = rest.split(':').next().unwrap_or_default();
        return (type_of(rest), true);
    }
    if text.contains("with an explicit deny") {
        return (None, true);
    }
    let policy = text.split_once("because no ").and_then(|(_, rest)| {
        let rest = rest.split(" allow").next().unwrap_or_default();
        type_of(rest)
    });
    (policy, false)
}

impl Permission {
    /// Who needs the permission.
    fn who(&self) -> String {
        match &self.role {
            Some(role) => format!("the role {role}"),
            None => self.principal.clone(),
        }
    }

    fn is(&self, part: &str) -> bool {
        self.policy.as_deref().is_some_and(|it| it.contains(part))
    }

    /// Whether the policy belongs to the resource: a bucket's, a key's, a role's trust policy.
    fn is_of_resource(&self) -> bool {
        self.is("resource-based") || self.is("trust")
    }

    fn what(&self) -> String {
        let resource = self.resource.as_ref();
        let resource = resource.map_or_else(String::new, |it| format!(" on {it}"));
        let why = match (&self.policy, self.explicit_deny) {
            (Some(policy), true) => format!(": its {policy} denies it"),
            (None, true) => ": a policy denies it".to_owned(),
            (Some(policy), false) => format!(": no {policy} allows it"),
            (None, false) => String::new(),
        };
        let why = if self.explicit_deny && self.is_of_resource() {
            why.replace("its", "the")
        } else {
            why
        };
        format!("{} lacks {}{resource}{why}", self.who(), self.action)
    }

    fn fix(&self) -> String {
        let who = self.who();
        if self.explicit_deny {
            // The Deny is probably there on purpose: the project's own boundary has some.
            let place = match self.policy {
                Some(_) => format!(" in {}", self.target()),
                None => String::new(),
            };
            return format!(
                "a Deny{place} applies, which no Allow overrides: use a role that may do this, or ask whoever \
                 administers the policy"
            );
        }
        let Some(statement) = &self.statement else {
            return format!(
                "allow {} for {who} on the resource of this call, which the message does not name",
                self.action
            );
        };
        format!("add this statement to {}: {statement}", self.target())
    }

    /// The policy that decides.
    fn target(&self) -> String {
        let who = self.who();
        let resource = self.resource.as_deref().unwrap_or("the resource");
        match self.policy.as_deref() {
            Some(policy) if self.is_of_resource() => format!("the {policy} of {resource}"),
            Some(policy) if self.is("boundary") => format!("the {policy} of {who}"),
            Some(policy) if self.is("session") => {
                format!("the {policy} that the caller of AssumeRole passes for {who}")
            }
            Some(policy) if self.is("control") || self.is("endpoint") => {
                format!("the {policy} (its administrator must do it)")
            }
            _ => format!("a policy of {who}"),
        }
    }

    fn statement(&self) -> Option<Value> {
        if self.explicit_deny {
            return None;
        }
        let resource = lasting(self.resource.as_deref()?);
        if !self.is_of_resource() {
            return Some(json!({"Effect": "Allow", "Action": self.action, "Resource": resource}));
        }
        let principal = match (&self.role, self.principal.split(':').nth(4)) {
            // The ARN of a session does not contain the role's path.
            (Some(role), Some(account)) => {
                let partition = self.principal.split(':').nth(1).unwrap_or("aws");
                format!("arn:{partition}:iam::{account}:role/{role}")
            }
            _ => self.principal.clone(),
        };
        let mut statement =
            json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": self.action});
        // A trust policy has no resource.
        if !self.is("trust") {
            statement["Resource"] = resource.into();
        }
        Some(statement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "User: arn:aws:sts::111122223333:assumed-role/flights-training/SageMaker";

    fn of(text: &str) -> Permission {
        parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn role_action_and_resource_are_named() {
        let text = format!(
            "An error occurred (AccessDenied) when calling the GetObject operation: {USER} is not authorized to \
             perform: s3:GetObject on resource: \"arn:aws:s3:::flights-data/a b.csv\" because no identity-based \
             policy allows the s3:GetObject action"
        );
        let found = of(&text);
        assert_eq!(found.role.as_deref(), Some("flights-training"));
        assert_eq!(found.action, "s3:GetObject");
        assert_eq!(found.policy.as_deref(), Some("identity-based policy"));
        let cause = find(&text).unwrap();
        assert_eq!(cause.kind, "permission");
        assert!(
            cause.what.starts_with(
                "the role flights-training lacks s3:GetObject on arn:aws:s3:::flights-data/a"
            ),
            "{cause:?}"
        );
        assert!(
            cause.fix.starts_with("add this statement to a policy of the role flights-training: {\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::flights-data/a b.csv\"}"),
            "{cause:?}"
        );
    }

    #[test]
    fn wrapped_messages_are_parsed() {
        // Row 22 of the collected texts, in Step Functions' words.
        let added = format!(
            "{USER} is not authorized to perform: sagemaker:AddTags on resource: \
             arn:aws:sagemaker:us-east-1:111122223333:training-job/x because no identity-based policy allows the \
             sagemaker:AddTags action (Service: SageMaker; Status Code: 400; Request ID: 1)"
        );
        let found = of(&added);
        assert_eq!(found.action, "sagemaker:AddTags");
        assert_eq!(
            found.resource.as_deref(),
            Some("arn:aws:sagemaker:us-east-1:111122223333:training-job/x")
        );
        let event = format!(
            "{{\"errorMessage\":\"{USER} is not authorized to perform: kms:Decrypt on resource: \
             arn:aws:kms:us-east-1:1:key/2 because no resource-based policy allows the kms:Decrypt action\"}}"
        );
        assert_eq!(
            of(&event).statement.unwrap(),
            json!({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:role/flights-training"},
                "Action": "kms:Decrypt", "Resource": "arn:aws:kms:us-east-1:1:key/2"})
        );
        let escaped = added
            .replace("resource: arn", "resource: \\\"arn")
            .replace("/x ", "/x\\\" ");
        assert_eq!(of(&escaped), found);
        let short = format!("AccessDenied: {USER} is not authorized to perform: iam:PassRole.");
        assert_eq!((of(&short).resource, of(&short).policy), (None, None));
        let none = format!(
            "{USER} is not authorized to perform: s3:PutObject on this resource because the resource does not exist"
        );
        assert_eq!(of(&none).resource, None);
    }

    #[test]
    fn a_deny_is_removed_and_not_overridden() {
        let text = format!(
            "{USER} is not authorized to perform: s3:PutObject on resource: \"arn:aws:s3:::b/k\" with an explicit \
             deny in a permissions boundary: arn:aws:iam::111122223333:policy/flights-boundary"
        );
        let found = of(&text);
        assert!(found.explicit_deny && found.statement.is_none());
        assert_eq!(found.policy.as_deref(), Some("permissions boundary"));
        let fix = find(&text).unwrap().fix;
        assert!(
            fix.contains("permissions boundary of the role flights-training"),
            "{fix}"
        );
        let bucket = text.replace(
            "a permissions boundary: arn:aws:iam::111122223333:policy/flights-boundary",
            "a resource-based policy",
        );
        let fix = find(&bucket).unwrap().fix;
        assert!(
            fix.contains("resource-based policy of arn:aws:s3:::b/k"),
            "{fix}"
        );
    }

    #[test]
    fn the_statement_belongs_where_the_message_points() {
        for (policy, target) in [
            (
                "permissions boundary",
                "the permissions boundary of the role",
            ),
            ("session policy", "that the caller of AssumeRole passes"),
            ("service control policy", "its administrator"),
            ("VPC endpoint policy", "its administrator"),
        ] {
            let text = format!(
                "{USER} is not authorized to perform: a:B on resource: * because no {policy} allows the a:B action"
            );
            let fix = find(&text).unwrap().fix;
            assert!(fix.contains(target), "{policy}: {fix}");
        }
        let trust = "User: arn:aws:iam::1:user/ann is not authorized to perform: sts:AssumeRole on resource: \
                     arn:aws:iam::1:role/r because no role trust policy allows the sts:AssumeRole action";
        assert_eq!(
            of(trust).statement.unwrap(),
            json!({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:user/ann"}, "Action": "sts:AssumeRole"})
        );
    }

    #[test]
    fn a_statement_is_right_for_the_next_run() {
        for (resource, expected) in [
            (
                "arn:aws:s3:::b/models/pipelines-6a4xn4zhollf-Train-8ad541cb3c/output/model.tar.gz",
                "arn:aws:s3:::b/models/pipelines-*",
            ),
            (
                "arn:aws:sagemaker:us-east-1:1:training-job/pipelines-6a4xn4zhollf-Train-8ad541cb3c",
                "arn:aws:sagemaker:us-east-1:1:training-job/pipelines-*",
            ),
            (
                "arn:aws:s3:::b/pipelines-old/x",
                "arn:aws:s3:::b/pipelines-old/x",
            ),
        ] {
            let text = format!("{USER} is not authorized to perform: a:B on resource: {resource}");
            let found = of(&text);
            assert_eq!(found.resource.as_deref(), Some(resource));
            assert_eq!(found.statement.unwrap()["Resource"], expected);
        }
    }

    #[test]
    fn other_texts_are_no_denied_calls() {
        for text in [
            "AccessDenied",
            "you are not authorized to perform: it",
            "User: ann is not authorized to perform: s3:GetObject",
            "User: arn:aws:iam::1:user/a is not authorized to perform: everything",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
