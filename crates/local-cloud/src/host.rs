//! What the hosting program provides to the local cloud, which reads no environment variables and
//! assumes no command line other than `local start` and `job-process`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Environment variables with their values.
pub type Environment = Vec<(OsString, OsString)>;

/// The program that hosts the local cloud. The fields are functions because most commands need few
/// of them.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Path of the program. It must accept `local start --quiet --state DIRECTORY --idle-minutes N
    /// --port N | --any-port [--require-credentials]` and `job-process ARGUMENTS`.
    pub program: fn() -> io::Result<PathBuf>,
    /// The user's home directory, whose `.aws` is hidden from jobs.
    pub home: fn() -> Option<PathBuf>,
    /// Directory of the key that seals state directories; outside of projects and caches.
    pub secrets: fn() -> Option<PathBuf>,
    /// The environment of a background server, without the user's credentials.
    pub server_environment: fn() -> Environment,
    /// The environment of Python's installers, which run code of the packages.
    pub installer_environment: fn() -> Environment,
    /// True if git tracks files in a directory. False without git.
    pub is_tracked: fn(&Path) -> anyhow::Result<bool>,
    /// Faults to inject, for tests, separated by `;`: `kill POINT SUBJECT` ends the server at a named
    /// point; `hold POINT SUBJECT FILE` creates the file there and waits until it is removed; `limit
    /// NAME SECONDS` shortens a time limit.
    pub fault: fn() -> Option<String>,
}

impl Host {
    /// A host for tests: no home directory, and the usual PATH for installers.
    pub(crate) fn of_tests() -> Self {
        Self {
            program: std::env::current_exe,
            home: || None,
            secrets: || None,
            server_environment: Environment::new,
            installer_environment: || vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            is_tracked: |_| Ok(false),
            fault: || None,
        }
    }
}
