//! Deploys a stack by change set, even if another client deploys it concurrently or was killed during
//! a deployment.
//!
//! A stack has at most one change set of ours, with a fixed name, so CloudFormation itself admits
//! only one client. Its description is the hash of what it deploys. A client that finds the name
//! taken reuses a change set with its own hash, waits for one with another hash to be executed, and
//! replaces an abandoned one. The deployment's events carry the hash too, so that a client can
//! recognize whether the work in progress is its own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use aws_sdk_cloudformation::types::{ChangeSetStatus, ExecutionStatus, StackStatus};
use mlops_core::error::{Hint, hinted};
use mlops_core::wait::Waiter;

use super::events::watch;
use super::{Action, StackOutcome, StackSpec, outputs};
use crate::aws::Clients;
use crate::aws::cloudformation::{
    self as cfn, Change, ChangeSet, NewChangeSet, Planned, TemplateSource,
};
use crate::aws::state::StackStatusExt as _;
use crate::progress::Progress;

/// The name of this program's only change set per stack.
const CHANGE_SET: &str = "mlops";

/// Age at which another client's change set is considered abandoned. A client makes three calls
/// between creating and executing it.
const LEASE: Duration = Duration::from_secs(20);

/// Maximum number of restarts of a deployment because other clients changed the stack. Each restart
/// means that one of them made progress.
const ROUNDS: usize = 20;

/// A prepared deployment: execute or discard it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The stack's name.
    pub stack: String,
    /// True if the stack is new.
    pub create: bool,
    /// The changes, resource by resource.
    pub changes: Vec<Change>,
    change_set: String,
    request: String,
}

/// CloudFormation has ended a deployment that failed. After any other error, the deployment's state is unknown.
#[derive(Debug)]
pub struct StackFailed(String);

impl std::fmt::Display for StackFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StackFailed {}

/// Returns the prefix of the token of every deployment of this specification.
pub(super) fn token_prefix(request: &str) -> String {
    format!("mlops-{request}-")
}

/// Computes the changes of a deployment, and reserves the stack for it; `None` if the stack is up
/// to date. Waits for deployments in progress to end. Deletes the remains of a failed first deployment.
pub async fn prepare(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    spec: &StackSpec,
) -> Result<Option<Prepared>> {
    let request = spec.hash();
    let template = TemplateSource::of(clients, spec.template, &spec.bucket).await?;
    for _ in 0..ROUNDS {
        let state = start(clients, waiter, progress, spec, &request).await?;
        let exists = matches!(state, StartingPoint::Update | StartingPoint::HalfUpdated);
        let made = cfn::create_change_set(
            clients,
            &NewChangeSet {
                stack: &spec.name,
                name: CHANGE_SET,
                description: &request,
                create: !exists,
                template: &template,
                parameters: &spec.parameters,
                capabilities: spec.capabilities,
                tags: spec.tags,
                role: spec.role.as_deref(),
            },
        )
        .await?;
        let change_set = match made {
            Some(id) => id,
            None => match take_over(clients, waiter, progress, spec, &request).await? {
                Some(id) => id,
                None => continue,
            },
        };
        return match cfn::planned(clients, waiter, &spec.name, &change_set).await? {
            Planned::Changes(changes) => Ok(Some(Prepared {
                stack: spec.name.clone(),
                create: !exists,
                changes,
                change_set,
                request,
            })),
            Planned::Nothing if state == StartingPoint::HalfUpdated => Err(anyhow!(
                "the stack {} is UPDATE_FAILED, and its template has not changed",
                spec.name
            ))
            .hint("roll the stack back in the CloudFormation console, then retry"),
            Planned::Nothing => Ok(None),
            Planned::Gone => continue,
        };
    }
    Err(lost(clients, &spec.name))
}

/// Deletes the remains of a failed first deployment, so that whoever deploys the stack next can. If the stack is
/// exclusive, fails while CloudFormation works on it.
pub async fn clear(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    spec: &StackSpec,
) -> Result<()> {
    start(clients, waiter, progress, spec, &spec.hash()).await?;
    Ok(())
}

async fn start(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    spec: &StackSpec,
    request: &str,
) -> Result<StartingPoint> {
    let state = settle(clients, waiter, progress, spec, request).await?;
    if let StartingPoint::Failed(id) = &state {
        cfn::delete_stack(clients, waiter, id).await?;
    }
    Ok(state)
}

