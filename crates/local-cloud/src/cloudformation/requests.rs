//! The operations that change stacks. Each returns once its request is validated; the work
//! continues in the background.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use super::changes::{self, ChangeSet, NO_CHANGES};
use super::deployment::DeploymentConfig;
use super::engine::Engine;
use super::parameters::Given;
use super::prepare::{self, Deploy, Others, list, refuse};
use super::recovery;
use super::stacks::{self, Before, Deployment, Stack};
use super::states::{
    self, ChangeSetStatus, ChangeSetType, ExecutionStatus, OnFailure, ResourceStatus, StackStatus,
};
use super::template::invalid;
use crate::api::{ApiError, ApiResult, lenient};
use crate::cloud::caller::Caller;
use crate::{Cloud, clock};

fn check_name(name: &str, what: &str) -> ApiResult<()> {
    let fits = name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if fits {
        return Ok(());
    }
    let arn = if what == "stackName" {
        "|arn:[-a-zA-Z0-9:/._+]*"
    } else {
        ""
    };
    Err(invalid(format!(
        "1 validation error detected: Value '{name}' at '{what}' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*{arn}"
    )))
}

fn not_in(stack: &Stack, what: &str) -> ApiError {
    invalid(format!(
        "Stack:{} is in {} state and can not be {what}.",
        stack.id, stack.status
    ))
}

/// Held while the name of a stack or a change set is looked up and reserved, so that only one of
/// two concurrent requests succeeds.
#[derive(Debug, Default)]
struct Names(Mutex<()>);

fn names(cloud: &Cloud) -> MutexGuard<'_, ()> {
    let lock = &cloud.state::<Names>().0;
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `CreateStack`
pub(super) async fn create_stack(cloud: &Cloud, request: Deploy) -> ApiResult<Value> {
    check_name(&request.stack_name, "stackName")?;
    let mut stack = stacks::new(cloud, &request.stack_name);
    stack.on_failure = request.failure_action()?;
    stack.termination_protection = request.enable_termination_protection;
    stack.deployment = prepare::deployment(cloud, &request, &stack, false).await?;
    stack.token.clone_from(&request.client_request_token);
    let names = names(cloud);
    if let Some(found) = stacks::find(cloud, &request.stack_name)? {
        if found.token.is_some() && found.token == stack.token {
            return Ok(json!({"StackId": found.id}));
        }
        return Err(ApiError::new(
            "AlreadyExistsException",
            format!("Stack [{}] already exists", request.stack_name),
        ));
    }
    stack.status = StackStatus::Creating;
    stack.session = Caller::current().session().cloned();
    stacks::stacks(cloud).insert(stack.key(), &stack)?;
    drop(names);
    start(cloud, stack.key(), StackStatus::Creating)?;
    let engine = Engine::new(cloud, stack.key());
    recovery::spawn(cloud, stack.key(), engine.run_create());
    Ok(json!({"StackId": stack.id}))
}

fn start(cloud: &Cloud, key: &str, status: StackStatus) -> ApiResult<()> {
    stacks::set_status(cloud, key, status, Some("User Initiated"))
}

/// Starts an update to another deployment; fails if other work has started in the meantime.
fn begin_update(
    cloud: &Cloud,
    key: &str,
    deployment: &Deployment,
    on_failure: OnFailure,
    token: Option<String>,
) -> ApiResult<()> {
    stacks::change(cloud, key, |stack| {
        if !stack.status.is_updatable() {
            return Err(not_in(stack, "updated"));
        }
        stack.previous = Some(Box::new(Before {
            deployment: stack.deployment.clone(),
            outputs: stack.outputs.clone(),
            resources: stack.resources.clone(),
        }));
        stack.deployment = deployment.clone();
        stack.on_failure = on_failure;
        stack.skip.clear();
        stack.token = token;
        stack.updated = Some(clock::iso());
        stack.status = StackStatus::Updating;
        Ok(())
    })?;
    start(cloud, key, StackStatus::Updating)
}

