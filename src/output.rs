//! The only writer of stdout: one report, two formats.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use mlops_core::error::Exit;
use serde::Serialize;

mod errors;
mod lines;

pub use errors::{print, print_interrupted, print_refusal};
pub use lines::wrap;

/// The result of a command: `Display` is for people, `Serialize` for scripts.
///
/// JSON field names are a contract. [`Report::exit`] returns a failure if the command completed but
/// a check failed (violations found, gate refused).
pub trait Report: Serialize + Display {
    /// Returns the exit code of the process for this report.
    fn exit(&self) -> Exit {
        Exit::Done
    }

    /// Returns true if everything was printed while the command ran.
    fn is_printed(&self) -> bool {
        false
    }
}

/// The format of reports (`--output`).
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
    /// Creates an output that renders reports as `format`.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Returns the format of reports.
    pub fn format(self) -> Format {
        self.format
    }

    /// Returns whether a person reads the output on a terminal.
    pub fn is_interactive(self) -> bool {
        self.format == Format::Human && io::stdout().is_terminal()
    }

    /// Prints a report and returns its exit code. A closed pipe counts as success: the reader
    /// stopped reading.
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

    /// Returns whether stdout is a terminal.
    pub fn is_terminal(self) -> bool {
        io::stdout().is_terminal()
    }

    /// Draws a text over the last one on a terminal; over everything if it is the first. Returns
    /// false if stdout was closed.
    pub fn screen(self, text: &str, first: bool) -> io::Result<bool> {
        let mut out = io::stdout().lock();
        let start = if first { "\x1b[2J\x1b[H" } else { "\x1b[H" };
        // Each line is cleared after its text, so that nothing flickers.
        let lines = text.replace('\n', "\x1b[K\n");
        let written = write!(out, "{start}{lines}\x1b[J");
        finished(written.and_then(|()| out.flush()))
    }

    /// Prints one line of a result that arrives line by line; in JSON, one object. Returns false if
    /// stdout was closed.
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

    /// Copies the body of a response: its bytes, or on a terminal harmless text that ends with a line
    /// break.
    pub fn body(self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_terminal() {
            return self.raw(bytes);
        }
        let text = mlops_core::text::clean(&String::from_utf8_lossy(bytes));
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.raw(format!("{text}{end}").as_bytes())
    }

    /// Copies text or bytes that are themselves the result (completions, a pulled file, `-`).
    pub fn raw(self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        finished(out.write_all(bytes).and_then(|()| out.flush()))?;
        Ok(())
    }
}

/// Prints the parser's own output: help and the version.
pub fn parser(answer: &clap::Error) -> io::Result<()> {
    finished(answer.print().and_then(|()| io::stdout().flush()))?;
    Ok(())
}

/// Flushes the buffer: an error at process exit would be lost.
pub fn flush() -> io::Result<()> {
    finished(io::stdout().flush())?;
    Ok(())
}

/// Finishes writing to stdout; returns false if it was closed.
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
