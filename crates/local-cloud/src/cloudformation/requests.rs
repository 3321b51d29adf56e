//! The operations that change stacks. Each answers once the request is known to be right; the work
//! itself goes on in the background.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use super::changes::{self, ChangeSet, NO_CHANGES};
use super::engine::Engine;
use super::parameters::Given;
use super::prepare::{self, Deploy, Others, list, refuse};
use super::recovery;
use super::stacks::{self, Before, Source, Stack};
use super::template::invalid;
use crate::api::{ApiError, ApiResult, lenient};
use crate::{Cloud, clock};

/// The states in which a stack can be updated.
const UPDATABLE: &[&str] = &[
    "CREATE_COMPLETE",
    "IMPORT_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_FAILED",
    "UPDATE_ROLLBACK_COMPLETE",
];

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

/// Held while the name of a stack or a change set is looked up and taken: of two requests at once,
/// one gets it.
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
    stack.source = prepare::source(cloud, &request, &stack, false).await?;
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
    "CREATE_IN_PROGRESS".clone_into(&mut stack.status);
    stacks::stacks(cloud).insert(stack.key(), &stack)?;
    drop(names);
    start(cloud, stack.key(), "CREATE_IN_PROGRESS")?;
    let engine = Engine::new(cloud, stack.key());
    recovery::spawn(cloud, stack.key(), engine.run_create());
    Ok(json!({"StackId": stack.id}))
}

fn start(cloud: &Cloud, key: &str, status: &str) -> ApiResult<()> {
    stacks::set_status(cloud, key, status, Some("User Initiated".to_owned()))
}

/// Gives the stack its new source; fails when the stack has begun something else meanwhile.
fn begin_update(
    cloud: &Cloud,
    key: &str,
    source: &Source,
    on_failure: &str,
    token: Option<String>,
) -> ApiResult<()> {
    stacks::change(cloud, key, |stack| {
        if !UPDATABLE.contains(&stack.status.as_str()) {
            return Err(not_in(stack, "updated"));
        }
        stack.previous = Some(Box::new(Before {
            source: stack.source.clone(),
            outputs: stack.outputs.clone(),
            resources: stack.resources.clone(),
        }));
        stack.source = source.clone();
        on_failure.clone_into(&mut stack.on_failure);
        stack.token = token;
        stack.updated = Some(clock::iso());
        "UPDATE_IN_PROGRESS".clone_into(&mut stack.status);
        Ok(())
    })?;
    start(cloud, key, "UPDATE_IN_PROGRESS")
}

/// `UpdateStack`
pub(super) async fn update_stack(cloud: &Cloud, request: Deploy) -> ApiResult<Value> {
    let stack = stacks::require(cloud, &request.stack_name)?;
    if !UPDATABLE.contains(&stack.status.as_str()) {
        return Err(not_in(&stack, "updated"));
    }
    let on_failure = request.failure_action()?;
    let source = prepare::source(cloud, &request, &stack, true).await?;
    let failed_before = stack.status == "UPDATE_FAILED";
    if changes::plan(cloud, &stack, &source)?.is_none() && !failed_before {
        return Err(invalid("No updates are to be performed."));
    }
    let token = request.client_request_token;
    begin_update(cloud, stack.key(), &source, &on_failure, token)?;
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
    /// The role to delete with; nothing here asks whether it may.
    #[serde(rename = "RoleARN")]
    _role: Option<String>,
    #[serde(flatten)]
    others: Others,
}

