//! On whose behalf code runs.
//!
//! The dispatcher sets the caller of a request, and everything that its handler awaits runs for that caller:
//! a call to another service is evaluated for the caller, too (AWS: forward access sessions). Work that a
//! service does with a role runs in the scope of a session of that role ([`Caller::scope`]). Everything else
//! is internal work of the local cloud, which needs no permission.
//!
//! A scope does not extend into `spawn` and `spawn_blocking`: background work has no caller unless it sets one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

tokio::task_local! {
    static CALLER: Caller;
}

/// On whose behalf code runs.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// The local cloud itself. Its requests are not evaluated.
    LocalCloud,
    /// The account's own credentials, which may do everything.
    Root,
    /// A session of a role. Each request is evaluated.
    Session(Arc<RoleSession>),
    /// A service of AWS that works without a role. The policy of the called resource decides.
    Service(Arc<ServiceCaller>),
}

/// A service of AWS that works without a role, such as SNS when it sends a message to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceCaller {
    /// The service principal, such as `sns.amazonaws.com`.
    pub(crate) principal: &'static str,
    /// The ARN of the resource for which it works (`aws:SourceArn`): the topic, the rule.
    pub(crate) source: String,
}

/// A session of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleSession {
    /// Its access key.
    pub(crate) access_key: String,
    /// Its ARN: `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    pub(crate) arn: String,
    /// `ROLE-ID:SESSION`
    pub(crate) user_id: String,
    /// The ARN of the role.
    pub(crate) role: String,
    /// The id of the role: another role of the same name has another one.
    pub(crate) role_id: String,
    /// The documents of its session policies; none if the role alone decides.
    pub(crate) policies: Vec<String>,
    /// The ARNs of managed policies that are session policies.
    pub(crate) policy_arns: Vec<String>,
    /// Its session tags.
    pub(crate) tags: BTreeMap<String, String>,
    /// When it was issued, in seconds since the epoch.
    pub(crate) issued: i64,
}

impl RoleSession {
    /// True if it has session policies, which limit what the role allows.
    pub(crate) fn is_limited(&self) -> bool {
        !self.policies.is_empty() || !self.policy_arns.is_empty()
    }
}

impl Caller {
    /// The caller of the code that is running.
    pub(crate) fn current() -> Self {
        CALLER.try_with(Self::clone).unwrap_or(Self::LocalCloud)
    }

    /// A service that works for a resource without a role.
    pub(crate) fn service(principal: &'static str, source: impl Into<String>) -> Self {
        let source = source.into();
        Self::Service(Arc::new(ServiceCaller { principal, source }))
    }

    /// Runs work on behalf of this caller.
    pub(crate) async fn scope<R>(self, work: impl Future<Output = R>) -> R {
        CALLER.scope(self, work).await
    }

    /// The session, if it is one.
    pub(crate) fn session(&self) -> Option<&RoleSession> {
        match self {
            Self::Session(session) => Some(session),
            Self::LocalCloud | Self::Root | Self::Service(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scope_ends_where_work_is_spawned() {
        let is_root = || matches!(Caller::current(), Caller::Root);
        assert!(!is_root());
        let work = async {
            assert!(is_root());
            let spawned = tokio::spawn(async move { is_root() });
            let blocking = tokio::task::spawn_blocking(is_root);
            let inner = Caller::LocalCloud.scope(async move { is_root() });
            (spawned.await, blocking.await, inner.await, is_root())
        };
        let (spawned, blocking, inner, after) = Caller::Root.scope(work).await;
        assert!(!spawned.unwrap() && !blocking.unwrap() && !inner && after);
    }
}