/// The starting point of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StartingPoint {
    /// There is no stack, or one without resources.
    New,
    /// The remains of a failed first deployment, which was never in use: its ARN.
    Failed(String),
    /// The stack is complete.
    Update,
    /// The last update failed and was not rolled back.
    HalfUpdated,
}

/// Waits until the stack is idle and returns whether its first deployment failed: [`prepare`] would delete
/// it.
pub(super) async fn is_failed(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    spec: &StackSpec,
) -> Result<bool> {
    let state = settle(clients, waiter, progress, spec, &spec.hash()).await?;
    Ok(matches!(state, StartingPoint::Failed(_)))
}

/// Waits until the stack is idle and returns its state.
async fn settle(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    spec: &StackSpec,
    request: &str,
) -> Result<StartingPoint> {
    loop {
        let Some(stack) = cfn::stack(clients, &spec.name).await? else {
            return Ok(StartingPoint::New);
        };
        match stack.status {
            // A change set was created for it, and perhaps never executed.
            ref status if status.is_empty() => return Ok(StartingPoint::New),
            ref status if status.has_failed_to_create() => {
                return Ok(StartingPoint::Failed(stack.id));
            }
            ref status if status.is_settled() => return Ok(StartingPoint::Update),
            // CloudFormation accepts another update.
            StackStatus::UpdateFailed => return Ok(StartingPoint::HalfUpdated),
            ref status if status.is_busy() => {
                let newest = cfn::newest_event(clients, &stack.id).await?;
                let prefix = token_prefix(request);
                let token = newest.as_ref().and_then(|event| event.token.as_deref());
                let same = token.is_some_and(|token| token.starts_with(&prefix));
                if status.is_deploying() && spec.exclusive && !same {
                    return Err(hinted(
                        anyhow!(
                            "another deployment of {} is in progress ({}); nothing was changed",
                            spec.name,
                            status.as_str()
                        ),
                        retry_hint(clients),
                    ));
                }
                progress.say(format!(
                    "{}: waiting for an earlier deployment ({})",
                    spec.name,
                    status.as_str()
                ));
                let last = newest.map(|event| event.id);
                watch(
                    clients, waiter, progress, &spec.name, &stack.id, "waiting", last,
                )
                .await?;
            }
            status => {
                return Err(anyhow!(
                    "the stack {} cannot be deployed: it is {} ({})",
                    spec.name,
                    status.as_str(),
                    stack.reason.as_deref().unwrap_or("no reason given")
                ))
                .hint("fix or delete the stack in the CloudFormation console, then retry");
            }
        }
    }
}

/// What to do with a change set that another client created.
#[derive(Debug, PartialEq, Eq)]
enum ExistingChangeSet {
    /// It no longer exists.
    Free,
    /// It is the one we would create.
    Ours(String),
    /// Its owner may still execute it.
    Foreign(String),
    /// It is being executed.
    Executing(String),
    /// It was executed.
    Executed(String),
    /// It is of no use to anyone.
    Spent(String),
}

fn classify(found: Option<ChangeSet>, request: &str) -> ExistingChangeSet {
    let Some(found) = found else {
        return ExistingChangeSet::Free;
    };
    if found.execution == Some(ExecutionStatus::ExecuteInProgress) {
        return ExistingChangeSet::Executing(found.id);
    }
    if found.is_spent() {
        let executed = found.status == ChangeSetStatus::CreateComplete
            && found.execution != Some(ExecutionStatus::Obsolete);
        return if executed {
            ExistingChangeSet::Executed(found.id)
        } else {
            ExistingChangeSet::Spent(found.id)
        };
    }
    if found.description.as_deref() == Some(request) {
        return ExistingChangeSet::Ours(found.id);
    }
    ExistingChangeSet::Foreign(found.id)
}

