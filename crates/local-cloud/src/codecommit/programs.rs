//! Runs git such that neither the user's configuration nor anything in a repository of the state
//! directory can choose which programs are executed.
//!
//! A repository's `config` is ours: any other content is replaced before git reads it. Hooks, attributes,
//! replacement objects and the fetching of missing objects are switched off by the environment, which the
//! programs that git starts inherit. Repositories that would lead git elsewhere (links, alternates, another
//! common directory) are refused.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::api::{ApiError, ApiResult};

/// The directory of git's programs, including `git` itself.
static PROGRAMS: OnceCell<PathBuf> = OnceCell::const_new();

/// The complete configuration of each repository.
const CONFIG: &str = "# Written by mlops; anything else here is replaced.
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
";

/// Configuration that overrides the repository's and that git's own children inherit.
const SETTINGS: [(&str, &str); 8] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.pager", "cat"),
    ("protocol.allow", "never"),
    // Housekeeping ends before its push does: nothing runs on in the background.
    ("gc.autoDetach", "false"),
    ("maintenance.autoDetach", "false"),
    ("receive.shallowUpdate", "false"),
];

/// Ignores the configuration of the user and the machine, replacement objects, and prompts.
const ENVIRONMENT: [(&str, &str); 12] = [
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_DEFAULT_HASH", "sha1"),
    ("GIT_DEFAULT_REF_FORMAT", "files"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("HOME", "/dev/null"),
    ("LC_ALL", "C"),
    ("XDG_CONFIG_HOME", "/dev/null"),
];

/// Files that must not exist in a repository: each makes git read configuration, attributes or
/// objects from elsewhere.
const FOREIGN: [&str; 8] = [
    ".git",
    "commondir",
    "config.worktree",
    "gitdir",
    "info/attributes",
    "info/grafts",
    "objects/info/alternates",
    "objects/info/http-alternates",
];

/// Files that must not be links.
const OWN: [&str; 11] = [
    "",
    "HEAD",
    "config",
    "info",
    "objects",
    "objects/info",
    "objects/pack",
    "packed-refs",
    "refs",
    "refs/heads",
    "refs/tags",
];

async fn programs() -> ApiResult<&'static Path> {
    PROGRAMS
        .get_or_try_init(|| async {
            let missing = |why: String| {
                ApiError::internal(format!("CodeCommit needs git on this machine: {why}"))
            };
            let output = Command::new("git")
                .arg("--exec-path")
                .env_remove("GIT_EXEC_PATH")
                .current_dir("/")
                .stdin(Stdio::null())
                .output()
                .await
                .map_err(|error| missing(error.to_string()))?;
            let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
            if path.join("git").is_file() {
                Ok(path)
            } else {
                Err(missing(format!("{} has no git", path.display())))
            }
        })
        .await
        .map(PathBuf::as_path)
}

/// The `git` executable.
pub(super) async fn git() -> ApiResult<PathBuf> {
    Ok(programs().await?.join("git"))
}

/// The complete environment of a git process. `repository` is `None` only to create one.
pub(super) async fn environment(repository: Option<&Path>) -> ApiResult<Vec<(String, OsString)>> {
    if let Some(repository) = repository {
        check(repository)?;
    }
    let mut path = programs().await?.as_os_str().to_owned();
    path.push(":/usr/local/bin:/usr/bin:/bin");
    let mut environment = vec![
        ("PATH".to_owned(), path),
        (
            "GIT_CONFIG_COUNT".to_owned(),
            SETTINGS.len().to_string().into(),
        ),
    ];
    for (name, value) in ENVIRONMENT {
        environment.push((name.to_owned(), value.into()));
    }
    for (number, (key, value)) in SETTINGS.iter().enumerate() {
        environment.push((format!("GIT_CONFIG_KEY_{number}"), key.into()));
        environment.push((format!("GIT_CONFIG_VALUE_{number}"), value.into()));
    }
    Ok(environment)
}

/// A git process with an empty working directory. `repository` is `None` only to create one.
pub(super) async fn command(repository: Option<&Path>) -> ApiResult<Command> {
    let mut command = Command::new(git().await?);
    command
        .env_clear()
        .envs(environment(repository).await?)
        .current_dir("/")
        .stdin(Stdio::null());
    Ok(command)
}

/// Refuses a repository with files that the local cloud never creates, and writes our configuration.
fn check(repository: &Path) -> ApiResult<()> {
    let refused = |name: &str, what: &str| {
        Err(ApiError::internal(format!(
            "{}: {what}; the local cloud did not create it; remove it to use the repository",
            repository.join(name).display()
        )))
    };
    for name in OWN {
        // With an empty name, `join` would add a slash, and the link would be followed.
        let path = match name {
            "" => repository.to_owned(),
            name => repository.join(name),
        };
        match path.symlink_metadata() {
            Ok(found) if found.is_symlink() => return refused(name, "a symbolic link"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    for name in FOREIGN {
        if repository.join(name).symlink_metadata().is_ok() {
            return refused(name, "a file that leads git elsewhere");
        }
    }
    let config = repository.join("config");
    if std::fs::read(&config).is_ok_and(|found| found == CONFIG.as_bytes()) {
        return Ok(());
    }
    if !repository.is_dir() {
        return Err(ApiError::internal(format!(
            "{} is missing: the repository's history is lost",
            repository.display()
        )));
    }
    let mut file = tempfile::NamedTempFile::new_in(repository)?;
    file.write_all(CONFIG.as_bytes())?;
    file.persist(config).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_is_not_ours_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config");
        for text in ["[core]\n\thooksPath = /tmp/x\n", "", CONFIG] {
            std::fs::write(&config, text).unwrap();
            check(directory.path()).unwrap();
            assert_eq!(std::fs::read_to_string(&config).unwrap(), CONFIG);
        }
        std::fs::remove_file(&config).unwrap();
        check(directory.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&config).unwrap(), CONFIG);
    }

    #[test]
    fn files_that_lead_out_of_the_repository_are_refused() {
        for name in FOREIGN {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "/elsewhere\n").unwrap();
            let error = check(directory.path()).unwrap_err();
            assert!(error.message.contains(name), "{}", error.message);
        }
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link.git");
        std::os::unix::fs::symlink(directory.path(), &link).unwrap();
        assert!(check(&link).is_err());
        for name in OWN.iter().filter(|name| !name.is_empty()) {
            let directory = tempfile::tempdir().unwrap();
            let link = directory.path().join(name);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink("/tmp", &link).unwrap();
            let error = check(directory.path()).unwrap_err();
            assert!(error.message.contains("symbolic link"), "{}", error.message);
        }
    }
}
