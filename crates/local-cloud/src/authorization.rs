//! What sessions may do: the one place where the requests of a role are evaluated.
//!
//! ```text
//! Cloud::request, Cloud::call ┐
//! S3, per object              ├── calls (policy::actions) ── policies of the role, resource policy ── evaluate
//! registry, git               ┘
//! ```
//!
//! A service that works without a role, such as SNS when it sends to a queue, needs a resource policy that allows it.
//! The account's own credentials may do everything, and the local cloud's own bookkeeping is not evaluated.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::Cloud;
use super::api::{ApiError, ApiResult};
use super::cloud::ACCOUNT;
use super::cloud::caller::{Caller, RoleSession, ServiceCaller};
use super::cloud::service::{Protocol, Service};
use super::iam::{self, RolePolicies};
use super::policy::actions::{self, Named, Place};
use super::policy::{
    self, Call, Context, Decision, Document, Kind, Missing, Policies, Policy, Principal, Reason,
};
use super::{cloudformation, codecommit, kms};

/// Documents that are kept parsed, and sessions. A role has about ten documents of at most 20 KB.
const PARSED: usize = 1000;

/// Parsed documents, by their text.
#[derive(Debug, Default)]
struct Parsed(Mutex<HashMap<String, Arc<Document>>>);

fn parsed(cloud: &Cloud, text: &str) -> ApiResult<Arc<Document>> {
    let all = &cloud.state::<Parsed>().0;
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = all.get(text) {
        return Ok(found.clone());
    }
    // A policy that was accepted can always be parsed.
    let document = Document::parse(text).map_err(ApiError::internal)?;
    let document = Arc::new(document);
    if all.len() >= PARSED {
        all.clear();
    }
    all.insert(text.to_owned(), document.clone());
    Ok(document)
}

/// Fails if the current caller may not run an operation.
pub(crate) fn operation(
    cloud: &Cloud,
    service: &'static Service,
    operation: &str,
    input: &Value,
) -> ApiResult<()> {
    operation_of(cloud, &Caller::current(), service, operation, input)
}

/// Fails if this caller may not run an operation.
pub(crate) fn operation_of(
    cloud: &Cloud,
    caller: &Caller,
    service: &'static Service,
    operation: &str,
    input: &Value,
) -> ApiResult<()> {
    if matches!(caller, Caller::LocalCloud | Caller::Root) {
        return Ok(());
    }
    let place = Place {
        region: cloud.region(),
        account: ACCOUNT,
        find: &|named| find(cloud, named),
    };
    let calls = actions::calls(service.name, operation, input, &place)?;
    require(cloud, caller, service, &calls)
}

/// Fails if this caller may not make one of these calls.
fn require(
    cloud: &Cloud,
    caller: &Caller,
    service: &'static Service,
    calls: &[Call],
) -> ApiResult<()> {
    match caller {
        Caller::LocalCloud | Caller::Root => Ok(()),
        Caller::Session(session) => {
            let evaluation = Evaluation::of(cloud, session)?;
            let mut calls = calls.iter();
            calls.try_for_each(|call| evaluation.require(call, service))
        }
        Caller::Service(principal) => {
            let mut calls = calls.iter();
            calls.try_for_each(|call| require_grant(cloud, principal, call, service))
        }
    }
}

/// Fails if the policy of the called resource does not allow the call of a service that works without a role.
fn require_grant(
    cloud: &Cloud,
    caller: &ServiceCaller,
    call: &Call,
    service: &'static Service,
) -> ApiResult<()> {
    let mut principal = Principal::service(caller.principal, ACCOUNT);
    let context = &mut principal.context;
    request_keys(cloud, context);
    context.set("aws:SourceArn", &caller.source);
    let document = resource_policy(cloud, call)?;
    let decision = policy::evaluate(&principal, &Policies::default(), document.as_deref(), call);
    let Decision::Denied(reason) = decision else {
        return Ok(());
    };
    let reason = Reason {
        kind: Kind::Resource,
        ..reason
    };
    Err(denial(service, reason.message(&principal, call)))
}

