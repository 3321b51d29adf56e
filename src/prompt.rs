//! Questions to a person. With no terminal, an error that names the flag to pass instead.

use std::io::IsTerminal;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};

/// Asks before something that cannot be taken back.
#[derive(Debug, Clone, Copy)]
pub struct Prompt {
    yes: bool,
}

impl Prompt {
    /// `yes` answers every question (`--yes`).
    pub fn new(yes: bool) -> Self {
        Self { yes }
    }

    /// Whether the user answers yes; an error (exit 2) without a terminal.
    pub fn confirm(self, question: &str) -> Result<bool> {
        if self.yes {
            return Ok(true);
        }
        // It may name files of other people.
        let question = mlops_core::text::clean(question);
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(Failure::usage(format!(
                "{question} There is no terminal to ask on"
            )))
            .hint("pass --yes to go ahead without asking");
        }
        Ok(dialoguer::Confirm::new()
            .with_prompt(question)
            .default(false)
            .interact()?)
    }

    /// Like [`Prompt::confirm`], but "no" is an error (exit 1): nothing was changed.
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
