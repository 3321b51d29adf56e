//! A live list: what is changing right now, one line each, with its state and the elapsed time.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Mode, Progress, SPINNER};

/// A line of the list: at most 80 columns.
const LINE: &str = "  {spinner} {msg:68!} {elapsed:>5}";

/// Things that change state, shown while they do. Dropping it removes its lines.
#[derive(Debug)]
pub struct LiveList {
    progress: Progress,
    title: String,
    head: ProgressBar,
    /// Each thing that changes, with its line. `None` if enough lines are displayed.
    active: BTreeMap<String, Option<ProgressBar>>,
    done: usize,
}

impl Progress {
    /// Starts a list. Only a terminal shows it; a log receives its lines with `--verbose`.
    pub fn list(&self, title: impl Into<String>) -> LiveList {
        let title = mlops_core::text::clean(&title.into());
        let head = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template(SPINNER) {
            head.set_style(style);
        }
        head.set_message(title.clone());
        head.enable_steady_tick(Duration::from_millis(120));
        LiveList {
            progress: self.clone(),
            title,
            head,
            active: BTreeMap::new(),
            done: 0,
        }
    }
}

impl LiveList {
    /// Maximum number of lines; leaves room on the terminal for other output.
    const LINES: usize = 12;

    /// Shows the state of one thing; `is_over` removes its line.
    pub fn set(&mut self, name: &str, kind: &str, state: &str, is_over: bool) {
        if self.progress.mode == Mode::Lines {
            let line = format!("{}: {kind} {name} {state}", self.title);
            self.progress.detail(line);
        }
        if is_over {
            if let Some(line) = self.active.remove(name) {
                self.done += 1;
                if let Some(line) = line {
                    line.finish_and_clear();
                }
            }
        } else {
            let text = line(name, kind, state);
            let shown = self.active.values().flatten().count();
            let bar = self.active.entry(name.to_owned()).or_insert_with(|| {
                (self.progress.mode == Mode::Bars && shown < Self::LINES).then(|| {
                    let bar = self.progress.bars.add(ProgressBar::new_spinner());
                    if let Ok(style) = ProgressStyle::with_template(LINE) {
                        bar.set_style(style);
                    }
                    bar.enable_steady_tick(Duration::from_millis(120));
                    bar
                })
            });
            if let Some(bar) = bar {
                bar.set_message(text);
            }
        }
        self.head.set_message(format!(
            "{}: {} done, {} in progress",
            self.title,
            self.done,
            self.active.len()
        ));
    }
}

/// One line: name, type and state.
fn line(name: &str, kind: &str, state: &str) -> String {
    let kind = kind.strip_prefix("AWS::").unwrap_or(kind);
    let state = state.to_ascii_lowercase().replace('_', " ");
    mlops_core::text::clean(&format!("{name:<26} {kind:<28} {state}"))
}

impl Drop for LiveList {
    fn drop(&mut self) {
        for bar in self.active.values().flatten() {
            bar.finish_and_clear();
        }
        self.head.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_name_type_and_state() {
        assert_eq!(
            line("NatGateway", "AWS::EC2::NatGateway", "CREATE_IN_PROGRESS"),
            "NatGateway                 EC2::NatGateway              create in progress"
        );
    }

    #[test]
    fn what_is_over_is_counted_once() {
        let mut list = Progress::new(true, false).list("s");
        list.set("A", "T", "CREATE_IN_PROGRESS", false);
        list.set("A", "T", "CREATE_IN_PROGRESS", false);
        list.set("B", "T", "CREATE_IN_PROGRESS", false);
        list.set("A", "T", "CREATE_COMPLETE", true);
        list.set("A", "T", "CREATE_COMPLETE", true);
        assert_eq!((list.done, list.active.len()), (1, 1));
    }
}
