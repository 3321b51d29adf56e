//! The shell scripts that run the commands of a build, and the lines with which they report their progress.
//!
//! ```text
//! driver.sh (bash, one process per build) ── for each command ── command.sh (sh or bash)
//!     │                                                            restores the state of the last command,
//!     └ lines `MARKER begin INSTALL` … ── Reports ── Step          runs the command, saves the state
//! ```
//!
//! All commands see the variables, functions, options and directory that the commands before them left, as in one
//! shell, but `exit` ends only the command. Functions are lost between commands of `sh`, unless it is bash.

use std::path::Path;

use tokio::sync::mpsc::Sender;

use super::buildspec::{Buildspec, CommandPhase, OnFailure, PhaseSpec, Shell};
use super::log::BuildLog;
use super::records::PhaseContext;
use crate::api::{ApiError, ApiResult};
use crate::beneath::Directory;

mod expected;

use expected::{Expected, Planned};

const DRIVER: &str = include_str!("driver.sh");
const COMMAND: &str = include_str!("command.sh");

/// The directory of the control files below the root of a build.
pub(super) const CONTROL: &str = "control";

/// More than the number of steps of a build.
pub(super) const MAX_STEPS: usize = 16;

/// Something that the driver reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A phase begins.
    Begin(CommandPhase),
    /// The current phase ended: with a context if it failed.
    End(Option<PhaseContext>),
    /// No command will run any more.
    Done,
}

/// The scripts of a build.
#[derive(Debug)]
pub(super) struct Script {
    /// The commands, by number.
    commands: Vec<String>,
    phases: Vec<Planned>,
    plan: String,
    expand: String,
    shell: Shell,
    /// The prefix of the lines that report progress.
    marker: String,
}

impl Script {
    /// Creates the scripts for a buildspec. `expressions` are texts to evaluate at the end.
    pub(super) fn new(spec: &Buildspec, expressions: &[String]) -> Self {
        let mut script = Self {
            commands: Vec::new(),
            phases: Vec::new(),
            plan: String::new(),
            expand: String::new(),
            shell: spec.shell,
            marker: format!("[codebuild-{}]", uuid::Uuid::new_v4().simple()),
        };
        let none = PhaseSpec::default();
        for phase in CommandPhase::ALL {
            script.add(phase, spec.phases.get(&phase).unwrap_or(&none));
        }
        let out = "\"$_codebuild_control\"/out";
        for (number, name) in spec.exported.iter().enumerate() {
            let line = format!(
                "if [ -n \"${{{name}+x}}\" ]; then printf %s \"${name}\" >{out}/variable-{number}; fi\n"
            );
            script.expand.push_str(&line);
        }
        for (number, text) in expressions.iter().enumerate() {
            // In a shell of its own: an expression with a mistake spoils only itself.
            let line = format!(
                "( eval 'printf %s \"'{}'\"' ) >{out}/text-{number} || :\n",
                quoted(text)
            );
            script.expand.push_str(&line);
        }
        script
    }

    fn add(&mut self, phase: CommandPhase, spec: &PhaseSpec) {
        let first = self.commands.len();
        self.commands.extend(spec.commands.iter().cloned());
        let finally = self.commands.len();
        self.commands.extend(spec.finally.iter().cloned());
        let after = if stops(phase, spec.on_failure) {
            "stop"
        } else {
            "continue"
        };
        let retries = match spec.on_failure {
            OnFailure::Retry(count) => count,
            _ => 0,
        };
        let end = self.commands.len();
        self.phases.push(Planned {
            phase,
            retries,
            commands: first..end,
        });
        self.plan.push_str(&format!(
            "_codebuild_phase {} {after} {retries} {first} {finally} {end}\n",
            phase.name()
        ));
    }

    /// Writes the scripts below the root of a build, after everything that others may have put there: into a new
    /// directory, and through no link.
    pub(super) fn write(&self, path: &Path, root: &Directory) -> ApiResult<()> {
        std::fs::create_dir(path.join(CONTROL)).map_err(|error| {
            let shown = root.shown(Path::new(CONTROL));
            ApiError::internal(format_args!("{}: {error}", shown.display()))
        })?;
        let control = Path::new(CONTROL);
        for directory in ["commands", "state", "out"] {
            root.make_directory(&control.join(directory))?;
        }
        for (name, text) in [
            ("driver.sh", DRIVER),
            ("command.sh", COMMAND),
            ("plan", &self.plan),
            ("expand", &self.expand),
        ] {
            root.write(&control.join(name), text.as_bytes())?;
        }
        for (number, command) in self.commands.iter().enumerate() {
            let file = control.join("commands").join(number.to_string());
            root.write(&file, format!("{command}\n").as_bytes())?;
        }
        Ok(())
    }

