//! The host interface that this program provides to the local cloud.

use std::env;
use std::path::Path;

use mlops_local_cloud::Host;

use super::environment::{ca_bundle, installer_environment, local_fault, server_environment};
use crate::git::Repository;

/// Implements [`Host`] for this program.
pub const LOCAL_HOST: Host = Host {
    program: env::current_exe,
    home: env::home_dir,
    secrets: super::secret_directory,
    server_environment,
    installer_environment: || installer_environment(ca_bundle().as_ref()),
    is_tracked,
    fault: local_fault,
};

fn is_tracked(directory: &Path) -> anyhow::Result<bool> {
    match Repository::find(directory) {
        Ok(Some(repository)) => repository.tracks(Path::new(".")),
        // Without git, no checkouts are possible.
        Ok(None) | Err(_) => Ok(false),
    }
}
