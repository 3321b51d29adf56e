//! Command lines to suggest, which reach the cloud that this command reached, and the project's
//! `local = true`.

use std::env;
use std::path::{Path, PathBuf};

use super::{Config, FILE, shell};

impl Config {
    /// Whether the project around the current directory has `local = true`.
    pub fn remembers_local(&self) -> bool {
        remembers_local(&self.directory)
    }

    /// The path of this program, where a shell does not find `mlops`.
    pub fn path_of_mlops(&self) -> Option<PathBuf> {
        match self.program("mlops") {
            Some(_) => None,
            None => env::current_exe().ok(),
        }
    }

    /// The command line to begin with in a new project: without `--local` where the project
    /// remembers it, and with this program's path where `mlops` is not on PATH.
    pub fn first_command(&self, rest: &str) -> String {
        let flag = if self.local && !self.remembers_local() {
            " --local"
        } else {
            ""
        };
        let program = self.path_of_mlops().map_or_else(
            || "mlops".to_owned(),
            |path| shell::word(&path.to_string_lossy()),
        );
        format!("{program}{flag} {rest}")
    }

    /// A command line to suggest: `mlops REST`, with the flag that makes it reach the cloud that
    /// this command reached, where one is needed.
    pub fn command(&self, rest: &str) -> String {
        format!("mlops{} {rest}", self.cloud_flag())
    }

    /// The flag that this command ran with; ` --local` too if only the environment sets it.
    pub fn cloud_flag(&self) -> &'static str {
        match self.local_flag {
            Some(true) => " --local",
            Some(false) if self.remembers_local() => " --local=false",
            None if self.local && !self.remembers_local() => " --local",
            // A profile or an endpoint took it elsewhere.
            None if !self.local && self.remembers_local() => " --local=false",
            _ => "",
        }
    }
}

/// Whether the project around `directory` has `local = true`. A file that cannot be read is an error
/// of the command that needs the project.
pub(super) fn remembers_local(directory: &Path) -> bool {
    let file = directory.ancestors().map(|dir| dir.join(FILE));
    let table = file
        .filter(|file| file.is_file())
        .find_map(|file| std::fs::read(file).ok())
        .and_then(|bytes| toml::from_slice::<toml::Table>(&bytes).ok());
    match table.as_ref().and_then(|table| table.get("local")) {
        Some(toml::Value::Boolean(enabled)) => *enabled,
        Some(toml::Value::Table(section)) => {
            section.get("enabled").and_then(toml::Value::as_bool) == Some(true)
        }
        _ => false,
    }
}
