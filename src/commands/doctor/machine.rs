//! Checks of this machine: programs, disk space, the local cloud.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use mlops_core::text::bytes;
use mlops_oci::engine::Engine;
use tokio::process::Command;

use super::report::Check;
use crate::config::{Builder, Config, Project};
use crate::context::Context;

/// Free space in bytes below which an image or a virtual environment does not fit.
const LEAST_SPACE: u64 = 256 << 20;

/// Free space in bytes below which it may soon not fit.
const LOW_SPACE: u64 = 2 << 30;

/// Prints the version of Python, and the name of a missing module that virtual environments need.
const PYTHON: &str = "import sys
print('.'.join(map(str, sys.version_info[:3])))
try:
    import ensurepip, venv
except ImportError as error:
    print(error.name)
";

/// Runs a program and returns its output; an error in words for a line.
async fn output(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match command.output().await {
        Ok(done) if done.status.success() => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            let last = said.lines().last().unwrap_or_default().to_owned();
            Err(format!("{} fails: {last}", program.display()))
        }
        Err(error) => Err(format!("{} does not start: {error}", program.display())),
    }
}

/// git, which every command that reads a branch needs.
pub(super) async fn git(config: &Config) -> Check {
    const NAME: &str = "git";

    let Some(program) = config.program("git") else {
        return Check::fail(NAME, "not on PATH").fix("install git");
    };
    match output(&program, &["--version"]).await {
        Ok(text) => Check::ok(NAME, text.trim().trim_start_matches("git version ")),
        Err(problem) => Check::fail(NAME, problem).fix("reinstall git"),
    }
}

/// Python, which the local cloud and image builds without an engine use.
pub(super) async fn python(config: &Config) -> Check {
    const NAME: &str = "python";
    const FIX: &str =
        "install Python 3.11 or newer with venv (Debian: python3-venv), or set MLOPS_PYTHON to it";

    let program = config.python.clone().or_else(|| config.program("python3"));
    let Some(program) = program else {
        return Check::fail(NAME, "there is no python3 on PATH").fix(FIX);
    };
    // Isolated: a module of the current directory must not run.
    match output(&program, &["-I", "-c", PYTHON]).await {
        Ok(text) => {
            let mut lines = text.lines();
            let version = lines.next().unwrap_or_default();
            if !is_supported(version) {
                let finding = format!("{version}, {}", program.display());
                return Check::fail(NAME, finding).fix(FIX);
            }
            match lines.next() {
                None => Check::ok(NAME, format!("{version} with venv, {}", program.display())),
                Some(module) => Check::fail(
                    NAME,
                    format!("{version} has no module {module}, which virtual environments need"),
                )
                .fix(FIX),
            }
        }
        Err(problem) => Check::fail(NAME, problem).fix(FIX),
    }
}

/// Returns whether a version is 3.11 or newer (docs/getting-started.md).
fn is_supported(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (3, 11),
        _ => false,
    }
}

/// Container engines, of which none is needed unless mlops.toml names one.
pub(super) async fn engines(config: &Config, project: Option<&Project>) -> Check {
    const NAME: &str = "container engines";

    let probes = Engine::ALL.map(|engine| async move {
        let program = config.program(engine.name())?;
        Some((engine, engine.is_running(&program).await))
    });
    let found: Vec<_> = futures::future::join_all(probes)
        .await
        .into_iter()
        .flatten()
        .collect();
    let names = |usable: bool| {
        let engines = found.iter().filter(|(_, is_usable)| *is_usable == usable);
        let names: Vec<&str> = engines.map(|(engine, _)| engine.name()).collect();
        names.join(", ")
    };
    let (usable, broken) = (names(true), names(false));
    let required = project
        .map(|project| project.file.image.builder)
        .filter(|it| matches!(it, Builder::Docker | Builder::Podman | Builder::Buildah))
        .map(Builder::as_str);
    let is_usable = |name: &str| {
        found
            .iter()
            .any(|(it, usable)| *usable && it.name() == name)
    };
    let mut parts = Vec::new();
    if !usable.is_empty() {
        parts.push(format!("{usable} usable"));
    }
    if !broken.is_empty() {
        parts.push(format!("{broken} installed, but without an answer"));
    }
    let finding = parts.join("; ");
    match required {
        Some(name) if !is_usable(name) => {
            let finding = if finding.is_empty() { "none" } else { &finding };
            Check::fail(NAME, format!("mlops.toml requires {name}: {finding}")).fix(format!(
                "install or start {name}, or set `builder = \"auto\"` in [image]"
            ))
        }
        _ if found.is_empty() => Check::ok(NAME, "none; images are built without an engine"),
        _ if usable.is_empty() => Check::warn(NAME, finding)
            .fix("start it, or build with --builder layers, which needs none"),
        _ => Check::ok(NAME, finding),
    }
}

