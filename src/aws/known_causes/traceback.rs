//! Python's tracebacks: which line of the user's own program raised which exception.

use serde::Serialize;

/// Endings of the names of exceptions that are printed without their module.
const ENDINGS: [&str; 8] = [
    "Error",
    "Exception",
    "Warning",
    "Exit",
    "Interrupt",
    "Iteration",
    "Timeout",
    "Expired",
];

/// A line of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The file's path, as Python prints it.
    pub file: String,
    /// The line's number.
    pub line: u32,
    /// The function; null for a syntax error.
    pub function: Option<String>,
}

impl Location {
    /// Returns `train.py line 12`.
    pub fn sentence(&self) -> String {
        let name = self.file.rsplit('/').next().unwrap_or(&self.file);
        format!("{name} line {}", self.line)
    }

    /// Returns whether the file belongs to Python or to an installed package.
    fn is_library(&self) -> bool {
        let parts = [
            "site-packages/",
            "dist-packages/",
            "/lib/python",
            "/lib64/python",
            "importlib/",
        ];
        // Cython's sources are not installed.
        let ending = self.file.rsplit('.').next();
        matches!(ending, Some("pyx" | "pxi"))
            || self.file.starts_with('<')
            || parts.iter().any(|part| self.file.contains(part))
    }
}

/// A traceback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Traceback {
    /// The last line of the user's own program, or of any, if no line is the user's.
    pub(super) location: Location,
    /// The exception with the first line of its message.
    pub(super) exception: String,
    /// The index of the exception's line.
    pub(super) at: usize,
}

/// A line of a traceback that names a file.
struct Frame {
    location: Location,
    indent: usize,
}

/// Returns the last traceback of a log. Of chained exceptions, the last one ended the program.
pub(super) fn last(lines: &[&str]) -> Option<Traceback> {
    let mut found = None;
    let mut frames: Vec<Frame> = Vec::new();
    // True while no other line has interrupted the traceback.
    let mut adjacent = false;
    for (at, line) in lines.iter().enumerate() {
        let line = bare(line);
        if line.contains("Traceback (most recent call last):") {
            frames.clear();
            adjacent = true;
            continue;
        }
        if let Some(frame) = frame(line) {
            frames.push(frame);
            adjacent = true;
            continue;
        }
        let Some(innermost) = frames.last() else {
            continue;
        };
        let indent = indent(line);
        let is_outer = indent < innermost.indent;
        let ends = if is_outer && adjacent {
            is_name(line)
        } else {
            is_exception(line)
        };
        if ends {
            let own = frames.iter().rev().find(|it| !it.location.is_library());
            let location = own.unwrap_or(innermost).location.clone();
            found = Some(Traceback {
                location,
                exception: line.trim().trim_end_matches('"').to_owned(),
                at,
            });
            frames.clear();
        } else if is_outer {
            adjacent = false;
        }
    }
    found
}

