//! Bare repositories, driven by the `git` executable (see [`programs`]).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::Command;

use super::programs;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::beneath;

/// 40 (or, for SHA-256 repositories, 64) lower-case hexadecimal digits.
pub(super) fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A bare repository.
#[derive(Debug, Clone)]
pub(super) struct Bare {
    root: PathBuf,
    directory: PathBuf,
}

/// The directory of all repositories, `GIT_PROJECT_ROOT` of the HTTP backend.
pub(super) fn root(cloud: &Cloud) -> PathBuf {
    std::path::absolute(cloud.directory())
        .unwrap_or_else(|_| cloud.directory().to_owned())
        .join("git")
}

/// A directory name that no repository has used: a new repository never finds the remains of a
/// deleted one with its name.
pub(super) fn new_directory() -> String {
    format!("{}.git", uuid::Uuid::new_v4().simple())
}

impl Bare {
    /// The repository in the directory `name` below [`root`].
    pub(super) fn of(cloud: &Cloud, name: &str) -> Self {
        let root = root(cloud);
        Self {
            directory: root.join(name),
            root,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Creates it.
    pub(super) async fn create(&self) -> ApiResult<()> {
        std::fs::create_dir_all(&self.root)?;
        let output = programs::command(None)
            .await?
            .args([
                "init",
                "--quiet",
                "--bare",
                "--template=",
                "--initial-branch=main",
            ])
            .arg(&self.directory)
            .output()
            .await?;
        accepted("init", &output)
    }

    /// Deletes it with its history.
    pub(super) fn remove(&self) -> ApiResult<()> {
        beneath::remove(&self.directory).map_err(|remains| remains.error.into())
    }

    async fn git<S: AsRef<OsStr>>(&self, arguments: &[S]) -> ApiResult<Command> {
        let mut command = programs::command(Some(&self.directory)).await?;
        command
            .arg("--git-dir")
            .arg(&self.directory)
            .args(arguments);
        Ok(command)
    }

    /// Runs a git command that only reads, and returns its stdout; `None` if it does not exit with
    /// 0. Dropping the future ends the process.
    pub(super) async fn ask<S: AsRef<OsStr>>(&self, arguments: &[S]) -> ApiResult<Option<Vec<u8>>> {
        let mut command = self.git(arguments).await?;
        let output = command.kill_on_drop(true).output().await?;
        Ok(output.status.success().then_some(output.stdout))
    }

    /// [`Bare::ask`] with an output of at most `largest` bytes; `too_large` is the error for more.
    pub(super) async fn ask_within<S: AsRef<OsStr>>(
        &self,
        arguments: &[S],
        largest: u64,
        too_large: impl FnOnce() -> ApiError,
    ) -> ApiResult<Option<Vec<u8>>> {
        let mut found = Vec::new();
        let status = self.read(arguments, largest, &mut found).await?;
        let status = status.ok_or_else(too_large)?;
        Ok(status.success().then_some(found))
    }

    /// Runs a git command that only reads, must succeed and writes its stdout to a file. `too_large` is the error for
    /// more than `largest` bytes: what git writes can be a million times as large as the objects that it reads.
    /// Dropping the future ends the process.
    pub(super) async fn write_to<S: AsRef<OsStr>>(
        &self,
        arguments: &[S],
        file: std::fs::File,
        largest: u64,
        too_large: impl FnOnce() -> ApiError,
    ) -> ApiResult<()> {
        let mut file = tokio::fs::File::from_std(file);
        let status = self.read(arguments, largest, &mut file).await?;
        let status = status.ok_or_else(too_large)?;
        file.flush().await?;
        if status.success() {
            return Ok(());
        }
        let what = arguments[0].as_ref().to_string_lossy();
        Err(ApiError::internal(format!("git {what}: {status}")))
    }

    /// Copies the stdout of git. `None` if it has more than `largest` bytes; git has ended then, too.
    async fn read<S: AsRef<OsStr>>(
        &self,
        arguments: &[S],
        largest: u64,
        target: &mut (impl AsyncWrite + Unpin),
    ) -> ApiResult<Option<ExitStatus>> {
        let mut command = self.git(arguments).await?;
        command
            .kill_on_drop(true)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| ApiError::internal("git has no output"))?;
        let mut stdout = stdout.take(largest.saturating_add(1));
        let copied = tokio::io::copy(&mut stdout, target).await?;
        if copied > largest {
            child.kill().await?;
            return Ok(None);
        }
        Ok(Some(child.wait().await?))
    }

    /// Runs a git command that must succeed, with `input` on stdin and extra environment variables.
    /// It runs to completion even if its request is canceled: a killed process would leave its lock
    /// file behind.
    pub(super) async fn run<S: AsRef<OsStr>>(
        &self,
        arguments: &[S],
        environment: &[(&str, &OsStr)],
        input: &[u8],
    ) -> ApiResult<Vec<u8>> {
        let mut command = self.git(arguments).await?;
        let mut child = command
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take();
        let input = input.to_vec();
        let output = tokio::spawn(async move {
            let feed = async {
                if let Some(mut stdin) = stdin.take() {
                    // git may end before it has read everything; its exit code is the result.
                    let _ = stdin.write_all(&input).await;
                }
            };
            let ((), output) = tokio::join!(feed, child.wait_with_output());
            output
        })
        .await
        .map_err(ApiError::internal)??;
        accepted(&arguments[0].as_ref().to_string_lossy(), &output)?;
        Ok(output.stdout)
    }

    /// The commit that a full object id names.
    pub(super) async fn commit(&self, id: &str) -> ApiResult<Option<String>> {
        self.object(&format!("{id}^{{commit}}")).await
    }

    /// The object id of a git revision; the caller has validated its text.
    pub(super) async fn object(&self, revision: &str) -> ApiResult<Option<String>> {
        let found = self
            .ask(&[
                "rev-parse",
                "--verify",
                "--quiet",
                "--end-of-options",
                revision,
            ])
            .await?;
        Ok(found.map(|text| line(&text)))
    }

    /// The commit that a branch, a tag, `HEAD` or a full object id names.
    pub(super) async fn specifier(&self, text: &str) -> ApiResult<Option<String>> {
        if is_object_id(text) {
            return self.commit(text).await;
        }
        if text == "HEAD" {
            self.settle().await?;
            return self.commit("HEAD").await;
        }
        if text.parse::<mlops_core::names::BranchName>().is_err() {
            return Ok(None);
        }
        for revision in [
            format!("refs/heads/{text}"),
            format!("refs/tags/{text}"),
            text.to_owned(),
        ] {
            if (revision != text || text.starts_with("refs/"))
                && let Some(commit) = self.commit(&revision).await?
            {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    /// The head commit of a branch.
    pub(super) async fn branch(&self, name: &str) -> ApiResult<Option<String>> {
        self.commit(&format!("refs/heads/{name}")).await
    }

    /// The branches, in order.
    pub(super) async fn branches(&self) -> ApiResult<Vec<String>> {
        let found = self
            .ask(&["for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads"])
            .await?
            .unwrap_or_default();
        Ok(String::from_utf8_lossy(&found)
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// All references with their object ids.
    pub(super) async fn references(&self) -> ApiResult<BTreeMap<String, String>> {
        let found = self
            .ask(&["for-each-ref", "--format=%(objectname) %(refname)"])
            .await?
            .unwrap_or_default();
        let found = String::from_utf8_lossy(&found);
        let pairs = found.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs
            .map(|(id, name)| (name.to_owned(), id.to_owned()))
            .collect())
    }

    /// Moves a branch from `old` (`None`: it must not exist) to a commit.
    pub(super) async fn set_branch(
        &self,
        name: &str,
        commit: &str,
        old: Option<&str>,
    ) -> ApiResult<()> {
        let reference = format!("refs/heads/{name}");
        let zero = "0".repeat(commit.len());
        self.run(
            &["update-ref", &reference, commit, old.unwrap_or(&zero)],
            &[],
            b"",
        )
        .await
        .map_err(|error| {
            ApiError::new(
                "ConcurrentReferenceUpdateException",
                format!("The branch {name} cannot be moved: {}", error.message),
            )
        })?;
        self.settle().await
    }

    pub(super) async fn delete_branch(&self, name: &str, commit: &str) -> ApiResult<()> {
        let reference = format!("refs/heads/{name}");
        self.run(&["update-ref", "-d", &reference, commit], &[], b"")
            .await
            .map(|_| ())
    }

    /// The default branch; `None` if the repository has no branch.
    pub(super) async fn default_branch(&self) -> ApiResult<Option<String>> {
        self.settle().await?;
        if self.commit("HEAD").await?.is_none() {
            return Ok(None);
        }
        let head = self
            .ask(&["symbolic-ref", "--quiet", "--short", "HEAD"])
            .await?;
        Ok(head.map(|text| line(&text)))
    }

    pub(super) async fn set_default_branch(&self, name: &str) -> ApiResult<()> {
        let reference = format!("refs/heads/{name}");
        self.run(&["symbolic-ref", "HEAD", &reference], &[], b"")
            .await
            .map(|_| ())
    }

    /// As in CodeCommit, the first branch that was pushed becomes the default one.
    pub(super) async fn settle(&self) -> ApiResult<()> {
        if self.commit("HEAD").await?.is_some() {
            return Ok(());
        }
        match self.branches().await?.first() {
            Some(first) => self.set_default_branch(first).await,
            None => Ok(()),
        }
    }
}

/// A line that git printed, without its end.
pub(super) fn line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

fn accepted(what: &str, output: &std::process::Output) -> ApiResult<()> {
    if output.status.success() {
        return Ok(());
    }
    Err(ApiError::internal(format!(
        "git {what}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
