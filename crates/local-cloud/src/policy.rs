//! Evaluation of IAM policies: decides whether a principal may make a call. Pure functions without
//! access to the cloud, its services or a clock: [`Principal`], [`Call`] and [`Context`] contain everything
//! about a request.
//!
//! The rules are those of the IAM user guide ("Policy evaluation logic") within one account: an
//! explicit `Deny` in any policy wins; a resource-based policy that names the caller allows without
//! an identity-based policy; permissions boundaries and session policies limit what is allowed.
//!
//! Why not a crate: iam-rs 0.8.0 evaluates one list of policies. It has neither permissions
//! boundaries nor session policies, does not distinguish a resource-based policy that names a
//! session from one that names its account, resolves no variables in conditions, and lets a `*` in
//! the value of a variable match any text. It also parses ARNs and patterns in every evaluation.
//!
//! Decisions are compared with those of `@cloud-copilot/iam-simulate` (`tools/policy_cases.mjs`).

use std::sync::Arc;

pub(crate) mod actions;
mod condition;
mod context;
mod document;
mod malformed;
mod pattern;
pub(crate) mod positions;

pub(crate) use context::{Context, Missing};
pub(crate) use document::{Document, Effect, STATEMENT_ELEMENTS};

use context::Lookup;
use document::{By, Grants};

/// The kind of a principal: the key of the `Principal` element that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrincipalKind {
    /// A user, a role's session or an account.
    Aws,
    /// A service of AWS, such as `sagemaker.amazonaws.com`.
    Service,
    /// An identity provider.
    Federated,
}

/// Who makes a call.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    pub(crate) kind: PrincipalKind,
    /// The ARN of the user or the session, or the name of the service or the provider.
    pub(crate) arn: String,
    /// The ARN of a session's role.
    pub(crate) role: Option<String>,
    pub(crate) account: String,
    /// The condition keys that describe the principal: `aws:PrincipalArn`, `aws:userid` and so on.
    pub(crate) context: Context,
}

impl Principal {
    /// A session of a role. `tags` are the role's tags and those of the session.
    pub(crate) fn session(
        arn: &str,
        role: &str,
        user_id: &str,
        account: &str,
        tags: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut principal = Self::aws(arn, account, "AssumedRole");
        principal.role = Some(role.to_owned());
        let context = &mut principal.context;
        // The role's ARN, not the session's (user guide, "aws:PrincipalArn").
        context.set("aws:PrincipalArn", role);
        context.set("aws:userid", user_id);
        for (key, value) in tags {
            context.set(&format!("aws:PrincipalTag/{key}"), value);
        }
        principal
    }

    /// A user.
    pub(crate) fn user(arn: &str, user_id: &str, account: &str) -> Self {
        let mut principal = Self::aws(arn, account, "User");
        principal.context.set("aws:userid", user_id);
        if let Some((_, name)) = arn.rsplit_once('/') {
            principal.context.set("aws:username", name);
        }
        principal
    }

    /// A service of AWS. `account` is the account for which it works.
    pub(crate) fn service(name: &str, account: &str) -> Self {
        let mut context = Context::default();
        context.set("aws:PrincipalIsAWSService", "true");
        context.set("aws:PrincipalServiceName", name);
        context.set("aws:SourceAccount", account);
        Self {
            kind: PrincipalKind::Service,
            arn: name.to_owned(),
            role: None,
            account: account.to_owned(),
            context,
        }
    }

    /// An identity provider: its ARN, or the name of a provider that IAM knows.
    pub(crate) fn federated(provider: &str, account: &str) -> Self {
        Self {
            kind: PrincipalKind::Federated,
            arn: provider.to_owned(),
            role: None,
            account: account.to_owned(),
            context: Context::default(),
        }
    }

    fn aws(arn: &str, account: &str, kind: &str) -> Self {
        let mut context = Context::default();
        context.set("aws:PrincipalArn", arn);
        context.set("aws:PrincipalAccount", account);
        context.set("aws:PrincipalType", kind);
        context.set("aws:PrincipalIsAWSService", "false");
        Self {
            kind: PrincipalKind::Aws,
            arn: arn.to_owned(),
            role: None,
            account: account.to_owned(),
            context,
        }
    }
}

/// A call: an action on a resource.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Such as `s3:GetObject`.
    pub(crate) action: String,
    /// The ARN of the resource, or `*`.
    pub(crate) resource: String,
    /// The condition keys of the request.
    pub(crate) context: Context,
}

impl Call {
    /// True if the policies of the account count only if the resource's own policy delegates to the
    /// account: KMS keys, and roles with their trust policies.
    fn needs_delegation(&self, has_policy: bool) -> bool {
        let resource = self.resource.splitn(6, ':').last().unwrap_or_default();
        self.is_of("kms") && resource.starts_with("key/") || self.is_of_trust() && has_policy
    }

