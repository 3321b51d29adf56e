//! The context of a command.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use futures::future::BoxFuture;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::network::Network;
use mlops_core::wait::Waiter;
use mlops_oci::registry::{Login, Registry};
use tokio::sync::{Notify, OnceCell};

use crate::aws::{self, Clients, Notice};
#[cfg(feature = "local")]
use crate::config::LOCAL_HOST;
use crate::config::{Config, Project};
use crate::output::Output;
use crate::progress::Progress;
use crate::prompt::Prompt;

/// Everything a command needs; expensive parts are created on first use.
#[derive(Debug)]
pub struct Context {
    /// Flags and environment, merged.
    pub config: Config,
    /// stdout.
    pub output: Output,
    /// stderr.
    pub progress: Progress,
    /// Questions.
    pub prompt: Prompt,
    /// The loop that polls remote work.
    pub waiter: Waiter,
    clients: OnceCell<Clients>,
    network: OnceCell<Network>,
    interrupts: Interrupts,
}

/// What Ctrl-C does: by default, it ends the command.
#[derive(Debug, Clone, Default)]
pub struct Interrupts {
    /// What to print: how to return to work that is still running.
    notes: Arc<Mutex<Vec<String>>>,
    /// Whether the command itself handles the next Ctrl-C.
    claim: Arc<Claim>,
}

/// A claim on the next Ctrl-C, and whether it was pressed since.
#[derive(Debug, Default)]
struct Claim {
    active: AtomicBool,
    pressed: Notify,
}

impl Interrupts {
    /// The current notes.
    pub fn notes(&self) -> Vec<String> {
        self.notes
            .lock()
            .map(|notes| notes.clone())
            .unwrap_or_default()
    }

    /// Hands the Ctrl-C that was pressed over to the command, if it has a claim. The claim is for one
    /// Ctrl-C only: the next one ends the command.
    pub fn hand_over(&self) -> bool {
        let claimed = self.claim.active.swap(false, Ordering::Relaxed);
        if claimed {
            self.claim.pressed.notify_one();
        }
        claimed
    }
}

/// A claim on the next Ctrl-C, for a command that then ends by itself with what it has so far.
#[derive(Debug)]
pub struct InterruptClaim(Interrupts);

impl InterruptClaim {
    /// Waits for Ctrl-C.
    pub async fn pressed(&self) {
        self.0.claim.pressed.notified().await;
    }
}

impl Drop for InterruptClaim {
    fn drop(&mut self) {
        self.0.claim.active.store(false, Ordering::Relaxed);
    }
}

impl Context {
    /// Creates the context of one command.
    pub fn new(config: Config, interrupts: Interrupts) -> Self {
        Self {
            output: Output::new(config.format),
            progress: Progress::new(config.quiet, config.verbose),
            prompt: Prompt::new(config.yes),
            waiter: Waiter {
                interval: config.poll_interval,
                timeout: config.timeout,
            },
            clients: OnceCell::new(),
            network: OnceCell::new(),
            interrupts,
            config,
        }
    }

    /// Returns the project around the current directory.
    pub fn project(&self) -> Result<Project> {
        self.config.project()
    }

    /// Returns the AWS clients, created once. With `--local`, finds or starts the local cloud
    /// first.
    pub async fn aws(&self) -> Result<&Clients> {
        self.clients
            .get_or_try_init(|| async {
                let region = match &self.config.region {
                    Some(region) => Some(region.clone()),
                    None => self
                        .config
                        .find_project()?
                        .map(|project| project.file.region),
                };
                let clients = if self.config.local {
                    self.local_clients(region.as_deref()).await
                } else {
                    Clients::from_environment(
                        self.config.profile.as_deref(),
                        region.as_deref(),
                        self.config.endpoint_url.as_deref(),
                        self.network().await?,
                        self.notice(),
                    )
                    .await
                };
                Ok(clients?.suggesting(self.config.cloud_flag()))
            })
            .await
    }

    /// Shows the retries of the SDK.
    fn notice(&self) -> Notice {
        let progress = self.progress.clone();
        Notice::new(move |line| progress.say(line))
    }

    /// Returns the certificates and proxies for every connection to another machine.
    pub async fn network(&self) -> Result<&Network> {
        self.network
            .get_or_try_init(|| async { Network::new(self.config.ca_bundle()) })
            .await
    }

    /// Finds or starts the local cloud of a state directory.
    #[cfg(feature = "local")]
    pub async fn connect_local(&self, state: &Path) -> Result<mlops_local_cloud::Connection> {
        let say = |line| self.progress.detail(line);
        mlops_local_cloud::connect(&LOCAL_HOST, state, &say).await
    }

    /// Returns the address and the problems of the local cloud of a state directory, if it runs.
    #[cfg(feature = "local")]
    pub async fn local_problems(&self, state: &Path) -> Result<Option<(String, Vec<String>)>> {
        let status = mlops_local_cloud::status(&LOCAL_HOST, state).await?;
        let problems = status.degraded.into_iter();
        let problems = problems.map(|problem| format!("{}: {}", problem.what, problem.why));
        Ok(status.endpoint.map(|at| (at, problems.collect())))
    }

