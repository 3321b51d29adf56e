//! Runs git as a subprocess: reads the contents of branches, and compares the working tree with
//! them.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::BranchName;

/// The git remote of the project's `CodeCommit` repository.
pub const REMOTE: &str = "codecommit";

/// A directory inside a git working tree. Paths are relative to this directory, which need not be
/// the top of the repository: a project can be a folder in a larger one.
#[derive(Debug, Clone)]
pub struct Repository {
    directory: PathBuf,
}

impl Repository {
    /// Returns the repository around `directory`; an error (exit 2) if there is none.
    pub fn discover(directory: &Path) -> Result<Self> {
        Self::find(directory)?
            .ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    format!("{} is not in a git repository", directory.display()),
                )
            })
            .hint("run `git init` and commit the project: each run records its commit")
    }

    /// Returns the repository around `directory`, if any.
    pub fn find(directory: &Path) -> Result<Option<Self>> {
        let repository = Self {
            directory: directory.to_owned(),
        };
        let inside = repository.output(["rev-parse", "--is-inside-work-tree"])?;
        let found = inside.status.success() && inside.stdout.starts_with(b"true");
        Ok(found.then_some(repository))
    }

    /// Creates a repository in `directory` with the initial branch `branch`.
    pub fn init(directory: &Path, branch: &BranchName) -> Result<Self> {
        let repository = Self {
            directory: directory.to_owned(),
        };
        let initial = format!("--initial-branch={branch}");
        repository.run(["init", "--quiet", &initial])?;
        Ok(repository)
    }

    /// The directory that paths are relative to.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the current commit; `None` before the first.
    pub fn head(&self) -> Result<Option<String>> {
        self.resolve("HEAD^{commit}")
    }

    /// Returns the full id of the commit that a revision names, such as `HEAD` or `develop`; `None` if there is none.
    pub fn commit_of(&self, revision: &str) -> Result<Option<String>> {
        self.resolve(&format!("{revision}^{{commit}}"))
    }

    /// Returns true if the repository has a commit with this full id.
    pub fn has_commit(&self, id: &str) -> Result<bool> {
        let full = id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(full && self.resolve(&format!("{id}^{{commit}}"))?.is_some())
    }

    /// Returns the current branch; `None` on a detached HEAD.
    pub fn current_branch(&self) -> Result<Option<String>> {
        self.answer(["symbolic-ref", "--quiet", "--short", "HEAD"])
    }

    /// Returns the current branch; `otherwise` on a detached HEAD.
    pub fn branch_or(&self, otherwise: &BranchName) -> Result<BranchName> {
        Ok(match self.current_branch()? {
            Some(name) => name.parse()?,
            None => otherwise.clone(),
        })
    }

    /// Returns the head commit of a local branch, or of `origin`'s if there is no local one.
    pub fn branch_head(&self, branch: &BranchName) -> Result<Option<String>> {
        for prefix in ["refs/heads", "refs/remotes/origin"] {
            if let Some(commit) = self.resolve(&format!("{prefix}/{branch}^{{commit}}"))? {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    /// Returns the head commit of a branch; the error lists the existing branches.
    pub fn require_branch(&self, branch: &BranchName) -> Result<String> {
        if let Some(commit) = self.branch_head(branch)? {
            return Ok(commit);
        }
        let branches = self.branches()?;
        Err(anyhow!("no branch `{branch}`")).hint(if branches.is_empty() {
            "commit the project first: the repository has no commit yet".to_owned()
        } else {
            format!("the branches are {}", branches.join(", "))
        })
    }

    /// Lists the local branches, by name.
    pub fn branches(&self) -> Result<Vec<String>> {
        let text = self.run(["for-each-ref", "--format=%(refname:short)", "refs/heads"])?;
        Ok(String::from_utf8_lossy(&text)
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// Returns the head commits of all branches by name: local ones, and remote-tracking ones as of
    /// the last fetch. A name may occur more than once.
    pub fn heads(&self) -> Result<Vec<(String, String)>> {
        let text = self.run([
            "for-each-ref",
            "--format=%(refname) %(objectname)",
            "refs/heads",
            "refs/remotes",
        ])?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let branch = |line: &str| {
            let (name, commit) = line.rsplit_once(' ')?;
            let name = match name.strip_prefix("refs/heads/") {
                Some(name) => name,
                None => name.strip_prefix("refs/remotes/")?.split_once('/')?.1,
            };
            (name != "HEAD").then(|| (name.to_owned(), commit.to_owned()))
        };
        Ok(text.lines().filter_map(branch).collect())
    }

    /// Lists the branches of remotes whose URL is accepted, as of the last push or fetch.
    pub fn pushed_branches(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        // Without a remote, git fails.
        let urls = self.output(["config", "--get-regexp", r"^remote\..*\.url$"])?;
        let urls = String::from_utf8_lossy(&urls.stdout).into_owned();
        let mut found = Vec::new();
        for line in urls.lines() {
            let Some((key, url)) = line.split_once(' ') else {
                continue;
            };
            let remote = key.strip_prefix("remote.");
            let Some(remote) = remote.and_then(|it| it.strip_suffix(".url")) else {
                continue;
            };
            if !is_wanted(url) {
                continue;
            }
            let prefix = format!("refs/remotes/{remote}/");
            let refs = self.run(["for-each-ref", "--format=%(refname)", &prefix])?;
            let refs = String::from_utf8_lossy(&refs).into_owned();
            let names = refs.lines().filter_map(|name| name.strip_prefix(&prefix));
            let names = names.filter(|name| *name != "HEAD");
            found.extend(names.map(str::to_owned));
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Returns true if files under `path` differ from HEAD, or are not committed.
    pub fn is_dirty(&self, path: &Path) -> Result<bool> {
        let changes = self.run([
            OsStr::new("status"),
            OsStr::new("--porcelain"),
            OsStr::new("--untracked-files=all"),
            OsStr::new("--"),
            path.as_os_str(),
        ])?;
        Ok(!changes.is_empty())
    }

    /// Returns true if the index has files under `path`.
    pub fn tracks(&self, path: &Path) -> Result<bool> {
        let found = self.run([
            OsStr::new("ls-files"),
            OsStr::new("-z"),
            OsStr::new("--"),
            path.as_os_str(),
        ])?;
        Ok(!found.is_empty())
    }

    /// Lists the files under `path` that git ignores, relative to this directory.
    pub fn ignored(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let text = self.run([
            OsStr::new("ls-files"),
            OsStr::new("--others"),
            OsStr::new("--ignored"),
            OsStr::new("--exclude-standard"),
            OsStr::new("-z"),
            OsStr::new("--"),
            path.as_os_str(),
        ])?;
        Ok(text
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()))
            .collect())
    }

    /// Reads a file at a commit; `None` if the commit does not have it.
    pub fn show(&self, commit: &str, path: &Path) -> Result<Option<Vec<u8>>> {
        let path = path.to_str().context("the path is not UTF-8")?;
        // `./` makes git read the path from this directory instead of the repository's top.
        let Some(object) = self.resolve(&format!("{commit}:./{path}"))? else {
            return Ok(None);
        };
        self.run(["cat-file", "blob", &object]).map(Some)
    }

    /// Writes the files of a commit to the directory `into`.
    pub fn export(&self, commit: &str, into: &Path) -> Result<()> {
        let mut child = self
            .command()
            .args(["archive", "--format=tar", commit])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(missing)?;
        let stdout = child.stdout.take().context("git archive has no output")?;
        let unpacked = tar::Archive::new(stdout).unpack(into);
        let output = child.wait_with_output().map_err(missing)?;
        if !output.status.success() {
            return Err(failed("archive", &output.stderr));
        }
        unpacked.with_context(|| format!("cannot write {commit} into {}", into.display()))
    }

    /// Returns true if git has an author configured.
    pub fn has_identity(&self) -> Result<bool> {
        Ok(self.answer(["config", "user.email"])?.is_some())
    }

    /// Commits these files, regardless of other changes. If git has no author configured, `mlops`
    /// is the author. Returns false if there was nothing to commit.
    pub fn commit<P: AsRef<OsStr>>(&self, files: &[P], message: &str) -> Result<bool> {
        let mut add = vec![OsStr::new("add"), OsStr::new("--")];
        for file in files {
            // `git add` fails for a file whose removal is already staged.
            if self.is_known(file.as_ref())? {
                add.push(file.as_ref());
            }
        }
        if add.len() > 2 {
            self.run(add)?;
        }
        let mut staged = vec!["diff", "--cached", "--quiet"]
            .into_iter()
            .map(OsStr::new)
            .collect::<Vec<_>>();
        staged.push(OsStr::new("--"));
        staged.extend(files.iter().map(AsRef::as_ref));
        if self.output(staged)?.status.success() {
            return Ok(false);
        }
        let mut arguments: Vec<&OsStr> = Vec::new();
        if !self.has_identity()? {
            arguments.extend(
                ["-c", "user.name=mlops", "-c", "user.email=mlops@localhost"].map(OsStr::new),
            );
        }
        // Hooks and signing are meant for people's own commits; either may prompt or fail.
        arguments.extend(
            [
                "commit",
                "--quiet",
                "--no-verify",
                "--no-gpg-sign",
                "--message",
                message,
                "--",
            ]
            .map(OsStr::new),
        );
        arguments.extend(files.iter().map(AsRef::as_ref));
        self.run(arguments)?;
        Ok(true)
    }

    /// Returns true for a file that exists, or is in the index.
    fn is_known(&self, file: &OsStr) -> Result<bool> {
        if self.directory.join(file).symlink_metadata().is_ok() {
            return Ok(true);
        }
        let listed = self.run([OsStr::new("ls-files"), OsStr::new("--"), file])?;
        Ok(!listed.is_empty())
    }

    /// Sets the branch of the first commit. Only for a repository without commits.
    pub fn begin_branch(&self, branch: &BranchName) -> Result<()> {
        self.run(["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")])?;
        Ok(())
    }

    /// Adds the remote `name` with `url`, or changes its URL.
    pub fn set_remote(&self, name: &str, url: &str) -> Result<()> {
        match self.answer(["remote", "get-url", name])? {
            Some(found) if found == url => {}
            Some(_) => drop(self.run(["remote", "set-url", name, url])?),
            None => drop(self.run(["remote", "add", name, url])?),
        }
        Ok(())
    }

    /// Allows git to push to the local cloud repository at `url`, even if that requires
    /// credentials, by making this program the only credential helper for its host.
    pub fn set_credential_helper(&self, url: &str, state: &Path) -> Result<()> {
        let Some((origin, _)) = url.split_once("/v1/repos/") else {
            return Ok(());
        };
        let quoted = |path: &Path| {
            let text = path.display().to_string();
            format!("'{}'", text.replace('\'', "'\\''"))
        };
        let helper = format!(
            "!{} --output human local git-credential --state {}",
            quoted(&std::env::current_exe()?),
            quoted(state)
        );
        let (key, path) = (
            format!("credential.{origin}.helper"),
            format!("credential.{origin}.useHttpPath"),
        );
        // The empty value removes the helpers of other files, which would store the password.
        self.run(["config", "--local", "--replace-all", &key, ""])?;
        self.run(["config", "--local", "--add", &key, &helper])?;
        self.run(["config", "--local", "--replace-all", &path, "true"])?;
        Ok(())
    }

    /// Pushes a branch to a remote that does not have it yet; returns whether it was pushed. `helper` is
    /// used as credential helper, in addition to the configured ones.
    pub fn seed(&self, remote: &str, branch: &BranchName, helper: Option<&str>) -> Result<bool> {
        let reference = format!("refs/heads/{branch}");
        let helper = helper.map(|helper| format!("credential.helper={helper}"));
        let settings: Vec<&str> = match &helper {
            Some(helper) => vec!["-c", helper, "-c", "credential.UseHttpPath=true"],
            None => Vec::new(),
        };
        let call = |rest: [&str; 3]| self.run(settings.iter().copied().chain(rest));
        if !call(["ls-remote", remote, &reference])?.is_empty() {
            return Ok(false);
        }
        call(["push", remote, &format!("{reference}:{reference}")])?;
        Ok(true)
    }

    fn resolve(&self, revision: &str) -> Result<Option<String>> {
        self.answer([
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            revision,
        ])
    }

    /// Returns one line of output, or `None` if git fails.
    fn answer<const N: usize>(&self, arguments: [&str; N]) -> Result<Option<String>> {
        let output = self.output(arguments)?;
        if !output.status.success() {
            return Ok(None);
        }
        let text = String::from_utf8(output.stdout).context("git's output is not UTF-8")?;
        // Only git before 2.30 echoes `--end-of-options` in `git rev-parse --verify`.
        Ok(text.lines().last().map(|line| line.trim().to_owned()))
    }

    fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Vec<u8>> {
        let arguments: Vec<A> = arguments.into_iter().collect();
        let verb = arguments
            .iter()
            .map(|argument| argument.as_ref().to_string_lossy())
            .find(|argument| !argument.starts_with('-') && !argument.contains('='))
            .unwrap_or_default()
            .into_owned();
        let output = self.output(arguments)?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(failed(&verb, &output.stderr))
        }
    }

    fn output<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<std::process::Output> {
        self.command().args(arguments).output().map_err(missing)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&self.directory)
            // Reading must not run programs of a repository that came with its own configuration
            // (an unpacked archive; a clone has none). Filters are kept, because Git LFS needs
            // them.
            .args(["-c", "core.fsmonitor=false"])
            .args(["-c", "core.hooksPath=/dev/null"])
            .arg("--no-pager")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0");
        // Set inside a git hook; they would select another repository.
        for name in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_PREFIX",
        ] {
            command.env_remove(name);
        }
        command
    }
}

