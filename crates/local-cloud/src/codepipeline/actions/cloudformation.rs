//! Deploy actions of CloudFormation: on a stack, or on a change set of one.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Failure, INTERVAL, Outcome, Output, Running, parameters};
use crate::api::{ApiError, ApiResult};
use crate::clock::{self, Work};

/// The statuses that `REPLACE_ON_FAILURE` replaces a stack in (action reference).
const FAILED: [&str; 5] = [
    "CREATE_FAILED",
    "DELETE_FAILED",
    "ROLLBACK_COMPLETE",
    "ROLLBACK_FAILED",
    "UPDATE_ROLLBACK_FAILED",
];

/// How CloudFormation's reason for a change set without changes begins.
const NO_CHANGES: [&str; 2] = [
    "The submitted information didn't contain changes",
    "No updates are to be performed",
];

/// A stack as `DescribeStacks` returns it.
struct Stack(Value);

impl Stack {
    fn text(&self, member: &str) -> &str {
        self.0[member].as_str().unwrap_or_default()
    }

    fn status(&self) -> &str {
        self.text("StackStatus")
    }

    fn is_busy(&self) -> bool {
        self.status() != "REVIEW_IN_PROGRESS" && self.status().ends_with("_IN_PROGRESS")
    }

    fn outputs(&self) -> BTreeMap<String, String> {
        let outputs = self.0["Outputs"].as_array().into_iter().flatten();
        let outputs = outputs.filter_map(|output| {
            let text = |member: &str| Some(output[member].as_str()?.to_owned());
            Some((text("OutputKey")?, text("OutputValue")?))
        });
        outputs.collect()
    }
}

/// How an operation on a stack went.
enum Done {
    /// The stack afterwards; `None` if it does not exist.
    Stack(Option<Stack>),
    /// The action ended before: it timed out, or was abandoned.
    Ended,
}

pub(super) async fn run(running: &Running<'_>, work: &mut Option<Work>) -> Outcome {
    // CloudFormation's own work has the cloud's time wait.
    let _ = work.take();
    let mut summary = None;
    let done = match running.text("ActionMode") {
        "CREATE_UPDATE" => deploy(running, false).await?,
        "REPLACE_ON_FAILURE" => deploy(running, true).await?,
        "CHANGE_SET_REPLACE" => {
            let (done, text) = replace_change_set(running).await?;
            summary = Some(text);
            done
        }
        "CHANGE_SET_EXECUTE" => execute_change_set(running).await?,
        "DELETE_ONLY" => delete(running).await?,
        other => {
            let message = format!("CloudFormation actions have no mode {other}");
            return Err(Failure::new("ConfigurationError", message));
        }
    };
    let Done::Stack(stack) = done else {
        return Ok(None);
    };
    let mut output = Output {
        summary,
        ..Output::default()
    };
    if let Some(stack) = stack {
        output.external_id = Some(stack.text("StackId").to_owned());
        output.variables = stack.outputs();
        let succeeded = format!("Stack {} was deployed.", stack.text("StackName"));
        output.summary.get_or_insert(succeeded);
    }
    if let Some(file) = running.get("OutputFileName") {
        let place = running.place(running.output())?;
        let (stored, name) = (place.clone(), file.to_owned());
        let contents = json!(output.variables).to_string();
        running
            .blocking(move |cloud, caller| {
                stored.put_file(cloud, caller, &name, contents.as_bytes())
            })
            .await?;
        let name = running.output().to_owned();
        output.artifacts.push((name, place.location));
    }
    Ok(Some(output))
}

async fn call(running: &Running<'_>, operation: &str, request: Value) -> ApiResult<Value> {
    running
        .cloud
        .call("cloudformation", operation, request)
        .await
}

/// Calls an operation that changes something; `None` if the action has ended before.
async fn begin(running: &Running<'_>, operation: &str, request: Value) -> ApiResult<Option<Value>> {
    if !running.is_open()? {
        return Ok(None);
    }
    call(running, operation, request).await.map(Some)
}

fn is_absent(error: &ApiError) -> bool {
    error.code == "ValidationError" && error.message.contains("does not exist")
}