/// A line without what MPI adds: `[1,mpirank:0,algo-1]<stderr>:`.
fn bare(line: &str) -> &str {
    match line.split_once("<stderr>:") {
        Some((prefix, rest)) if prefix.starts_with('[') => rest,
        _ => line,
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Parses `  File "/opt/program/train", line 12, in main`.
fn frame(line: &str) -> Option<Frame> {
    let (file, rest) = line.trim_start().strip_prefix("File \"")?.split_once('"')?;
    let rest = rest.strip_prefix(", line ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let (number, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let function = rest
        .strip_prefix(", in ")
        .map(|name| name.trim().to_owned());
    Some(Frame {
        location: Location {
            file: file.to_owned(),
            line: number.parse().ok()?,
            function,
        },
        indent: indent(line),
    })
}

/// The part of a line that names an exception: `ValueError` of `ValueError: no rows`.
fn named(line: &str) -> Option<&str> {
    let line = line.trim().trim_end_matches('"');
    let (name, message) = line.split_once(':').unwrap_or((line, " "));
    let is_path = name.split('.').all(|part| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    });
    let has_gap = message.is_empty() || message.starts_with(' ');
    (is_path && has_gap).then_some(name)
}

/// Returns whether a line can be the exception after the frames of a traceback.
fn is_name(line: &str) -> bool {
    let last = named(line).and_then(|name| name.rsplit('.').next());
    last.is_some_and(|last| last.trim_start_matches('_').starts_with(char::is_uppercase))
}

/// Returns whether a line is an exception, wherever it is.
pub(super) fn is_exception(line: &str) -> bool {
    named(bare(line)).is_some_and(|name| {
        let last = name.rsplit('.').next().unwrap_or(name);
        let is_class = last.trim_start_matches('_').starts_with(char::is_uppercase);
        // Programs in other languages print `Error: …`; in Python, only modules have a class of this name.
        let is_class = is_class && name != "Error";
        is_class && ENDINGS.iter().any(|ending| last.ends_with(ending))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(String, String)> {
        let lines: Vec<&str> = text.lines().collect();
        last(&lines).map(|found| (found.location.sentence(), found.exception))
    }

    #[track_caller]
    fn raised(text: &str, place: &str, exception: &str) {
        let found = of(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!((found.0.as_str(), found.1.as_str()), (place, exception));
    }

    #[test]
    fn the_users_own_line_is_named() {
        let text = r#"epoch 1
Traceback (most recent call last):
  File "/opt/program/train.py", line 40, in <module>
    main()
    ~~~~^^
  File "/opt/program/train.py", line 12, in main
    frame = pd.read_csv(path, dtype=float)
            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/usr/local/lib/python3.11/site-packages/pandas/io/parsers/readers.py", line 912, in read_csv
    return _read(filepath_or_buffer, kwds)
  File "pandas/_libs/parsers.pyx", line 843, in pandas._libs.parsers.TextReader.read
ValueError: could not convert string to float: 'JFK'
the job ended"#;
        let found = last(&text.lines().collect::<Vec<_>>()).unwrap();
        assert_eq!(found.location.sentence(), "train.py line 12");
        assert_eq!(found.location.function.as_deref(), Some("main"));
        assert_eq!(
            found.exception,
            "ValueError: could not convert string to float: 'JFK'"
        );
        assert_eq!(text.lines().nth(found.at), Some(found.exception.as_str()));
    }

    #[test]
    fn the_last_of_chained_exceptions_ended_the_program() {
        let text = r#"Traceback (most recent call last):
  File "/opt/program/train", line 3, in load
    return cache["x"]
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/opt/program/train", line 9, in <module>
    load()
  File "/opt/program/train", line 5, in load
    raise RuntimeError("no cache") from error
RuntimeError: no cache"#;
        raised(text, "train line 5", "RuntimeError: no cache");
        let direct = text.replace(
            "During handling of the above exception, another exception occurred:",
            "The above exception was the direct cause of the following exception:",
        );
        assert_eq!(of(&direct), of(text));
    }

    #[test]
    fn a_syntax_error_has_no_function() {
        let text = "  File \"/opt/program/train\", line 5\n    def x(:\n          ^\nSyntaxError: invalid syntax";
        raised(text, "train line 5", "SyntaxError: invalid syntax");
    }

    #[test]
    fn a_failure_reason_without_indentation_is_parsed() {
        let text = r#"ErrorMessage "Traceback (most recent call last):
 File "train.py", line 12, in <module>
 raise EnvironmentError(msg)
 OSError: Can't load config for 'x'""#;
        raised(
            text,
            "train.py line 12",
            "OSError: Can't load config for 'x'",
        );
    }

    #[test]
    fn own_exceptions_and_prefixes_are_recognized() {
        let text = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\nNoRows: none";
        raised(text, "a.py line 1", "NoRows: none");
        let mpi = "[1,mpirank:0,algo-1]<stderr>:  File \"a.py\", line 1, in f\n\
                   [1,mpirank:0,algo-1]<stderr>:    g()\n\
                   [1,mpirank:0,algo-1]<stderr>:ValueError: x";
        raised(mpi, "a.py line 1", "ValueError: x");
    }

    #[test]
    fn other_lines_are_no_exceptions() {
        for text in [
            "ready",
            "Epoch: 3",
            "  File \"a.py\", line 1, in f\n    g()\nINFO epoch 3\nEpoch: 3",
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in f",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        assert!(!is_exception("https://example.com/Error: x"));
        assert!(!is_exception("an Error: x"));
        assert!(!is_exception("Error: x") && is_exception("shutil.Error: x"));
        assert!(is_exception("botocore.exceptions.ClientError: x"));
        assert!(is_exception("KeyboardInterrupt"));
    }
}
