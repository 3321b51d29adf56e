//! Errors with hints that survive `.context()`, and the exit codes.
//!
//! Everything travels as [`anyhow::Error`]. A typed error exists only where code branches on it:
//! [`Failure`] carries an exit code other than 1 through the chain, and [`Hinted`] a line that
//! suggests what to try next.

use std::fmt;

use anyhow::Error;

/// Exit codes of a command. docs/exit-codes.md is generated from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command succeeded.
    Done = 0,
    /// The command failed.
    Failed = 1,
    /// The command line or `mlops.toml` cannot be parsed.
    Usage = 2,
    /// A check failed: violations, a refused gate, drift, a plan with changes.
    Refused = 3,
    /// Credentials, permissions, or the wrong account.
    Credentials = 4,
    /// Waiting timed out; the remote work is still running.
    TimedOut = 5,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// Every exit code with its description in docs/exit-codes.md.
    pub const TABLE: &[(Exit, &str)] = &[
        (Exit::Done, "done"),
        (Exit::Failed, "failed"),
        (Exit::Usage, "the command line or mlops.toml is invalid"),
        (
            Exit::Refused,
            "a check failed: violations, a refused gate, drift, or a plan with changes",
        ),
        (
            Exit::Credentials,
            "missing credentials or permissions, or the wrong account",
        ),
        (
            Exit::TimedOut,
            "timed out waiting; the remote work is still running",
        ),
        (Exit::Interrupted, "interrupted"),
    ];
}

impl Exit {
    /// The code's name in JSON output.
    pub fn kind(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Refused => "refused",
            Exit::Credentials => "credentials",
            Exit::TimedOut => "timed_out",
            Exit::Interrupted => "interrupted",
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that ends the process with a code other than 1.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    answer: Option<ServiceAnswer>,
}

/// An error as an AWS service returned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAnswer {
    /// The error code, such as `AccessDeniedException`.
    pub code: String,
    /// The service's message, without the context that we add.
    pub message: String,
    /// The id of the request, for AWS Support.
    pub request_id: Option<String>,
}

impl Failure {
    /// An error returned by a service, and the message to print for it.
    pub fn answered(exit: Exit, message: impl Into<String>, answer: ServiceAnswer) -> Error {
        Error::new(Self {
            exit,
            message: message.into(),
            answer: Some(answer),
        })
    }

    /// Creates an error with `message` that ends the process with `exit`.
    #[expect(
        clippy::new_ret_no_self,
        reason = "it exists only inside an anyhow::Error"
    )]
    pub fn new(exit: Exit, message: impl Into<String>) -> Error {
        Error::new(Self {
            exit,
            message: message.into(),
            answer: None,
        })
    }

    /// The service's error, if a service returned one.
    pub fn answer(&self) -> Option<&ServiceAnswer> {
        self.answer.as_ref()
    }

    /// Creates an error for an invalid command line or configuration (exit 2).
    pub fn usage(message: impl Into<String>) -> Error {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error with a suggestion.
#[derive(Debug)]
struct Hinted {
    hint: String,
    error: Error,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Attaches hints to errors. They are printed below the error, innermost first.
pub trait Hint<T> {
    /// Adds a hint if this is an error.
    fn hint(self, hint: impl Into<String>) -> Result<T, Error>;
}

impl<T, E: Into<Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> Result<T, Error> {
        self.map_err(|error| {
            Error::new(Hinted {
                hint: hint.into(),
                error: error.into(),
            })
        })
    }
}

/// Adds a hint to an error under construction.
pub fn hinted(error: Error, hint: impl Into<String>) -> Error {
    Error::new(Hinted {
        hint: hint.into(),
        error,
    })
}

/// Returns the hints of an error, innermost first.
pub fn hints(error: &Error) -> Vec<String> {
    let mut found = Vec::new();
    collect_hints(error, &mut found);
    found.reverse();
    found
}

fn collect_hints(error: &Error, found: &mut Vec<String>) {
    if let Some(hinted) = error.downcast_ref::<Hinted>() {
        found.push(hinted.hint.clone());
        collect_hints(&hinted.error, found);
        return;
    }
    for cause in error.chain() {
        if let Some(hinted) = cause.downcast_ref::<Hinted>() {
            found.push(hinted.hint.clone());
            collect_hints(&hinted.error, found);
            return;
        }
    }
}

/// Returns the first cause of type `T`, below hints and contexts.
pub fn cause<T: std::error::Error + Send + Sync + 'static>(error: &Error) -> Option<&T> {
    if let Some(found) = error.downcast_ref::<T>() {
        return Some(found);
    }
    if let Some(hinted) = error.downcast_ref::<Hinted>() {
        return cause(&hinted.error);
    }
    for link in error.chain() {
        if let Some(found) = link.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(hinted) = link.downcast_ref::<Hinted>() {
            return cause(&hinted.error);
        }
    }
    None
}

/// Returns the exit code for an error.
pub fn exit(error: &Error) -> Exit {
    cause::<Failure>(error).map_or(Exit::Failed, |failure| failure.exit)
}

/// Formats the message of an error on one line: its contexts, outermost first.
pub fn message(error: &Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for link in error.chain() {
        let text = crate::quote::capped(&link.to_string());
        if parts.last().is_none_or(|last| !last.ends_with(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn hints_survive_contexts() {
        let error = Err::<(), _>(anyhow!("no stack named `flights-data`"))
            .hint("run `mlops init` first")
            .context("cannot push `flights`")
            .hint("or name a bucket")
            .unwrap_err();
        assert_eq!(
            hints(&error),
            ["run `mlops init` first", "or name a bucket"]
        );
        assert_eq!(
            message(&error),
            "cannot push `flights`: no stack named `flights-data`"
        );
    }

    #[test]
    fn exit_code_is_found_under_hints_and_contexts() {
        let error = Err::<(), _>(Failure::new(Exit::Credentials, "wrong account"))
            .hint("check --profile")
            .context("cannot train")
            .unwrap_err();
        assert_eq!(exit(&error), Exit::Credentials);
        assert_eq!(exit(&anyhow!("x")), Exit::Failed);
    }
}
