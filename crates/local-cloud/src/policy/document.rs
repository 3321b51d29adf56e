//! Policy documents: parsed once, evaluated often.

use serde_json::{Map, Value};

use super::condition::Condition;
use super::context::{Lookup, Missing};
use super::malformed::{Malformed, malformed, texts};
use super::pattern::{ArnPattern, Pattern, Syntax};
use super::{Call, Principal, PrincipalKind};
use crate::limits;

/// The effect of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// A parsed policy document.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    statements: Vec<Statement>,
}

#[derive(Debug, Clone)]
struct Statement {
    effect: Effect,
    /// None in an identity-based policy.
    principals: Option<Listed<Named>>,
    actions: Listed<Pattern>,
    /// None in a trust policy: the role itself.
    resources: Option<Listed<Resource>>,
    conditions: Vec<Condition>,
}

/// `Action` or `NotAction`, and the other such pairs.
#[derive(Debug, Clone)]
struct Listed<T> {
    negated: bool,
    items: Vec<T>,
}

/// A name in a `Principal` element.
#[derive(Debug, Clone)]
enum Named {
    Everyone,
    /// An account, by its id.
    Account(String),
    Other(PrincipalKind, String),
}

/// How a principal is named. The order is the strength: the strongest name counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    Account,
    Role,
    Everyone,
    Own,
}

#[derive(Debug, Clone)]
enum Resource {
    All,
    /// An ARN, and whether it has fewer parts than one.
    Arn {
        pattern: ArnPattern,
        is_short: bool,
    },
}

/// How the statements of a resource-based policy that allow a call name its caller.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Grants {
    /// A statement names the account, which delegates to its identity-based policies.
    pub(super) account: bool,
    pub(super) strongest: Option<By>,
}

/// The elements of a statement (IAM user guide, "IAM JSON policy elements reference").
pub(crate) const STATEMENT_ELEMENTS: [&str; 9] = [
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

impl Document {
    /// Parses the text of a policy.
    ///
    /// # Errors
    /// Anything that could be misunderstood: an unknown element, operator or kind of principal.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let document = limits::document(text.as_bytes()).map_err(malformed)?;
        Self::of(&document)
    }

    /// Reads the JSON of a policy.
    pub(crate) fn of(document: &Value) -> Result<Self, Malformed> {
        let version = document.get("Version").and_then(Value::as_str);
        let variables = version == Some("2012-10-17");
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) => statements.as_slice(),
            Some(statement @ Value::Object(_)) => std::slice::from_ref(statement),
            _ => return Err(malformed("the policy has no Statement")),
        };
        let statements = statements
            .iter()
            .map(|statement| {
                let statement = statement
                    .as_object()
                    .ok_or_else(|| malformed("a statement is not an object"))?;
                Statement::of(statement, variables)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { statements })
    }

    /// The effect of an identity-based policy on a call.
    pub(super) fn effect(&self, call: &Call, lookup: &Lookup<'_>) -> Option<Effect> {
        let mut effect = None;
        for statement in &self.statements {
            if statement.covers(call, lookup, true) {
                effect = Some(statement.effect);
                if statement.effect == Effect::Deny {
                    break;
                }
            }
        }
        effect
    }

    /// What a resource-based policy allows; `None` if it denies the call. `is_bounded`: the principal
    /// has a permissions boundary.
    pub(super) fn grants(
        &self,
        principal: &Principal,
        call: &Call,
        lookup: &Lookup<'_>,
        is_bounded: bool,
    ) -> Option<Grants> {
        let mut grants = Grants::default();
        for statement in &self.statements {
            let Some(by) = statement.names(principal, is_bounded) else {
                continue;
            };
            if !statement.covers(call, lookup, false) {
                continue;
            }
            if statement.effect == Effect::Deny {
                return None;
            }
            grants.account |= by == By::Account;
            grants.strongest = grants.strongest.max(Some(by));
        }
        Some(grants)
    }

    /// True if a statement of this resource-based policy allows the call, to the principal or its
    /// account, and none denies it.
    pub(crate) fn allows(&self, principal: &Principal, call: &Call) -> bool {
        let lookup = Lookup::new(principal, call);
        self.grants(principal, call, &lookup, false)
            .is_some_and(|it| it.strongest.is_some())
    }

    /// The statements that apply to a call, by their index.
    pub(crate) fn applying(
        &self,
        principal: &Principal,
        call: &Call,
        is_identity: bool,
    ) -> Vec<(usize, Effect)> {
        let lookup = Lookup::new(principal, call);
        let all = self.statements.iter().enumerate();
        all.filter(|(_, it)| is_identity || it.names(principal, false).is_some())
            .filter(|(_, it)| it.covers(call, &lookup, is_identity))
            .map(|(index, it)| (index, it.effect))
            .collect()
    }

    /// The condition keys and policy variables of the statements about an action, in lower case.
    pub(crate) fn keys(&self, action: &str) -> Vec<String> {
        let mut keys = Vec::new();
        for statement in self.statements.iter().filter(|it| it.is_about(action)) {
            for condition in &statement.conditions {
                condition.keys(&mut keys);
            }
            let resources = statement.resources.iter().flat_map(|it| &it.items);
            for resource in resources {
                if let Resource::Arn { pattern, .. } = resource {
                    pattern.keys(&mut keys);
                }
            }
        }
        keys
    }
}

