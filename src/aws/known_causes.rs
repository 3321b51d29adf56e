//! Likely causes of failures: one table of texts that AWS and programs print.
//!
//! ```text
//! failure reason of the service ─┐
//!                                ├─ find ─→ Cause: its kind, what happened, how to fix it
//! last lines of the log ─────────┘
//! ```
//!
//! Sources of the texts are the messages of AWS and Python, as users quote them in public issues. A row is data: its
//! signs, and the places in which they mean this cause. A cause is a guess: it is shown together with the reason and
//! the log, never instead of them. Of an unknown failure, nothing is guessed.

use mlops_core::error::hinted;
use serde::Serialize;

mod delivery;
#[cfg(test)]
mod examples;
mod jobs;
mod monitors;
mod page;
mod permission;
mod programs;
mod server;
mod sign;
mod traceback;

pub use page::page;
pub use permission::Permission;
pub use traceback::Location;

use traceback::Traceback;

/// What failed: texts mean different causes in different places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// A training or processing job.
    Job,
    /// The server of an endpoint, or the endpoint itself.
    Server,
    /// A step of a SageMaker pipeline that started no job.
    Step,
    /// A build of CodeBuild.
    Build,
    /// An action of CodePipeline.
    Action,
    /// A CloudFormation stack: a resource's event.
    Stack,
    /// An execution of a monitoring schedule.
    Monitor,
}

impl Place {
    /// Every place.
    pub const ALL: [Self; 7] = [
        Self::Job,
        Self::Server,
        Self::Step,
        Self::Build,
        Self::Action,
        Self::Stack,
        Self::Monitor,
    ];

    /// The place in documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Server => "endpoint",
            Self::Step => "pipeline step",
            Self::Build => "build",
            Self::Action => "pipeline action",
            Self::Stack => "stack",
            Self::Monitor => "monitor",
        }
    }
}

/// What probably made something fail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cause {
    /// Its kind (docs/causes.md). These texts are a contract.
    pub kind: &'static str,
    /// What happened.
    pub what: String,
    /// How to fix it.
    pub fix: String,
    /// The line of the program that failed, if a traceback names it.
    pub location: Option<Location>,
    /// The missing permission, if a message names it.
    pub permission: Option<Permission>,
}

impl Cause {
    /// Adds the cause and its fix to the error of the failure.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let error = hinted(error, format!("likely cause: {}", self.what));
        hinted(error, self.fix.clone())
    }

    /// The cause of a run that a gate refused.
    pub fn gate(what: String, fix: String) -> Self {
        Self::new(GATE, what, fix)
    }

    fn new(kind: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            fix: fix.into(),
            location: None,
            permission: None,
        }
    }
}

/// A gate of the pipeline refused the model.
const GATE: &str = "gate";

/// A role lacks a permission, or a file's mode does not permit it.
const PERMISSION: &str = "permission";

/// A job exceeded its time limit.
pub const TIME_LIMIT: &str = "time-limit";

/// The program raised an exception that no row describes.
const EXCEPTION: &str = "exception";

/// A row of the table.
#[derive(Debug)]
struct Known {
    kind: &'static str,
    places: &'static [Place],
    signs: Signs,
    /// What happened; `{line}` is the text with the sign, `{name}` a name in the sign.
    what: &'static str,
    fix: &'static str,
}

/// The texts that identify a cause ([`sign`]), and where they are.
#[derive(Debug, Clone, Copy)]
enum Signs {
    /// In the service's failure reason.
    Reason(&'static [&'static str]),
    /// In lines of the log.
    Lines(&'static [&'static str]),
    /// In both.
    Both(&'static [&'static str]),
}

impl Signs {
    /// The signs to find in this source.
    fn of(self, source: Source) -> &'static [&'static str] {
        match (self, source) {
            (Self::Reason(signs), Source::Reason)
            | (Self::Lines(signs), Source::Line)
            | (Self::Both(signs), _) => signs,
            _ => &[],
        }
    }

    fn all(self) -> &'static [&'static str] {
        let (Self::Reason(signs) | Self::Lines(signs) | Self::Both(signs)) = self;
        signs
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Reason,
    Line,
}

/// Every row, more specific ones first.
fn rows() -> impl Iterator<Item = &'static Known> {
    [jobs::ROWS, monitors::ROWS, delivery::ROWS, programs::ROWS]
        .into_iter()
        .flatten()
}

/// The first row with a sign in a text.
fn row(place: Place, source: Source, text: &str) -> Option<(&'static Known, sign::Names<'_>)> {
    rows()
        .filter(|row| row.places.contains(&place))
        .find_map(|row| {
            let mut signs = row.signs.of(source).iter();
            Some((row, signs.find_map(|sign| sign::find(sign, text))?))
        })
}

