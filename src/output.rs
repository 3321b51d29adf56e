//! The only writer of stdout: one report, two renderings.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use crate::error::Exit;

/// What a command found out: `Display` is for people, `Serialize` for scripts.
///
/// JSON field names are a contract. [`Report::exit`] says how the command ends when the work was
/// done but the answer is "no" (violations found, gate refused).
pub trait Report: Serialize + Display {
    /// The exit code that this report ends the process with.
    fn exit(&self) -> Exit {
        Exit::Done
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
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(report.exit()),
        }
    }

    /// Copies text or bytes that are the result themselves (completions, a pulled file, `-`).
    pub fn raw(self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
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

/// A table for people: no borders, columns two spaces apart, at most 80 columns wide.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    use comfy_table::{ContentArrangement, Table, presets};

    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(80);
    table.set_header(header.iter().map(|cell| (*cell).to_owned()));
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A time for people: `2026-01-02 03:04Z`.
pub fn time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%MZ").to_string()
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
    fn tables_fit_in_80_columns() {
        let text = table(
            &["NAME", "TEXT"],
            vec![vec!["a".to_owned(), "word ".repeat(40)]],
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.contains("NAME"));
    }
}
