//! What the program that carries the local cloud gives it. The local cloud itself reads no environment
//! variable and knows no command line but `local start` and `job-process`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Variables with their values.
pub type Environment = Vec<(OsString, OsString)>;

/// The program around the local cloud. Functions, because most commands need little of it.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// The program. It answers `local start --quiet --state DIRECTORY --idle-minutes N --port N |
    /// --any-port [--require-credentials]` and `job-process ARGUMENTS`.
    pub program: fn() -> io::Result<PathBuf>,
    /// The user's home directory, whose `.aws` jobs do not see.
    pub home: fn() -> Option<PathBuf>,
    /// The directory of the key that seals state directories, outside of projects and caches.
    pub secrets: fn() -> Option<PathBuf>,
    /// The environment of a server in the background, without the user's credentials.
    pub server_environment: fn() -> Environment,
    /// The environment of Python's installers, which run the packages' own code.
    pub installer_environment: fn() -> Environment,
    /// Whether git tracks files in a directory. False where there is no git.
    pub is_tracked: fn(&Path) -> anyhow::Result<bool>,
    /// A fault to inject, for tests of crashes: `kill POINT SUBJECT` ends the server at a named point;
    /// `hold POINT SUBJECT FILE` creates the file there and waits until it is removed.
    pub fault: fn() -> Option<String>,
}

#[cfg(test)]
impl Host {
    /// A host for tests: no home directory, and installers use the test's PATH.
    pub(crate) fn of_tests() -> Self {
        Self {
            program: std::env::current_exe,
            home: || None,
            secrets: || None,
            server_environment: Environment::new,
            installer_environment: || {
                let path = std::env::var_os("PATH");
                path.map(|path| ("PATH".into(), path)).into_iter().collect()
            },
            is_tracked: |_| Ok(false),
            fault: || None,
        }
    }
}
