//! Progress on stderr: bars on a terminal, plain lines in a log, nothing with `--quiet`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

mod live;

pub use live::LiveList;

/// A spinner, the elapsed time, and the message, truncated to the line's width.
const SPINNER: &str = "{spinner} {elapsed_precise} {wide_msg}";

/// The verbosity of stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Quiet,
    Lines,
    Bars,
}

/// Displays progress. Cheap to clone; never writes to stdout.
#[derive(Debug, Clone)]
pub struct Progress {
    mode: Mode,
    verbose: bool,
    bars: MultiProgress,
}

impl Progress {
    /// Creates the display. `quiet` prints nothing, `verbose` adds details. Bars are drawn only if
    /// stderr is a terminal.
    pub fn new(quiet: bool, verbose: bool) -> Self {
        let mode = if quiet {
            Mode::Quiet
        } else if std::io::stderr().is_terminal() {
            Mode::Bars
        } else {
            Mode::Lines
        };
        let target = match mode {
            Mode::Bars => ProgressDrawTarget::stderr(),
            Mode::Quiet | Mode::Lines => ProgressDrawTarget::hidden(),
        };
        Self {
            mode,
            verbose,
            bars: MultiProgress::with_draw_target(target),
        }
    }

    /// Prints one line, above any bars.
    pub fn say(&self, line: impl AsRef<str>) {
        self.line(line.as_ref());
    }

    /// Prints one line if `--verbose` was given.
    pub fn detail(&self, line: impl AsRef<str>) {
        if self.verbose {
            self.line(line.as_ref());
        }
    }

    /// Prints a blank line and a heading in bold.
    pub fn heading(&self, text: &str) {
        let text = mlops_core::text::clean(text);
        self.print(format!("\n{}", console::style(text).bold().for_stderr()));
    }

    /// Prints a command line as a reader would type it.
    pub fn command(&self, line: &str) {
        let line = mlops_core::text::clean(line);
        self.print(format!(
            "{}",
            console::style(format!("$ {line}")).cyan().for_stderr()
        ));
    }

    fn line(&self, line: &str) {
        self.print(mlops_core::text::clean(line));
    }

    fn print(&self, line: String) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Lines => write_stderr(&line),
            Mode::Bars => {
                // If stderr cannot be written, there is no way to report an error.
                let _ = self.bars.println(line);
            }
        }
    }

    /// Starts a task of unknown length: a spinner, or a line in a log.
    pub fn task(&self, message: impl Into<Cow<'static, str>>) -> Task {
        self.begin(self.new_spinner(), message.into())
    }

    /// Starts a spinner that shows how long its task has taken.
    fn new_spinner(&self) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template(SPINNER) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// Starts a task of unknown length. Only a terminal shows it; a log receives only its end.
    pub fn spinner(&self, message: impl Into<Cow<'static, str>>) -> Task {
        let message = message.into();
        let bar = self.new_spinner();
        bar.set_message(message.clone());
        Task {
            progress: self.clone(),
            bar,
            last: message.into_owned(),
        }
    }

    /// Starts a task of `total` bytes.
    pub fn bytes(&self, message: impl Into<Cow<'static, str>>, total: u64) -> Task {
        let bar = self.bars.add(ProgressBar::new(total));
        bar.set_style(style(
            "{msg:26!} [{bar:14}] {binary_bytes:>10}/{binary_total_bytes} {binary_bytes_per_sec}",
        ));
        self.begin(bar, message.into())
    }

    /// Starts a transfer of `total` bytes in parts: one bar per active part, and one for the total.
    pub fn transfer(&self, message: impl Into<Cow<'static, str>>, total: u64) -> Transfer {
        Transfer {
            all: self.bytes(message, total),
            parts: Mutex::default(),
        }
    }

    /// Starts a task of `total` items.
    pub fn items(&self, message: impl Into<Cow<'static, str>>, total: u64) -> Task {
        let bar = self.bars.add(ProgressBar::new(total));
        bar.set_style(style("{msg:32!} [{bar:24}] {pos}/{len}"));
        self.begin(bar, message.into())
    }

    fn begin(&self, bar: ProgressBar, message: Cow<'static, str>) -> Task {
        if self.mode == Mode::Lines {
            write_stderr(&message);
        }
        bar.set_message(message.clone());
        Task {
            progress: self.clone(),
            bar,
            last: message.into_owned(),
        }
    }
}

