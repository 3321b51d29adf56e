//! One instance of a variant: a server process that is started, watched and restarted.
//!
//! Its times are real: health checks, the end of a process, and the pauses between restarts.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::artifact;
use super::models::Container;
use crate::api::{ApiError, ApiResult};
use crate::cloud::catch_panic;
use crate::injection::{self, EndpointFault};
use crate::sts::ServiceSession;
use crate::{Cloud, beneath, clock, faults, logs, runtime};

/// SIGTERM, then SIGKILL after this long (developer guide, inference container).
const GRACE: Duration = Duration::from_secs(30);
/// Time within which `/ping` must respond (developer guide).
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two checks of a starting process.
const PING_INTERVAL: Duration = Duration::from_millis(100);
/// Time after which an unused connection is closed. Servers close theirs after 2 s (gunicorn) or more: a request
/// on a connection that its server closes at that moment would fail.
const IDLE_CONNECTION: Duration = Duration::from_secs(1);
/// Consecutive failed starts after which requests fail with the reason.
const TOLERATED: u32 = 3;

/// The configuration of an instance.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) endpoint: String,
    pub(super) variant: String,
    pub(super) container: Container,
    /// The session of the model's role.
    pub(super) session: Arc<ServiceSession>,
    /// The time until `/ping` must succeed.
    pub(super) health_timeout: Duration,
}

/// The state of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// The server is starting.
    Starting,
    /// It listens on this port of loopback.
    Ready(u16),
    /// The server cannot be started, for this reason. A server that was ready before is still restarted.
    Failed(String),
}

/// A running instance. Dropping it ends the process.
#[derive(Debug)]
pub(super) struct Server {
    state: watch::Receiver<State>,
    stop: watch::Sender<bool>,
    /// Its log stream in the endpoint's log group.
    pub(super) log_stream: String,
}

impl Server {
    /// Starts a process and a watcher that keeps it alive.
    pub(super) fn start(cloud: &Cloud, instance: Instance) -> Self {
        let (say, state) = watch::channel(State::Starting);
        let (stop, stopped) = watch::channel(false);
        let id = uuid::Uuid::new_v4().simple().to_string();
        let log_stream = format!("{}/i-{}", instance.variant, &id[..17]);
        let watched = Watched {
            cloud: cloud.clone(),
            base: cloud.directory().join("endpoints").join(&id).join("ml"),
            instance,
            log_stream: log_stream.clone(),
        };
        tokio::spawn(async move {
            let what = format!("a server of endpoint {}", watched.instance.endpoint);
            let work = async {
                watched.keep_alive(&say, stopped).await;
                Ok(())
            };
            if let Err(error) = catch_panic(&what, work).await {
                let _ = say.send(State::Failed(error.message));
            }
            // The directory of this instance: /opt/ml, and the runtime's files next to it.
            if let Some(directory) = watched.base.parent() {
                let (state, directory) =
                    (watched.cloud.directory().to_owned(), directory.to_owned());
                let discard = move || beneath::discard(&state, &directory);
                let _ = tokio::task::spawn_blocking(discard).await;
            }
        });
        Self {
            state,
            stop,
            log_stream,
        }
    }

    /// The port, if the server is ready now.
    pub(super) fn port(&self) -> Option<u16> {
        match *self.state.borrow() {
            State::Ready(port) => Some(port),
            State::Starting | State::Failed(_) => None,
        }
    }

    /// Returns the port once the server is ready, or why it failed or did not become ready in time.
    pub(super) async fn ready(&self, timeout: Duration) -> Result<u16, String> {
        if let Some(port) = self.port() {
            return Ok(port);
        }
        let mut state = self.state.clone();
        let settled = async {
            let settled = state.wait_for(|state| *state != State::Starting).await;
            settled.map(|state| state.clone())
        };
        let settled = tokio::select! {
            settled = settled => settled,
            () = clock::sleep(timeout) => {
                return Err(format!("the server did not start within {} s", timeout.as_secs()));
            }
        };
        match settled {
            Ok(State::Ready(port)) => Ok(port),
            Ok(State::Failed(reason)) => Err(reason),
            Ok(State::Starting) | Err(_) => Err("the server was stopped".to_owned()),
        }
    }

