//! Warm environments: kept for the next invocation of the same revision, and ended when idle.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::api::Event;
use super::code;
use super::environment::{End, Environment, Log, Outcome};
use super::records::{Plan, active};
use crate::api::{ApiError, ApiResult};
use crate::runtime::Running;
use crate::{Cloud, clock};

/// How long an idle environment stays warm. AWS documents no time.
const IDLE: Duration = Duration::from_mins(5);

/// Maximum number of concurrent processes of all functions. AWS's quota is 1000 for an account.
const CONCURRENCY: usize = 32;

/// The environments of a server.
#[derive(Debug)]
struct Pool {
    slots: Semaphore,
    /// Idle environments, by function.
    warm: Mutex<HashMap<String, Vec<Warm>>>,
    /// The processes that are working on an event.
    busy: Mutex<HashMap<u64, Busy>>,
    next: AtomicU64,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            slots: Semaphore::new(CONCURRENCY),
            warm: Mutex::default(),
            busy: Mutex::default(),
            next: AtomicU64::default(),
        }
    }
}

/// A process that is working on an event.
#[derive(Debug, Clone)]
struct Busy {
    /// The function's name.
    function: String,
    process: Running,
    log: Arc<Log>,
}

/// An idle environment.
#[derive(Debug)]
struct Warm {
    /// Distinguishes it from a later idle environment.
    number: u64,
    environment: Environment,
}

impl Pool {
    /// Shared, because the task that ends an idle environment must not keep the cloud open.
    fn of(cloud: &Cloud) -> &Arc<Self> {
        cloud.state()
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn busy(&self) -> MutexGuard<'_, HashMap<u64, Busy>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warm(&self) -> MutexGuard<'_, HashMap<String, Vec<Warm>>> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, plan: &Plan) -> Option<Environment> {
        let mut all = self.warm();
        let mine = all.get_mut(&plan.name)?;
        let at = mine
            .iter()
            .rposition(|warm| warm.environment.plan.revision == plan.revision)?;
        Some(mine.remove(at).environment)
    }
}

/// Runs an event in a warm environment or a new one.
pub(super) async fn execute(cloud: &Cloud, plan: &Plan, event: Event) -> ApiResult<Outcome> {
    let pool = Pool::of(cloud);
    let Ok(_slot) = pool.slots.try_acquire() else {
        return Err(ApiError::new(
            "TooManyRequestsException",
            format!("Rate Exceeded: {CONCURRENCY} invocations are in progress"),
        )
        .status(429));
    };
    while let Some(mut environment) = pool.take(plan) {
        if environment.ready().await.is_ok() {
            return Ok(run(cloud, environment, event).await);
        }
        // It ended after its last response: no process has received the event yet.
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

/// The reason why a `provided` function cannot start, if there is one.
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
    let pool = Pool::of(cloud);
    let number = pool.number();
    let busy = Busy {
        function: environment.plan.name.clone(),
        process: environment.process.clone(),
        log: environment.log.clone(),
    };
    pool.busy().insert(number, busy);
    let outcome = environment.run(event).await;
    pool.busy().remove(&number);
    let sound = matches!(outcome.end, End::Answer(_) | End::Error(_) | End::TooLarge);
    let current = active(cloud, &environment.plan.name)
        .is_ok_and(|plan| plan.revision == environment.plan.revision);
    if sound && current {
        put(pool.clone(), environment);
    } else {
        environment.end().await;
    }
    outcome
}

fn put(pool: Arc<Pool>, environment: Environment) {
    let name = environment.plan.name.clone();
    let number = pool.number();
    pool.warm().entry(name.clone()).or_default().push(Warm {
        number,
        environment,
    });
    // Not counted as work: a warm environment must not keep the server from becoming idle.
    tokio::spawn(async move {
        clock::sleep(IDLE).await;
        let idle = {
            let mut all = pool.warm();
            let mine = all.get_mut(&name);
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

/// Ends the warm environments of a function that was changed or deleted.
pub(super) async fn retire(cloud: &Cloud, name: &str) {
    let mine = Pool::of(cloud).warm().remove(name).unwrap_or_default();
    futures::future::join_all(mine.into_iter().map(|warm| warm.environment.end())).await;
}

/// Stores what the running invocations of a deleted function have written: whoever deletes a function often deletes its
/// role next, and then nothing more can be stored. A stack does so when a custom resource has responded, which is before
/// its function returns.
pub(super) async fn store_logs(cloud: &Cloud, name: &str) {
    let busy: Vec<Busy> = Pool::of(cloud)
        .busy()
        .values()
        .filter(|busy| busy.function == name)
        .cloned()
        .collect();
    futures::future::join_all(busy.iter().map(|busy| busy.log.drained(&busy.process))).await;
}

/// Ends every environment of this server. An event in progress is delivered again by the next
/// server; a waiting caller receives the error that the process ended.
pub(crate) async fn shut_down(cloud: &Cloud) {
    let pool = Pool::of(cloud);
    let mine = std::mem::take(&mut *pool.warm());
    let working: Vec<Busy> = pool.busy().values().cloned().collect();
    tokio::join!(
        futures::future::join_all(
            mine.into_values()
                .flatten()
                .map(|warm| warm.environment.end())
        ),
        futures::future::join_all(
            working
                .iter()
                .map(|busy| busy.process.terminate(Duration::ZERO))
        ),
    );
}
