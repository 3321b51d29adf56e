//! One server per state directory: the lock, the address file, and finding or starting the server.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use mlops_core::directory::refused;
use mlops_core::error::{Failure, Hint, hinted};
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::health::{self, Problem};
use super::state_files::{ADDRESS, LOCK, LOG, PORT, SEAL, UNPUBLISHED, WAITING, is_file};
use super::{beneath, clock, seal};
use crate::host::Host;

/// Timeout for a server to start or stop.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The address file of a state directory; mode 0600.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Address {
    endpoint: String,
    port: u16,
    pid: u32,
    access_key: String,
    secret_key: String,
    #[serde(default)]
    region: String,
}

impl Address {
    pub(crate) fn new(
        endpoint: &str,
        port: u16,
        region: &str,
        credentials: &Credentials,
        directory: &Path,
    ) -> Self {
        let (access_key, secret_key) = match credentials {
            Credentials::Any => (super::admission::access_key(directory), "local".to_owned()),
            Credentials::Required {
                access_key,
                secret_key,
            } => (access_key.clone(), secret_key.clone()),
        };
        Self {
            endpoint: endpoint.to_owned(),
            port,
            pid: std::process::id(),
            access_key,
            secret_key,
            region: region.to_owned(),
        }
    }

    fn read(directory: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(directory.join(ADDRESS)).ok()?;
        serde_json::from_str(&text).ok()
    }
}

/// The state directory, locked exclusively by this process.
#[derive(Debug)]
pub(crate) struct StateLock {
    directory: PathBuf,
    lock: File,
    waiting: File,
    inode: u64,
}

impl StateLock {
    /// Creates the directory (mode 0700) or checks its seal, and acquires its lock.
    pub(crate) async fn acquire(directory: &Path, host: &Host) -> Result<Self> {
        let directory = seal::ensure(directory, host)?;
        std::fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        let waiting = open_lock(&directory, WAITING)?;
        // Other servers share this lock; `stop` holds it exclusively for an instant.
        waiting.lock_shared()?;
        let lock = open_lock(&directory, LOCK)?;
        let start = Instant::now();
        // A client that checks whether a server runs holds the lock for a moment.
        while let Err(error) = lock.try_lock() {
            match error {
                TryLockError::WouldBlock if start.elapsed() < Duration::from_millis(300) => {
                    clock::sleep(Duration::from_millis(10)).await;
                }
                TryLockError::WouldBlock => {
                    let address = Address::read(&directory);
                    return Err(already_running(&directory, address.as_ref()));
                }
                TryLockError::Error(error) => {
                    return Err(error).context(format!("cannot lock {}", directory.display()));
                }
            }
        }
        let inode = lock.metadata()?.ino();
        // Another program may use the old address by now; no client must look for this server
        // there.
        if let Some(address) = Address::read(&directory) {
            std::fs::write(directory.join(PORT), address.port.to_string())?;
            std::fs::remove_file(directory.join(ADDRESS))?;
        }
        Ok(Self {
            directory,
            lock,
            waiting,
            inode,
        })
    }

    /// The port of the previous server, so that addresses stay stable.
    pub(crate) fn last_port(&self) -> Option<u16> {
        let text = std::fs::read_to_string(self.directory.join(PORT)).ok()?;
        text.trim().parse().ok()
    }

    /// Writes the address file.
    pub(crate) fn publish(&self, address: &Address) -> Result<()> {
        let text = serde_json::to_string_pretty(address)?;
        let temporary = self.directory.join(UNPUBLISHED);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        std::io::Write::write_all(&mut options.open(&temporary)?, text.as_bytes())?;
        std::fs::rename(temporary, self.directory.join(ADDRESS))?;
        self.waiting.unlock()?;
        Ok(())
    }

    /// False if the directory was removed or replaced.
    pub(crate) fn directory_is_ours(&self) -> bool {
        std::fs::metadata(self.directory.join(LOCK)).is_ok_and(|found| found.ino() == self.inode)
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // The process is about to exit, and the kernel then releases the lock.
        let _ = self.lock.unlock();
    }
}

fn open_lock(directory: &Path, name: &str) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(directory.join(name))
        .map_err(|error| refused("cannot open the lock in", directory, &error))
}

/// True if a server has locked the directory.
fn is_locked(directory: &Path) -> Result<bool> {
    if !is_file(&directory.join(LOCK)) {
        return Ok(false);
    }
    match open_lock(directory, LOCK)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The server that runs on `directory`, if it accepts connections. The seal must have been checked.
async fn running(directory: &Path) -> Result<Option<Address>> {
    if !is_locked(directory)? {
        return Ok(None);
    }
    let Some(address) = Address::read(directory) else {
        return Ok(None);
    };
    let answers = tokio::net::TcpStream::connect(("127.0.0.1", address.port))
        .await
        .is_ok();
    Ok(answers.then_some(address))
}

/// Address and credentials of a running server.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `http://127.0.0.1:PORT`
    pub endpoint: String,
    /// The access key: of this state directory, or random with `--require-credentials`.
    pub access_key: String,
    /// The secret that belongs to the access key.
    pub secret_key: String,
}