/// `DeleteStack`
pub(super) async fn delete_stack(cloud: &Cloud, request: Delete) -> ApiResult<Value> {
    refuse(&request.others)?;
    let Some(stack) = stacks::find(cloud, &request.stack_name)? else {
        return Ok(json!({}));
    };
    if matches!(
        stack.status.as_str(),
        "DELETE_COMPLETE" | "DELETE_IN_PROGRESS"
    ) {
        return Ok(json!({}));
    }
    if stack.termination_protection {
        return Err(invalid(format!(
            "Stack [{}] cannot be deleted while TerminationProtection is enabled",
            stack.name
        )));
    }
    if !request.retain_resources.is_empty() && stack.status != "DELETE_FAILED" {
        return Err(invalid(format!(
            "Invalid operation on stack [{}]. RetainResources can be specified only when the stack is in DELETE_FAILED state",
            stack.id
        )));
    }
    let runs = stacks::change(cloud, stack.key(), |stack| match stack.status.as_str() {
        "CREATE_IN_PROGRESS" => {
            stack.delete_requested = true;
            Ok(false)
        }
        _ if stack.is_busy() => Err(invalid(format!(
            "Stack [{}] cannot be deleted while in status {}",
            stack.id, stack.status
        ))),
        _ => {
            "DELETE_IN_PROGRESS".clone_into(&mut stack.status);
            stack.token = request.client_request_token;
            stack.retain = request.retain_resources;
            Ok(true)
        }
    })?;
    if runs {
        start(cloud, stack.key(), "DELETE_IN_PROGRESS")?;
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
    _role: Option<String>,
    #[serde(flatten)]
    others: Others,
}

/// `ContinueUpdateRollback`
pub(super) async fn continue_update_rollback(
    cloud: &Cloud,
    request: ContinueRollback,
) -> ApiResult<Value> {
    refuse(&request.others)?;
    if !request.resources_to_skip.is_empty() {
        return Err(ApiError::not_implemented(
            "ResourcesToSkip of cloudformation:ContinueUpdateRollback",
        ));
    }
    let stack = stacks::require(cloud, &request.stack_name)?;
    stacks::change(cloud, stack.key(), |stack| {
        if stack.status != "UPDATE_ROLLBACK_FAILED" && stack.status != "UPDATE_FAILED" {
            return Err(not_in(stack, "rolled back"));
        }
        "UPDATE_ROLLBACK_IN_PROGRESS".clone_into(&mut stack.status);
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

/// The stack that a change set is for; for a new one a record without a status, kept nowhere yet.
fn stack_for(cloud: &Cloud, request: &Deploy, kind: &str, change_set: &str) -> ApiResult<Stack> {
    let name = &request.stack_name;
    let missing = || invalid(format!("Stack [{name}] does not exist"));
    match (kind, stacks::find(cloud, name)?) {
        ("CREATE", None) => {
            check_name(name, "stackName")?;
            Ok(stacks::new(cloud, name))
        }
        ("CREATE", Some(stack)) if stack.status == "REVIEW_IN_PROGRESS" => Ok(stack),
        ("CREATE", Some(_)) => Err(invalid(format!(
            "Stack [{name}] already exists and cannot be created again with the changeSet [{change_set}]."
        ))),
        ("UPDATE", None) => Err(missing()),
        // It was never deployed: for an update it does not exist.
        ("UPDATE", Some(stack)) if stack.status == "REVIEW_IN_PROGRESS" => Err(missing()),
        ("UPDATE", Some(stack)) if UPDATABLE.contains(&stack.status.as_str()) => Ok(stack),
        ("UPDATE", Some(stack)) => Err(not_in(&stack, "updated")),
        (other, _) => Err(ApiError::not_implemented(format_args!(
            "change sets of type {other}"
        ))),
    }
}

/// `CreateChangeSet`
pub(super) async fn create_change_set(cloud: &Cloud, request: Deploy) -> ApiResult<Value> {
    let name = request.change_set_name.clone().unwrap_or_default();
    check_name(&name, "changeSetName")?;
    let kind = request.change_set_type.as_deref().unwrap_or("UPDATE");
    if kind == "CREATE" && request.parameters.iter().any(Given::keeps_previous) {
        return Err(invalid(
            "Cannot specify UsePreviousValue on Parameters when ChangeSetType is CREATE",
        ));
    }
    let stack = stack_for(cloud, &request, kind, &name)?;
    let on_failure = request.failure_action()?;
    let source = prepare::source(cloud, &request, &stack, kind == "UPDATE").await?;
    let change_set = ChangeSet {
        id: cloud.arn(
            "cloudformation",
            format!("changeSet/{name}/{}", uuid::Uuid::new_v4()),
        ),
        name: name.clone(),
        stack_id: stack.id.clone(),
        stack_name: stack.name.clone(),
        description: request.description.clone(),
        kind: kind.to_owned(),
        source,
        on_failure,
        created: clock::iso(),
        status: "CREATE_IN_PROGRESS".to_owned(),
        execution_status: "UNAVAILABLE".to_owned(),
        ..ChangeSet::default()
    };
    let key = changes::key_of(&change_set);
    {
        let _names = names(cloud);
        // Another request may have made or changed the stack in the meantime.
        let now = stack_for(cloud, &request, kind, &name)?;
        let is_new = now.status.is_empty();
        if !is_new && now.id != stack.id {
            return Err(exists(&name));
        }
        let others = changes::change_sets(cloud).list(&format!("{}/", stack.key()))?;
        if others.iter().any(|(_, other)| other.name == name) {
            return Err(exists(&name));
        }
        if is_new {
            stacks::stacks(cloud).insert(stack.key(), &stack)?;
            start(cloud, stack.key(), "REVIEW_IN_PROGRESS")?;
        }
        changes::change_sets(cloud).insert(&key, &change_set)?;
    }
    let answer = json!({"Id": change_set.id, "StackId": stack.id});
    let in_background = cloud.clone();
    let broken = key.clone();
    let plan = async move {
        let planned = changes::plan(&in_background, &stack, &change_set.source);
        // A change set that was deleted meanwhile is not written again.
        let write = || {
            changes::change_sets(&in_background).update(&key, |change_set| {
                match &planned {
                    Ok(Some(changes)) => {
                        "CREATE_COMPLETE".clone_into(&mut change_set.status);
                        "AVAILABLE".clone_into(&mut change_set.execution_status);
                        change_set.changes.clone_from(changes);
                    }
                    Ok(None) => {
                        "FAILED".clone_into(&mut change_set.status);
                        change_set.status_reason = Some(NO_CHANGES.to_owned());
                    }
                    Err(error) => {
                        "FAILED".clone_into(&mut change_set.status);
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
pub(super) struct Named {
    pub(super) change_set_name: String,
    pub(super) stack_name: Option<String>,
    disable_rollback: Option<Value>,
    pub(super) next_token: Option<String>,
    client_request_token: Option<String>,
    #[serde(flatten)]
    others: Others,
}

/// `ExecuteChangeSet`
pub(super) async fn execute_change_set(cloud: &Cloud, request: Named) -> ApiResult<Value> {
    refuse(&request.others)?;
    let change_set = changes::find(
        cloud,
        &request.change_set_name,
        request.stack_name.as_deref(),
    )?;
    if change_set.execution_status != "AVAILABLE" {
        return Err(ApiError::new(
            "InvalidChangeSetStatus",
            format!(
                "ChangeSet [{}] cannot be executed in its current status of [{}]",
                change_set.id, change_set.status
            ),
        ));
    }
    let on_failure = match request.disable_rollback {
        Some(Value::Bool(true)) => "DO_NOTHING".to_owned(),
        Some(Value::String(text)) if text == "true" => "DO_NOTHING".to_owned(),
        _ => change_set.on_failure.clone(),
    };
    let stack_key = stacks::key_of(&change_set.stack_id).to_owned();
    let engine = Engine::new(cloud, &stack_key);
    if change_set.kind == "CREATE" {
        stacks::change(cloud, &stack_key, |stack| {
            if stack.status != "REVIEW_IN_PROGRESS" {
                return Err(not_in(stack, "created"));
            }
            stack.source = change_set.source.clone();
            stack.on_failure = on_failure;
            stack.change_set = Some(change_set.id.clone());
            stack.token = request.client_request_token;
            "CREATE_IN_PROGRESS".clone_into(&mut stack.status);
            Ok(())
        })?;
        start(cloud, &stack_key, "CREATE_IN_PROGRESS")?;
    } else {
        let token = request.client_request_token;
        begin_update(cloud, &stack_key, &change_set.source, &on_failure, token)?;
        stacks::change(cloud, &stack_key, |stack| {
            stack.change_set = Some(change_set.id.clone());
            Ok(())
        })?;
    }
    let key = changes::key_of(&change_set);
    changes::forget(cloud, &stack_key, Some(&key))?;
    executing(cloud, &key, "EXECUTE_IN_PROGRESS")?;
    let (cloud_then, creates) = (cloud.clone(), change_set.kind == "CREATE");
    let stack = stack_key.clone();
    recovery::spawn(cloud, &stack_key, async move {
        let done = if creates {
            engine.run_create().await;
            matches!(stacks::stacks(&cloud_then).get(&stack),
                Ok(Some(stack)) if stack.status == "CREATE_COMPLETE")
        } else {
            engine.run_update().await
        };
        let status = if done {
            "EXECUTE_COMPLETE"
        } else {
            "EXECUTE_FAILED"
        };
        // The change set may be gone with its stack.
        let write = || executing(&cloud_then, &key, status);
        let _ = cloud_then
            .persist(&format!("change set {key}"), write)
            .await;
    });
    Ok(json!({}))
}

fn executing(cloud: &Cloud, key: &str, status: &str) -> ApiResult<()> {
    changes::change_sets(cloud).update(key, |change_set| {
        status.clone_into(&mut change_set.execution_status);
        Ok(())
    })?;
    Ok(())
}

/// `DeleteChangeSet`
pub(super) async fn delete_change_set(cloud: &Cloud, request: Named) -> ApiResult<Value> {
    let found = changes::find(
        cloud,
        &request.change_set_name,
        request.stack_name.as_deref(),
    );
    match found {
        Ok(change_set) if change_set.execution_status == "EXECUTE_IN_PROGRESS" => {
            Err(ApiError::new(
                "InvalidChangeSetStatus",
                format!("ChangeSet [{}] is being executed", change_set.id),
            ))
        }
        Ok(change_set) => {
            changes::change_sets(cloud).remove(&changes::key_of(&change_set))?;
            Ok(json!({}))
        }
        // Deleting what is not there is a success, as long as the stack is.
        Err(error) if error.code == "ChangeSetNotFound" => Ok(json!({})),
        Err(error) => Err(error),
    }
}
