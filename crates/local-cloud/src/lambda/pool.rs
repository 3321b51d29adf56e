//! Warm environments: kept for the next invocation of the same revision, ended when nobody needs
//! them.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::api::Event;
use super::code;
use super::environment::{End, Environment, Outcome};
use super::functions::{self, Plan};
use crate::api::{ApiError, ApiResult};
use crate::runtime::Running;
use crate::{Cloud, clock};

/// How long an environment stays warm. (AWS does not say; minutes.)
const IDLE: Duration = Duration::from_mins(5);

/// Processes at once, of all functions together. AWS's quota is 1000 for an account.
const CONCURRENCY: usize = 32;

static SLOTS: Semaphore = Semaphore::const_new(CONCURRENCY);

static WARM: LazyLock<Mutex<HashMap<PathBuf, Vec<Warm>>>> = LazyLock::new(Mutex::default);

/// The processes that work on an event, with the directory of their cloud.
static BUSY: LazyLock<Mutex<HashMap<u64, (PathBuf, Running)>>> = LazyLock::new(Mutex::default);

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// An environment that waits.
struct Warm {
    /// Told apart from another that waits later.
    number: u64,
    environment: Environment,
}

fn busy() -> MutexGuard<'static, HashMap<u64, (PathBuf, Running)>> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn warm() -> MutexGuard<'static, HashMap<PathBuf, Vec<Warm>>> {
    WARM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key of a function; tests have several clouds in one process.
fn key(cloud: &Cloud, name: &str) -> PathBuf {
    cloud.directory().join(name)
}

fn take(cloud: &Cloud, plan: &Plan) -> Option<Environment> {
    let mut all = warm();
    let mine = all.get_mut(&key(cloud, &plan.name))?;
    let at = mine
        .iter()
        .rposition(|warm| warm.environment.plan.revision == plan.revision)?;
    Some(mine.remove(at).environment)
}

/// Runs an event in a warm environment or a new one.
pub(super) async fn execute(cloud: &Cloud, plan: &Plan, event: Event) -> ApiResult<Outcome> {
    let Ok(_slot) = SLOTS.try_acquire() else {
        return Err(ApiError::new(
            "TooManyRequestsException",
            format!("Rate Exceeded: {CONCURRENCY} invocations are under way"),
        )
        .status(429));
    };
    while let Some(mut environment) = take(cloud, plan) {
        if environment.ready().await.is_ok() {
            return Ok(run(cloud, environment, event).await);
        }
        // It ended after its last answer: the event has not been seen by anyone yet.
        environment.end().await;
    }
    if let Some(reason) = no_entry(cloud, plan) {
        let end = End::NoEntry(reason);
        return Ok(Outcome {
            end,
            tail: Vec::new(),
        });
    }
    let mut environment = Environment::start(cloud, plan).await?;
    match environment.ready().await {
        Ok(()) => Ok(run(cloud, environment, event).await),
        Err(end) => {
            let outcome = environment.give_up(&event.id, end).await;
            environment.end().await;
            Ok(outcome)
        }
    }
}

/// Why a `provided` function has nothing to start.
fn no_entry(cloud: &Cloud, plan: &Plan) -> Option<String> {
    if !plan.runtime.starts_with("provided") {
        return None;
    }
    let bootstrap = code::directory(cloud, &plan.code).join("bootstrap");
    match bootstrap.metadata() {
        Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => None,
        Ok(found) if found.is_file() => {
            Some("fork/exec /var/task/bootstrap: permission denied".to_owned())
        }
        _ => Some("Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]".into()),
    }
}

async fn run(cloud: &Cloud, mut environment: Environment, event: Event) -> Outcome {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let process = environment.process.clone();
    busy().insert(number, (cloud.directory().to_owned(), process));
    let outcome = environment.run(event).await;
    busy().remove(&number);
    let sound = matches!(outcome.end, End::Answer(_) | End::Error(_) | End::TooLarge);
    let current = functions::active(cloud, &environment.plan.name)
        .is_ok_and(|plan| plan.revision == environment.plan.revision);
    if sound && current {
        put(cloud, environment);
    } else {
        environment.end().await;
    }
    outcome
}

fn put(cloud: &Cloud, environment: Environment) {
    let key = key(cloud, &environment.plan.name);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    warm().entry(key.clone()).or_default().push(Warm {
        number,
        environment,
    });
    // Not work of the cloud's: a warm environment does not keep the server from going idle.
    tokio::spawn(async move {
        clock::sleep(IDLE).await;
        let idle = {
            let mut all = warm();
            let mine = all.get_mut(&key);
            mine.and_then(|mine| {
                let at = mine.iter().position(|warm| warm.number == number)?;
                Some(mine.remove(at))
            })
        };
        if let Some(idle) = idle {
            idle.environment.end().await;
        }
    });
}

/// Ends the warm environments of a function: it was changed or deleted.
pub(super) async fn retire(cloud: &Cloud, name: &str) {
    let mine = warm().remove(&key(cloud, name)).unwrap_or_default();
    futures::future::join_all(mine.into_iter().map(|warm| warm.environment.end())).await;
}

/// Ends every environment of this server. An event that one worked on is delivered again by the
/// next server; a caller that waits hears that the process ended.
pub(crate) async fn shut_down(cloud: &Cloud) {
    let mine: Vec<Warm> = {
        let mut all = warm();
        let keys: Vec<PathBuf> = all
            .keys()
            .filter(|key| key.parent() == Some(cloud.directory()))
            .cloned()
            .collect();
        keys.iter()
            .filter_map(|key| all.remove(key))
            .flatten()
            .collect()
    };
    let working: Vec<Running> = busy()
        .values()
        .filter(|(directory, _)| directory == cloud.directory())
        .map(|(_, process)| process.clone())
        .collect();
    tokio::join!(
        futures::future::join_all(mine.into_iter().map(|warm| warm.environment.end())),
        futures::future::join_all(
            working
                .iter()
                .map(|process| process.terminate(Duration::ZERO))
        ),
    );
}
