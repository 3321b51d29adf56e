//! Asks the user. Without a terminal, fails with an error that names the flag to pass instead.

use std::io::IsTerminal;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};

/// Asks before irreversible operations.
#[derive(Debug, Clone, Copy)]
pub struct Prompt {
    yes: bool,
}

impl Prompt {
    /// `yes` answers every question (`--yes`).
    pub fn new(yes: bool) -> Self {
        Self { yes }
    }

    /// Returns whether the user answers yes; an error (exit 2) without a terminal.
    pub fn confirm(self, question: &str) -> Result<bool> {
        if self.yes {
            return Ok(true);
        }
        // The question may contain names chosen by other people.
        let question = mlops_core::text::clean(question);
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(Failure::usage(format!(
                "{question} There is no terminal to ask on"
            )))
            .hint("pass --yes to continue without asking");
        }
        Ok(dialoguer::Confirm::new()
            .with_prompt(question)
            .default(false)
            .interact()?)
    }

    /// Like [`Prompt::confirm`], but "no" is an error (exit 1), and nothing is changed.
    pub fn require(self, question: &str) -> Result<()> {
        if self.confirm(question)? {
            Ok(())
        } else {
            Err(Failure::new(
                Exit::Failed,
                "not confirmed; nothing was changed",
            ))
        }
    }
}
