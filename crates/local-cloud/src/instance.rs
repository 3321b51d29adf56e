//! One server for one state directory: the lock, the address file, and finding or starting it.

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

use super::admission::Credentials;
use super::health::{self, Trouble};
use super::{beneath, clock, seal};
use crate::host::Host;

const LOCK: &str = "lock";
/// Locked (shared) by servers from before they wait for the lock until they answer.
const WAITING: &str = "waiting";
const ADDRESS: &str = "address.json";
/// The address file while it is written.
const UNPUBLISHED: &str = "address.tmp";
const PORT: &str = "port";
const LOG: &str = "server.log";

/// How long a server may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the server of a state directory answers; mode 0600.
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
    /// Makes the directory (mode 0700), or checks its seal, and takes its lock.
    pub(crate) async fn acquire(directory: &Path, host: &Host) -> Result<Self> {
        let directory = seal::ensure(directory, host)?;
        std::fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        let waiting = open_lock(&directory, WAITING)?;
        // Others share it; `stop` has it for an instant.
        waiting.lock_shared()?;
        let lock = open_lock(&directory, LOCK)?;
        let start = Instant::now();
        // A client that looks whether a server runs holds the lock for a moment.
        while let Err(error) = lock.try_lock() {
            match error {
                TryLockError::WouldBlock if start.elapsed() < Duration::from_millis(300) => {
                    clock::sleep(Duration::from_millis(10)).await;
                }
                TryLockError::WouldBlock => {
                    let address = Address::read(&directory);
                    return Err(already_runs(&directory, address.as_ref()));
                }
                TryLockError::Error(error) => {
                    return Err(error).context(format!("cannot lock {}", directory.display()));
                }
            }
        }
        let inode = lock.metadata()?.ino();
        // Another program may listen at the old address by now; nobody shall look for us there.
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

    /// The port of the server before this one, so that addresses stay the same.
    pub(crate) fn last_port(&self) -> Option<u16> {
        let text = std::fs::read_to_string(self.directory.join(PORT)).ok()?;
        text.trim().parse().ok()
    }

    /// Says where this server answers.
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

    /// False when the directory was removed, or replaced by another.
    pub(crate) fn directory_is_ours(&self) -> bool {
        std::fs::metadata(self.directory.join(LOCK)).is_ok_and(|found| found.ino() == self.inode)
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // The process is ending and the kernel releases the lock in any case.
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

/// True when a server holds the directory.
fn is_held(directory: &Path) -> Result<bool> {
    if !is_file(&directory.join(LOCK)) {
        return Ok(false);
    }
    match open_lock(directory, LOCK)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The server that runs on `directory`, whose seal was checked, if it answers.
async fn running(directory: &Path) -> Result<Option<Address>> {
    if !is_held(directory)? {
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

/// How to reach the server of a state directory.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `http://127.0.0.1:PORT`
    pub endpoint: String,
    /// Any credentials, or the random ones of `--require-credentials`.
    pub access_key: String,
    /// The secret that belongs to the access key.
    pub secret_key: String,
}

/// Receives progress messages, for `--verbose`.
pub type Say<'a> = &'a (dyn Fn(String) + Sync);

/// Finds the server of `directory`, or starts one that ends by itself when it is idle.
pub async fn connect(host: &Host, directory: &Path, say: Say<'_>) -> Result<Connection> {
    find_or_start(host, directory, &Detached::default(), say).await
}

/// How a server in the background is started.
#[derive(Debug, Clone)]
pub struct Detached {
    /// The port; `None` takes the last one, the default, or any that is free.
    pub port: Option<u16>,
    /// Make random credentials and refuse any others.
    pub require_credentials: bool,
    /// End after this many minutes without a request or a job.
    pub idle_minutes: u64,
}

impl Default for Detached {
    fn default() -> Self {
        Self {
            port: None,
            require_credentials: false,
            idle_minutes: 15,
        }
    }
}

/// Starts a server in the background as `options` say; an error when one runs already.
pub async fn detach(host: &Host, directory: &Path, options: &Detached, say: Say<'_>) -> Result<()> {
    seal::check(directory, host)?;
    if let Some(address) = running(directory).await? {
        return Err(already_runs(directory, Some(&address)));
    }
    find_or_start(host, directory, options, say).await?;
    Ok(())
}

fn already_runs(directory: &Path, address: Option<&Address>) -> anyhow::Error {
    let at = address
        .map(|address| format!(" at {}", address.endpoint))
        .unwrap_or_default();
    hinted(
        anyhow!("a local cloud already runs on {}{at}", directory.display()),
        "use it with --local, end it with `mlops local stop`, or pass another --state",
    )
}

async fn find_or_start(
    host: &Host,
    directory: &Path,
    options: &Detached,
    say: Say<'_>,
) -> Result<Connection> {
    // The directory must be sealed before anything is put into it, the server's log too.
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
        if child.is_none() && !is_held(directory)? {
            say(format!(
                "starting the local cloud in {}",
                directory.display()
            ));
            child = Some(spawn(host, directory, options)?);
        }
        if let Some(process) = &mut child
            && let Some(status) = process.try_wait()?
            && !is_held(directory)?
        {
            return Err(anyhow!(
                "the local cloud did not start ({status}): {}",
                last_line(&directory.join(LOG))
            ))
            .hint(format!("its log is {}", directory.join(LOG).display()));
        }
        if start.elapsed() > PATIENCE {
            return Err(anyhow!("the local cloud does not answer"))
                .hint(format!("its log is {}", directory.join(LOG).display()));
        }
        clock::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts a detached server on `directory`, in a process group of its own.
fn spawn(host: &Host, directory: &Path, options: &Detached) -> Result<std::process::Child> {
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
        .unwrap_or_else(|| "its log says nothing".to_owned())
}

/// What `mlops local status` finds.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The state directory.
    pub directory: PathBuf,
    /// True while a server answers.
    pub running: bool,
    /// Where it answers.
    pub endpoint: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// What keeps it from doing its work; empty for a server that is well.
    pub degraded: Vec<Trouble>,
}

/// Looks whether a server runs on `directory`, and what is wrong with it.
pub async fn status(host: &Host, directory: &Path) -> Result<Status> {
    seal::check(directory, host)?;
    let address = running(directory).await?;
    let degraded = match &address {
        Some(address) => health::ask(&address.endpoint)
            .await
            .unwrap_or_else(|error| vec![Trouble::new("its status", &format!("{error:#}"))]),
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

/// What git needs for a repository of the running local cloud, as a credential helper prints it:
/// user and password. `None` for any other host.
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

/// True while a server waits for the directory, or starts on it.
fn is_awaited(directory: &Path) -> Result<bool> {
    if !is_file(&directory.join(WAITING)) {
        return Ok(false);
    }
    match open_lock(directory, WAITING)?.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Ends the server of `directory`, and one that waited for the directory and took over: when this
/// returns, none runs. The processes that were ended.
pub async fn stop(host: &Host, directory: &Path) -> Result<Vec<u32>> {
    let mut ended = Vec::new();
    if seal::check(directory, host)? == seal::Found::Nothing {
        return Ok(ended);
    }
    let mut start = Instant::now();
    loop {
        // In this order: a server that begins to wait after the first look was started later.
        let awaited = is_awaited(directory)?;
        if let Some(address) = running(directory).await? {
            if !ended.contains(&address.pid) {
                let pid = nix::unistd::Pid::from_raw(i32::try_from(address.pid)?);
                match nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM) {
                    // It ended by itself.
                    Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                    Err(error) => {
                        return Err(error).context(format!("cannot end process {pid}"));
                    }
                }
                ended.push(address.pid);
                start = Instant::now();
            }
        } else if !awaited && !is_held(directory)? {
            return Ok(ended);
        }
        if start.elapsed() > PATIENCE {
            let error = anyhow!("the local cloud on {} does not end", directory.display());
            return Err(match ended.last() {
                Some(pid) => hinted(
                    error,
                    format!("end it with `kill -9 {pid}`; nothing acknowledged is lost"),
                ),
                None => error,
            });
        }
        clock::sleep(Duration::from_millis(10)).await;
    }
}

/// True for a directory with the files that a local cloud makes. Nothing in it is trusted for that.
pub(super) fn has_state(directory: &Path) -> bool {
    const OURS: [&str; 7] = [LOCK, WAITING, LOG, PORT, ADDRESS, UNPUBLISHED, seal::SEAL];
    let Ok(entries) = std::fs::read_dir(directory) else {
        return false;
    };
    let made = is_file(&directory.join(LOCK)) && is_file(&directory.join(super::store::FILE));
    made || entries.flatten().all(|entry| {
        let found = entry.file_name();
        let unfinished = seal::UNFINISHED.as_bytes();
        OURS.iter().any(|name| found == *name) || found.as_encoded_bytes().starts_with(unfinished)
    })
}

/// True for a file that is no link.
fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}

/// Makes a state directory that was moved or copied this user's own here.
pub fn adopt(host: &Host, directory: &Path) -> Result<()> {
    if is_held(directory)? {
        return Err(runs_elsewhere(directory));
    }
    seal::adopt(directory, host)?;
    // It names an address of the place that the directory was copied from.
    match std::fs::remove_file(directory.join(ADDRESS)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn runs_elsewhere(directory: &Path) -> anyhow::Error {
    hinted(
        Failure::usage(format!(
            "a local cloud that is not yours runs on {}",
            directory.display()
        )),
        "end its process first",
    )
}

/// Ends the server and removes everything it kept. What looks like a state directory and is not
/// this user's own is removed too, without a look at what its files say.
pub async fn reset(host: &Host, directory: &Path) -> Result<bool> {
    // Where something cannot be removed, the next reset must know the directory again.
    const LAST: &[&str] = &[seal::SEAL, LOCK, super::store::FILE];
    let last = match seal::check(directory, host) {
        Ok(seal::Found::Ours) => {
            stop(host, directory).await?;
            // The seal is enough, and a new server must not find old records.
            &LAST[..1]
        }
        Err(_) if !seal::resembles_state(directory) => {
            return Err(Failure::usage(format!(
                "{} is not the state of a local cloud; nothing was removed",
                directory.display()
            )))
            .hint("name the directory that `mlops local status` shows");
        }
        Err(_) if is_held(directory)? => return Err(runs_elsewhere(directory)),
        Ok(seal::Found::Nothing) | Err(_) => LAST,
    };
    if directory.symlink_metadata().is_err() {
        return Ok(false);
    }
    beneath::discard_all(directory, last);
    Ok(true)
}
