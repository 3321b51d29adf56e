//! Compares the README's transcript of the demo with the demo's output.

use std::cmp::Reverse;
use std::path::Path;

use regex::Regex;

/// The line before the transcript.
const COMMAND: &str = "$ cargo run --locked -- demo\n\n";

/// Values that differ between runs, and their placeholders. Distances are estimated from one sketch
/// per captured file, and the clock decides where the capture starts a new file.
const VOLATILE: &[(&str, &str)] = &[
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "WHEN"),
    (r"\b[0-9a-f]{7,}\b…?", "HEX"),
    (r"\b[0-9a-z]{12}\b", "RUN"),
    (r"\b\d+( min \d+)? s\b", "TIME"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"\b0\.\d{3}\b", "DISTANCE"),
    (r"[▁▂▃▄▅▆▇█]", "#"),
    (r" +", " "),
];

/// Checks that the README shows the output of the demo. A line `…` in the README stands for any
/// number of lines, and `…` at the end of a line for its rest; all other lines must follow each other
/// as printed. With `UPDATE=1`, rewrites the lines of the README.
#[track_caller]
pub(crate) fn check(printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let start = page.find(COMMAND).unwrap() + COMMAND.len();
    let end = start + page[start..].find("```").unwrap();
    let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let masks = Masks::new();

    let transcript: Vec<&str> = page[start..end].lines().map(str::trim_end).collect();
    let mut updated = Vec::new();
    let mut next = 0;
    for excerpt in transcript.split(|line| *line == "…") {
        let at = masks.find(excerpt, &printed, next);
        let mut lines = Vec::new();
        for (shown, line) in excerpt.iter().zip(&printed[at..]) {
            lines.push(masks.refreshed(shown, line));
        }
        if std::env::var_os("UPDATE").is_none() {
            for (shown, line) in excerpt.iter().zip(&printed[at..]) {
                assert!(
                    masks.same(shown, line),
                    "README.md shows\n  {shown}\nbut the demo prints\n  {line}\nrun `UPDATE=1 cargo test story`"
                );
            }
        }
        next = at + excerpt.len();
        updated.push(lines.join("\n"));
    }
    if std::env::var_os("UPDATE").is_some() {
        let transcript = updated.join("\n…\n");
        let page = format!("{}{transcript}\n{}", &page[..start], &page[end..]);
        std::fs::write(&path, page).unwrap();
    }
}

/// The compiled patterns of [`VOLATILE`].
struct Masks(Vec<(Regex, &'static str)>);

impl Masks {
    fn new() -> Self {
        Self(
            VOLATILE
                .iter()
                .map(|(pattern, name)| (Regex::new(pattern).unwrap(), *name))
                .collect(),
        )
    }

    /// Replaces volatile values by placeholders.
    fn masked(&self, line: &str) -> String {
        self.0
            .iter()
            .fold(line.to_owned(), |line, (pattern, name)| {
                pattern.replace_all(&line, *name).into_owned()
            })
    }

    /// Returns whether the README's line shows the printed one.
    fn same(&self, shown: &str, line: &str) -> bool {
        let (shown, line) = (self.masked(shown), self.masked(line));
        match shown.strip_suffix('…') {
            Some(beginning) => line.starts_with(beginning),
            None => shown == line,
        }
    }

    /// Returns where the most lines of an excerpt match, from line `next` on; prefers the first place.
    fn find(&self, excerpt: &[&str], printed: &[&str], next: usize) -> usize {
        let last = printed.len().saturating_sub(excerpt.len());
        (next..=last)
            .max_by_key(|&at| {
                let lines = excerpt.iter().zip(&printed[at..]);
                (
                    lines.filter(|(shown, line)| self.same(shown, line)).count(),
                    Reverse(at),
                )
            })
            .unwrap_or_else(|| panic!("the demo prints no more lines like {excerpt:?}"))
    }

    /// Returns the line to show: the printed one, shortened to the length of the line in the README if
    /// that is shortened.
    fn refreshed(&self, shown: &str, line: &str) -> String {
        match (shown.ends_with('…'), self.same(shown, line)) {
            (true, true) => {
                let length = shown.chars().count() - 1;
                format!("{}…", line.chars().take(length).collect::<String>())
            }
            _ => line.to_owned(),
        }
    }
}
