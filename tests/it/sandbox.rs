//! Gives each test its own directory, HOME and environment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use snapbox::{Redactions, assert_data_eq};

/// Pauses briefly between two polls, so that the server gets CPU time, too.
#[expect(clippy::disallowed_methods, reason = "tests poll other processes")]
pub(crate) fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(10));
}

/// A directory in which one test runs `mlops`. Dropping it stops its local clouds.
pub(crate) struct Sandbox {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Sandbox {
    /// Creates an empty sandbox.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("home")).unwrap();
        std::fs::create_dir(directory.path().join("work")).unwrap();
        Self {
            directory,
            variables: Vec::new(),
        }
    }

    /// Sets a variable for all later commands.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The directory in which commands run.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// HOME of every command.
    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// Writes a file below the directory.
    pub(crate) fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    /// Runs `mlops` and waits for it.
    #[must_use = "check the exit code, or snapshot the output"]
    pub(crate) fn mlops<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        self.mlops_in("", args)
    }

    /// Runs `mlops` in a subdirectory of the sandbox.
    #[must_use = "check the exit code, or snapshot the output"]
    pub(crate) fn mlops_in<A: AsRef<OsStr>>(
        &self,
        directory: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Run {
        let mut command = self.command(directory);
        command.args(args);
        let output = command.stdin(Stdio::null()).output().unwrap();
        self.result(&output)
    }

    /// Returns the `mlops` command in this sandbox, for tests that need the process itself.
    pub(crate) fn command(&self, directory: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mlops"));
        self.isolate(&mut command, directory);
        command
    }

    /// Runs a command that was created here and modified since.
    #[must_use = "check the exit code, or snapshot the output"]
    pub(crate) fn run(&self, mut command: Command) -> Run {
        self.result(&command.stdin(Stdio::null()).output().unwrap())
    }

    /// Runs another program (git, curl) in this sandbox.
    #[must_use = "check the exit code, or snapshot the output"]
    pub(crate) fn program(&self, directory: &str, program: &str, args: &[&str]) -> Run {
        let mut command = Command::new(program);
        self.isolate(&mut command, directory);
        let output = command.args(args).stdin(Stdio::null()).output().unwrap();
        self.result(&output)
    }

    /// Runs a command that was created elsewhere in this sandbox.
    #[must_use = "check the exit code, or snapshot the output"]
    pub(crate) fn shell(&self, mut command: Command) -> Run {
        self.isolate(&mut command, "");
        self.run(command)
    }

    fn isolate(&self, command: &mut Command, directory: &str) {
        command
            .current_dir(self.path().join(directory))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.directory.path().join("home"))
            .env("COLUMNS", "80")
            .env("LC_ALL", "C.UTF-8")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // Virtual environments are created once for all tests.
            .env(
                "MLOPS_CACHE_DIR",
                Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
            )
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        for name in [
            "PIP_FIND_LINKS",
            "PIP_CERT",
            "PIP_INDEX_URL",
            "PIP_DEFAULT_TIMEOUT",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
    }

    fn result(&self, output: &Output) -> Run {
        let mut redactions = Redactions::new();
        redactions.insert("[DIR]", self.path()).unwrap();
        redactions
            .insert(
                "[PORT]",
                regex::Regex::new(r"127\.0\.0\.1:(?<redacted>\d+)").unwrap(),
            )
            .unwrap();
        redactions
            .insert(
                "[PID]",
                regex::Regex::new(r"process (?<redacted>\d+)").unwrap(),
            )
            .unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            redactions,
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let mut pending = vec![self.path()];
        while let Some(directory) = pending.pop() {
            let state = directory.join(".mlops/local");
            if state.is_dir() {
                let _ = Command::new(env!("CARGO_BIN_EXE_mlops"))
                    .args(["--quiet", "local", "stop", "--state"])
                    .arg(state)
                    // A state directory only works with the key in the HOME that created it.
                    .env("HOME", self.home())
                    .env_remove("XDG_STATE_HOME")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
            }
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir())
                    && entry.file_name() != ".mlops"
                {
                    pending.push(entry.path());
                }
            }
        }
    }
}

/// The result of a command.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    redactions: Redactions,
}

impl Run {
    /// Checks that the exit code is `code`.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Checks that the command succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        self.code(0)
    }

    /// Compares stdout with a snapshot (`SNAPSHOTS=overwrite cargo test` updates it).
    #[track_caller]
    pub(crate) fn stdout(self, expected: impl snapbox::IntoData) -> Self {
        assert_data_eq!(self.redactions.redact(&self.stdout), expected.into_data());
        self
    }

    /// Compares stderr with a snapshot.
    #[track_caller]
    pub(crate) fn stderr(self, expected: impl snapbox::IntoData) -> Self {
        assert_data_eq!(self.redactions.redact(&self.stderr), expected.into_data());
        self
    }

    /// Parses stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }
}