fn missing(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::NotFound {
        mlops_core::error::hinted(
            anyhow!("git is not installed"),
            "install git 2.28 or newer, and make sure that it is on PATH",
        )
    } else {
        anyhow::Error::new(error).context("cannot run git")
    }
}

fn failed(verb: &str, stderr: &[u8]) -> anyhow::Error {
    let text = String::from_utf8_lossy(stderr);
    let reason = text.trim().trim_start_matches("fatal: ");
    anyhow!("git {verb}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> (tempfile::TempDir, Repository) {
        let directory = tempfile::tempdir().unwrap();
        let repository = Repository::init(directory.path(), &"develop".parse().unwrap()).unwrap();
        (directory, repository)
    }

    #[test]
    fn a_branch_contains_committed_files() {
        let (directory, repository) = repository();
        let develop = "develop".parse().unwrap();
        let file = directory.path().join("a.txt");
        std::fs::write(&file, "one").unwrap();
        assert_eq!(repository.head().unwrap(), None);
        assert!(repository.is_dirty(Path::new(".")).unwrap());
        assert!(repository.commit(&["."], "first").unwrap());
        assert!(!repository.commit(&["."], "again").unwrap());
        let commit = repository.require_branch(&develop).unwrap();
        assert_eq!(repository.head().unwrap().as_ref(), Some(&commit));
        assert_eq!(
            repository.current_branch().unwrap().as_deref(),
            Some("develop")
        );

        std::fs::write(&file, "two").unwrap();
        assert!(repository.is_dirty(Path::new("a.txt")).unwrap());
        let shown = repository.show(&commit, Path::new("a.txt")).unwrap();
        assert_eq!(shown.as_deref(), Some(b"one".as_slice()));
        assert_eq!(repository.show(&commit, Path::new("b.txt")).unwrap(), None);
    }

    #[test]
    fn a_removal_is_committed_staged_or_not() {
        let (directory, repository) = repository();
        for (file, staged) in [("a", true), ("b", false)] {
            std::fs::write(directory.path().join(file), "x").unwrap();
            assert!(repository.commit(&[file], "made").unwrap());
            std::fs::remove_file(directory.path().join(file)).unwrap();
            if staged {
                repository.run(["add", "--", file]).unwrap();
            }
            assert!(repository.commit(&[file], "removed").unwrap());
            assert!(!repository.commit(&[file], "again").unwrap());
            let head = repository.head().unwrap().unwrap();
            assert_eq!(repository.show(&head, Path::new(file)).unwrap(), None);
        }
        assert!(!repository.is_dirty(Path::new(".")).unwrap());
    }

    #[test]
    fn heads_are_those_of_remotes_too() {
        let (directory, repository) = repository();
        std::fs::write(directory.path().join("a"), "a").unwrap();
        repository.commit(&["."], "first").unwrap();
        let commit = repository.head().unwrap().unwrap();
        for name in ["refs/heads/feature/x", "refs/remotes/origin/feature/y"] {
            repository.run(["update-ref", name, &commit]).unwrap();
        }
        let found = repository.heads().unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["develop", "feature/x", "feature/y"]);
        assert!(found.iter().all(|(_, head)| *head == commit));
    }

    #[test]
    fn a_project_may_be_a_folder_of_a_repository() {
        let (directory, repository) = repository();
        let project = directory.path().join("project");
        std::fs::create_dir_all(&project).unwrap();
        std::fs::write(project.join("mlops.toml"), "x").unwrap();
        std::fs::write(directory.path().join("other"), "y").unwrap();
        repository.commit(&["."], "first").unwrap();

        let inner = Repository::discover(&project).unwrap();
        let commit = inner.head().unwrap().unwrap();
        assert_eq!(
            inner
                .show(&commit, Path::new("mlops.toml"))
                .unwrap()
                .as_deref(),
            Some(b"x".as_slice())
        );
        let into = tempfile::tempdir().unwrap();
        inner.export(&commit, into.path()).unwrap();
        assert!(into.path().join("mlops.toml").is_file());
        assert!(!into.path().join("other").exists());
    }

    #[test]
    fn a_missing_repository_or_branch_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let error = Repository::discover(directory.path()).unwrap_err();
        assert_eq!(mlops_core::error::exit(&error), Exit::Usage);

        let (_directory, repository) = repository();
        let error = repository
            .require_branch(&"x".parse().unwrap())
            .unwrap_err();
        assert_eq!(error.to_string(), "no branch `x`");
        assert!(mlops_core::error::hints(&error)[0].contains("no commit yet"));
    }

    #[test]
    fn a_remote_is_updated_and_not_duplicated() {
        let (_directory, repository) = repository();
        repository
            .set_remote(REMOTE, "http://127.0.0.1:1/x")
            .unwrap();
        repository
            .set_remote(REMOTE, "http://127.0.0.1:2/x")
            .unwrap();
        assert_eq!(
            repository
                .answer(["remote", "get-url", REMOTE])
                .unwrap()
                .as_deref(),
            Some("http://127.0.0.1:2/x")
        );
    }
}
