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

    /// Whether the user can be asked something that has a default.
    pub fn can_ask(self) -> bool {
        !self.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Lets the user choose one of the items; the default without a terminal.
    pub fn choose(self, question: &str, items: &[&str], default: usize) -> Result<usize> {
        if !self.can_ask() {
            return Ok(default);
        }
        Ok(dialoguer::Select::new()
            .with_prompt(question)
            .items(items)
            .default(default)
            .interact()?)
    }

    /// Asks for a name that can be parsed; `None` without a terminal.
    pub fn name<T>(self, question: &str, default: Option<T>) -> Result<Option<T>>
    where
        T: Clone + ToString + std::str::FromStr,
        T::Err: ToString,
    {
        if !self.can_ask() {
            return Ok(default);
        }
        let mut input = dialoguer::Input::<T>::new().with_prompt(question);
        if let Some(default) = default {
            input = input.default(default);
        }
        Ok(Some(input.interact_text()?))
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
