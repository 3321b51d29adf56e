//! Invoke actions of Lambda: an asynchronous invocation with a job, whose result the function reports.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::artifacts::Place;
use super::{Ended, Failure, Outcome, Running, assume, context, finish, is_open, session};
use crate::Cloud;
use crate::api::ApiResult;
use crate::cloud::ACCOUNT;
use crate::codepipeline::PRINCIPAL;
use crate::codepipeline::engine::Launch;
use crate::codepipeline::records::Location;
use crate::sts::{self, AssumedSession, ServiceSession};

/// The cloud's time before a function that returned a continuation token is invoked again. Unverified against AWS
/// [codepipeline-continuation]: the user guide does not have it.
const PAUSE: Duration = Duration::from_secs(30);

/// The sessions whose credentials a function has; they end when they are dropped.
enum Credentials {
    Pipeline { _session: Box<ServiceSession> },
    Action { _session: AssumedSession },
}

/// A job in progress: the credentials with which the function reads and writes artifacts, and its event.
struct Job {
    _credentials: Credentials,
    outputs: Vec<(String, Location)>,
    event: Value,
    function: String,
    /// True while an invocation with a continuation token is pending.
    is_pending: bool,
}

/// A pending invocation of a job with a continuation token. Dropping it permits the next one.
pub(in crate::codepipeline) struct Pending {
    cloud: Cloud,
    id: String,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(job) = jobs(&self.cloud).get_mut(&self.id) {
            job.is_pending = false;
        }
    }
}

/// The jobs in progress, by the id of the action's run, which is also that of the job.
#[derive(Default)]
pub(in crate::codepipeline) struct Jobs(Mutex<HashMap<String, Job>>);

fn jobs(cloud: &Cloud) -> MutexGuard<'_, HashMap<String, Job>> {
    let jobs = &cloud.state::<Jobs>().0;
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets all jobs: their sessions hold the cloud.
pub(in crate::codepipeline) fn stop(cloud: &Cloud) {
    jobs(cloud).clear();
}

/// Ends the sessions of jobs whose actions have ended: by a timeout, or because they were abandoned or deleted.
pub(in crate::codepipeline) fn keep(cloud: &Cloud, running: &BTreeSet<String>) {
    jobs(cloud).retain(|id, _| running.contains(id));
}

/// The output artifacts of a job.
pub(in crate::codepipeline) fn outputs(cloud: &Cloud, id: &str) -> Vec<(String, Location)> {
    let jobs = jobs(cloud);
    jobs.get(id)
        .map_or_else(Vec::new, |job| job.outputs.clone())
}

/// Ends a job and its session.
pub(in crate::codepipeline) fn end(cloud: &Cloud, id: &str) {
    // The session is dropped after the lock.
    let _ended = jobs(cloud).remove(id);
}

pub(super) async fn run(running: &Running<'_>) -> Outcome {
    let function = running.text("FunctionName").to_owned();
    let mut outputs = Vec::new();
    for artifact in &running.action.output_artifacts {
        outputs.push((artifact.name.clone(), running.place(&artifact.name)?));
    }
    let policy = policy(running, &outputs).await?;
    let (credentials, keys) = credentials(running, policy).await?;
    let event = event(running, keys, &outputs);
    let places = outputs.into_iter();
    let job = Job {
        _credentials: credentials,
        outputs: places.map(|(name, place)| (name, place.location)).collect(),
        event: event.clone(),
        function: function.clone(),
        is_pending: false,
    };
    jobs(running.cloud).insert(running.run.id.clone(), job);
    // If the action ends after this, `keep` removes the job.
    if !running.is_open()? {
        end(running.cloud, &running.run.id);
        return Ok(None);
    }
    let invoked = invoke(running.cloud, &function, &event).await;
    if invoked.is_err() {
        end(running.cloud, &running.run.id);
    }
    let id = invoked?["RequestId"].as_str().map(str::to_owned);
    running
        .note(|run| run.external_id = run.external_id.take().or_else(|| id.clone()))
        .await?;
    Ok(None)
}

/// The credentials of a job: access key, secret key and token of a session of the action's role or, if it has none, of
/// the pipeline's role.
async fn credentials(
    running: &Running<'_>,
    policy: String,
) -> Result<(Credentials, [String; 3]), Failure> {
    let (cloud, role) = (running.cloud, &running.structure.role_arn);
    let name = crate::clock::now().as_millisecond().to_string();
    let Some(own) = &running.action.role_arn else {
        let session = sts::for_service_within(cloud, role, &name, PRINCIPAL, vec![policy])?;
        let keys = session.environment().map(|(_, value)| value);
        let credentials = Credentials::Pipeline {
            _session: Box::new(session),
        };
        return Ok((credentials, keys));
    };
    let pipeline = sts::for_service(cloud, role, &name, PRINCIPAL)?;
    let request = json!({"RoleArn": own, "RoleSessionName": name, "Policy": policy});
    let (session, keys) = assume(cloud, pipeline.caller(), request).await?;
    let keys = ["AccessKeyId", "SecretAccessKey", "SessionToken"]
        .map(|member| keys[member].as_str().unwrap_or_default().to_owned());
    Ok((Credentials::Action { _session: session }, keys))
}

async fn invoke(cloud: &Cloud, function: &str, event: &Value) -> ApiResult<Value> {
    let request = json!({
        "FunctionName": function,
        "InvocationType": "Event",
        "Payload": STANDARD.encode(event.to_string()),
    });
    cloud.call("lambda", "Invoke", request).await
}