/// The ARN of what a request names; `None` if it does not exist, or the state cannot be read.
fn find(cloud: &Cloud, named: Named<'_>) -> Option<String> {
    match named {
        Named::Key(name) => kms::key_arn(cloud, name).ok()?,
        Named::Role(name) => iam::named(cloud, name).ok().map(|role| role.arn),
        Named::ChangeSet(arn) => cloudformation::stack_of(cloud, arn),
        Named::PullRequest(id) => codecommit::pulls::repository_of(cloud, id),
        Named::Destination(id) => codecommit::pulls::destination_of(cloud, id),
    }
}

/// Fails if this caller may not do an action on a resource of a service.
pub(crate) fn action(
    cloud: &Cloud,
    caller: &Caller,
    service: &'static Service,
    action: &str,
    resource: String,
    context: Context,
) -> ApiResult<()> {
    let call = Call {
        action: action.to_owned(),
        resource,
        context,
    };
    require(cloud, caller, service, std::slice::from_ref(&call))
}

/// What a session may do, until a record of IAM changes.
#[derive(Debug)]
struct Known {
    /// The number of changes to the records of IAM when this was read.
    changes: u64,
    principal: Principal,
    policies: Policies,
    /// AWS's own policies of the role, whose texts the local cloud does not have.
    unknown: Vec<String>,
}

/// What recent sessions may do, by access key.
#[derive(Debug, Default)]
struct Recent(Mutex<HashMap<String, Arc<Known>>>);

impl Known {
    /// What a session may do now.
    fn of(cloud: &Cloud, session: &RoleSession) -> ApiResult<Arc<Self>> {
        let recent = || {
            let recent = &cloud.state::<Recent>().0;
            recent.lock().unwrap_or_else(PoisonError::into_inner)
        };
        // Before the records are read: a change in between is noticed by the next request.
        let changes = cloud.store().changes_of(iam::SERVICE.name);
        if let Some(known) = recent().get(&session.access_key)
            && known.changes == changes
        {
            return Ok(known.clone());
        }
        let known = Arc::new(Self::read(cloud, session, changes)?);
        let mut recent = recent();
        if recent.len() >= PARSED {
            recent.clear();
        }
        recent.insert(session.access_key.clone(), known.clone());
        Ok(known)
    }

    fn read(cloud: &Cloud, session: &RoleSession, changes: u64) -> ApiResult<Self> {
        let RolePolicies {
            inline,
            managed,
            boundary,
            tags,
            mut unknown,
        } = iam::policies_of(cloud, session)?;
        let policy = |arn: Option<String>, text: &str| -> ApiResult<Policy> {
            let document = parsed(cloud, text)?;
            Ok(Policy { arn, document })
        };
        let mut identity = Vec::new();
        for text in &inline {
            identity.push(policy(None, text)?);
        }
        for (arn, text) in managed {
            identity.push(policy(Some(arn), &text)?);
        }
        let limits = if session.is_limited() {
            let mut limits = Vec::new();
            for text in &session.policies {
                limits.push(policy(None, text)?);
            }
            for arn in &session.policy_arns {
                match iam::policy_text(cloud, arn)? {
                    Some(text) => limits.push(policy(Some(arn.clone()), &text)?),
                    None => unknown.push(arn.clone()),
                }
            }
            Some(limits)
        } else {
            None
        };
        let tags = tags.into_iter().chain(session.tags.clone());
        Ok(Self {
            changes,
            principal: Principal::session(
                &session.arn,
                &session.role,
                &session.user_id,
                ACCOUNT,
                tags,
            ),
            policies: Policies {
                identity,
                boundary: boundary
                    .map(|(arn, text)| policy(Some(arn), &text))
                    .transpose()?,
                session: limits,
            },
            unknown,
        })
    }
}

/// The evaluation of a session's calls.
struct Evaluation<'a> {
    cloud: &'a Cloud,
    session: &'a RoleSession,
    known: Arc<Known>,
    /// With the condition keys that every request has.
    principal: Principal,
}