    /// Requests the process to end and waits for it.
    pub(super) async fn stop(&self) {
        let _ = self.stop.send(true);
        let mut state = self.state.clone();
        // The watcher drops its end of the channel when the process has ended.
        while state.changed().await.is_ok() {}
    }
}

/// The state of a process's watcher.
struct Watched {
    cloud: Cloud,
    instance: Instance,
    /// Becomes /opt/ml.
    base: PathBuf,
    log_stream: String,
}

impl Watched {
    async fn keep_alive(&self, say: &watch::Sender<State>, mut stopped: watch::Receiver<bool>) {
        let mut failures = 0;
        let mut was_ready = false;
        loop {
            let (process, port) = match self.launch(&mut stopped).await {
                Ok(Some(started)) => started,
                Ok(None) => return,
                Err(error) => {
                    // Nothing was started: a retry would fail the same way.
                    let _ = say.send(State::Failed(error.message));
                    return;
                }
            };
            let healthy = tokio::select! {
                () = asked(&mut stopped) => None,
                healthy = self.healthy(&process, port) => Some(healthy),
            };
            match healthy {
                None => {
                    process.terminate(GRACE).await;
                    return;
                }
                Some(Ok(())) => {
                    (failures, was_ready) = (0, true);
                    let _ = say.send(State::Ready(port));
                    tokio::select! {
                        () = asked(&mut stopped) => {
                            process.terminate(GRACE).await;
                            return;
                        }
                        _code = process.wait() => {
                            let _ = say.send(State::Starting);
                        }
                    }
                }
                Some(Err(reason)) => {
                    failures += 1;
                    process.terminate(GRACE).await;
                    if !was_ready || failures >= TOLERATED {
                        let _ = say.send(State::Failed(reason));
                    }
                    if !was_ready {
                        return;
                    }
                }
            }
            let pause = Duration::from_millis(200) * 2_u32.pow(failures.min(6));
            tokio::select! {
                () = asked(&mut stopped) => return,
                () = clock::sleep(pause) => {}
            }
        }
    }

    /// Starts the process; `None` if a stop is requested first: installing packages can take minutes.
    async fn launch(
        &self,
        stopped: &mut watch::Receiver<bool>,
    ) -> ApiResult<Option<(runtime::Running, u16)>> {
        let container = &self.instance.container;
        if !self.base.join("model").is_dir() {
            std::fs::create_dir_all(self.base.join("model"))?;
            if let Some(uri) = &container.model_data {
                let role = self.instance.session.caller();
                let model = self.base.join("model");
                let fetched = artifact::fetch(&self.cloud, &role, uri, &model);
                fetched.await.map_err(|error| without_permission(error, || {
                    format!(
                        "Failed to download model data for container \"container_1\" from URL: \"{uri}\". \
                         Please ensure that there is an object located at the URL and that the role passed \
                         to CreateModel has permissions to access the object."
                    )
                }))?;
            }
        }
        let role = self.instance.session.caller();
        let prepared = tokio::select! {
            prepared = runtime::prepare(&self.cloud, &role, &container.image) => {
                prepared.map_err(|error| without_permission(error, || {
                    format!(
                        "Please make sure all images included in the model for the production variant {} \
                         exist, and that the execution role used to create the model has permissions to \
                         access them.",
                        self.instance.variant
                    )
                }))?
            }
            () = asked(stopped) => return Ok(None),
        };
        let port = free_port()?;
        let mut environment: BTreeMap<String, String> = container.environment.clone();
        environment.insert("SAGEMAKER_BIND_TO_PORT".to_owned(), port.to_string());
        let job = runtime::ContainerSpec {
            image: prepared,
            base_dir: self.base.clone(),
            command: self.command()?,
            environment,
            session: self.instance.session.clone(),
            log_group: log_group(&self.instance.endpoint),
            log_stream: self.log_stream.clone(),
        };
        let note = format!(
            "[mlops] the server must listen on port {port}, which SAGEMAKER_BIND_TO_PORT names: \
             port 8080 is shared here. Polling http://127.0.0.1:{port}/ping"
        );
        let now = jiff::Timestamp::now().as_millisecond();
        let group = log_group(&self.instance.endpoint);
        logs::append(&self.cloud, &role, &group, &self.log_stream, &[(now, note)])?;
        let running = runtime::launch(&self.cloud, job).await?;
        Ok(Some((running, port)))
    }