    /// The program of the build and its arguments; `root` is the root as the program sees it.
    pub(super) fn command(&self, root: &Path) -> Vec<String> {
        let control = root.join(CONTROL).display().to_string();
        let shell = match self.shell {
            Shell::Sh => "/bin/sh",
            Shell::Bash => "bash",
        };
        let driver = format!("{control}/driver.sh");
        ["bash", &driver, &control, &self.marker, shell]
            .map(str::to_owned)
            .into()
    }

    /// The reader of the program's output.
    pub(super) fn reports(&self, log: BuildLog, steps: Sender<Step>) -> Reports {
        Reports {
            prefix: format!("{} ", self.marker),
            commands: self.commands.clone(),
            expected: Expected::new(self.phases.clone()),
            log,
            steps,
            failure: None,
        }
    }
}

/// True if the build ends after this phase has failed.
fn stops(phase: CommandPhase, on_failure: OnFailure) -> bool {
    match on_failure {
        OnFailure::Abort => true,
        OnFailure::Continue => false,
        OnFailure::Default | OnFailure::Retry(_) => {
            matches!(phase, CommandPhase::Install | CommandPhase::PreBuild)
        }
    }
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Separates the output of commands from reports.
pub(super) struct Reports {
    prefix: String,
    commands: Vec<String>,
    expected: Expected,
    log: BuildLog,
    steps: Sender<Step>,
    /// The first command of the current phase that failed, and its exit code.
    failure: Option<(String, i32)>,
}

impl Reports {
    /// Reads lines: output goes to the log, reports are sent.
    pub(super) fn read(&mut self, lines: &[(i64, String)]) {
        let mut output = Vec::new();
        for (time, line) in lines {
            let report = line.strip_prefix(&self.prefix);
            let Some(report) = report.and_then(|report| self.expect(report)) else {
                output.push((*time, line.clone()));
                continue;
            };
            if !output.is_empty() {
                self.log.write(&std::mem::take(&mut output));
            }
            if let Some(step) = self.step(report) {
                // There are fewer steps than places, and nobody receives them after the build was stopped.
                let _ = self.steps.try_send(step);
            }
        }
        if !output.is_empty() {
            self.log.write(&output);
        }
    }

    /// A report in its place; `None` for anything else.
    fn expect(&mut self, report: &str) -> Option<Report> {
        let mut words = report.split(' ');
        let (word, first, second) = (words.next()?, words.next(), words.next());
        let expected = &mut self.expected;
        let (report, fits) = match word {
            "begin" => {
                let phase = CommandPhase::named(first?)?;
                (Report::Begin(phase), expected.begins(phase))
            }
            "command" => {
                let number = first?.parse().ok()?;
                (Report::Command(number), expected.runs(number))
            }
            "failed" => {
                let (number, code) = (first?.parse().ok()?, second?.parse().ok()?);
                // Once: nothing fails twice without running again.
                let fits = expected.fails(number);
                (Report::Failed(number, code), fits)
            }
            "retry" => {
                let attempt = first?.parse().ok()?;
                (Report::Retry(attempt), expected.retries(attempt))
            }
            "end" => {
                let phase = CommandPhase::named(first?)?;
                let has_failed = second? != "0";
                (Report::End(phase, has_failed), expected.ends(phase))
            }
            "commands-done" => (Report::Done, expected.is_complete()),
            _ => return None,
        };
        fits.then_some(report)
    }

    fn step(&mut self, report: Report) -> Option<Step> {
        let command = |number: usize| self.commands.get(number).cloned().unwrap_or_default();
        match report {
            Report::Begin(phase) => {
                self.failure = None;
                self.log
                    .container(&format!("Entering phase {}", phase.name()));
                Some(Step::Begin(phase))
            }
            Report::Command(number) => {
                self.log
                    .container(&format!("Running command {}", command(number)));
                None
            }
            Report::Failed(number, code) => {
                let command = command(number).trim_end().to_owned();
                self.log.container(&format!(
                    "Command did not exit successfully {command} exit status {code}"
                ));
                self.failure.get_or_insert((command, code));
                None
            }
            Report::Retry(attempt) => {
                self.failure = None;
                self.log
                    .container(&format!("Retrying the phase, attempt {attempt}"));
                None
            }
            Report::End(phase, has_failed) => {
                let context = has_failed.then(|| {
                    let (command, code) = self.failure.take().unwrap_or_default();
                    let command = self.log.masked(&command);
                    PhaseContext::new(
                        "COMMAND_EXECUTION_ERROR",
                        format!(
                            "Error while executing command: {command}. Reason: exit status {code}"
                        ),
                    )
                });
                self.log.phase_complete(phase.name(), context.as_ref());
                Some(Step::End(context))
            }
            Report::Done => Some(Step::Done),
        }
    }
}

/// A line of the driver.
#[derive(Debug, Clone, Copy)]
enum Report {
    Begin(CommandPhase),
    Command(usize),
    Failed(usize, i32),
    Retry(u32),
    End(CommandPhase, bool),
    Done,
}

#[cfg(test)]
mod tests;
