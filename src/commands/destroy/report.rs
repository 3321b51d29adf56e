//! The report of `mlops destroy`.

use std::fmt;

use mlops_core::error::Exit;
use serde::Serialize;

use crate::config::Project;
use crate::output::Report;

/// What happens to a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fate {
    Deleted,
    Kept,
}

/// A stack and what happens to it.
#[derive(Debug, Serialize)]
pub(super) struct StackFate {
    pub(super) stack: String,
    pub(super) fate: Fate,
    /// The number of its resources.
    pub(super) resources: usize,
    /// Its resources with content of their own.
    pub(super) contents: Vec<Content>,
}

/// A resource with content.
#[derive(Debug, Serialize)]
pub(super) struct Content {
    pub(super) kind: &'static str,
    pub(super) name: String,
}

/// What was deleted and kept.
#[derive(Debug, Serialize)]
pub struct Destroyed {
    project: String,
    account: String,
    region: String,
    delete_data: bool,
    /// True if nothing was deleted.
    dry_run: bool,
    pub(super) stacks: Vec<StackFate>,
    pub(super) log_groups: Vec<String>,
    /// The runs that are stopped.
    pub(super) runs: Vec<String>,
    /// How many things were looked for afterwards.
    pub(super) checked: usize,
    /// What still exists although it was to be deleted.
    pub(super) left: Vec<String>,
    /// How each of them is removed.
    #[serde(skip)]
    pub(super) remedies: Vec<String>,
    #[serde(skip)]
    pub(super) next: String,
    #[serde(skip)]
    pub(super) exit: Exit,
}

impl Destroyed {
    pub(super) fn new(project: &Project, delete_data: bool, dry_run: bool) -> Self {
        Self {
            project: project.file.name.to_string(),
            account: project.file.account.clone(),
            region: project.file.region.clone(),
            delete_data,
            dry_run,
            stacks: Vec::new(),
            log_groups: Vec::new(),
            runs: Vec::new(),
            checked: 0,
            left: Vec::new(),
            remedies: Vec::new(),
            next: String::new(),
            exit: Exit::Done,
        }
    }

    fn of(&self, fate: Fate) -> impl Iterator<Item = &StackFate> {
        self.stacks.iter().filter(move |stack| stack.fate == fate)
    }

    /// Whether there is nothing to delete.
    pub(super) fn is_empty(&self) -> bool {
        self.of(Fate::Deleted).next().is_none()
            && self.log_groups.is_empty()
            && self.runs.is_empty()
    }

    /// What will be deleted and kept, one line each.
    pub(super) fn list(&self) -> Vec<String> {
        let runs = self.runs.iter();
        let mut lines: Vec<String> = runs.map(|run| format!("stop    run {run}")).collect();
        for (fate, word) in [(Fate::Deleted, "delete"), (Fate::Kept, "keep")] {
            for stack in self.of(fate) {
                let plural = if stack.resources == 1 { "" } else { "s" };
                lines.push(format!(
                    "{word:<7} stack {} ({} resource{plural})",
                    stack.stack, stack.resources
                ));
                for content in &stack.contents {
                    lines.push(format!("{:<9} {} {}", "", content.kind, content.name));
                }
            }
            if fate == Fate::Deleted {
                let groups = self.log_groups.iter();
                lines.extend(groups.map(|group| format!("{word:<7} log group {group}")));
            }
        }
        lines
    }
}

impl Report for Destroyed {
    fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Destroyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} in account {}, {}\n",
            self.project, self.account, self.region
        )?;
        if self.dry_run {
            for line in self.list() {
                writeln!(f, "{line}")?;
            }
            return write!(f, "\nNothing was deleted.");
        }
        for run in &self.runs {
            writeln!(f, "stopped run {run}")?;
        }
        for stack in self.of(Fate::Deleted) {
            writeln!(f, "deleted {}", stack.stack)?;
        }
        for group in &self.log_groups {
            writeln!(f, "deleted log group {group}")?;
        }
        let mut kept = false;
        for stack in self.of(Fate::Kept) {
            kept = true;
            writeln!(f, "kept    {}", stack.stack)?;
            for content in &stack.contents {
                writeln!(f, "          {} {}", content.kind, content.name)?;
            }
        }
        if self.is_empty() && !kept && self.left.is_empty() {
            return write!(
                f,
                "Nothing of {} exists in this account.\n{} things were looked for by name.",
                self.project, self.checked
            );
        }
        if kept || !self.is_empty() {
            writeln!(f)?;
        }
        if self.is_empty() && self.left.is_empty() {
            writeln!(f, "There is nothing to delete.")?;
        } else if self.left.is_empty() {
            writeln!(
                f,
                "Nothing else is left: {} things were looked for by name, and none exists.",
                self.checked
            )?;
        }
        for (left, remedy) in self.left.iter().zip(&self.remedies) {
            writeln!(f, "still there, and possibly billed: {left}")?;
            writeln!(f, "  {remedy}")?;
        }
        if kept {
            writeln!(
                f,
                "What was kept costs its storage (S3, ECR) and about $1 per month for the key."
            )?;
            write!(f, "Delete it with: {}", self.next)?;
        } else if self.delete_data && !self.is_empty() {
            write!(
                f,
                "The key is deleted after a waiting period of 7 days, which is free."
            )?;
        }
        Ok(())
    }
}