impl Known {
    fn cause(&self, names: &[(&'static str, &str)], text: &str) -> Cause {
        let filled = |template: &str| {
            let mut filled = template.to_owned();
            for (name, value) in names {
                filled = filled.replace(&format!("{{{name}}}"), value);
            }
            filled
        };
        // The text comes last: it may contain braces.
        let what = filled(self.what).replace("{line}", &shortened(text));
        Cause::new(self.kind, what, filled(self.fix))
    }
}

/// Returns the likely cause of a failure, from the service's reason and the last lines of the log.
pub fn find(place: Place, reason: Option<&str>, lines: &[String]) -> Option<Cause> {
    let reason = reason.unwrap_or_default();
    let log: Vec<&str> = lines.iter().flat_map(|line| line.lines()).collect();
    // What the program wrote to its failure file.
    let said = of_program(reason);
    let found = permission::find(reason)
        .or_else(|| {
            let (row, names) = row(place, Source::Reason, reason)?;
            // A reason may have many lines: the one with the text is quoted.
            let signs = row.signs.of(Source::Reason);
            let mut lines = reason.lines();
            let line = lines.find(|line| signs.iter().any(|sign| sign::find(sign, line).is_some()));
            Some(row.cause(&names, line.unwrap_or(reason)))
        })
        .or_else(|| in_log(place, &log))
        .or_else(|| match place {
            Place::Server => server::find(reason, &log),
            Place::Job | Place::Build | Place::Monitor => raised(place, &log),
            Place::Step | Place::Action | Place::Stack => None,
        })
        .or_else(|| in_log(place, &said))
        .or_else(|| raised(place, &said));
    found.map(|mut cause| {
        // A new model is served only after its promotion.
        if place == Place::Server {
            cause.fix = cause.fix.replace("train again", "train and promote again");
        }
        cause
    })
}

/// Number of lines before the end in which a text is a cause, if no traceback ended the program.
const NEAR: usize = 25;

/// Number of lines before the end in which a traceback must begin its last exception to be what ended the program.
const LONGEST_TRACEBACK: usize = 25;

/// The traceback that ended a program. One that was logged earlier was handled; a server starts again and again.
fn ending(place: Place, lines: &[&str]) -> Option<Traceback> {
    let found = traceback::last(lines)?;
    let is_near = place == Place::Server || lines.len() - found.at <= LONGEST_TRACEBACK;
    is_near.then_some(found)
}

/// The cause that lines name. The last one decides: an earlier error may have been handled. So does the exception that
/// ended the program: what precedes its traceback is not the cause.
fn in_log(place: Place, lines: &[&str]) -> Option<Cause> {
    let traceback = ending(place, lines);
    let first = match (&traceback, place) {
        (Some(found), _) => found.at,
        // A server starts again and again, and writes lines of its own in between.
        (None, Place::Server) => 0,
        (None, _) => lines.len().saturating_sub(NEAR),
    };
    let (index, mut cause) = (first..lines.len()).rev().find_map(|index| {
        let line = lines[index];
        let found = permission::find(line).or_else(|| {
            let (row, names) = row(place, Source::Line, line)?;
            Some(row.cause(&names, line))
        });
        Some((index, found?))
    })?;
    if let Some(Traceback { location, at, .. }) = traceback
        && at == index
    {
        cause.what = format!("{} ({})", cause.what, location.sentence());
        cause.location = Some(location);
    }
    Some(cause)
}

/// The exception that ended a program: that of the last traceback, or one in the last line.
fn raised(place: Place, lines: &[&str]) -> Option<Cause> {
    const FIX: &str = "correct this line, or the data that it gets; push the image and train again";

    if let Some(found) = ending(place, lines) {
        let exception = beginning(&found.exception);
        let what = format!("{}: {exception}", found.location.sentence());
        return Some(Cause {
            location: Some(found.location),
            ..Cause::new(EXCEPTION, what, FIX)
        });
    }
    // The local cloud's own lines are not the program's.
    let mut own = lines.iter().rev();
    let last = own.find(|line| !line.trim().is_empty() && !line.starts_with("[mlops]"))?;
    traceback::is_exception(last).then(|| {
        let what = format!(
            "the program raised `{}`",
            beginning(last.trim().trim_end_matches('"'))
        );
        Cause::new(EXCEPTION, what, FIX)
    })
}

/// The lines of a failure reason that the program itself wrote: its failure file, or the end of its output.
fn of_program(reason: &str) -> Vec<&str> {
    let Some((_, said)) = reason.split_once("AlgorithmError: ") else {
        return Vec::new();
    };
    let said = said
        .rsplit_once(", exit code: ")
        .map_or(said, |(said, _)| said);
    // The framework's toolkit appends the command line.
    let said = said.split("\nCommand \"").next().unwrap_or_default();
    let lines = said.lines().flat_map(|line| line.split("\\n"));
    lines
        .map(|line| line.trim_start_matches("ErrorMessage \""))
        .collect()
}

/// The maximum length of a quoted text, in characters.
const LONGEST: usize = 160;

/// The end of a text, because a message follows its position.
fn shortened(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let count = text.chars().count();
    if count <= LONGEST {
        return text;
    }
    let end: String = text.chars().skip(count - LONGEST).collect();
    format!("…{end}")
}

/// The beginning of an exception, whose name comes first.
fn beginning(text: &str) -> String {
    let mut beginning: String = text.chars().take(LONGEST).collect();
    if beginning.len() < text.len() {
        beginning.push('…');
    }
    beginning
}

#[cfg(test)]
mod tests;
