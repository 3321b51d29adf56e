//! The order of the driver's reports.

use std::ops::Range;

use crate::codebuild::buildspec::CommandPhase;

/// A phase as the driver runs it.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) phase: CommandPhase,
    pub(super) retries: u32,
    /// The numbers of its commands, with those of `finally`.
    pub(super) commands: Range<usize>,
}

/// What the driver can report next. A command can print the same lines: each is accepted once, and only in its place.
#[derive(Debug)]
pub(super) struct Expected {
    phases: Vec<Planned>,
    /// The number of phases that have ended.
    ended: usize,
    /// True within a phase.
    is_open: bool,
    /// The number of retries of the phase.
    attempt: u32,
    /// The first command that can still run in this attempt.
    next: usize,
    /// The last command, unless it has failed.
    running: Option<usize>,
    /// True after `commands-done`.
    is_done: bool,
}

impl Expected {
    pub(super) fn new(phases: Vec<Planned>) -> Self {
        Self {
            phases,
            ended: 0,
            is_open: false,
            attempt: 0,
            next: 0,
            running: None,
            is_done: false,
        }
    }

    /// The phase in progress.
    fn current(&self) -> Option<&Planned> {
        self.phases.get(self.ended).filter(|_| self.is_open)
    }

    pub(super) fn begins(&mut self, phase: CommandPhase) -> bool {
        let next = self.phases.get(self.ended).filter(|_| !self.is_open);
        let Some(next) = next.filter(|next| next.phase == phase && !self.is_done) else {
            return false;
        };
        (self.next, self.attempt) = (next.commands.start, 0);
        (self.is_open, self.running) = (true, None);
        true
    }

    pub(super) fn runs(&mut self, command: usize) -> bool {
        let is_next =
            |planned: &Planned| planned.commands.contains(&command) && command >= self.next;
        let fits = self.current().is_some_and(is_next);
        if fits {
            self.next = command + 1;
            self.running = Some(command);
        }
        fits
    }

    pub(super) fn fails(&mut self, command: usize) -> bool {
        let contains = |planned: &Planned| planned.commands.contains(&command);
        let fits = self.current().is_some_and(contains) && self.running == Some(command);
        if fits {
            self.running = None;
        }
        fits
    }

    pub(super) fn retries(&mut self, attempt: u32) -> bool {
        let planned = self.current().map(|it| (it.retries, it.commands.start));
        let planned = planned.filter(|(most, _)| attempt == self.attempt + 1 && attempt <= *most);
        if let Some((_, first)) = planned {
            (self.attempt, self.next) = (attempt, first);
            self.running = None;
        }
        planned.is_some()
    }

    pub(super) fn ends(&mut self, phase: CommandPhase) -> bool {
        let fits = self.current().is_some_and(|planned| planned.phase == phase);
        if fits {
            self.is_open = false;
            self.ended += 1;
        }
        fits
    }

    pub(super) fn is_complete(&mut self) -> bool {
        let fits = !self.is_open && !self.is_done;
        self.is_done |= fits;
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_accepted_once_and_in_its_place() {
        let (install, pre_build) = (CommandPhase::Install, CommandPhase::PreBuild);
        let mut expected = Expected::new(vec![
            Planned {
                phase: install,
                retries: 1,
                commands: 0..3,
            },
            Planned {
                phase: pre_build,
                retries: 0,
                commands: 3..4,
            },
        ]);
        assert!(!expected.begins(pre_build) && !expected.ends(install) && !expected.runs(0));
        assert!(expected.begins(install) && !expected.begins(install));
        assert!(expected.runs(0) && !expected.runs(0));
        assert!(!expected.fails(1) && expected.fails(0) && !expected.fails(0));
        assert!(!expected.runs(3), "a command of another phase");
        assert!(expected.runs(2) && !expected.runs(1));
        assert!(!expected.retries(2) && expected.retries(1) && !expected.retries(1));
        assert!(expected.runs(0) && !expected.retries(2), "one retry");
        assert!(!expected.is_complete() && !expected.ends(pre_build));
        assert!(expected.ends(install) && !expected.ends(install));
        assert!(expected.is_complete() && !expected.is_complete());
        assert!(!expected.begins(pre_build), "nothing follows");
    }
}