/// `UpdateStack`
pub(super) async fn update_stack(cloud: &Cloud, request: Deploy) -> ApiResult<Value> {
    let stack = stacks::require(cloud, &request.stack_name)?;
    if !stack.status.is_updatable() {
        return Err(not_in(&stack, "updated"));
    }
    let on_failure = request.failure_action()?;
    let deployment = prepare::deployment(cloud, &request, &stack, true).await?;
    let failed_before = stack.status == StackStatus::UpdateFailed;
    if changes::plan(cloud, &stack, &deployment)?.is_none() && !failed_before {
        return Err(invalid("No updates are to be performed."));
    }
    let token = request.client_request_token;
    begin_update(cloud, stack.key(), &deployment, on_failure, token)?;
    let engine = Engine::new(cloud, stack.key());
    recovery::spawn(cloud, stack.key(), async move {
        engine.run_update().await;
    });
    Ok(json!({"StackId": stack.id}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    stack_name: String,
    #[serde(default, deserialize_with = "list")]
    retain_resources: Vec<String>,
    client_request_token: Option<String>,
    /// The role for the deletion; by default the role of the stack.
    #[serde(rename = "RoleARN")]
    role: Option<String>,
    /// Nothing is rolled back when a deletion fails, regardless of its value.
    deployment_config: Option<DeploymentConfig>,
    #[serde(flatten)]
    others: Others,
}

/// `DeleteStack`
pub(super) async fn delete_stack(cloud: &Cloud, request: Delete) -> ApiResult<Value> {
    refuse(&request.others)?;
    if let Some(deployment) = &request.deployment_config {
        deployment.check()?;
    }
    let Some(stack) = stacks::find(cloud, &request.stack_name)? else {
        return Ok(json!({}));
    };
    if matches!(stack.status, StackStatus::Deleted | StackStatus::Deleting) {
        return Ok(json!({}));
    }
    if stack.termination_protection {
        return Err(invalid(format!(
            "Stack [{}] cannot be deleted while TerminationProtection is enabled",
            stack.name
        )));
    }
    if !request.retain_resources.is_empty() && stack.status != StackStatus::DeleteFailed {
        return Err(invalid(format!(
            "Invalid operation on stack [{}]. RetainResources can be specified only when the stack is in DELETE_FAILED state",
            stack.id
        )));
    }
    let role = request.role.or_else(|| stack.deployment.role.clone());
    if let Some(role) = &role {
        prepare::check_role(cloud, role)?;
    }
    let runs = stacks::change(cloud, stack.key(), |stack| match stack.status {
        StackStatus::Creating => {
            stack.delete_requested = true;
            Ok(false)
        }
        _ if stack.is_busy() => Err(invalid(format!(
            "Stack [{}] cannot be deleted while in status {}",
            stack.id, stack.status
        ))),
        _ => {
            stack.status = StackStatus::Deleting;
            stack.deployment.role = role;
            stack.token = request.client_request_token;
            stack.retain = request.retain_resources;
            Ok(true)
        }
    })?;
    if runs {
        start(cloud, stack.key(), StackStatus::Deleting)?;
        let engine = Engine::new(cloud, stack.key());
        let work = engine.run_delete();
        recovery::spawn(cloud, stack.key(), work);
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ContinueRollback {
    stack_name: String,
    #[serde(default, deserialize_with = "list")]
    resources_to_skip: Vec<String>,
    client_request_token: Option<String>,
    #[serde(rename = "RoleARN")]
    role: Option<String>,
    #[serde(flatten)]
    others: Others,
}

/// The error for a resource that needs no skipping. Unverified against AWS [cfn-skip-message]: the message.
fn cannot_skip(logical: &str) -> ApiError {
    invalid(format!(
        "The resource {logical} in ResourcesToSkip is not in the UPDATE_FAILED state. Only resources whose \
         roll-back failed can be skipped."
    ))
}

/// `ContinueUpdateRollback`. A resource that is skipped counts as rolled back and stays as it is.
pub(super) async fn continue_update_rollback(
    cloud: &Cloud,
    request: ContinueRollback,
) -> ApiResult<Value> {
    refuse(&request.others)?;
    let stack = stacks::require(cloud, &request.stack_name)?;
    let role = request.role.or_else(|| stack.deployment.role.clone());
    if let Some(role) = &role {
        prepare::check_role(cloud, role)?;
    }
    stacks::change(cloud, stack.key(), |stack| {
        let failed = [StackStatus::UpdateRollbackFailed, StackStatus::UpdateFailed];
        if !failed.contains(&stack.status) {
            return Err(not_in(stack, "rolled back"));
        }
        for logical in &request.resources_to_skip {
            let resource = stack.resource(logical);
            if !resource.is_some_and(|found| found.status == ResourceStatus::UpdateFailed) {
                return Err(cannot_skip(logical));
            }
        }
        stack.skip = request.resources_to_skip;
        stack.status = StackStatus::UpdateRollingBack;
        stack.deployment.role = role;
        stack.token = request.client_request_token;
        Ok(())
    })?;
    let engine = Engine::new(cloud, stack.key());
    recovery::spawn(cloud, stack.key(), engine.run_continue_rollback());
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Protect {
    stack_name: String,
    #[serde(deserialize_with = "lenient::bool")]
    enable_termination_protection: bool,
}

/// `UpdateTerminationProtection`
pub(super) async fn update_termination_protection(
    cloud: &Cloud,
    request: Protect,
) -> ApiResult<Value> {
    let stack = stacks::require(cloud, &request.stack_name)?;
    stacks::change(cloud, stack.key(), |stack| {
        stack.termination_protection = request.enable_termination_protection;
        Ok(())
    })?;
    Ok(json!({"StackId": stack.id}))
}

fn exists(change_set: &str) -> ApiError {
    ApiError::new(
        "AlreadyExistsException",
        format!(
            "ChangeSet {change_set} cannot be created due to a mismatch with existing attribute Name"
        ),
    )
}

/// The stack that a change set is for, or the record of a new one, not stored yet; and whether it is new.
fn stack_for(
    cloud: &Cloud,
    request: &Deploy,
    kind: ChangeSetType,
    change_set: &str,
) -> ApiResult<(Stack, bool)> {
    let name = &request.stack_name;
    let missing = || invalid(format!("Stack [{name}] does not exist"));
    match (kind, stacks::find(cloud, name)?) {
        (ChangeSetType::Create, None) => {
            check_name(name, "stackName")?;
            Ok((stacks::new(cloud, name), true))
        }
        (ChangeSetType::Create, Some(stack)) if stack.status == StackStatus::InReview => {
            Ok((stack, false))
        }
        (ChangeSetType::Create, Some(_)) => Err(invalid(format!(
            "Stack [{name}] already exists and cannot be created again with the changeSet [{change_set}]."
        ))),
        (ChangeSetType::Update, None) => Err(missing()),
        // It was never deployed: for an update it does not exist.
        (ChangeSetType::Update, Some(stack)) if stack.status == StackStatus::InReview => {
            Err(missing())
        }
        (ChangeSetType::Update, Some(stack)) if stack.status.is_updatable() => Ok((stack, false)),
        (ChangeSetType::Update, Some(stack)) => Err(not_in(&stack, "updated")),
    }
}

/// `CreateChangeSet`
pub(super) async fn create_change_set(cloud: &Cloud, request: Deploy) -> ApiResult<Value> {
    let name = request.change_set_name.clone().unwrap_or_default();
    check_name(&name, "changeSetName")?;
    let kind = match request.change_set_type.as_deref() {
        None => ChangeSetType::Update,
        Some(text) => states::parse(text)
            .ok_or_else(|| ApiError::not_implemented(format_args!("change sets of type {text}")))?,
    };
    if kind == ChangeSetType::Create && request.parameters.iter().any(Given::keeps_previous) {
        return Err(invalid(
            "Cannot specify UsePreviousValue on Parameters when ChangeSetType is CREATE",
        ));
    }
    let (stack, _) = stack_for(cloud, &request, kind, &name)?;
    let on_failure = request.failure_action()?;
    let existing = kind == ChangeSetType::Update;
    let deployment = prepare::deployment(cloud, &request, &stack, existing).await?;
    if request.import_existing_resources {
        prepare::refuse_imports(cloud, &stack, &deployment).await?;
    }
    let change_set = ChangeSet {
        id: cloud.arn(
            "cloudformation",
            format!("changeSet/{name}/{}", uuid::Uuid::new_v4()),
        ),
        name: name.clone(),
        stack_id: stack.id.clone(),
        stack_name: stack.name.clone(),
        description: request.description.clone(),
        kind,
        deployment,
        on_failure,
        include_nested_stacks: request.include_nested_stacks,
        created: clock::iso(),
        ..ChangeSet::default()
    };
    let key = changes::key_of(&change_set);
    {
        let _names = names(cloud);
        // Another request may have created or changed the stack in the meantime.
        let (now, is_new) = stack_for(cloud, &request, kind, &name)?;
        if !is_new && now.id != stack.id {
            return Err(exists(&name));
        }
        let others = changes::change_sets(cloud).list(&format!("{}/", stack.key()))?;
        if others.iter().any(|(_, other)| other.name == name) {
            return Err(exists(&name));
        }
        if is_new {
            stacks::stacks(cloud).insert(stack.key(), &stack)?;
            start(cloud, stack.key(), StackStatus::InReview)?;
        }
        changes::change_sets(cloud).insert(&key, &change_set)?;
    }
    let answer = json!({"Id": change_set.id, "StackId": stack.id});
    let in_background = cloud.clone();
    let broken = key.clone();
    let plan = async move {
        let planned = changes::plan(&in_background, &stack, &change_set.deployment);
        // A change set that was deleted in the meantime is not written again.
        let write = || {
            changes::change_sets(&in_background).update(&key, |change_set| {
                match &planned {
                    Ok(Some(changes)) => {
                        change_set.status = ChangeSetStatus::Created;
                        change_set.execution_status = ExecutionStatus::Available;
                        change_set.changes.clone_from(changes);
                    }
                    Ok(None) => {
                        change_set.status = ChangeSetStatus::Failed;
                        change_set.status_reason = Some(NO_CHANGES.to_owned());
                    }
                    Err(error) => {
                        change_set.status = ChangeSetStatus::Failed;
                        change_set.status_reason = Some(error.message.clone());
                    }
                }
                Ok(())
            })
        };
        let what = format!("change set {key}");
        let _ = in_background.persist(&what, write).await;
    };
    recovery::guard(cloud, format!("change set {broken}"), plan, move |cloud| {
        recovery::fail_change_set(cloud, &broken)
    });
    Ok(answer)
}

/// A change set, by name and stack or by ARN.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "the names of AWS's request")]
pub(super) struct ChangeSetName {
    pub(super) change_set_name: String,
    pub(super) stack_name: Option<String>,
    disable_rollback: Option<Value>,
    #[serde(default, deserialize_with = "lenient::bool")]
    pub(super) include_property_values: bool,
    pub(super) next_token: Option<String>,
    client_request_token: Option<String>,
    #[serde(flatten)]
    others: Others,
}

/// `ExecuteChangeSet`
pub(super) async fn execute_change_set(cloud: &Cloud, request: ChangeSetName) -> ApiResult<Value> {
    refuse(&request.others)?;
    let change_set = changes::find(
        cloud,
        &request.change_set_name,
        request.stack_name.as_deref(),
    )?;
    if change_set.execution_status != ExecutionStatus::Available {
        return Err(ApiError::new(
            "InvalidChangeSetStatus",
            format!(
                "ChangeSet [{}] cannot be executed in its current status of [{}]",
                change_set.id, change_set.status
            ),
        ));
    }
    let on_failure = match request.disable_rollback {
        Some(Value::Bool(true)) => OnFailure::DoNothing,
        Some(Value::String(text)) if text == "true" => OnFailure::DoNothing,
        _ => change_set.on_failure,
    };
    if let Some(role) = &change_set.deployment.role {
        prepare::check_role(cloud, role)?;
    }
    let stack_key = stacks::key_of(&change_set.stack_id).to_owned();
    let engine = Engine::new(cloud, &stack_key);
    if change_set.kind == ChangeSetType::Create {
        stacks::change(cloud, &stack_key, |stack| {
            if stack.status != StackStatus::InReview {
                return Err(not_in(stack, "created"));
            }
            stack.deployment = change_set.deployment.clone();
            stack.on_failure = on_failure;
            stack.change_set = Some(change_set.id.clone());
            stack.token = request.client_request_token;
            stack.status = StackStatus::Creating;
            Ok(())
        })?;
        start(cloud, &stack_key, StackStatus::Creating)?;
    } else {
        let token = request.client_request_token;
        begin_update(cloud, &stack_key, &change_set.deployment, on_failure, token)?;
        stacks::change(cloud, &stack_key, |stack| {
            stack.change_set = Some(change_set.id.clone());
            Ok(())
        })?;
    }
    let key = changes::key_of(&change_set);
    changes::forget(cloud, &stack_key, Some(&key))?;
    executing(cloud, &key, ExecutionStatus::Executing)?;
    let (cloud_then, creates) = (cloud.clone(), change_set.kind == ChangeSetType::Create);
    let stack = stack_key.clone();
    recovery::spawn(cloud, &stack_key, async move {
        let done = if creates {
            engine.run_create().await;
            matches!(stacks::stacks(&cloud_then).get(&stack),
                Ok(Some(stack)) if stack.status == StackStatus::Created)
        } else {
            engine.run_update().await
        };
        let status = if done {
            ExecutionStatus::Executed
        } else {
            ExecutionStatus::Failed
        };
        // The change set may have been deleted with its stack.
        let write = || executing(&cloud_then, &key, status);
        let _ = cloud_then
            .persist(&format!("change set {key}"), write)
            .await;
    });
    Ok(json!({}))
}

fn executing(cloud: &Cloud, key: &str, status: ExecutionStatus) -> ApiResult<()> {
    changes::change_sets(cloud).update(key, |change_set| {
        change_set.execution_status = status;
        Ok(())
    })?;
    Ok(())
}

/// `DeleteChangeSet`
pub(super) async fn delete_change_set(cloud: &Cloud, request: ChangeSetName) -> ApiResult<Value> {
    let found = changes::find(
        cloud,
        &request.change_set_name,
        request.stack_name.as_deref(),
    );
    match found {
        Ok(change_set) if change_set.execution_status == ExecutionStatus::Executing => {
            Err(ApiError::new(
                "InvalidChangeSetStatus",
                format!("ChangeSet [{}] is being executed", change_set.id),
            ))
        }
        Ok(change_set) => {
            changes::change_sets(cloud).remove(&changes::key_of(&change_set))?;
            Ok(json!({}))
        }
        // A change set that does not exist counts as deleted if its stack exists.
        Err(error) if error.code == "ChangeSetNotFound" => Ok(json!({})),
        Err(error) => Err(error),
    }
}