impl<'a> Evaluation<'a> {
    fn of(cloud: &'a Cloud, session: &'a RoleSession) -> ApiResult<Self> {
        let known = Known::of(cloud, session)?;
        let mut principal = known.principal.clone();
        request_keys(cloud, &mut principal.context);
        if let Ok(issued) = jiff::Timestamp::from_second(session.issued) {
            principal.context.set("aws:TokenIssueTime", iso(issued));
        }
        Ok(Self {
            cloud,
            session,
            known,
            principal,
        })
    }

    /// Fails with the service's denial if the call is not allowed.
    fn require(&self, call: &Call, service: &'static Service) -> ApiResult<()> {
        let resource = resource_policy(self.cloud, call)?;
        let known = &self.known;
        let decision =
            policy::evaluate(&self.principal, &known.policies, resource.as_deref(), call);
        let Decision::Denied(reason) = decision else {
            return Ok(());
        };
        let limits = [Kind::Identity, Kind::Session, Kind::Boundary];
        if let Some(arn) = known.unknown.first()
            && !reason.explicit
            && limits.contains(&reason.kind)
        {
            return Err(ApiError::not_implemented(format_args!(
                "the text of AWS's own policy {arn}, so that it cannot tell whether {} allows {}",
                self.session.role, call.action
            )));
        }
        Err(denial(service, reason.message(&self.principal, call)))
    }
}

/// The policy of the called resource, from the service that owns it.
fn resource_policy(cloud: &Cloud, call: &Call) -> ApiResult<Option<Arc<Document>>> {
    let owner = call.resource.split(':').nth(2).unwrap_or_default();
    for service in cloud.services().signed(owner) {
        if let Some(find) = service.resource_policy
            && let Some(text) = find(cloud, call)?
        {
            return parsed(cloud, &text).map(Some);
        }
    }
    Ok(None)
}