    /// Returns the address and the problems of the local cloud of a state directory, if it runs.
    #[cfg(not(feature = "local"))]
    #[expect(
        clippy::unused_async,
        reason = "the same signature as with the feature"
    )]
    pub async fn local_problems(&self, _state: &Path) -> Result<Option<(String, Vec<String>)>> {
        Ok(None)
    }

    #[cfg(feature = "local")]
    async fn local_clients(&self, region: Option<&str>) -> Result<Clients> {
        let state = self.config.local_state();
        let local = self.connect_local(&state).await?;
        Ok(Clients::of_local_cloud(
            &local.endpoint,
            &local.access_key,
            &local.secret_key,
            region,
            Some(self.notice()),
        ))
    }

    #[cfg(not(feature = "local"))]
    #[expect(
        clippy::unused_async,
        reason = "the same signature as with the feature"
    )]
    async fn local_clients(&self, _region: Option<&str>) -> Result<Clients> {
        Err(Failure::usage("this build of mlops has no local cloud"))
            .hint("build mlops with the cargo feature `local`")
    }

    /// Returns the AWS clients, for a command that reads resources of `project`.
    pub async fn aws_of(&self, project: &Project) -> Result<&Clients> {
        let clients = self.aws().await?;
        clients.require_cloud_of(project)?;
        Ok(clients)
    }

    /// Returns the AWS clients, after checking that they use the account and region of `project`.
    /// Commands that change something must use this (exit 4 for the wrong account).
    pub async fn aws_for(&self, project: &Project) -> Result<&Clients> {
        let clients = self.aws_of(project).await?;
        let account = clients.account().await?;
        if account != project.file.account {
            return Err(Failure::new(
                Exit::Credentials,
                format!(
                    "these credentials belong to account {account}, but {} belongs to {}",
                    project.file.name, project.file.account
                ),
            ))
            .hint(if self.config.local && self.config.remembers_local() {
                "pass --local=false, or correct `account` in mlops.toml"
            } else if self.config.local {
                "omit --local, or correct `account` in mlops.toml"
            } else {
                "pass a different --profile, or correct `account` in mlops.toml"
            });
        }
        if clients.region() != project.file.region {
            return Err(Failure::new(
                Exit::Credentials,
                format!(
                    "the region is {}, but {} belongs to {}",
                    clients.region(),
                    project.file.name,
                    project.file.region
                ),
            ))
            .hint("drop --region and AWS_REGION, or correct `region` in mlops.toml");
        }
        Ok(clients)
    }

    /// Returns the account's image registry. Its token is requested once, and renewed only when it
    /// is old or rejected.
    pub async fn registry(&self, clients: &Clients) -> Result<Registry> {
        let login = aws::ecr::login(clients).await?;
        let (first, clients) = (Mutex::new(Some(login.basic)), clients.clone());
        let renew = move || {
            let first = first.lock().ok().and_then(|mut first| first.take());
            let clients = clients.clone();
            let basic: BoxFuture<'static, Result<String>> = Box::pin(async move {
                match first {
                    Some(basic) => Ok(basic),
                    None => Ok(aws::ecr::login(&clients).await?.basic),
                }
            });
            basic
        };
        // The local cloud's registry does not support TLS.
        let direct = Network::default();
        let network = if self.config.local {
            &direct
        } else {
            self.network().await?
        };
        Registry::new(&login.endpoint, Login::Renewed(Arc::new(renew)), network)
    }

    /// Returns a command line to suggest: `mlops REST`, with `--local` if that is needed to reach
    /// the current cloud.
    pub fn command(&self, rest: &str) -> String {
        self.config.command(rest)
    }

    /// Returns the current time, or the fixed time of a test.
    pub fn now(&self) -> jiff::Timestamp {
        self.config.now.unwrap_or_else(jiff::Timestamp::now)
    }

    /// Until the guard is dropped, Ctrl-C prints `note` ("the run is still running; `mlops runs
    /// show X`").
    pub fn on_interrupt(&self, note: impl Into<String>) -> InterruptNote {
        let note = note.into();
        if let Ok(mut notes) = self.interrupts.notes.lock() {
            notes.push(note.clone());
        }
        InterruptNote {
            interrupts: self.interrupts.clone(),
            note,
        }
    }
}

impl Context {
    /// Until the claim is dropped, the first Ctrl-C does not end the command.
    pub fn claim_interrupt(&self) -> InterruptClaim {
        self.interrupts.claim.active.store(true, Ordering::Relaxed);
        InterruptClaim(self.interrupts.clone())
    }
}

/// Removes its note when dropped.
#[derive(Debug)]
pub struct InterruptNote {
    interrupts: Interrupts,
    note: String,
}

impl Drop for InterruptNote {
    fn drop(&mut self) {
        if let Ok(mut notes) = self.interrupts.notes.lock()
            && let Some(index) = notes.iter().position(|note| *note == self.note)
        {
            notes.remove(index);
        }
    }
}
