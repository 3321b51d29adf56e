//! Lines of the screen of `mlops runs why`.

use std::fmt;

use mlops_core::text::{WIDTH, clean};
use serde_json::Value;

use crate::aws::known_causes::Cause;
use crate::aws::run_failure::Log;
use crate::output::wrap;

/// The column at which texts start.
const COLUMN: usize = 8;

/// Writes the end of a log: at most `room` lines, each as wide as the screen.
pub(super) fn write_log(f: &mut fmt::Formatter<'_>, log: &Log, room: usize) -> fmt::Result {
    writeln!(f)?;
    row(f, "log", &[clean(&log.group), clean(&log.stream)])?;
    let lines: Vec<&str> = log.lines.iter().flat_map(|line| line.lines()).collect();
    for line in &lines[lines.len().saturating_sub(room)..] {
        writeln!(
            f,
            "{}",
            cut(&format!("  {}", clean(line).replace('\t', "    ")))
        )?;
    }
    writeln!(f)
}

/// Writes a label and its lines; nothing without lines.
pub(super) fn row(f: &mut fmt::Formatter<'_>, label: &str, lines: &[String]) -> fmt::Result {
    for (index, line) in lines.iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        writeln!(f, "{label:<COLUMN$}{line}")?;
    }
    Ok(())
}

pub(super) fn text(text: &str) -> Vec<String> {
    wrap(&clean(text), WIDTH - COLUMN)
}

/// The first lines of a text.
pub(super) fn limited(mut lines: Vec<String>, most: usize) -> Vec<String> {
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            last.push_str(" …");
        }
    }
    // A text without spaces cannot be wrapped.
    lines
        .iter()
        .map(|line| cut_to(line, WIDTH - COLUMN))
        .collect()
}

/// The fix; a statement for a policy is written so that it can be copied.
pub(super) fn fix(cause: &Cause) -> Vec<String> {
    let permission = cause.permission.as_ref();
    let Some(statement) = permission.and_then(|it| it.statement.as_ref()) else {
        return text(&cause.fix);
    };
    let sentence = cause.fix.replace(&statement.to_string(), "");
    let mut lines = text(&sentence);
    lines.extend(members(statement));
    lines
}

/// A statement as JSON, one member a line.
fn members(statement: &Value) -> Vec<String> {
    let members = statement.as_object().into_iter().flatten();
    let members: Vec<String> = members
        .map(|(name, value)| clean(&format!("\"{name}\": {value}")))
        .collect();
    let count = members.len();
    let line = |(index, member): (usize, String)| {
        let open = if index == 0 { "{" } else { " " };
        let close = if index + 1 == count { "}" } else { "," };
        format!("{open}{member}{close}")
    };
    members.into_iter().enumerate().map(line).collect()
}

/// A line that fits on the screen.
fn cut(line: &str) -> String {
    cut_to(line, WIDTH)
}

fn cut_to(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let kept: String = line.chars().take(width - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_statement_can_be_copied() {
        let statement =
            json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/k"});
        let lines = members(&statement);
        assert_eq!(
            lines,
            [
                "{\"Effect\": \"Allow\",",
                " \"Action\": \"s3:GetObject\",",
                " \"Resource\": \"arn:aws:s3:::b/k\"}"
            ]
        );
        let parsed: Value = serde_json::from_str(&lines.join("\n")).unwrap();
        assert_eq!(parsed, statement);
    }

    #[test]
    fn texts_fit_on_the_screen() {
        let lines = limited(text(&"word ".repeat(200)), 3);
        assert_eq!(lines.len(), 3);
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= WIDTH - COLUMN),
            "{lines:?}"
        );
        assert!(lines[2].ends_with('…'), "{lines:?}");
        assert_eq!(cut(&"x".repeat(100)).chars().count(), WIDTH);
    }
}