    /// The program to run: `serve`, unless a crash was injected.
    fn command(&self) -> ApiResult<Vec<String>> {
        if !self.is_injected(EndpointFault::ContainerCrash)? {
            return Ok(vec!["serve".to_owned()]);
        }
        let crash = "echo 'crash: injected by `mlops local inject container-crash`' >&2; exit 1";
        Ok(["/bin/sh", "-c", crash].map(str::to_owned).to_vec())
    }

    fn is_injected(&self, fault: EndpointFault) -> ApiResult<bool> {
        injection::endpoint(self.cloud.injected(), fault, &self.instance.endpoint)
    }

    /// Waits until `/ping` returns 200; the error is the reason in AWS's words.
    async fn healthy(&self, process: &runtime::Running, port: u16) -> Result<(), String> {
        let client = client(&self.cloud);
        let is_slow = self.is_injected(EndpointFault::SlowStart);
        let is_slow = is_slow.map_err(|error| error.message)?;
        let limit = faults::limit(&self.cloud, "health-check", self.instance.health_timeout);
        let url = format!("http://127.0.0.1:{port}/ping");
        let answers = async {
            if is_slow {
                clock::sleep(limit + PING_INTERVAL).await;
            }
            loop {
                let answer = client.get(&url).timeout(PING_TIMEOUT).send().await;
                if answer.is_ok_and(|answer| answer.status().as_u16() == 200) {
                    return;
                }
                clock::sleep(PING_INTERVAL).await;
            }
        };
        let sentence = format!(
            "The primary container for production variant {} did not pass the ping health check. \
             Please check CloudWatch logs for this endpoint. (No answer 200 from \
             http://127.0.0.1:{port}/ping: the server must listen on the port that \
             SAGEMAKER_BIND_TO_PORT names, which is not 8080 here)",
            self.instance.variant
        );
        tokio::select! {
            () = answers => Ok(()),
            code = process.wait() => Err(format!("{sentence} (the server exited with {code})")),
            () = clock::sleep(limit) => Err(sentence),
        }
    }
}

/// A missing permission of the model's role in SageMaker's words, followed by what is missing.
fn without_permission(error: ApiError, sentence: impl FnOnce() -> String) -> ApiError {
    if !error.is_denied() {
        return error;
    }
    ApiError::validation(format!("{} ({})", sentence(), error.message))
}

/// Waits for a stop request, or until all handles that could send one are dropped.
async fn asked(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The log group of an endpoint.
pub(super) fn log_group(endpoint: &str) -> String {
    format!("/aws/sagemaker/Endpoints/{endpoint}")
}

/// The client for processes of this machine: no proxy, no redirects. Callers set the timeout of a request.
#[derive(Debug)]
struct Client(reqwest::Client);

impl Default for Client {
    fn default() -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(IDLE_CONNECTION)
            .build();
        // Without a proxy and without certificates of the user, nothing in the configuration can fail.
        Self(client.unwrap_or_default())
    }
}

/// The client for processes of this machine, with its pool of connections.
pub(super) fn client(cloud: &Cloud) -> &reqwest::Client {
    &cloud.state::<Client>().0
}

/// A port that was free a moment ago.
fn free_port() -> ApiResult<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
