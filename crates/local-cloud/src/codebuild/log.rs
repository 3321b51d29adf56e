//! The log of a build in CloudWatch Logs, with the lines that `CodeBuild` adds.

use std::sync::{Arc, Mutex, PoisonError};

use super::progress::stamp;
use super::records::PhaseContext;
use crate::sts::ServiceSession;
use crate::{Cloud, logs};

/// Maximum size of a log, in bytes; protects the disk against a command that prints without end.
const MAX_LOG: usize = 64 << 20;

/// What an event adds to the size of its text in CloudWatch Logs, in bytes.
const EVENT: usize = 26;

/// Maximum length of a line, in bytes: CloudWatch Logs accepts events of 256 KiB.
const MAX_LINE: usize = (256 << 10) - EVENT;

/// The text that replaces a secret.
const HIDDEN: &str = "***";

/// Lines, each with its time in milliseconds since the epoch.
type Lines = [(i64, String)];

/// The log of a build; cheap to clone.
#[derive(Clone)]
pub(super) struct BuildLog(Arc<Inner>);

struct Inner {
    cloud: Cloud,
    session: Arc<ServiceSession>,
    /// Log group and log stream; `None` for a build without a log.
    place: Option<(String, String)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    written: usize,
    lost: usize,
    /// Values of parameters, which are hidden.
    secrets: Vec<String>,
}

impl BuildLog {
    pub(super) fn new(
        cloud: &Cloud,
        session: &Arc<ServiceSession>,
        place: Option<(String, String)>,
    ) -> Self {
        Self(Arc::new(Inner {
            cloud: cloud.clone(),
            session: session.clone(),
            place,
            state: Mutex::default(),
        }))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hides a value in everything that is written from now on.
    pub(super) fn hide(&self, value: &str) {
        if !value.trim().is_empty() {
            let mut state = self.state();
            // A secret of several lines is printed line by line.
            let lines = value.lines().map(str::trim).filter(|line| !line.is_empty());
            state.secrets.extend(lines.map(str::to_owned));
            // A secret that contains another one is replaced first.
            state
                .secrets
                .sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// A text without the values that are hidden.
    pub(super) fn masked(&self, text: &str) -> String {
        let state = self.state();
        let mut text = text.to_owned();
        for secret in &state.secrets {
            if text.contains(secret) {
                text = text.replace(secret, HIDDEN);
            }
        }
        text
    }

    /// Writes lines.
    pub(super) fn write(&self, lines: &Lines) {
        let Some((group, stream)) = &self.0.place else {
            return;
        };
        let mut shown: Vec<(i64, String)> = Vec::with_capacity(lines.len());
        for (time, line) in lines {
            let mut line = self.masked(line);
            if line.len() > MAX_LINE {
                let note = format!("… [mlops] {} bytes in all", line.len());
                line.truncate(line.floor_char_boundary(MAX_LINE - note.len()));
                line.push_str(&note);
            }
            let mut state = self.state();
            let before = state.written;
            // Empty lines take space, too.
            state.written = before.saturating_add(line.len() + EVENT);
            if state.written <= MAX_LOG {
                shown.push((*time, line));
            } else if before <= MAX_LOG {
                let note = format!(
                    "[mlops] the log has more than {MAX_LOG} bytes; the rest is not stored"
                );
                shown.push((*time, note));
            }
        }
        if shown.is_empty() {
            return;
        }
        let lost = std::mem::take(&mut self.state().lost);
        if lost > 0 {
            let time = shown[0].0;
            let note = format!("[mlops] {lost} lines were lost: the log could not be written");
            shown.insert(0, (time, note));
        }
        let role = self.0.session.caller();
        if logs::append(&self.0.cloud, &role, group, stream, &shown).is_err() {
            // A failure to write the log must not stop the build.
            self.state().lost += lost + lines.len();
        }
    }

    /// Writes a line of `CodeBuild` itself.
    pub(super) fn container(&self, text: &str) {
        let text = text.trim_end();
        let now = jiff::Timestamp::now().as_millisecond();
        self.write(&[(now, format!("[Container] {} {text}", stamp()))]);
    }

    /// Writes the end of a phase, with a context if it failed.
    pub(super) fn phase_complete(&self, phase: &str, context: Option<&PhaseContext>) {
        let state = if context.is_some() {
            "FAILED"
        } else {
            "SUCCEEDED"
        };
        let (code, message) =
            context.map_or(("", ""), |context| (&context.status_code, &context.message));
        self.container(&format!("Phase complete: {phase} State: {state}"));
        self.container(&format!(
            "Phase context status code: {code} Message: {message}"
        ));
    }
}
