//! Reports of the `local` commands.

use std::fmt;
use std::path::PathBuf;

use mlops_local_cloud::Status;
use serde::Serialize;

use super::{Env, GitCredential, Injected};
use crate::output::Report;

/// The result of a `local` command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum LocalReport {
    /// The environment for its clients.
    Env(Env),
    /// Whether a server is running.
    Status(Status),
    /// A server was stopped.
    Ended {
        /// False if none was running.
        stopped: bool,
        /// The process ids of the servers; more than one if another server took over in the
        /// meantime.
        processes: Vec<u32>,
    },
    /// A state directory was removed.
    Removed {
        /// The directory.
        directory: PathBuf,
        /// False if it did not exist.
        removed: bool,
    },
    /// The response to git.
    GitCredential(GitCredential),
    /// Data was loaded.
    Injected(Injected),
}

impl Report for LocalReport {}

impl fmt::Display for LocalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(env) => env.fmt(f),
            Self::Status(status) => {
                match (&status.endpoint, status.pid) {
                    (Some(endpoint), Some(pid)) => {
                        write!(f, "running at {endpoint} (process {pid}), ")?;
                    }
                    _ => f.write_str("not running, ")?,
                }
                write!(f, "state in {}", status.directory.display())?;
                for trouble in &status.degraded {
                    write!(
                        f,
                        "\ndegraded since {}: {}: {}",
                        trouble.since, trouble.what, trouble.why
                    )?;
                }
                Ok(())
            }
            Self::GitCredential(credential) => credential.fmt(f),
            Self::Injected(injected) => injected.fmt(f),
            Self::Ended { processes, .. } if processes.len() > 1 => write!(
                f,
                "Stopped the local cloud, and another one that had taken over ({} processes); its data is \
                 kept.",
                processes.len()
            ),
            Self::Ended { stopped: true, .. } => {
                f.write_str("Stopped the local cloud; its data is kept.")
            }
            Self::Ended { .. } => f.write_str("No local cloud was running."),
            Self::Removed {
                directory,
                removed: true,
            } => {
                write!(f, "Removed {}", directory.display())
            }
            Self::Removed { directory, .. } => {
                write!(f, "Nothing to remove in {}", directory.display())
            }
        }
    }
}
