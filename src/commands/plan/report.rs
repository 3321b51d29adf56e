//! The report of `mlops plan`.

use std::fmt;

use mlops_core::error::Exit;
use mlops_core::text::WIDTH;
use serde::Serialize;

use crate::config::Project;
use crate::infra::{Effect, ResourcePreview, StackEffect, StackPreview};
use crate::output::Report;

/// What `mlops init` would change.
#[derive(Debug, Serialize)]
pub struct Plan {
    project: String,
    account: String,
    region: String,
    stacks: Vec<StackPreview>,
    added: usize,
    changed: usize,
    replaced: usize,
    removed: usize,
    #[serde(skip)]
    next: String,
}

impl Plan {
    pub(super) fn new(project: &Project, stacks: Vec<StackPreview>, next: String) -> Self {
        let count = |effects: &[Effect]| {
            let all = stacks.iter().flat_map(|stack| &stack.changes);
            all.filter(|change| effects.contains(&change.effect))
                .count()
        };
        Self {
            project: project.file.name.to_string(),
            account: project.file.account.clone(),
            region: project.file.region.clone(),
            added: count(&[Effect::Added]),
            changed: count(&[Effect::Changed]),
            replaced: count(&[Effect::Replaced, Effect::MayBeReplaced]),
            removed: count(&[Effect::Removed]),
            stacks,
            next,
        }
    }

    fn changes(&self) -> bool {
        let mut stacks = self.stacks.iter();
        stacks.any(|stack| stack.effect != StackEffect::Unchanged)
    }
}

impl Report for Plan {
    fn exit(&self) -> Exit {
        if self.changes() {
            Exit::Refused
        } else {
            Exit::Done
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} in account {}, {}",
            self.project, self.account, self.region
        )?;
        if !self.changes() {
            return write!(f, "\nEvery stack is up to date; there is nothing to do.");
        }
        let (same, changed): (Vec<&StackPreview>, Vec<&StackPreview>) = self
            .stacks
            .iter()
            .partition(|stack| stack.effect == StackEffect::Unchanged);
        for stack in changed {
            write_stack(f, stack)?;
        }
        if !same.is_empty() {
            let names: Vec<&str> = same.iter().map(|stack| stack.stack.as_str()).collect();
            write!(
                f,
                "\n{}",
                wrapped(&format!("unchanged: {}", names.join(", ")), 2)
            )?;
        }
        writeln!(
            f,
            "\n{} added, {} changed, {} replaced, {} removed",
            self.added, self.changed, self.replaced, self.removed
        )?;
        write!(f, "Next: {}", self.next)
    }
}

fn write_stack(f: &mut fmt::Formatter<'_>, stack: &StackPreview) -> fmt::Result {
    let what = match stack.effect {
        StackEffect::Create => "new stack",
        StackEffect::Update if stack.changes.is_empty() => "outputs or tags change",
        StackEffect::Update => "update",
        StackEffect::Unchanged => "no changes",
        StackEffect::Delete => "deleted",
    };
    writeln!(f, "\n{}: {what}", stack.stack)?;
    if stack.deleted_first {
        writeln!(
            f,
            "  (from the template: its deployment failed, and init deletes it first)"
        )?;
    } else if stack.from_template {
        writeln!(
            f,
            "  (from the template: it imports from stacks that do not exist yet)"
        )?;
    }
    for change in &stack.changes {
        write_change(f, change)?;
        // A new stack has too many statements to print; the JSON output includes them.
        if stack.effect == StackEffect::Update {
            for (sign, statements) in [
                ('-', &change.permissions.before),
                ('+', &change.permissions.after),
            ] {
                for statement in statements {
                    write_wrapped(f, &format!("      {sign} {statement}"), 8)?;
                }
            }
        }
    }
    Ok(())
}

fn write_change(f: &mut fmt::Formatter<'_>, change: &ResourcePreview) -> fmt::Result {
    let (sign, word) = match change.effect {
        Effect::Added => ('+', "added"),
        Effect::Changed => ('~', "changed"),
        Effect::Replaced => ('!', "replaced"),
        Effect::MayBeReplaced => ('!', "may be replaced"),
        Effect::Removed => ('-', "removed"),
    };
    let kind = change
        .r#type
        .strip_prefix("AWS::")
        .unwrap_or(&change.r#type);
    let mut line = format!("  {sign} {:<28} {kind}", change.resource);
    if change.effect != Effect::Added {
        line += &format!(", {word}");
    }
    if !change.properties.is_empty() {
        line += &format!(": {}", change.properties.join(", "));
    }
    if let Some(condition) = &change.condition {
        line += &format!(" (if {condition})");
    }
    let red = matches!(
        change.effect,
        Effect::Replaced | Effect::MayBeReplaced | Effect::Removed
    );
    let mut text = wrapped(&line, 6);
    if let Some(lost) = change.lost {
        text += &wrapped(&format!("      lost: {lost}"), 12);
    }
    for line in text.lines() {
        if red {
            writeln!(f, "{}", console::style(line).red())?;
        } else {
            writeln!(f, "{line}")?;
        }
    }
    Ok(())
}

fn write_wrapped(f: &mut fmt::Formatter<'_>, line: &str, indent: usize) -> fmt::Result {
    f.write_str(&wrapped(line, indent))
}

/// Breaks a line between words so that it fits; the next lines are indented.
fn wrapped(line: &str, indent: usize) -> String {
    let line = mlops_core::text::clean(line);
    let start = line.len() - line.trim_start().len();
    let mut text = String::new();
    let mut current = " ".repeat(start);
    let mut is_empty = true;
    for word in line.split(' ').skip(start) {
        if !is_empty && current.chars().count() + 1 + word.chars().count() > WIDTH {
            text += current.trim_end();
            text.push('\n');
            current = " ".repeat(indent);
            is_empty = true;
        }
        if !is_empty {
            current.push(' ');
        }
        current += word;
        is_empty = false;
    }
    text += current.trim_end();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        let line = format!("  + {} {} end", "a".repeat(40), "b".repeat(40));
        let expected = format!("  + {}\n      {} end\n", "a".repeat(40), "b".repeat(40));
        assert_eq!(wrapped(&line, 6), expected);
        let columns = format!("  + {:<28} EC2::VPC", "Vpc");
        assert_eq!(wrapped(&columns, 6), format!("{columns}\n"));
    }
}