/// Returns another client's change set if it matches ours. `None` if the name is free again, or the
/// stack is being changed.
async fn take_over(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    spec: &StackSpec,
    request: &str,
) -> Result<Option<String>> {
    let since = tokio::time::Instant::now();
    let mut waiting: Option<String> = None;
    loop {
        let found = cfn::change_set(clients, &spec.name, CHANGE_SET).await?;
        let found = classify(found, request);
        match &found {
            // The deployment that we waited for was executed.
            ExistingChangeSet::Executing(id) | ExistingChangeSet::Executed(id)
                if spec.exclusive && waiting.as_ref() == Some(id) =>
            {
                return Err(lost(clients, &spec.name));
            }
            ExistingChangeSet::Free => return Ok(None),
            ExistingChangeSet::Ours(id) => return Ok(Some(id.clone())),
            ExistingChangeSet::Spent(id) | ExistingChangeSet::Executed(id) => {
                cfn::delete_change_set(clients, id).await?;
                return Ok(None);
            }
            ExistingChangeSet::Executing(_) => {
                let stack = cfn::stack(clients, &spec.name).await?;
                if stack.is_some_and(|stack| stack.status.is_busy()) {
                    return Ok(None);
                }
                // Its status follows shortly.
            }
            ExistingChangeSet::Foreign(id) if waiting.as_ref() != Some(id) => {
                progress.say(format!(
                    "{}: another deployment is being prepared; waiting for it",
                    spec.name
                ));
                waiting = Some(id.clone());
            }
            ExistingChangeSet::Foreign(id) => {
                if since.elapsed() >= LEASE {
                    progress.say(format!(
                        "{}: the other deployment was abandoned; replacing it",
                        spec.name
                    ));
                    cfn::delete_change_set(clients, id).await?;
                    return Ok(None);
                }
            }
        }
        waiter.pause().await;
    }
}

/// Returns the error for a deployment that lost the race.
pub fn lost(clients: &Clients, stack: &str) -> anyhow::Error {
    hinted(
        anyhow!("another deployment of {stack} started first; nothing was changed"),
        retry_hint(clients),
    )
}

fn retry_hint(clients: &Clients) -> String {
    format!(
        "check what is live with `{}`, and retry when the other deployment has ended",
        clients.command("status")
    )
}

/// Returns true if the stack has this parameter value, or another deployment would set it.
pub async fn is_deployed(
    clients: &Clients,
    own: &Prepared,
    parameter: &str,
    value: &str,
) -> Result<bool> {
    let has = |parameters: &BTreeMap<String, String>| {
        parameters
            .get(parameter)
            .is_some_and(|found| found == value)
    };
    // The change set first: if it is executed in between, the stack's parameter shows it.
    let other = cfn::change_set(clients, &own.stack, CHANGE_SET).await?;
    let is_prepared = other.is_some_and(|other| {
        other.id != own.change_set && !other.is_spent() && has(&other.parameters)
    });
    let stack = cfn::stack(clients, &own.stack).await?;
    Ok(is_prepared || stack.is_some_and(|stack| has(&stack.parameters)))
}

/// Discards the deployment.
pub async fn discard(clients: &Clients, waiter: Waiter, prepared: &Prepared) -> Result<()> {
    cfn::delete_change_set(clients, &prepared.change_set).await?;
    // A change set of a new stack leaves an empty stack behind.
    if prepared.create
        && let Some(stack) = cfn::stack(clients, &prepared.stack).await?
        && stack.status == StackStatus::ReviewInProgress
    {
        cfn::delete_stack(clients, waiter, &stack.id).await?;
    }
    Ok(())
}

/// Executes the deployment and shows the stack's events as progress. On failure, the error is the
/// first failing event's reason. Returns `None` if another deployment started first; nothing was
/// changed then.
pub async fn execute(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    prepared: Prepared,
) -> Result<Option<StackOutcome>> {
    let name = &prepared.stack;
    let last = cfn::newest_event(clients, name)
        .await?
        .map(|event| event.id);
    let prefix = token_prefix(&prepared.request);
    let token = format!(
        "{prefix}{}",
        &uuid::Uuid::new_v4().simple().to_string()[..12]
    );
    if !cfn::execute_change_set(clients, name, &prepared.change_set, &token).await? {
        // Another client may deploy the same template: its deployment then counts as ours.
        let newest = cfn::newest_event(clients, name).await?;
        let token = newest.and_then(|event| event.token);
        if !token.is_some_and(|token| token.starts_with(&prefix)) {
            return Ok(None);
        }
    }
    let stack = cfn::stack(clients, name)
        .await?
        .with_context(|| format!("the stack {name} was deleted"))?;
    let (stack, failure) = watch(
        clients,
        waiter,
        progress,
        name,
        &stack.id,
        "deploying",
        last,
    )
    .await?;
    let stack = stack.with_context(|| format!("the stack {name} was deleted"))?;
    if !stack.status.is_deployed() {
        let reason = failure
            .or(stack.reason)
            .unwrap_or_else(|| "CloudFormation gave no reason".to_owned());
        return Err(anyhow::Error::new(StackFailed(format!(
            "the stack {name} ended as {}: {reason}",
            stack.status.as_str()
        ))))
        .hint("CloudFormation has rolled the changes back; fix the cause and retry");
    }
    let action = if prepared.create {
        Action::Created
    } else {
        Action::Updated
    };
    let count = prepared.changes.len();
    let plural = if count == 1 { "" } else { "s" };
    progress.say(format!(
        "{name}: {}, {count} resource{plural}",
        action.as_str()
    ));
    Ok(Some(StackOutcome {
        stack: prepared.stack,
        action,
        changes: prepared.changes,
        outputs: stack.outputs,
    }))
}

