//! Working copies of repositories for builds.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;

use tokio::io::AsyncReadExt;

use super::bare::{Bare, is_object_id};
use super::{find, no_branch, permissions, programs};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::children::Guarded;
use crate::cloud::caller::Caller;

/// Maximum number of files of a working copy.
const MAX_FILES: u64 = 500_000;

/// Maximum total size of the files of a working copy, in bytes.
const MAX_BYTES: u64 = 20 << 30;

/// Maximum length of what git lists about a file, in bytes: its path and a little more.
const MAX_LINE: usize = 8 << 10;

/// Maximum length of git's errors, in bytes.
const MAX_ERRORS: u64 = 4 << 10;

/// What to check out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// A branch, a tag or a commit; without one, the default branch.
    Version(Option<&'a str>),
    /// A commit, on a local branch of this name if the repository's branch still contains it.
    Commit { id: &'a str, branch: &'a str },
}

/// Ends git early once it is complete.
pub(crate) type Stop<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Clones a repository into an empty directory, on behalf of a role that may pull from it, and checks out what is
/// wanted. `depth` limits the history, 0 is all of it. Returns the commit.
///
/// No program of the repository runs: hooks, filters and submodules are off. The remote `origin` is the repository's
/// URL at this server. After `stop`, git has ended before this returns; git also ends with the server, and when the
/// future is dropped.
///
/// # Errors
/// `RepositoryDoesNotExistException`, `BranchDoesNotExistException`, `CommitDoesNotExistException`, `AccessDeniedException`
pub(crate) async fn checkout(
    cloud: &Cloud,
    caller: &Caller,
    (name, wanted): (&str, Wanted<'_>),
    depth: u32,
    target: &Path,
    mut stop: Stop<'_>,
) -> ApiResult<String> {
    permissions::may_pull(cloud, caller, name)?;
    let (_, bare) = find(cloud, name)?;
    let (commit, branch) = resolve(&bare, name, wanted).await?;
    check_size(&bare, &commit, &mut stop).await?;
    let mut git = Git {
        bare: &bare,
        stop: &mut stop,
    };
    // A clone by path copies all objects; by URL, git honours the depth.
    let source = match depth {
        0 => bare.directory().display().to_string(),
        _ => format!("file://{}", bare.directory().display()),
    };
    let depth = depth.to_string();
    let mut arguments = vec![
        "clone",
        "--quiet",
        "--no-checkout",
        "--no-hardlinks",
        "--template=",
    ];
    if depth != "0" {
        arguments.extend(["--depth", &depth, "--no-single-branch"]);
    }
    let target_text = target.display().to_string();
    arguments.extend([source.as_str(), target_text.as_str()]);
    git.run(Path::new("/"), &arguments).await?;
    if depth != "0" {
        // An older commit is not part of a shallow clone of the branches.
        let fetch = [
            "fetch",
            "--quiet",
            "--depth",
            &depth,
            source.as_str(),
            commit.as_str(),
        ];
        git.run(target, &fetch).await?;
    }
    let mut checkout = vec!["checkout", "--quiet", "--force"];
    match &branch {
        // The commit, not the branch, which may have moved since it was resolved.
        Some(branch) => checkout.extend(["--no-track", "-B", branch, &commit]),
        None => checkout.extend(["--detach", &commit]),
    }
    git.run(target, &checkout).await?;
    if let Some(branch) = &branch {
        let remote = format!("branch.{branch}.remote");
        git.run(target, &["config", &remote, "origin"]).await?;
        let (merge, reference) = (
            format!("branch.{branch}.merge"),
            format!("refs/heads/{branch}"),
        );
        git.run(target, &["config", &merge, &reference]).await?;
    }
    let url = format!("{}/v1/repos/{name}", cloud.endpoint());
    git.run(target, &["config", "remote.origin.url", &url])
        .await?;
    Ok(commit)
}

/// The commit to check out, and the branch it is on.
async fn resolve(
    bare: &Bare,
    name: &str,
    wanted: Wanted<'_>,
) -> ApiResult<(String, Option<String>)> {
    match wanted {
        Wanted::Version(version) => {
            let version = version.filter(|version| !version.is_empty());
            let commit = bare.specifier(version.unwrap_or("HEAD")).await?;
            let commit = commit.ok_or_else(|| match version {
                Some(version) => no_branch(version),
                None => ApiError::not_found(
                    "BranchDoesNotExistException",
                    format!("The repository {name} has no branch"),
                ),
            })?;
            let branch = match version {
                Some(version) if !is_object_id(version) => bare.branch(version).await?,
                _ => None,
            };
            Ok((commit, branch.and(version).map(str::to_owned)))
        }
        Wanted::Commit { id, branch } => {
            let found = if is_object_id(id) {
                bare.commit(id).await?
            } else {
                None
            };
            let commit = found.ok_or_else(|| {
                ApiError::not_found(
                    "CommitDoesNotExistException",
                    format!("The repository {name} has no commit {id}"),
                )
            })?;
            let is_name = branch.parse::<mlops_core::names::BranchName>().is_ok();
            let head = if is_name {
                bare.branch(branch).await?
            } else {
                None
            };
            let contains = match head {
                None => false,
                Some(head) => {
                    let question = ["merge-base", "--is-ancestor", &commit, &head];
                    bare.ask(&question).await?.is_some()
                }
            };
            Ok((commit, contains.then(|| branch.to_owned())))
        }
    }
}

/// Adds up what git lists about the files of a commit.
#[derive(Debug, Default)]
struct Size {
    files: u64,
    bytes: u64,
    line: Vec<u8>,
}

impl Size {
    /// Reads a part of `git ls-tree -z -l`: `MODE TYPE ID SIZE\tPATH\0`.
    fn read(&mut self, part: &[u8]) -> ApiResult<()> {
        for &byte in part {
            if byte != 0 {
                self.line.push(byte);
                if self.line.len() > MAX_LINE {
                    return Err(too_large("a path", MAX_LINE as u64, "bytes"));
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let text = line.split(|&byte| byte == b'\t').next().unwrap_or_default();
            let size = text.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
            // A submodule has the size `-`.
            let size = std::str::from_utf8(size)
                .ok()
                .and_then(|it| it.parse().ok());
            self.files += 1;
            self.bytes = self.bytes.saturating_add(size.unwrap_or(0));
            if self.files > MAX_FILES {
                return Err(too_large("the commit", MAX_FILES, "files"));
            }
            if self.bytes > MAX_BYTES {
                return Err(too_large("the commit", MAX_BYTES, "bytes in its files"));
            }
        }
        Ok(())
    }
}

fn too_large(what: &str, limit: u64, unit: &str) -> ApiError {
    ApiError::validation(format!(
        "{what} has more than {limit} {unit}, and is not checked out"
    ))
}

/// Refuses a commit whose files would fill the disk: a few small objects can describe any number of files.
pub(super) async fn check_size(bare: &Bare, commit: &str, stop: &mut Stop<'_>) -> ApiResult<()> {
    let git_dir = format!("--git-dir={}", bare.directory().display());
    let arguments = [&git_dir, "ls-tree", "-r", "-l", "-z", "--full-tree", commit];
    let environment = programs::environment(Some(bare.directory())).await?;
    let mut git = Guarded::spawn(&programs::git().await?, &arguments, |command| {
        command
            .env_clear()
            .envs(environment)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
    })
    .await?;
    let mut output = git
        .stdout()
        .ok_or_else(|| ApiError::internal("git ls-tree has no output"))?;
    let read = async {
        let mut size = Size::default();
        let mut part = vec![0; 64 << 10];
        loop {
            let count = output.read(&mut part).await?;
            if count == 0 {
                return Ok(());
            }
            size.read(&part[..count])?;
        }
    };
    let result = tokio::select! {
        result = read => result,
        () = stop => Err(stopped()),
    };
    if result.is_err() {
        git.ender().end();
    }
    let status = git.wait().await?;
    result?;
    if status.success() {
        return Ok(());
    }
    Err(ApiError::internal(format!("git ls-tree: {status}")))
}

fn stopped() -> ApiError {
    ApiError::internal("the build was stopped")
}

/// Runs git with the environment in which nothing of the repository is executed.
struct Git<'a, 'b> {
    bare: &'a Bare,
    stop: &'a mut Stop<'b>,
}

impl Git<'_, '_> {
    async fn run(&mut self, directory: &Path, arguments: &[&str]) -> ApiResult<()> {
        let environment = programs::environment(Some(self.bare.directory())).await?;
        let mut all = vec![
            "-c",
            "protocol.file.allow=always",
            "-c",
            "submodule.recurse=false",
        ];
        all.extend(arguments);
        let mut errors = tempfile::tempfile()?;
        let own = errors.try_clone()?;
        let mut git = Guarded::spawn(&programs::git().await?, &all, |command| {
            command
                .env_clear()
                .envs(environment)
                .current_dir(directory)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(own);
        })
        .await?;
        let ender = git.ender();
        let status = tokio::select! {
            status = git.wait() => Some(status?),
            () = &mut *self.stop => None,
        };
        let Some(status) = status else {
            ender.end();
            // Nothing may use the directory when it is removed.
            git.wait().await?;
            return Err(stopped());
        };
        if status.success() {
            return Ok(());
        }
        let mut text = Vec::new();
        errors.seek(SeekFrom::Start(0))?;
        errors.take(MAX_ERRORS).read_to_end(&mut text)?;
        Err(ApiError::internal(format!(
            "git {}: {}",
            arguments.first().copied().unwrap_or_default(),
            String::from_utf8_lossy(&text).trim()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_with_too_many_or_too_large_files_is_refused() {
        let mut size = Size::default();
        size.read(b"100644 blob 0123 7\ta b\t").unwrap();
        size.read(b"c\x00160000 commit 0123 -\td\0").unwrap();
        assert_eq!((size.files, size.bytes), (2, 7));
        let line = format!("100644 blob 0123 {MAX_BYTES}\tx\0");
        assert!(size.read(line.as_bytes()).is_err());
        let mut size = Size {
            files: MAX_FILES,
            ..Size::default()
        };
        assert!(size.read(b"100644 blob 0123 0\tx\0").is_err());
        assert!(Size::default().read(&[b'x'; MAX_LINE + 1]).is_err());
    }
}