/// A task in progress; dropping it removes its bar.
#[derive(Debug)]
pub struct Task {
    progress: Progress,
    bar: ProgressBar,
    last: String,
}

impl Task {
    /// Updates the message; a log receives only changes.
    pub fn set(&mut self, message: impl Into<String>) {
        let message = mlops_core::text::clean(&message.into());
        if message == self.last {
            return;
        }
        if self.progress.mode == Mode::Lines {
            write_stderr(&message);
        }
        self.bar.set_message(message.clone());
        self.last = message;
    }

    /// Updates the message on a terminal; a log receives it with `--verbose`.
    pub fn detail(&mut self, message: impl Into<String>) {
        let message = mlops_core::text::clean(&message.into());
        if self.progress.mode == Mode::Lines {
            self.progress.detail(&message);
        }
        self.bar.set_message(message.clone());
        self.last = message;
    }

    /// Adds to the number of bytes or items.
    pub fn expect_more(&self, amount: u64) {
        self.bar.inc_length(amount);
    }

    /// Advances by `amount` bytes or items.
    pub fn advance(&self, amount: u64) {
        self.bar.inc(amount);
    }

    /// Ends the task and leaves one line behind.
    pub fn done(self, message: impl AsRef<str>) {
        self.bar.finish_and_clear();
        self.progress.say(message);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Bytes transferred in parts; dropping this removes its bars.
#[derive(Debug)]
pub struct Transfer {
    all: Task,
    parts: Mutex<BTreeMap<String, Part>>,
}

/// A part in progress.
#[derive(Debug)]
struct Part {
    position: u64,
    /// `None` if enough bars are already displayed.
    bar: Option<ProgressBar>,
}

impl Transfer {
    /// Maximum number of parts to display.
    const BARS: usize = 6;

    fn parts(&self) -> MutexGuard<'_, BTreeMap<String, Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Corrects the total number of bytes.
    pub fn expect(&self, bytes: u64) {
        self.all.bar.set_length(bytes);
    }

    /// Starts a part of `size` bytes.
    pub fn begin(&self, part: &str, size: u64) {
        let mut parts = self.parts();
        let shown = parts.values().filter(|part| part.bar.is_some()).count();
        let progress = &self.all.progress;
        let bar = (progress.mode == Mode::Bars && shown < Self::BARS).then(|| {
            let bar = ProgressBar::new(size);
            let bar = progress.bars.insert_before(&self.all.bar, bar);
            bar.set_style(style(
                "  {msg:24!} [{bar:14}] {binary_bytes:>10}/{binary_total_bytes}",
            ));
            bar.set_message(mlops_core::text::clean(part));
            bar
        });
        parts.insert(part.to_owned(), Part { position: 0, bar });
    }

    /// Updates the number of bytes of a part; it decreases if bytes must be transferred again.
    pub fn position(&self, part: &str, bytes: u64) {
        if let Some(part) = self.parts().get_mut(part) {
            self.advance(part.position, bytes);
            part.position = bytes;
            if let Some(bar) = &part.bar {
                bar.set_position(bytes);
            }
        }
    }

    /// Completes a part of `size` bytes, whether or not it was transferred.
    pub fn end(&self, part: &str, size: u64) {
        let part = self.parts().remove(part);
        self.advance(part.as_ref().map_or(0, |part| part.position), size);
        if let Some(bar) = part.and_then(|part| part.bar) {
            bar.finish_and_clear();
        }
    }

    fn advance(&self, from: u64, to: u64) {
        if to >= from {
            self.all.bar.inc(to - from);
        } else {
            self.all.bar.dec(from - to);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Writes one line to stderr; ignores a closed stderr.
pub fn write_stderr(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