/// Receives progress messages for `--verbose`.
pub type OnProgress<'a> = &'a (dyn Fn(String) + Sync);

/// Finds the server of `directory`, or starts one that stops by itself when it is idle.
pub async fn connect(
    host: &Host,
    directory: &Path,
    on_progress: OnProgress<'_>,
) -> Result<Connection> {
    find_or_start(host, directory, &BackgroundOptions::default(), on_progress).await
}

/// Options of a background server.
#[derive(Debug, Clone)]
pub struct BackgroundOptions {
    /// The port; `None` uses the last one, the default, or any free one.
    pub port: Option<u16>,
    /// Generate random credentials and refuse all others.
    pub require_credentials: bool,
    /// Stop after this many minutes without a request or a job.
    pub idle_minutes: u64,
}

impl Default for BackgroundOptions {
    fn default() -> Self {
        Self {
            port: None,
            require_credentials: false,
            idle_minutes: 15,
        }
    }
}

/// Starts a server in the background; fails if one is already running.
pub async fn detach(
    host: &Host,
    directory: &Path,
    options: &BackgroundOptions,
    on_progress: OnProgress<'_>,
) -> Result<()> {
    seal::check(directory, host)?;
    if let Some(address) = running(directory).await? {
        return Err(already_running(directory, Some(&address)));
    }
    find_or_start(host, directory, options, on_progress).await?;
    Ok(())
}

fn already_running(directory: &Path, address: Option<&Address>) -> anyhow::Error {
    let at = address
        .map(|address| format!(" at {}", address.endpoint))
        .unwrap_or_default();
    hinted(
        anyhow!("a local cloud already runs on {}{at}", directory.display()),
        "use it with --local, stop it with `mlops local stop`, or pass another --state",
    )
}

async fn find_or_start(
    host: &Host,
    directory: &Path,
    options: &BackgroundOptions,
    on_progress: OnProgress<'_>,
) -> Result<Connection> {
    // The directory must be sealed before anything is written to it, including the log of the
    // server.
    let directory = &seal::ensure(directory, host)?;
    let start = Instant::now();
    let mut child = None;
    loop {
        if let Some(address) = running(directory).await? {
            return Ok(Connection {
                endpoint: address.endpoint,
                access_key: address.access_key,
                secret_key: address.secret_key,
            });
        }
        if child.is_none() && !is_locked(directory)? {
            on_progress(format!(
                "starting the local cloud in {}",
                directory.display()
            ));
            child = Some(spawn(host, directory, options)?);
        }
        if let Some(process) = &mut child
            && let Some(status) = process.try_wait()?
            && !is_locked(directory)?
        {
            return Err(anyhow!(
                "the local cloud did not start ({status}): {}",
                last_line(&directory.join(LOG))
            ))
            .hint(format!("see its log: {}", directory.join(LOG).display()));
        }
        if start.elapsed() > START_TIMEOUT {
            return Err(anyhow!("the local cloud does not respond"))
                .hint(format!("see its log: {}", directory.join(LOG).display()));
        }
        clock::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts a detached server on `directory`, in its own process group.
fn spawn(
    host: &Host,
    directory: &Path,
    options: &BackgroundOptions,
) -> Result<std::process::Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(directory.join(LOG))?;
    let mut command = Command::new((host.program)()?);
    command.args(["local", "start", "--quiet", "--state"]);
    command.arg(directory);
    command.args(["--idle-minutes", &options.idle_minutes.to_string()]);
    match options.port {
        Some(port) => command.args(["--port", &port.to_string()]),
        None => command.arg("--any-port"),
    };
    if options.require_credentials {
        command.arg("--require-credentials");
    }
    command
        .env_clear()
        .envs((host.server_environment)())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the local cloud")
}

fn last_line(path: &Path) -> String {
    std::fs::read_to_string(path)
        .ok()
        .and_then(|text| {
            text.lines()
                .rev()
                .find(|line| line.starts_with("error:"))
                .map(str::to_owned)
        })
        .unwrap_or_else(|| "its log has no error".to_owned())
}

/// The report of `mlops local status`.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The state directory.
    pub directory: PathBuf,
    /// True if a server is running.
    pub running: bool,
    /// Its URL.
    pub endpoint: Option<String>,
    /// Its process id.
    pub pid: Option<u32>,
    /// Problems of the server; empty if there are none.
    pub degraded: Vec<Problem>,
}

