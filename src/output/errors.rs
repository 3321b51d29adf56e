//! Prints errors to stderr, for people and for scripts.

use anyhow::Error;
use mlops_core::error::{Exit, Failure, cause, exit, hinted, hints, message};
use mlops_core::text::clean_paragraph;

use super::Format;
use crate::progress::write_stderr;

/// Prints an error and its hints to stderr, for people or scripts, and returns its exit code.
pub fn print(error: &Error, format: Format) -> Exit {
    match format {
        Format::Human => {
            write_stderr(&format!(
                "{} {}",
                console::style("error:").red().bold().for_stderr(),
                clean_paragraph(&message(error))
            ));
            for hint in hints(error) {
                write_stderr(&format!(
                    "{} {}",
                    console::style("hint:").cyan().for_stderr(),
                    clean_paragraph(&hint)
                ));
            }
        }
        Format::Json => write_stderr(&as_json(error).to_string()),
    }
    exit(error)
}

/// An error for scripts: `error` is the line for people, `kind` the exit code as a word; `code`,
/// `message` and `request_id` are those of the service, if it responded.
fn as_json(error: &Error) -> serde_json::Value {
    let (exit, line) = (exit(error), message(error));
    let answer = cause::<Failure>(error).and_then(|failure| failure.answer());
    serde_json::json!({
        "error": line,
        "kind": exit.kind(),
        "exit_code": exit as u8,
        "code": answer.map(|answer| &answer.code),
        "message": answer.map_or(&line, |answer| &answer.message),
        "request_id": answer.and_then(|answer| answer.request_id.as_ref()),
        "hints": hints(error),
    })
}

/// Prints the parser's result for a command line: help and version to stdout, errors to stderr.
pub fn print_refusal(refusal: &clap::Error, format: Format) -> Exit {
    if !refusal.use_stderr() {
        return match crate::output::parser(refusal) {
            Ok(()) => Exit::Done,
            Err(error) => print(&error.into(), format),
        };
    }
    if format == Format::Human {
        let _ = refusal.print();
        return Exit::Usage;
    }
    let text = refusal.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let mut message = match refusal.kind() {
        clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "no command given".to_owned()
        }
        _ => first.strip_prefix("error: ").unwrap_or(first).to_owned(),
    };
    let mut hints = Vec::new();
    for line in lines {
        if let Some(tip) = line.strip_prefix("tip: ") {
            hints.push(tip.to_owned());
        } else if line.starts_with("Usage:") || line.starts_with("For more information") {
            hints.push(line.to_owned());
        } else if hints.is_empty() {
            // The missing arguments, or the possible values.
            message.push(' ');
            message.push_str(line);
        }
    }
    let mut error = Failure::usage(message);
    for hint in hints {
        error = hinted(error, hint);
    }
    print(&error, format)
}

/// Reports that Ctrl-C ended the command, and how to return to work that is still running.
pub fn print_interrupted(notes: &[String], format: Format) -> Exit {
    if format == Format::Json {
        let error = notes
            .iter()
            .fold(Failure::new(Exit::Interrupted, "interrupted"), hinted);
        return print(&error, format);
    }
    write_stderr("interrupted");
    for note in notes {
        write_stderr(&format!("hint: {note}"));
    }
    Exit::Interrupted
}
