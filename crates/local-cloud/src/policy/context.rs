//! Condition keys and their values.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Call, Principal};

/// The value of a condition key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Values {
    /// Of a key with one value.
    One(String),
    /// Of a key with a list of values, such as `aws:TagKeys`. Only `ForAllValues` and `ForAnyValue`
    /// match it.
    Many(Vec<String>),
}

/// What is known about keys that a context does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The request has no other keys.
    #[default]
    Absent,
    /// The same, except that the keys of what exists already, such as the tags of a resource, are `Unknown`.
    Existing,
    /// The request can have other keys. A condition on one never widens access: an `Allow` statement
    /// does not apply, a `Deny` statement does.
    Unknown,
    /// As `Unknown`, but an `Allow` statement applies, too.
    Assumed,
}

/// The condition keys of a request or a principal. Keys are the same in upper and lower case. A copy shares them:
/// a request can need many calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    keys: Arc<BTreeMap<String, Option<Values>>>,
    missing: Missing,
}

impl Context {
    /// The context of a call that can have other keys than those that are set.
    pub(crate) fn incomplete(missing: Missing) -> Self {
        Self {
            missing,
            ..Self::default()
        }
    }

    /// Sets how keys that are not in the context are treated.
    pub(crate) fn set_missing(&mut self, missing: Missing) {
        self.missing = missing;
    }

    fn insert(&mut self, key: &str, values: Option<Values>) {
        Arc::make_mut(&mut self.keys).insert(key.to_ascii_lowercase(), values);
    }

    /// Sets a key with one value.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.insert(key, Some(Values::One(value.into())));
    }

    /// Sets a key with a list of values.
    pub(crate) fn set_list(&mut self, key: &str, values: Vec<String>) {
        self.insert(key, Some(Values::Many(values)));
    }

    /// Marks a key as absent from the request.
    pub(crate) fn set_absent(&mut self, key: &str) {
        self.insert(key, None);
    }

    /// The values of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Values> {
        self.keys.get(&key.to_ascii_lowercase())?.as_ref()
    }
}

/// True if the value of a key, in lower case, is that of something that exists already and is not read here: the
/// tags of a resource or an object, the boundary of a role, the contents of events. The value in a request is one of the context's keys.
fn is_existing(key: &str, action: &str) -> bool {
    let has = |actions: &[&str]| actions.iter().any(|it| it.eq_ignore_ascii_case(action));
    key.contains(":resourcetag/")
        || key.starts_with("s3:existingobjecttag/")
        || (key.starts_with("events:")
            && (key.starts_with("events:detail.") || key.contains("metadata/")))
        // The tags of PutObject are in a header, those of the other operations in the body.
        || (key.starts_with("s3:requestobjecttag") && !has(&["s3:PutObject"]))
        || (key == "iam:permissionsboundary"
            && !has(&["iam:CreateRole", "iam:PutRolePermissionsBoundary"]))
}

/// A key in the contexts of an evaluation.
pub(super) enum Found<'a> {
    Values(&'a Values),
    Absent,
    Unknown,
}

/// The contexts of an evaluation: of the call, then of the principal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lookup<'a> {
    contexts: [&'a Context; 2],
    action: &'a str,
    pub(super) missing: Missing,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(principal: &'a Principal, call: &'a Call) -> Self {
        Self {
            contexts: [&call.context, &principal.context],
            action: &call.action,
            missing: match call.context.missing {
                Missing::Absent => principal.context.missing,
                missing => missing,
            },
        }
    }

    /// The values of a key in lower case.
    pub(super) fn find(&self, key: &str) -> Found<'a> {
        let found = self.contexts.iter().find_map(|it| it.keys.get(key));
        match (found, self.missing) {
            (Some(Some(values)), _) => Found::Values(values),
            (Some(None), _) | (None, Missing::Absent) => Found::Absent,
            (None, Missing::Existing) if !is_existing(key, self.action) => Found::Absent,
            (None, Missing::Existing | Missing::Unknown | Missing::Assumed) => Found::Unknown,
        }
    }

    /// The value of a key in lower case, for a policy variable.
    pub(super) fn value(&self, key: &str) -> Option<&'a str> {
        match self.find(key) {
            Found::Values(Values::One(value)) => Some(value),
            _ => None,
        }
    }
}
