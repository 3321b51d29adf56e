//! The machines of running notebook instances: what runs when an instance starts, and JupyterLab.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::repositories::{self, Source};
use super::volumes::{self, Volume};
use super::{LIFECYCLES, NOTEBOOKS, lifecycles};
use crate::api::{ApiError, ApiResult};
use crate::runtime::{Jupyter, LOG_GROUP, Machine, MachineSpec, Outcome, Run, Script};
use crate::sagemaker::states::NotebookStatus;
use crate::{Cloud, faults, logs, sts};

/// The time that a life-cycle script may take (developer guide).
const SCRIPT_LIMIT: Duration = Duration::from_mins(5);

/// The name of the sessions of instances, as on AWS.
const SESSION_NAME: &str = "SageMaker";

/// The scripts in the order in which they run: the member of the configuration, and the log stream.
const SCRIPTS: [(&str, &str); 2] = [
    ("OnCreate", "LifecycleConfigOnCreate"),
    ("OnStart", "LifecycleConfigOnStart"),
];

/// A running machine.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) machine: Machine,
    notes: Vec<String>,
    /// JupyterLab, once it is started. Locked while the instance starts.
    jupyter: tokio::sync::Mutex<Option<Arc<Jupyter>>>,
}

/// The machines by instance.
#[derive(Debug, Default)]
struct Machines {
    running: Mutex<HashMap<String, Arc<Slot>>>,
    /// Locked while a machine starts, so that an instance never has two.
    starting: tokio::sync::Mutex<()>,
}

fn running(cloud: &Cloud) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
    let machines = cloud.state::<Machines>();
    let running = machines.running.lock();
    running.unwrap_or_else(PoisonError::into_inner)
}

/// What an instance refers to.
struct Work {
    scripts: Vec<Script>,
    sources: Vec<Source>,
    volume: Volume,
}

impl Work {
    fn of(cloud: &Cloud, record: &Value) -> ApiResult<Self> {
        let name = record["NotebookInstanceName"].as_str().unwrap_or_default();
        let volume = volumes::of(cloud, name)?;
        let mut scripts = Vec::new();
        if let Some(config) = record["NotebookInstanceLifecycleConfigName"].as_str() {
            for (member, name) in SCRIPTS {
                let is_due = member != "OnCreate" || !volume.on_create_ran;
                if is_due && let Some(content) = lifecycles::script(cloud, config, member)? {
                    scripts.push(Script { name, content });
                }
            }
        }
        let additional = record["AdditionalCodeRepositories"].as_array();
        let sources = [&record["DefaultCodeRepository"]]
            .into_iter()
            .chain(additional.into_iter().flatten())
            .filter_map(Value::as_str)
            .map(|reference| Source::of(cloud, reference))
            .collect::<ApiResult<_>>()?;
        Ok(Self {
            scripts,
            sources,
            volume,
        })
    }
}

/// Runs what an instance runs when it starts: clones of its repositories and its life-cycle scripts. The
/// error is the reason for the failure of the instance. An instance that has neither needs a machine
/// only when JupyterLab starts.
pub(super) async fn boot(cloud: &Cloud, name: &str) -> Result<(), String> {
    let internal = |error: ApiError| format!("InternalServerError: {}", error.message);
    let record = NOTEBOOKS.get(cloud, name).map_err(internal)?;
    let work = Work::of(cloud, &record).map_err(|error| error.message)?;
    if work.scripts.is_empty() && work.sources.is_empty() {
        return Ok(());
    }
    let scripts: Vec<&'static str> = work.scripts.iter().map(|script| script.name).collect();
    let slot = {
        let _starting = cloud.state::<Machines>().starting.lock().await;
        // The instance may have been stopped in the meantime, or a presigned URL may have started it.
        let record = NOTEBOOKS.get(cloud, name).map_err(internal)?;
        let status = NotebookStatus::of(&record["NotebookInstanceStatus"]);
        if !matches!(
            status,
            Some(NotebookStatus::Pending | NotebookStatus::InService)
        ) {
            return Ok(());
        }
        match alive(cloud, name) {
            Some(slot) => slot,
            None => start(cloud, &record, work).await.map_err(internal)?,
        }
    };
    let _starting = slot.jupyter.lock().await;
    let booted = run_all(cloud, &record, &slot, &scripts).await;
    if booted.is_err() {
        end(cloud, name).await;
    }
    booted
}