impl Statement {
    fn of(statement: &Map<String, Value>, variables: bool) -> Result<Self, Malformed> {
        if let Some(unknown) = statement
            .keys()
            .find(|key| !STATEMENT_ELEMENTS.contains(&key.as_str()))
        {
            return Err(malformed(format!("unknown field {unknown}")));
        }
        let effect = match statement.get("Effect").and_then(Value::as_str) {
            Some("Allow") => Effect::Allow,
            Some("Deny") => Effect::Deny,
            _ => return Err(malformed("Effect is neither Allow nor Deny")),
        };
        let principals = listed(statement, ["Principal", "NotPrincipal"], principals)?;
        let actions = listed(statement, ["Action", "NotAction"], actions)?
            .ok_or_else(|| malformed("a statement has no Action"))?;
        let resources = listed(statement, ["Resource", "NotResource"], |value| {
            resources(value, variables)
        })?;
        let conditions = match statement.get("Condition") {
            None => Vec::new(),
            Some(conditions) => Condition::all(conditions, variables)?,
        };
        Ok(Self {
            effect,
            principals,
            actions,
            resources,
            conditions,
        })
    }

    /// True if action, resource and conditions apply to the call.
    fn covers(&self, call: &Call, lookup: &Lookup<'_>, is_identity: bool) -> bool {
        if !self.is_about(&call.action) {
            return false;
        }
        if let Some(resources) = &self.resources
            && !resources.cover(&call.resource, lookup, is_identity)
        {
            return false;
        }
        let mut is_known = true;
        for condition in &self.conditions {
            match condition.is_met(lookup) {
                Some(true) => {}
                Some(false) => return false,
                None => is_known = false,
            }
        }
        is_known || self.effect == Effect::Deny || lookup.missing == Missing::Assumed
    }

    /// True if the statement is about an action. Actions are the same in upper and lower case.
    fn is_about(&self, action: &str) -> bool {
        let action = action.to_ascii_lowercase();
        let mut actions = self.actions.items.iter();
        actions.any(|pattern| pattern.is_literally(&action)) != self.actions.negated
    }

    /// How the statement names a principal, if it does.
    fn names(&self, principal: &Principal, is_bounded: bool) -> Option<By> {
        let principals = self.principals.as_ref()?;
        let all = principals.items.iter();
        let by = all.filter_map(|name| name.is(principal, self.effect)).max();
        if !principals.negated {
            return by;
        }
        // "always denies any IAM principal that has a permissions boundary attached" (user guide,
        // "NotPrincipal").
        let always = is_bounded && self.effect == Effect::Deny;
        (by.is_none() || always).then_some(By::Everyone)
    }
}

impl Listed<Resource> {
    fn cover(&self, arn: &str, lookup: &Lookup<'_>, is_identity: bool) -> bool {
        let mut is_listed = false;
        for resource in &self.items {
            match resource.matches(arn, lookup, is_identity) {
                Some(matches) => is_listed |= matches,
                // A variable without a value: `NotResource` must not widen what is allowed.
                None if self.negated => return false,
                None => {}
            }
        }
        is_listed != self.negated
    }
}