/// The stack with this name or id, if it exists.
async fn find(running: &Running<'_>, name: &str) -> ApiResult<Option<Stack>> {
    let found = call(running, "DescribeStacks", json!({"StackName": name})).await;
    match found {
        Ok(found) => Ok(found["Stacks"].get(0).cloned().map(Stack)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits until a stack rests.
async fn wait(running: &Running<'_>, id: &str) -> Result<Done, Failure> {
    loop {
        match find(running, id).await? {
            Some(stack) if stack.is_busy() => {}
            found => return Ok(Done::Stack(found)),
        }
        if !running.is_open()? {
            return Ok(Done::Ended);
        }
        clock::sleep(INTERVAL).await;
    }
}

/// Fails unless the stack is in one of these statuses.
async fn require(running: &Running<'_>, done: Done, wanted: &[&str]) -> Result<Done, Failure> {
    let Done::Stack(Some(stack)) = &done else {
        return Ok(done);
    };
    if wanted.contains(&stack.status()) {
        return Ok(done);
    }
    let (name, status) = (stack.text("StackName"), stack.status());
    let mut message = format!("Stack [{name}] ended in the status {status}");
    if let Some(reason) = reason(running, stack).await {
        message = format!("{message}: {reason}");
    }
    let mut failure = Failure::new("JobFailed", message);
    failure.external_id = Some(stack.text("StackId").to_owned());
    Err(failure)
}

/// Why a stack failed: the reason of the first resource that failed since its last operation began.
async fn reason(running: &Running<'_>, stack: &Stack) -> Option<String> {
    let id = stack.text("StackId");
    let request = json!({"StackName": id});
    let found = running
        .cloud
        .internally("cloudformation", "DescribeStackEvents", request)
        .await;
    let found = found.ok()?;
    // The newest first.
    let events = found["StackEvents"].as_array()?.iter();
    let text = |event: &Value, member: &str| event[member].as_str().unwrap_or_default().to_owned();
    let begins = |event: &&Value| {
        let status = text(event, "ResourceStatus");
        let begins = [
            "CREATE_IN_PROGRESS",
            "UPDATE_IN_PROGRESS",
            "DELETE_IN_PROGRESS",
        ];
        text(event, "PhysicalResourceId") != id || !begins.contains(&status.as_str())
    };
    let failed = events.take_while(begins).filter(|event| {
        text(event, "ResourceStatus").ends_with("_FAILED")
            && !text(event, "ResourceStatusReason").contains("cancelled")
    });
    let first = failed.last()?;
    let (resource, reason) = (
        text(first, "LogicalResourceId"),
        text(first, "ResourceStatusReason"),
    );
    Some(format!("{resource}: {reason}"))
}

/// The members that operations on a stack have in common.
async fn request(running: &Running<'_>) -> Result<Map<String, Value>, Failure> {
    let mut request = Map::new();
    request.insert("StackName".to_owned(), json!(running.text("StackName")));
    parameters::template(running, &mut request).await?;
    parameters::configuration(running, &mut request).await?;
    if let Some(capabilities) = running.get("Capabilities") {
        let capabilities: Vec<&str> = capabilities.split(',').map(str::trim).collect();
        request.insert("Capabilities".to_owned(), json!(capabilities));
    }
    if let Some(role) = running.get("RoleArn") {
        request.insert("RoleARN".to_owned(), json!(role));
    }
    Ok(request)
}

async fn started(running: &Running<'_>, id: &str) -> ApiResult<()> {
    let id = id.to_owned();
    running
        .note(move |run| run.external_id = Some(id.clone()))
        .await
}

/// Creates or updates the stack.
async fn deploy(running: &Running<'_>, replaces: bool) -> Result<Done, Failure> {
    let request = request(running).await?;
    let name = running.text("StackName");
    let mut stack = find(running, name).await?;
    if replaces
        && let Some(found) = &stack
        && FAILED.contains(&found.status())
    {
        if matches!(delete(running).await?, Done::Ended) {
            return Ok(Done::Ended);
        }
        stack = None;
    }
    let Some(stack) = stack else {
        let created = begin(running, "CreateStack", request.into()).await?;
        let Some(created) = created else {
            return Ok(Done::Ended);
        };
        let id = created["StackId"].as_str().unwrap_or(name).to_owned();
        started(running, &id).await?;
        let done = wait(running, &id).await?;
        return require(running, done, &["CREATE_COMPLETE"]).await;
    };
    match begin(running, "UpdateStack", request.into()).await {
        Ok(None) => Ok(Done::Ended),
        Ok(Some(_)) => {
            let id = stack.text("StackId");
            started(running, id).await?;
            let done = wait(running, id).await?;
            require(running, done, &["UPDATE_COMPLETE"]).await
        }
        Err(error) if error.message.starts_with(NO_CHANGES[1]) => Ok(Done::Stack(Some(stack))),
        Err(error) => Err(error.into()),
    }
}

/// Deletes the stack, if it exists.
async fn delete(running: &Running<'_>) -> Result<Done, Failure> {
    let name = running.text("StackName");
    let Some(stack) = find(running, name).await? else {
        return Ok(Done::Stack(None));
    };
    let mut request = json!({"StackName": name});
    if let Some(role) = running.get("RoleArn") {
        request["RoleARN"] = json!(role);
    }
    let id = stack.text("StackId").to_owned();
    if begin(running, "DeleteStack", request).await?.is_none() {
        return Ok(Done::Ended);
    }
    started(running, &id).await?;
    let done = wait(running, &id).await?;
    Ok(match require(running, done, &["DELETE_COMPLETE"]).await? {
        Done::Stack(_) => Done::Stack(None),
        Done::Ended => Done::Ended,
    })
}

/// The change set of the action, if it exists.
async fn change_set(running: &Running<'_>) -> ApiResult<Option<Value>> {
    let request = json!({
        "StackName": running.text("StackName"),
        "ChangeSetName": running.text("ChangeSetName"),
    });
    match call(running, "DescribeChangeSet", request).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() || error.code == "ChangeSetNotFound" => Ok(None),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn has_no_changes(change_set: &Value) -> bool {
    let reason = change_set["StatusReason"].as_str().unwrap_or_default();
    change_set["Status"] == "FAILED" && NO_CHANGES.iter().any(|text| reason.starts_with(text))
}

/// Creates the change set anew. One without changes succeeds (unverified against AWS [codepipeline-no-changes]).
async fn replace_change_set(running: &Running<'_>) -> Result<(Done, String), Failure> {
    let mut request = request(running).await?;
    let (name, set) = (running.text("StackName"), running.text("ChangeSetName"));
    if change_set(running).await?.is_some() {
        let request = json!({"StackName": name, "ChangeSetName": set});
        if begin(running, "DeleteChangeSet", request).await?.is_none() {
            return Ok((Done::Ended, String::new()));
        }
    }
    let stack = find(running, name).await?;
    let is_new = stack
        .as_ref()
        .is_none_or(|it| it.status() == "REVIEW_IN_PROGRESS");
    let kind = if is_new { "CREATE" } else { "UPDATE" };
    request.insert("ChangeSetName".to_owned(), json!(set));
    request.insert("ChangeSetType".to_owned(), json!(kind));
    let created = begin(running, "CreateChangeSet", request.into()).await?;
    let Some(created) = created else {
        return Ok((Done::Ended, String::new()));
    };
    started(running, created["Id"].as_str().unwrap_or_default()).await?;
    loop {
        let Some(found) = change_set(running).await? else {
            let message = format!("Change set {set} was deleted while it was created");
            return Err(Failure::new("JobFailed", message));
        };
        match found["Status"].as_str() {
            Some("CREATE_COMPLETE") => {
                let text = format!("Change set {set} was created.");
                return Ok((Done::Stack(find(running, name).await?), text));
            }
            Some("FAILED") if has_no_changes(&found) => {
                let text = format!("Change set {set} contains no changes.");
                return Ok((Done::Stack(find(running, name).await?), text));
            }
            Some("FAILED") => {
                let reason = found["StatusReason"].as_str().unwrap_or_default();
                let message = format!("Change set {set} could not be created: {reason}");
                return Err(Failure::new("JobFailed", message));
            }
            _ => {}
        }
        if !running.is_open()? {
            return Ok((Done::Ended, String::new()));
        }
        clock::sleep(INTERVAL).await;
    }
}

/// Executes the change set. There is nothing to do for one without changes.
async fn execute_change_set(running: &Running<'_>) -> Result<Done, Failure> {
    let (name, set) = (running.text("StackName"), running.text("ChangeSetName"));
    let Some(found) = change_set(running).await? else {
        let message = format!("ChangeSet [{set}] does not exist");
        return Err(Failure::new("ConfigurationError", message));
    };
    let id = found["StackId"].as_str().unwrap_or(name).to_owned();
    if has_no_changes(&found) {
        return Ok(Done::Stack(find(running, &id).await?));
    }
    let request = json!({"StackName": name, "ChangeSetName": set});
    if begin(running, "ExecuteChangeSet", request).await?.is_none() {
        return Ok(Done::Ended);
    }
    started(running, &id).await?;
    let done = wait(running, &id).await?;
    require(running, done, &["CREATE_COMPLETE", "UPDATE_COMPLETE"]).await
}
