//! The running local cloud: everything that a service needs for its work.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use super::api::{ApiError, ApiResult};
use super::clock::Clock;
use super::credentials::Credentials;
use super::health::Health;
use super::host::Host;
use super::injection::{self, Injected};
use super::limits;
use super::store::{Blobs, Store};
use crate::log;

pub(crate) mod caller;
pub(crate) mod service;
mod state;
mod time;

use caller::Caller;
use service::{Service, Services};

/// Pause between the first two attempts to write state, for example on a full disk.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Maximum pause between two attempts: a user who frees space should not have to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The account id of every local cloud.
pub(crate) const ACCOUNT: &str = "000000000000";

/// A handle on the running cloud; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Cloud(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    services: Services,
    store: Store,
    clock: Clock,
    blobs: Blobs,
    directory: PathBuf,
    endpoint: String,
    region: String,
    credentials: Credentials,
    settings: Settings,
    busy: AtomicUsize,
    is_recovering: AtomicBool,
    health: Health,
    states: state::States,
}

/// Settings with which this server was started.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Directory of the virtual environments.
    pub(crate) cache: PathBuf,
    /// The Python that runs programs.
    pub(crate) python: PathBuf,
    /// The program that hosts this server.
    pub(crate) host: Host,
}

impl Cloud {
    /// Opens the state in `directory` for a server with these services at `endpoint`.
    pub(crate) fn open(
        services: &'static [&'static Service],
        directory: &Path,
        endpoint: String,
        region: String,
        credentials: Credentials,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let services = Services::new(services);
        let store = Store::open(directory, services.tables())?;
        Ok(Self(Arc::new(Inner {
            services,
            clock: time::open(&store)?,
            store,
            blobs: Blobs::open(directory)?,
            directory: directory.to_owned(),
            endpoint,
            region,
            credentials,
            settings,
            busy: AtomicUsize::new(0),
            is_recovering: AtomicBool::new(false),
            health: Health::default(),
            states: state::States::default(),
        })))
    }

    /// Checks and completes the state of every service before requests are accepted.
    ///
    /// # Errors
    /// A state that a service cannot use.
    pub(crate) fn recover(&self) -> anyhow::Result<()> {
        self.0.is_recovering.store(true, Ordering::SeqCst);
        let services = self.services().iter();
        let recovered = services
            .filter_map(|service| service.recover)
            .try_for_each(|recover| recover(self));
        self.0.is_recovering.store(false, Ordering::SeqCst);
        recovered
    }

    /// True while services recover: some are not yet as they were.
    pub(crate) fn is_recovering(&self) -> bool {
        self.0.is_recovering.load(Ordering::SeqCst)
    }

    /// Ends the processes of every service, concurrently.
    pub(crate) async fn shut_down(&self) {
        self.clock().close();
        let services = self.services().iter();
        let ends = services.filter_map(|service| service.shut_down);
        futures::future::join_all(ends.map(|shut_down| shut_down(self))).await;
    }

    /// For tests: waits until no work runs in the background.
    pub(crate) async fn idle(&self) {
        while self.is_busy() {
            super::clock::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Problems that keep this server from working.
    pub(crate) fn health(&self) -> &Health {
        &self.0.health
    }

    /// Writes state that no request waits for: calls `write` again, with growing pauses, until the
    /// state can be written. Until then, `what` is listed among the problems of this server.
    ///
    /// Any error of `write` that waiting does not fix.
    pub(crate) async fn persist<R>(
        &self,
        what: &str,
        mut write: impl FnMut() -> ApiResult<R>,
    ) -> ApiResult<R> {
        let mut pause = FIRST_PAUSE;
        let mut problem = None;
        loop {
            match write() {
                Err(error) if error.is_unavailable() => {
                    problem.get_or_insert_with(|| self.health().report(what, &error.message));
                    super::clock::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                result => return result,
            }
        }
    }

    /// The records of all services.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// The content-addressed files.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// The state directory (`.mlops/local`), for services that keep their own files.
    pub(crate) fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// The faults that a person has injected.
    pub(crate) fn injected(&self) -> Injected<'_> {
        Injected::new(self.directory(), self.state())
    }

    /// The URL of this server: `http://127.0.0.1:PORT`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// The region that this server simulates.
    pub(crate) fn region(&self) -> &str {
        &self.0.region
    }

    /// The credentials that this server accepts.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// The settings of this server.
    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// `arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE`
    pub(crate) fn arn(&self, service: &str, resource: impl std::fmt::Display) -> String {
        format!("arn:aws:{service}:{}:{ACCOUNT}:{resource}", self.region())
    }

    /// State that a service keeps in memory, by type; created with its default on first use. A
    /// handle on the cloud inside it would keep the cloud open, so shutting down must remove it.
    pub(crate) fn state<T: std::any::Any + Send + Sync + Default>(&self) -> &T {
        self.0.states.get()
    }

    /// The services of this server.
    pub(crate) fn services(&self) -> Services {
        self.0.services
    }

    /// Runs an operation for a client of the server.
    pub(crate) async fn request(
        &self,
        service: &'static Service,
        operation: &str,
        input: Value,
    ) -> ApiResult<Value> {
        injection::request(self.injected(), service, operation)?;
        super::system_tags::check(service, &input)?;
        self.run(service, operation, input).await
    }

    /// Calls a service by name, as a client would, on behalf of the current caller. Services access each
    /// other's records in no other way.
    pub(crate) fn call<'a>(
        &'a self,
        service: &'a str,
        operation: &'a str,
        input: Value,
    ) -> BoxFuture<'a, ApiResult<Value>> {
        Box::pin(async move {
            let service = self.services().named(service)?;
            self.run(service, operation, input).await
        })
    }

    /// [`Cloud::call`] for the local cloud's own bookkeeping, whatever the current caller may do.
    pub(crate) async fn internally(
        &self,
        service: &str,
        operation: &str,
        input: Value,
    ) -> ApiResult<Value> {
        let call = self.call(service, operation, input);
        Caller::LocalCloud.scope(call).await
    }

    async fn run(
        &self,
        service: &'static Service,
        operation: &str,
        input: Value,
    ) -> ApiResult<Value> {
        if !limits::is_within(&input, limits::MAX_DEPTH) {
            let message = limits::too_deep(limits::MAX_DEPTH);
            return Err(ApiError::validation(message));
        }
        let Some(found) = service.operation(operation) else {
            return Err(ApiError::not_implemented(format_args!(
                "{}:{operation}",
                service.name
            )));
        };
        // Before validation, so that its errors reveal nothing to callers without permission.
        for authorize in self.services().iter().filter_map(|it| it.authorize) {
            authorize(self, service, operation, &input)?;
        }
        super::requests::check(service, operation, &input)?;
        (found.run)(self, input).await
    }

    /// Runs work that outlives the request, on behalf of the local cloud itself; the server does not become
    /// idle before it ends. A panic ends only this work: it is logged and passed as an error to `on_panic`, which records that the
    /// work failed, so that nothing stays in progress.
    pub(crate) fn spawn<W, B, E>(&self, what: impl Into<String>, work: W, on_panic: B)
    where
        W: Future<Output = ()> + Send + 'static,
        B: FnOnce(ApiError) -> E + Send + 'static,
        E: Future<Output = ()> + Send + 'static,
    {
        let (busy, what) = (self.busy(), what.into());
        tokio::spawn(async move {
            let _busy = busy;
            let Err(error) = catch_panic(&what, work.map(Ok)).await else {
                return;
            };
            // A panic in `on_panic` itself is only logged.
            let _ = catch_panic(&what, on_panic(error).map(Ok)).await;
        });
    }

    /// The server is not idle while the guard exists.
    pub(crate) fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::SeqCst);
        Busy(self.clone())
    }

    /// True while a request or a job is in progress.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.busy.load(Ordering::SeqCst) > 0
    }
}

/// Runs work and converts a panic into an error, which is logged. Work and server share only the
/// store, whose transactions are atomic.
pub(crate) async fn catch_panic<R>(
    what: &str,
    work: impl Future<Output = ApiResult<R>>,
) -> ApiResult<R> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            log::write_line(&format!("internal error: {what} panicked: {message}"));
            Err(ApiError::internal(format_args!(
                "{what} panicked in the local cloud: {message}"
            )))
        }
    }
}

/// Marks work in progress.
#[derive(Debug)]
pub(crate) struct Busy(Cloud);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}