impl Resource {
    /// `None` if a variable has no value.
    fn matches(&self, arn: &str, lookup: &Lookup<'_>, is_identity: bool) -> Option<bool> {
        match self {
            Self::All => Some(true),
            // Only identity-based policies complete it.
            Self::Arn { is_short: true, .. } if !is_identity => Some(false),
            Self::Arn { pattern, .. } => pattern.matches(arn, lookup),
        }
    }
}

impl Named {
    fn is(&self, principal: &Principal, effect: Effect) -> Option<By> {
        match self {
            // Unverified against AWS [policy-service-principal]: services are allowed only by their names,
            // and denied with everyone.
            Self::Everyone => (principal.kind == PrincipalKind::Aws || effect == Effect::Deny)
                .then_some(By::Everyone),
            Self::Account(id) => {
                let own = principal.kind == PrincipalKind::Aws && *id == principal.account;
                own.then_some(By::Account)
            }
            Self::Other(kind, _) if *kind != principal.kind => None,
            Self::Other(_, name) if principal.role.as_ref() == Some(name) => Some(By::Role),
            Self::Other(_, name) => (*name == principal.arn).then_some(By::Own),
        }
    }
}

/// The one of two elements that a statement has; both are an error.
fn listed<T>(
    statement: &Map<String, Value>,
    [name, negated]: [&str; 2],
    read: impl FnOnce(&Value) -> Result<Vec<T>, Malformed>,
) -> Result<Option<Listed<T>>, Malformed> {
    let (negated, value) = match (statement.get(name), statement.get(negated)) {
        (None, None) => return Ok(None),
        (Some(value), None) => (false, value),
        (None, Some(value)) => (true, value),
        (Some(_), Some(_)) => {
            return Err(malformed(format!(
                "a statement has both {name} and {negated}"
            )));
        }
    };
    let items = read(value)?;
    Ok(Some(Listed { negated, items }))
}

fn principals(value: &Value) -> Result<Vec<Named>, Malformed> {
    let kinds = match value {
        Value::String(text) if text == "*" => return Ok(vec![Named::Everyone]),
        Value::Object(kinds) => kinds,
        _ => return Err(malformed("Principal is neither * nor an object")),
    };
    let mut names = Vec::new();
    for (kind, value) in kinds {
        let kind = match kind.as_str() {
            "AWS" => PrincipalKind::Aws,
            "Service" => PrincipalKind::Service,
            "Federated" => PrincipalKind::Federated,
            // The local cloud has no canonical user ids, so this matches no principal.
            "CanonicalUser" => continue,
            _ => return Err(malformed(format!("unknown kind of principal {kind}"))),
        };
        for name in texts(value)? {
            names.push(named(kind, &name));
        }
    }
    Ok(names)
}

fn named(kind: PrincipalKind, name: &str) -> Named {
    if kind == PrincipalKind::Aws {
        let is_account = |id: &str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
        if name == "*" {
            return Named::Everyone;
        }
        if is_account(name) {
            return Named::Account(name.to_owned());
        }
        if let Some(root) = name.strip_suffix(":root")
            && let Some((_, id)) = root.split_once(":iam::")
        {
            return Named::Account(id.to_owned());
        }
    }
    Named::Other(kind, name.to_owned())
}

fn actions(value: &Value) -> Result<Vec<Pattern>, Malformed> {
    let syntax = Syntax {
        wildcards: true,
        variables: false,
    };
    let all = texts(value)?;
    let all = all.iter();
    Ok(all
        .map(|action| Pattern::parse(&action.to_ascii_lowercase(), syntax))
        .collect())
}

fn resources(value: &Value, variables: bool) -> Result<Vec<Resource>, Malformed> {
    texts(value)?
        .iter()
        .map(|text| {
            if text == "*" {
                return Ok(Resource::All);
            }
            let pattern = ArnPattern::parse(text, variables)
                .ok_or_else(|| malformed(format!("the resource {text} is not an ARN")))?;
            let is_short = text.splitn(6, ':').count() < 6;
            Ok(Resource::Arn {
                pattern: if is_short { pattern.padded() } else { pattern },
                is_short: is_short && !text.contains('*'),
            })
        })
        .collect()
}