/// The check of the disk with the cache.
pub(super) const CACHE: &str = "disk: cache";

/// Space on the disk of a directory, which may not exist yet.
pub(super) fn disk(name: &'static str, directory: &Path) -> Check {
    let existing: PathBuf = directory
        .ancestors()
        .find(|path| path.is_dir())
        .unwrap_or_else(|| Path::new("/"))
        .to_owned();
    if rustix::fs::access(&existing, rustix::fs::Access::WRITE_OK).is_err() {
        return Check::fail(name, format!("{} cannot be written", existing.display()))
            .fix("correct its owner and mode, or choose another directory (MLOPS_CACHE_DIR)");
    }
    match rustix::fs::statvfs(&existing) {
        Err(error) => Check::not_checked(name, format!("{}: {error}", existing.display())),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            space(name, free, directory)
        }
    }
}

fn space(name: &'static str, free: u64, directory: &Path) -> Check {
    let finding = format!("{} free for {}", bytes(free), directory.display());
    let fix = if name == CACHE {
        format!(
            "free space, or delete {}: it is a cache",
            directory.display()
        )
    } else {
        "free space on this disk; it holds the data of the local cloud".to_owned()
    };
    if free < LEAST_SPACE {
        Check::fail(name, finding).fix(fix)
    } else if free < LOW_SPACE {
        Check::warn(name, finding).fix(fix)
    } else {
        Check::ok(name, finding)
    }
}

/// The local cloud of this project or directory.
pub(super) async fn local_cloud(ctx: &Context) -> Check {
    const NAME: &str = "local cloud";

    let state = ctx.config.local_state();
    if !ctx.config.local && !state.is_dir() {
        return Check::not_checked(NAME, "not used here");
    }
    match ctx.local_problems(&state).await {
        Err(error) => {
            let mut hints = mlops_core::error::hints(&error).into_iter();
            let check = Check::fail(NAME, mlops_core::error::message(&error));
            match hints.next() {
                Some(hint) => check.fix(hint),
                None => check,
            }
        }
        Ok(None) => Check::ok(NAME, "not running; a command with --local starts it"),
        Ok(Some((endpoint, problems))) if problems.is_empty() => {
            Check::ok(NAME, format!("runs at {endpoint}"))
        }
        Ok(Some((_, problems))) => Check::fail(NAME, problems.join("; "))
            .fix("free space on the disk, then `mlops local stop`; its log is server.log"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Outcome;
    use super::*;

    #[test]
    fn python_is_at_least_3_11() {
        for (version, expected) in [
            ("3.11.0", true),
            ("3.14.1", true),
            ("4.0.0", true),
            ("3.9.18", false),
            ("", false),
        ] {
            assert_eq!(is_supported(version), expected, "{version}");
        }
    }

    #[test]
    fn a_disk_warns_before_it_is_full() {
        let at = |free| space("cache", free, Path::new("/c")).outcome;
        assert_eq!(at(LEAST_SPACE - 1), Outcome::Fail);
        assert_eq!(at(LEAST_SPACE), Outcome::Warn);
        assert_eq!(at(LOW_SPACE), Outcome::Ok);
        let new = disk("cache", Path::new("/tmp/not/there/yet"));
        assert_ne!(new.outcome, Outcome::NotChecked, "{new:?}");
    }
}