/// What the job's credentials may do: read its input artifacts and write its output artifacts, with the key of the
/// artifact store if it has one.
async fn policy(running: &Running<'_>, outputs: &[(String, Place)]) -> Result<String, Failure> {
    let arn = |at: &Location| json!(format!("arn:aws:s3:::{}/{}", at.bucket, at.key));
    let inputs: Vec<Value> = running.run.inputs.iter().map(|(_, at)| arn(at)).collect();
    let outputs: Vec<Value> = outputs
        .iter()
        .map(|(_, place)| arn(&place.location))
        .collect();
    let mut keys = Vec::new();
    let store = running.structure.store(running.cloud.region());
    if let Some(key) = store.and_then(|store| store.encryption_key.as_ref()) {
        // A policy has the ARN of a key, whose id or alias a pipeline may have.
        let request = json!({"KeyId": key.id});
        let found = running.cloud.internally("kms", "DescribeKey", request);
        keys.push(found.await?["KeyMetadata"]["Arn"].take());
    }
    let mut statements = Vec::new();
    for (actions, resources) in [
        (json!(["kms:Decrypt", "kms:GenerateDataKey"]), keys),
        (json!(["s3:GetObject", "s3:GetObjectVersion"]), inputs),
        (json!(["s3:PutObject"]), outputs),
    ] {
        if !resources.is_empty() {
            statements.push(json!({"Effect": "Allow", "Action": actions, "Resource": resources}));
        }
    }
    if statements.is_empty() {
        statements.push(json!({"Effect": "Deny", "Action": "*", "Resource": "*"}));
    }
    Ok(json!({"Version": "2012-10-17", "Statement": statements}).to_string())
}

/// The event of a job (user guide, "Example JSON event").
fn event(running: &Running<'_>, keys: [String; 3], outputs: &[(String, Place)]) -> Value {
    let artifact = |name: &str, at: &Location, revision: Option<&str>| {
        json!({
            "name": name,
            "revision": revision,
            "location": {
                "type": "S3",
                "s3Location": {"bucketName": at.bucket, "objectKey": at.key},
            },
        })
    };
    let inputs = running.run.inputs.iter().map(|(name, at)| {
        let mut revisions = running.execution.revisions.iter();
        let revision = revisions.find(|revision| revision.artifact == *name);
        artifact(name, at, revision.map(|revision| revision.id.as_str()))
    });
    let inputs: Vec<Value> = inputs.collect();
    let outputs = outputs.iter();
    let outputs: Vec<Value> = outputs
        .map(|(name, place)| artifact(name, &place.location, None))
        .collect();
    let [access_key, secret, token] = keys;
    let mut data = json!({
        "actionConfiguration": {"configuration": running.configuration},
        "inputArtifacts": inputs,
        "outputArtifacts": outputs,
        "artifactCredentials": {
            "accessKeyId": access_key,
            "secretAccessKey": secret,
            "sessionToken": token,
        },
    });
    let store = running.structure.store(running.cloud.region());
    if let Some(key) = store.and_then(|store| store.encryption_key.as_ref()) {
        data["encryptionKey"] = json!(key);
    }
    json!({"CodePipeline.job": {"id": running.run.id, "accountId": ACCOUNT, "data": data}})
}

/// Begins a continuation of a job; `None` if one is pending, or if the job has ended.
pub(in crate::codepipeline) fn begin_continuation(cloud: &Cloud, id: &str) -> Option<Pending> {
    let mut jobs = jobs(cloud);
    let job = jobs.get_mut(id).filter(|job| !job.is_pending)?;
    job.is_pending = true;
    Some(Pending {
        cloud: cloud.clone(),
        id: id.to_owned(),
    })
}

/// Invokes the function of a job again, with the token that it returned.
pub(in crate::codepipeline) fn continue_later(
    cloud: &Cloud,
    launch: Launch,
    pending: Pending,
    token: &str,
) {
    let token = token.to_owned();
    let mut work = cloud.clock().begin(format!("job {}", launch.run));
    let inner = cloud.clone();
    let title = format!("job {}", launch.run);
    let again = async move {
        work.sleep(PAUSE).await;
        // The function may request the next one at once.
        drop(pending);
        if let Err(failure) = invoke_again(&inner, &launch, &token).await {
            finish(&inner, &launch, &Ended::Failed(failure)).await;
            end(&inner, &launch.run);
        }
    };
    cloud.spawn(title, again, |_| async {});
}

/// Invokes the function of a job again, unless the action has ended, in a session of its role.
async fn invoke_again(cloud: &Cloud, launch: &Launch, token: &str) -> Result<(), Failure> {
    let job = jobs(cloud)
        .get(&launch.run)
        .map(|job| (job.function.clone(), job.event.clone()));
    let (Some((function, mut event)), Some((execution, structure))) =
        (job, context(cloud, launch)?)
    else {
        return Ok(());
    };
    let run = execution.run(&launch.run);
    let action = run.and_then(|(stage, run)| structure.action(&stage.name, &run.action));
    let Some(action) = action else {
        return Ok(());
    };
    event["CodePipeline.job"]["data"]["continuationToken"] = json!(token);
    let session = session(cloud, &structure, action).await?;
    if is_open(cloud, launch)? {
        let caller = session.caller.clone();
        caller.scope(invoke(cloud, &function, &event)).await?;
    }
    Ok(())
}
