//! `INSTALL` to `POST_BUILD`: one process runs all commands.

use std::path::Path;

use tokio::sync::mpsc;

use super::super::buildspec::CommandPhase;
use super::super::driver::{CONTROL, MAX_STEPS, Script, Step};
use super::super::records::{Exported, PhaseContext, Status};
use super::download::Prepared;
use super::{Break, Run, read_text, stopped};
use crate::runtime::{self, BuildSpec};

/// Maximum size of an exported variable, in bytes: that of a value that Linux passes to a program.
const MAX_VARIABLE: u64 = 128 << 10;

/// Maximum size of an evaluated text of the buildspec, in bytes.
const MAX_TEXT: u64 = 64 << 10;

/// How the commands ended.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) has_failed: bool,
    /// True if the output is uploaded: after `POST_BUILD`, whether it succeeded or not.
    pub(super) uploads: bool,
    /// The evaluated texts of the buildspec, by their text.
    pub(super) texts: Vec<(String, String)>,
}

impl Outcome {
    /// A text of the buildspec after its evaluation.
    pub(super) fn evaluated(&self, text: &str) -> String {
        let found = self.texts.iter().find(|(own, _)| own == text);
        found.map_or_else(|| text.to_owned(), |(_, value)| value.clone())
    }
}

impl Run {
    /// Runs the commands.
    pub(super) async fn commands(&mut self, build: &Prepared) -> Result<Outcome, Break> {
        let expressions = super::expressions::of(&build.spec);
        let script = Script::new(&build.spec, &expressions);
        script.write(&build.root_path, &build.root)?;
        let (sender, mut steps) = mpsc::channel(MAX_STEPS);
        let mut reports = script.reports(build.log.clone(), sender);
        let spec = BuildSpec {
            root: build.root_path.clone(),
            session: &build.session,
            command: script.command(&build.layout.root),
            environment: build.environment.clone(),
            directory: build.source(),
        };
        let launched = runtime::launch_build(&self.cloud, spec, move |lines| reports.read(lines));
        let running = launched.await?;
        let mut outcome = Outcome::default();
        let mut is_done = false;
        let ended = loop {
            tokio::select! {
                biased;
                reason = stopped(&mut self.stop) => break Err(reason),
                () = self.work.sleep_until(self.due) => break Err(self.timed_out()),
                Some(step) = steps.recv() => match self.step(step, &mut outcome).await {
                    Ok(is_last) => is_done |= is_last,
                    Err(reason) => break Err(reason),
                },
                code = running.wait() => break Ok(code),
            }
        };
        let code = match ended {
            Ok(code) => code,
            Err(reason) => {
                self.terminate(&running).await;
                return Err(reason);
            }
        };
        while let Ok(step) = steps.try_recv() {
            is_done |= self.step(step, &mut outcome).await?;
        }
        if !is_done {
            let message = format!("the shell of the build ended with exit code {code}");
            return Err(Break::client(message));
        }
        // A command can print what the driver prints, but it cannot choose its exit code.
        if (code != 0) != outcome.has_failed {
            let message = "the output of the build reports another result than its shell";
            return Err(Break::client(message.to_owned()));
        }
        self.export(build).await?;
        for (number, text) in expressions.into_iter().enumerate() {
            let file = format!("{CONTROL}/out/text-{number}");
            let value = read_text(&build.root, Path::new(&file), MAX_TEXT)?;
            outcome.texts.push((text, value.unwrap_or_default()));
        }
        Ok(outcome)
    }

    /// Records a step; true after the last command.
    async fn step(&mut self, step: Step, outcome: &mut Outcome) -> Result<bool, Break> {
        match step {
            // It began before the driver was started.
            Step::Begin(CommandPhase::Install) => {}
            Step::Begin(phase) => {
                outcome.uploads |= phase == CommandPhase::PostBuild;
                self.progress.begin(phase.name()).await?;
            }
            Step::End(None) => {
                self.progress
                    .end(Status::Succeeded, &PhaseContext::default())
                    .await?;
            }
            Step::End(Some(context)) => {
                outcome.has_failed = true;
                self.progress.end(Status::Failed, &context).await?;
            }
            Step::Done => return Ok(true),
        }
        Ok(false)
    }

    /// Records the exported variables.
    async fn export(&self, build: &Prepared) -> Result<(), Break> {
        let mut exported = Vec::new();
        for (number, name) in build.spec.exported.iter().enumerate() {
            let file = format!("{CONTROL}/out/variable-{number}");
            let Some(value) = read_text(&build.root, Path::new(&file), MAX_VARIABLE + 1)? else {
                continue;
            };
            if value.len() as u64 > MAX_VARIABLE {
                let note = format!("{name} has more than {MAX_VARIABLE} bytes and is not exported");
                build.log.container(&note);
                continue;
            }
            exported.push(Exported {
                name: name.clone(),
                value,
            });
        }
        if !exported.is_empty() {
            self.progress
                .set(|build| build.exported_environment_variables.clone_from(&exported))
                .await?;
        }
        Ok(())
    }
}
