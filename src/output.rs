//! The only writer of stdout: one report, two renderings.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use crate::error::Exit;

mod state;
mod table;

pub use state::{LIVE, state, states};
pub use table::{table, wide_table};

/// The width of what people read, in columns.
pub const WIDTH: usize = 80;

/// What a command found out: `Display` is for people, `Serialize` for scripts.
///
/// JSON field names are a contract. [`Report::exit`] says how the command ends when the work was
/// done but the answer is "no" (violations found, gate refused).
pub trait Report: Serialize + Display {
    /// The exit code that this report ends the process with.
    fn exit(&self) -> Exit {
        Exit::Done
    }

    /// True when everything was printed while the command ran.
    fn is_printed(&self) -> bool {
        false
    }
}

/// How reports are rendered (`--output`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Tables and sentences for people
    #[default]
    Human,
    /// One JSON document for scripts
    Json,
}

/// Writes reports to stdout.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
}

impl Output {
    /// An output that renders reports as `format`.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// How reports are rendered.
    pub fn format(self) -> Format {
        self.format
    }

    /// Prints a report and returns the exit code it asks for. A closed pipe is success: the
    /// reader has seen enough.
    pub fn report<R: Report + ?Sized>(self, report: &R) -> io::Result<Exit> {
        if report.is_printed() {
            return Ok(report.exit());
        }
        let mut out = io::stdout().lock();
        let written = match self.format {
            Format::Human => {
                let text = report.to_string();
                let text = text.trim_end_matches('\n');
                if text.is_empty() {
                    Ok(())
                } else {
                    writeln!(out, "{text}")
                }
            }
            Format::Json => serde_json::to_writer_pretty(&mut out, report)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out)),
        };
        finished(written.and_then(|()| out.flush()))?;
        Ok(report.exit())
    }

    /// Prints one line of a result that comes line by line; in JSON one object. False when nobody
    /// reads any more.
    pub fn line(self, line: &(impl Serialize + Display)) -> io::Result<bool> {
        let mut out = io::stdout().lock();
        let written = match self.format {
            Format::Human => writeln!(out, "{line}"),
            Format::Json => serde_json::to_writer(&mut out, line)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out)),
        };
        finished(written.and_then(|()| out.flush()))
    }

    /// Copies text or bytes that are the result themselves (completions, a pulled file, `-`).
    pub fn raw(self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        finished(out.write_all(bytes).and_then(|()| out.flush()))?;
        Ok(())
    }
}

/// Prints what the parser answers itself: help and the version.
pub fn parser(answer: &clap::Error) -> io::Result<()> {
    finished(answer.print().and_then(|()| io::stdout().flush()))?;
    Ok(())
}

/// Writes what is still buffered: an error when the process ends would be lost.
pub fn flush() -> io::Result<()> {
    finished(io::stdout().flush())?;
    Ok(())
}

/// The end of writing to stdout; false when nobody reads any more.
fn finished(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("cannot write to stdout: {error}"),
        )),
    }
}

/// Text that came from data or from AWS, without control bytes, for a terminal.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// A time for people: `2026-01-02 03:04Z`.
pub fn time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%MZ").to_string()
}

/// [`time`] with seconds, for the lines of a log: `2026-01-02 03:04:05Z`.
pub fn exact_time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A duration for people: `3 s`, `2 min 5 s`, `1 h 4 min`.
pub fn duration(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let parts = match (hours, minutes, rest) {
        (0, 0, s) => [(s, "s"), (0, "")],
        (0, m, s) => [(m, "min"), (s, "s")],
        (h, m, _) => [(h, "h"), (m, "min")],
    };
    let shown = parts.iter().enumerate();
    let shown = shown.filter(|(index, (count, _))| *index == 0 || *count > 0);
    let shown: Vec<String> = shown
        .map(|(_, (count, unit))| format!("{count} {unit}"))
        .collect();
    shown.join(" ")
}

/// A number of bytes for people: `512 B`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = count as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\nc");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (125, "2 min 5 s"),
            (3600, "1 h"),
            (7380, "2 h 3 min"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
