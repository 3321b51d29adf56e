//! Command lines to suggest. They reach the same cloud as the current command, taking the project's
//! `local = true` into account.

use std::env;
use std::path::{Path, PathBuf};

use super::origin::lines;
use super::{Config, FILE, shell};

impl Config {
    /// Whether the project around the current directory has `local = true`.
    pub fn remembers_local(&self) -> bool {
        remembers_local(&self.directory)
    }

    /// The path of this program, if a shell does not find `mlops`.
    pub fn path_of_mlops(&self) -> Option<PathBuf> {
        match self.program("mlops") {
            Some(_) => None,
            None => env::current_exe().ok(),
        }
    }

    /// Returns the first command line for a new project: without `--local` if the project sets it,
    /// and with this program's path if `mlops` is not on PATH.
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

    /// Returns a command line to suggest: `mlops REST`, with the flag that selects the current
    /// command's cloud, if one is needed.
    pub fn command(&self, rest: &str) -> String {
        format!("mlops{} {rest}", self.cloud_flag())
    }

    /// Returns the flag of this command; ` --local` also if only the environment sets it.
    pub fn cloud_flag(&self) -> &'static str {
        match self.local_flag {
            Some(true) => " --local",
            Some(false) if self.remembers_local() => " --local=false",
            None if self.local && !self.remembers_local() => " --local",
            // A profile or an endpoint overrode it. An endpoint on this machine comes from the variables of
            // `mlops local env`, which the next command has, too.
            None if !self.is_local() && self.remembers_local() => " --local=false",
            _ => "",
        }
    }
}

/// Returns whether the project around `directory` sets `local = true`.
fn remembers_local(directory: &Path) -> bool {
    line_of_local(directory).is_some()
}

/// Returns the line at which the project around `directory` sets `local = true`. A file that cannot
/// be read is reported by the command that needs the project.
pub(super) fn line_of_local(directory: &Path) -> Option<usize> {
    let file = directory.ancestors().map(|dir| dir.join(FILE));
    let text = file
        .filter(|file| file.is_file())
        .find_map(|file| std::fs::read(file).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())?;
    let table = toml::from_str::<toml::Table>(&text).ok()?;
    let is_set = match table.get("local") {
        Some(toml::Value::Boolean(enabled)) => *enabled,
        Some(toml::Value::Table(section)) => {
            section.get("enabled").and_then(toml::Value::as_bool) == Some(true)
        }
        _ => false,
    };
    is_set.then(|| lines(&text).remove("local.enabled").unwrap_or(1))
}