    fn is_of(&self, service: &str) -> bool {
        self.action
            .split_once(':')
            .is_some_and(|(prefix, _)| prefix.eq_ignore_ascii_case(service))
    }

    fn is_of_trust(&self) -> bool {
        self.is_of("sts") && self.resource != "*"
    }
}

/// A policy with its document.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The ARN of a managed policy; none for an inline policy.
    pub(crate) arn: Option<String>,
    pub(crate) document: Arc<Document>,
}

/// The policies of a principal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policies {
    pub(crate) identity: Vec<Policy>,
    pub(crate) boundary: Option<Policy>,
    /// The policies that a session was created with; `None` if it was created without.
    pub(crate) session: Option<Vec<Policy>>,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed,
    Denied(Reason),
}

/// A kind of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Identity,
    Boundary,
    Session,
    Resource,
    Trust,
}

impl Kind {
    /// The kind as AWS's messages call it, with its article.
    const fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Identity => ("an", "identity-based policy"),
            Self::Boundary => ("a", "permissions boundary"),
            Self::Session => ("a", "session policy"),
            Self::Resource => ("a", "resource-based policy"),
            Self::Trust => ("the", "role trust policy"),
        }
    }
}

/// Why a call is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// The kind of policy that denies, or that does not allow.
    pub(crate) kind: Kind,
    /// True if a `Deny` statement applies.
    pub(crate) explicit: bool,
    /// The ARN of the managed policy that denies.
    pub(crate) policy: Option<String>,
}

impl Reason {
    /// The message in AWS's words (user guide, "Troubleshoot access denied error messages").
    pub(crate) fn message(&self, principal: &Principal, call: &Call) -> String {
        let action = &call.action;
        let (article, kind) = self.kind.name();
        let cause = match (self.explicit, &self.policy) {
            (true, Some(arn)) => format!("with an explicit deny in {article} {kind}: {arn}"),
            (true, None) => format!("with an explicit deny in {article} {kind}"),
            (false, _) => format!("because no {kind} allows the {action} action"),
        };
        // S3 quotes the resource, others do not.
        let quote = if call.is_of("s3") { "\"" } else { "" };
        format!(
            "User: {} is not authorized to perform: {action} on resource: {quote}{}{quote} {cause}",
            principal.arn, call.resource
        )
    }
}

/// Decides whether a call is allowed. `resource` is the policy of the called resource: of a bucket, a
/// key, a repository, a role.
pub(crate) fn evaluate(
    principal: &Principal,
    policies: &Policies,
    resource: Option<&Document>,
    call: &Call,
) -> Decision {
    let lookup = Lookup::new(principal, call);
    let own = if call.is_of_trust() {
        Kind::Trust
    } else {
        Kind::Resource
    };
    let grants = match resource {
        None => Grants::default(),
        Some(document) => {
            match document.grants(principal, call, &lookup, policies.boundary.is_some()) {
                Some(grants) => grants,
                None => return denied(own, true, None),
            }
        }
    };
    let boundary = policies.boundary.as_ref().map(std::slice::from_ref);
    let session = policies.session.as_deref();
    let mut allows = [false; 3];
    let sides = [
        (Kind::Identity, Some(policies.identity.as_slice())),
        (Kind::Boundary, boundary),
        (Kind::Session, session),
    ];
    for (allows, (kind, side)) in allows.iter_mut().zip(sides) {
        for policy in side.unwrap_or_default() {
            match policy.document.effect(call, &lookup) {
                Some(Effect::Deny) => return denied(kind, true, policy.arn.clone()),
                Some(Effect::Allow) => *allows = true,
                None => {}
            }
        }
    }
    let [identity, within_boundary, within_session] = allows;
    let delegated = !call.needs_delegation(resource.is_some()) || grants.account;
    let is_named = grants.strongest >= Some(By::Role);
    if !(is_named || identity && delegated) {
        let kind = if delegated { Kind::Identity } else { own };
        return denied(kind, false, None);
    }
    // A resource-based policy that names the session itself, or everyone, is not limited by the
    // boundary; one that names the role is (user guide, "Permissions boundaries for IAM entities").
    let is_limited = grants.strongest < Some(By::Everyone);
    if policies.boundary.is_some() && !within_boundary && is_limited {
        return denied(Kind::Boundary, false, None);
    }
    // Unverified against AWS [policy-session-everyone]: that a session policy limits what `"Principal": "*"` allows.
    if session.is_some() && !within_session && grants.strongest != Some(By::Own) {
        return denied(Kind::Session, false, None);
    }
    Decision::Allowed
}

fn denied(kind: Kind, explicit: bool, policy: Option<String>) -> Decision {
    Decision::Denied(Reason {
        kind,
        explicit,
        policy,
    })
}

#[cfg(test)]
mod tests;