async fn run_all(
    cloud: &Cloud,
    record: &Value,
    slot: &Slot,
    scripts: &[&'static str],
) -> Result<(), String> {
    let internal = |error: ApiError| format!("InternalServerError: {}", error.message);
    let name = record["NotebookInstanceName"].as_str().unwrap_or_default();
    let work = Work::of(cloud, record).map_err(|error| error.message)?;
    for source in &work.sources {
        let clone = Run::Clone {
            url: &source.url,
            branch: source.branch.as_deref(),
            directory: &source.directory().map_err(|error| error.message)?,
            own: source.own.as_deref(),
        };
        let outcome = slot.machine.run(clone).await.map_err(internal)?;
        if outcome.code != 0 {
            return Err(clone_failure(&source.url, &outcome));
        }
    }
    for script in scripts {
        if *script == SCRIPTS[0].1 {
            volumes::on_create_runs(cloud, name, &work.volume).map_err(internal)?;
        }
        note(cloud, slot, name, script);
        let limit = faults::limit(cloud, "lifecycle-script", SCRIPT_LIMIT);
        let run = Run::Script {
            name: script,
            limit,
        };
        let outcome = slot.machine.run(run).await.map_err(internal)?;
        if outcome.code != 0 {
            return Err(script_failure(cloud, record, &outcome));
        }
    }
    Ok(())
}

/// The reason for the failure of an instance whose repository cannot be cloned: git's message, as on AWS.
fn clone_failure(url: &str, outcome: &Outcome) -> String {
    if outcome.timed_out {
        return format!("fatal: cloning '{url}' took longer than 5 minutes");
    }
    let said = outcome.tail.iter().rev();
    let said = said.into_iter().find(|line| line.starts_with("fatal:"));
    let said = said.or(outcome.tail.last());
    let said = said.map_or("fatal: git failed", String::as_str);
    if said.contains(url) {
        said.to_owned()
    } else {
        format!("{said} ({url})")
    }
}

/// The reason for the failure of an instance whose script fails. AWS gives the same reason whether the
/// script takes too long or ends with an error; the rest of the sentence is ours.
fn script_failure(cloud: &Cloud, record: &Value, outcome: &Outcome) -> String {
    let config = record["NotebookInstanceLifecycleConfigName"].as_str();
    let config = LIFECYCLES
        .get(cloud, config.unwrap_or_default())
        .map(|config| {
            config[LIFECYCLES.arn]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        });
    let aws = format!(
        "Notebook Instance Lifecycle Config '{}' for Notebook Instance '{}' took longer than 5 \
         minutes. Please check your CloudWatch logs for more details if your Notebook Instance has \
         Internet access.",
        config.unwrap_or_default(),
        record["NotebookInstanceArn"].as_str().unwrap_or_default()
    );
    if outcome.timed_out {
        return aws;
    }
    format!(
        "{aws} (AWS says so for a failed script, too: it ended with exit code {})",
        outcome.code
    )
}

/// Writes what the machine is, and what is not isolated, to a log stream of the instance.
fn note(cloud: &Cloud, slot: &Slot, name: &str, stream: &str) {
    let now = jiff::Timestamp::now().as_millisecond();
    let lines: Vec<(i64, String)> = slot
        .notes
        .iter()
        .map(|note| (now, format!("[mlops] {note}")))
        .collect();
    // A log that cannot be written does not stop the instance.
    let stream = format!("{name}/{stream}");
    let _ = logs::append(cloud, &slot.machine.role(), LOG_GROUP, &stream, &lines);
}

/// Starts the machine of an instance. The caller holds `starting`.
async fn start(cloud: &Cloud, record: &Value, work: Work) -> ApiResult<Arc<Slot>> {
    let text = |member: &str| record[member].as_str().unwrap_or_default().to_owned();
    let name = text("NotebookInstanceName");
    let session = sts::for_service(
        cloud,
        &text("RoleArn"),
        SESSION_NAME,
        "sagemaker.amazonaws.com",
    )?;
    let spec = MachineSpec {
        session,
        arn: text("NotebookInstanceArn"),
        directory: work.volume.directory(cloud),
        root_access: text("RootAccess"),
        git_config: repositories::git_config(cloud, &work.sources),
        scripts: work.scripts,
        name: name.clone(),
    };
    let (machine, notes) = Machine::start(cloud, spec).await?;
    let slot = Arc::new(Slot {
        machine,
        notes,
        jupyter: tokio::sync::Mutex::default(),
    });
    let previous = running(cloud).insert(name, slot.clone());
    if let Some(previous) = previous {
        previous.machine.end().await;
    }
    Ok(slot)
}

/// The JupyterLab of an instance in service, which is started if necessary.
pub(super) async fn jupyter(cloud: &Cloud, record: &Value) -> ApiResult<(Arc<Slot>, Arc<Jupyter>)> {
    let name = record["NotebookInstanceName"].as_str().unwrap_or_default();
    let slot = {
        let _starting = cloud.state::<Machines>().starting.lock().await;
        match alive(cloud, name) {
            Some(slot) => slot,
            None => start(cloud, record, Work::of(cloud, record)?).await?,
        }
    };
    let mut started = slot.jupyter.lock().await;
    if let Some(jupyter) = &*started
        && !slot.machine.jupyter_has_ended()
    {
        let jupyter = jupyter.clone();
        drop(started);
        return Ok((slot, jupyter));
    }
    note(cloud, &slot, name, "jupyter.log");
    let directory = match record["DefaultCodeRepository"].as_str() {
        Some(reference) => Source::of(cloud, reference)?.directory()?,
        None => String::new(),
    };
    let jupyter = Arc::new(slot.machine.start_jupyter(cloud, &directory).await?);
    *started = Some(jupyter.clone());
    drop(started);
    Ok((slot, jupyter))
}

/// The running machine of an instance.
fn alive(cloud: &Cloud, name: &str) -> Option<Arc<Slot>> {
    let found = running(cloud).get(name).cloned();
    found.filter(|slot| !slot.machine.has_ended())
}

/// Ends the machine of an instance, if it has one. Waits for a start in progress.
pub(super) async fn end(cloud: &Cloud, name: &str) {
    let slot = {
        let _starting = cloud.state::<Machines>().starting.lock().await;
        running(cloud).remove(name)
    };
    if let Some(slot) = slot {
        slot.machine.end().await;
    }
}

/// Ends every machine before the server ends.
pub(in super::super) async fn shut_down(cloud: &Cloud) {
    let all = std::mem::take(&mut *running(cloud));
    futures::future::join_all(all.values().map(|slot| slot.machine.end())).await;
}