/// A time as condition keys write it.
fn iso(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The condition keys that every request has. A request over loopback counts as encrypted.
fn request_keys(cloud: &Cloud, context: &mut Context) {
    context.set_missing(Missing::Existing);
    let now = jiff::Timestamp::now();
    context.set("aws:CurrentTime", iso(now));
    context.set("aws:EpochTime", now.as_second().to_string());
    context.set("aws:RequestedRegion", cloud.region());
    context.set("aws:ResourceAccount", ACCOUNT);
    context.set("aws:SecureTransport", "true");
    context.set("aws:SourceIp", "127.0.0.1");
    context.set("aws:ViaAWSService", "false");
}

/// A denial in the code and with the status of the service's protocol.
fn denial(service: &Service, message: String) -> ApiError {
    match service.protocol {
        Protocol::Json { .. } => ApiError::denied("AccessDeniedException", message).status(400),
        Protocol::Rest(_) => ApiError::denied("AccessDeniedException", message),
        Protocol::Ec2Query { .. } => ApiError::denied("UnauthorizedOperation", message),
        Protocol::Query { .. } => {
            let mut codes = service.query_codes.iter();
            let own = codes.find(|(name, _)| *name == "AccessDenied");
            ApiError::denied(own.map_or("AccessDenied", |(_, code)| code), message)
        }
        Protocol::Streaming(_) => ApiError::denied("AccessDenied", message),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::services::SERVICES;
    use crate::test_cloud::TestCloud;
    use crate::{iam, sts};

    /// Operations that need no permission: STS refuses the second for a session, and the third is not signed.
    const FREE: [&str; 3] = [
        "GetCallerIdentity",
        "GetSessionToken",
        "AssumeRoleWithWebIdentity",
    ];

    #[tokio::test]
    async fn no_operation_runs_without_a_permission() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let role = iam::trusting(&cloud, "nobody", "sagemaker.amazonaws.com", &["none:None"]);
        let session = sts::for_service(&cloud, &role, "me", "sagemaker.amazonaws.com").unwrap();
        let mut count = 0;
        for service in SERVICES {
            let operations = service.operations.iter().copied().flatten();
            for operation in operations.filter(|operation| !FREE.contains(&operation.name)) {
                let call = cloud.call(service.name, operation.name, json!({}));
                let answer = session.caller().scope(call).await;
                let what = format!("{}:{}", service.name, operation.name);
                let error = answer.expect_err(&what);
                assert!(error.is_denied(), "{what}: {error}");
                count += 1;
            }
        }
        assert!(count > 200, "only {count} operations");
    }

    #[tokio::test]
    async fn calls_between_services_are_evaluated_for_the_caller_and_bookkeeping_is_not() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let role = iam::trusting(&cloud, "r", "sagemaker.amazonaws.com", &["none:None"]);
        let session = sts::for_service(&cloud, &role, "me", "sagemaker.amazonaws.com").unwrap();
        let keys = |cloud: Cloud| async move {
            let called = cloud.call("kms", "ListKeys", json!({})).await;
            let internally = cloud.internally("kms", "ListKeys", json!({})).await;
            (called.is_ok(), internally.is_ok())
        };
        assert_eq!(keys(cloud.clone()).await, (true, true));
        let scoped = session.caller().scope(keys(cloud.clone()));
        assert_eq!(scoped.await, (false, true));
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*"}]});
        let put = json!({"RoleName": "r", "PolicyName": "p", "PolicyDocument": policy.to_string()});
        cloud.call("iam", "PutRolePolicy", put).await.unwrap();
        let scoped = session.caller().scope(keys(cloud.clone()));
        assert_eq!(scoped.await, (true, true));
        // Another role of the same name has nothing to do with the session.
        iam::trusting(&cloud, "r", "sagemaker.amazonaws.com", &["none:None"]);
        let scoped = session.caller().scope(keys(cloud.clone()));
        assert_eq!(scoped.await, (false, true));
        let called = session.caller().scope(async {
            let called = cloud.call("kms", "ListKeys", json!({})).await;
            called.map_err(|error| error.code)
        });
        assert_eq!(called.await.unwrap_err(), "InvalidClientTokenId");
    }

    #[tokio::test]
    async fn conditions_on_what_is_not_read_never_widen_access() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let role = iam::trusting(&cloud, "r", "sagemaker.amazonaws.com", &["none:None"]);
        let session = sts::for_service(&cloud, &role, "me", "sagemaker.amazonaws.com").unwrap();
        let everything = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        let condition = |effect: &str, operator: &str, key: &str| {
            json!({"Effect": effect, "Action": "*", "Resource": "*",
                "Condition": {operator: {key: "x"}}})
        };
        for (key, action, is_known) in [
            ("aws:ResourceTag/team", "lambda:InvokeFunction", false),
            ("ecr:ResourceTag/team", "ecr:PutImage", false),
            ("s3:ExistingObjectTag/team", "s3:GetObject", false),
            ("s3:RequestObjectTag/team", "s3:PutObjectTagging", false),
            ("s3:RequestObjectTag/team", "s3:PutObject", true),
            ("iam:PermissionsBoundary", "iam:PutRolePolicy", false),
            ("iam:PermissionsBoundary", "iam:CreateRole", true),
            ("aws:RequestTag/team", "ssm:PutParameter", true),
        ] {
            for (statements, expected) in [
                (
                    json!([condition("Allow", "StringNotEquals", key)]),
                    is_known,
                ),
                (
                    json!([everything.clone(), condition("Deny", "StringEquals", key)]),
                    is_known,
                ),
                (json!([condition("Allow", "StringEquals", key)]), false),
            ] {
                let policy = json!({"Version": "2012-10-17", "Statement": statements});
                let put = json!({"RoleName": "r", "PolicyName": "p", "PolicyDocument": policy.to_string()});
                cloud.call("iam", "PutRolePolicy", put).await.unwrap();
                let service = &crate::ssm::SERVICE;
                let context = Context::default();
                let caller = session.caller();
                let decided =
                    super::action(&cloud, &caller, service, action, "*".to_owned(), context);
                assert_eq!(decided.is_ok(), expected, "{action} {statements}");
            }
        }
    }
}