/// The outcome of a deployment without changes.
pub async fn unchanged(
    clients: &Clients,
    progress: &Progress,
    spec: &StackSpec,
) -> Result<StackOutcome> {
    progress.say(format!("{}: unchanged", spec.name));
    Ok(StackOutcome {
        stack: spec.name.clone(),
        action: Action::Unchanged,
        changes: Vec::new(),
        outputs: outputs(clients, &spec.name).await?.unwrap_or_default(),
    })
}

/// Deploys a stack; idempotent.
pub async fn deploy(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    spec: &StackSpec,
) -> Result<StackOutcome> {
    for _ in 0..ROUNDS {
        let Some(prepared) = prepare(clients, waiter, progress, spec).await? else {
            return unchanged(clients, progress, spec).await;
        };
        if let Some(outcome) = execute(clients, waiter, progress, prepared).await? {
            return Ok(outcome);
        }
        if spec.exclusive {
            break;
        }
    }
    Err(lost(clients, &spec.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change_set(
        description: &str,
        status: ChangeSetStatus,
        execution: ExecutionStatus,
    ) -> ChangeSet {
        ChangeSet {
            id: "arn".to_owned(),
            description: Some(description.to_owned()),
            status,
            reason: String::new(),
            execution: Some(execution),
            parameters: BTreeMap::new(),
        }
    }

    #[test]
    fn issue_8_2_5_a_change_set_of_another_client_is_reused_awaited_or_replaced() {
        use ChangeSetStatus::{CreateComplete, CreateInProgress, Failed};
        use ExecutionStatus::{
            Available, ExecuteComplete, ExecuteFailed, ExecuteInProgress, Obsolete, Unavailable,
        };

        let arn = || "arn".to_owned();
        for (description, status, execution, expected) in [
            (
                "ours",
                CreateComplete,
                Available,
                ExistingChangeSet::Ours(arn()),
            ),
            (
                "ours",
                CreateInProgress,
                Unavailable,
                ExistingChangeSet::Ours(arn()),
            ),
            (
                "theirs",
                CreateComplete,
                Available,
                ExistingChangeSet::Foreign(arn()),
            ),
            (
                "theirs",
                CreateInProgress,
                Unavailable,
                ExistingChangeSet::Foreign(arn()),
            ),
            (
                "theirs",
                CreateComplete,
                ExecuteInProgress,
                ExistingChangeSet::Executing(arn()),
            ),
            (
                "ours",
                CreateComplete,
                ExecuteInProgress,
                ExistingChangeSet::Executing(arn()),
            ),
            (
                "ours",
                CreateComplete,
                ExecuteComplete,
                ExistingChangeSet::Executed(arn()),
            ),
            (
                "ours",
                CreateComplete,
                ExecuteFailed,
                ExistingChangeSet::Executed(arn()),
            ),
            (
                "theirs",
                Failed,
                Unavailable,
                ExistingChangeSet::Spent(arn()),
            ),
            ("ours", Failed, Unavailable, ExistingChangeSet::Spent(arn())),
            (
                "theirs",
                CreateComplete,
                Obsolete,
                ExistingChangeSet::Spent(arn()),
            ),
        ] {
            let found = classify(Some(change_set(description, status, execution)), "ours");
            assert_eq!(found, expected, "{description}");
        }
        assert_eq!(classify(None, "ours"), ExistingChangeSet::Free);
    }
}