/// Checks whether a server runs on `directory`, and which problems it has.
pub async fn status(host: &Host, directory: &Path) -> Result<Status> {
    seal::check(directory, host)?;
    let address = running(directory).await?;
    let degraded = match &address {
        Some(address) => health::fetch_problems(&address.endpoint)
            .await
            .unwrap_or_else(|error| vec![Problem::new("its status", &format!("{error:#}"))]),
        None => Vec::new(),
    };
    Ok(Status {
        degraded,
        directory: directory.to_owned(),
        running: address.is_some(),
        endpoint: address.as_ref().map(|address| address.endpoint.clone()),
        pid: address.map(|address| address.pid),
    })
}

/// User and password for a repository of the running local cloud, as a git credential helper prints
/// them. `None` for any other host.
pub async fn git_credential(
    host: &Host,
    directory: &Path,
    protocol: &str,
    authority: &str,
    path: &str,
) -> Result<Option<(String, String)>> {
    seal::check(directory, host)?;
    let address = running(directory)
        .await?
        .filter(|address| address.endpoint == format!("{protocol}://{authority}"));
    Ok(address.map(|address| {
        let path = format!("/{path}");
        let password =
            super::admission::git_password(&address.secret_key, &address.region, authority, &path);
        (address.access_key, password)
    }))
}

/// True while a server is starting on the directory or waiting for it.
fn is_starting(directory: &Path) -> Result<bool> {
    if !is_file(&directory.join(WAITING)) {
        return Ok(false);
    }
    match open_lock(directory, WAITING)?.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Stops the server of `directory`, and a server that waited for the directory and took over: when
/// this returns, none is running. Returns the processes that were stopped.
pub async fn stop(host: &Host, directory: &Path) -> Result<Vec<u32>> {
    let mut stopped = Vec::new();
    if seal::check(directory, host)? == seal::StateDirectory::Absent {
        return Ok(stopped);
    }
    let mut start = Instant::now();
    loop {
        // Checked before `running`: a server that begins to wait after this was started later.
        let awaited = is_starting(directory)?;
        if let Some(address) = running(directory).await? {
            if !stopped.contains(&address.pid) {
                let pid = nix::unistd::Pid::from_raw(i32::try_from(address.pid)?);
                match nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM) {
                    // It had already ended.
                    Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                    Err(error) => {
                        return Err(error).context(format!("cannot end process {pid}"));
                    }
                }
                stopped.push(address.pid);
                start = Instant::now();
            }
        } else if !awaited && !is_locked(directory)? {
            return Ok(stopped);
        }
        if start.elapsed() > START_TIMEOUT {
            let error = anyhow!("the local cloud on {} does not stop", directory.display());
            return Err(match stopped.last() {
                Some(pid) => hinted(
                    error,
                    format!("stop it with `kill -9 {pid}`; no acknowledged data is lost"),
                ),
                None => error,
            });
        }
        clock::sleep(Duration::from_millis(10)).await;
    }
}

/// Adopts a state directory that was moved or copied here.
pub fn adopt(host: &Host, directory: &Path) -> Result<()> {
    if is_locked(directory)? {
        return Err(foreign_server(directory));
    }
    seal::adopt(directory, host)?;
    // The address belongs to the place that the directory was copied from.
    match std::fs::remove_file(directory.join(ADDRESS)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn foreign_server(directory: &Path) -> anyhow::Error {
    hinted(
        Failure::usage(format!(
            "the local cloud running on {} is not yours",
            directory.display()
        )),
        "stop its process first",
    )
}

/// Stops the server and removes its state. A directory that looks like a state directory but is not
/// sealed for this user is also removed, without reading its files.
pub async fn reset(host: &Host, directory: &Path) -> Result<bool> {
    // Removed last: if something cannot be removed, the next reset must recognize the directory.
    const LAST: &[&str] = &[SEAL, LOCK, super::store::FILE];
    let last = match seal::check(directory, host) {
        Ok(seal::StateDirectory::Ours) => {
            stop(host, directory).await?;
            // The seal suffices to recognize the directory, and a new server must not find old
            // records.
            &LAST[..1]
        }
        Err(_) if !seal::resembles_state(directory) => {
            return Err(Failure::usage(format!(
                "{} is not the state of a local cloud; nothing was removed",
                directory.display()
            )))
            .hint("pass the directory that `mlops local status` shows");
        }
        Err(_) if is_locked(directory)? => return Err(foreign_server(directory)),
        Ok(seal::StateDirectory::Absent) | Err(_) => LAST,
    };
    if directory.symlink_metadata().is_err() {
        return Ok(false);
    }
    beneath::discard_all(directory, last);
    Ok(true)
}
