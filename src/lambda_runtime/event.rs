//! The validation event: reads from S3 and writes to S3, using the command `mlops validate`.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;
use mlops_core::error::{Exit, Failure, Hint, exit, hints, message};
use mlops_validation::files;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::aws::Clients;
use crate::aws::s3::{self, S3Object, S3Uri};
use crate::commands::validate::{self, ValidateArgs};
use crate::config::{Config, GlobalArgs};
use crate::context::{Context, Interrupts};

/// Maximum size in bytes of the violations in a response; larger ones are only in the file.
const LONGEST: usize = 1 << 20;

/// An event as received.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    /// `s3://` addresses of one data set.
    data: Vec<String>,
    /// The same as `--format`.
    format: Option<String>,
    /// The address of the constraints.
    constraints: Option<String>,
    /// The address of the statistics.
    statistics: Option<String>,
    /// Create a baseline instead of checking against one.
    #[serde(default)]
    suggest: bool,
    /// The prefix for the result's files.
    output: Option<String>,
}

/// A request to validate data.
#[derive(Debug)]
struct ValidationEvent {
    data: Vec<S3Object>,
    format: Option<String>,
    constraints: Option<S3Uri>,
    statistics: Option<S3Uri>,
    suggest: bool,
    output: Option<S3Uri>,
}

/// Returns the command line that corresponds to an event.
#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(flatten)]
    validate: ValidateArgs,
}

/// Validates the event's data; returns the result and the locations of the files.
pub(super) async fn handle(event: &[u8]) -> Result<Value> {
    let message: Message = serde_json::from_slice(event)
        .map_err(|error| Failure::usage(format!("the event is not a validation request: {error}")))
        .hint(
            r#"{"data": ["s3://…"], "constraints": "s3://…", "statistics": "s3://…", "output": "s3://…/"}, or "suggest": true"#,
        )?;
    let event = ValidationEvent::new(message)?;
    let scratch = tempfile::tempdir().context("cannot create a temporary directory")?;
    let line = event.line(scratch.path())?;
    let ctx = Context::new(Config::load(&line.global)?, Interrupts::default());
    let clients = ctx.aws().await?;
    for (address, name) in event.baseline() {
        fetch(clients, address, &scratch.path().join(name)).await?;
    }
    let found = Box::pin(validate::run(&ctx, &line.validate))
        .await
        .map_err(|error| event.renamed(error, scratch.path()))?;
    let mut answer = serde_json::to_value(&found)?;
    let output = match &event.output {
        Some(output) => put(clients, &scratch.path().join("output"), output).await?,
        None => Vec::new(),
    };
    let members = answer
        .as_object_mut()
        .ok_or_else(|| anyhow!("a report is an object"))?;
    // A path on this machine, which the caller cannot open.
    members.remove("baseline");
    members.insert("files".to_owned(), json!(output));
    let violations = &members["violations"];
    let count = violations.as_array().map_or(0, Vec::len);
    if violations.to_string().len() > LONGEST {
        members.remove("violations");
    }
    members.insert("violation_count".to_owned(), json!(count));
    Ok(answer)
}

impl ValidationEvent {
    /// Rejects (exit 2) an event that is not a validation request, before anything is read.
    fn new(message: Message) -> Result<Self> {
        if message.data.is_empty() {
            return Err(Failure::usage("the event names no data"));
        }
        let address = |text: Option<String>| text.map(|text| text.parse()).transpose();
        let data = message.data.iter().map(|text| text.parse());
        let event = Self {
            data: data.collect::<Result<_>>()?,
            format: message.format,
            constraints: address(message.constraints)?,
            statistics: address(message.statistics)?,
            suggest: message.suggest,
            output: address(message.output)?,
        };
        match (event.suggest, &event.constraints, &event.statistics) {
            (true, None, None) | (false, Some(_), _) => Ok(event),
            (true, _, _) => Err(Failure::usage(
                "the event requests a baseline and also names one: omit suggest or constraints",
            )),
            (false, None, _) => Err(Failure::usage(
                "the event names no constraints; set \"suggest\": true to create a baseline",
            )),
        }
    }

    /// Returns the baseline's files, with their names on this machine.
    fn baseline(&self) -> impl Iterator<Item = (&S3Uri, &'static str)> {
        let constraints = self.constraints.iter().map(|at| (at, files::CONSTRAINTS));
        let statistics = self.statistics.iter().map(|at| (at, files::STATISTICS));
        constraints.chain(statistics)
    }

    fn line(&self, scratch: &Path) -> Result<CommandLine> {
        let mut words: Vec<OsString> = vec!["mlops".into(), "--quiet".into()];
        if self.suggest {
            words.push("--suggest".into());
        }
        for (_, name) in self.baseline() {
            let flag = if name == files::CONSTRAINTS {
                "--constraints"
            } else {
                "--statistics"
            };
            words.extend([flag.into(), scratch.join(name).into()]);
        }
        if let Some(format) = &self.format {
            words.push(format!("--format={format}").into());
        }
        words.extend(["--output-dir".into(), scratch.join("output").into()]);
        words.push("--".into());
        words.extend(self.data.iter().map(|data| data.to_string().into()));
        CommandLine::try_parse_from(words).map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Failure::usage(first.trim_start_matches("error: ").to_owned())
        })
    }

    /// Replaces the paths of files on this machine by their addresses in an error.
    fn renamed(&self, error: anyhow::Error, scratch: &Path) -> anyhow::Error {
        let mut text = message(&error);
        let before = text.clone();
        for (address, name) in self.baseline() {
            let path = scratch.join(name).display().to_string();
            text = text.replace(&path, &address.to_string());
        }
        if text == before {
            return error;
        }
        hints(&error)
            .into_iter()
            .fold(Failure::new(exit(&error), text), mlops_core::error::hinted)
    }
}

async fn fetch(clients: &Clients, address: &S3Uri, path: &Path) -> Result<()> {
    let found = s3::get(&clients.s3, address, None)
        .await?
        .ok_or_else(|| Failure::new(Exit::Failed, format!("{address}: no such object")))?;
    std::fs::write(path, found.bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Uploads the files of a directory. The violations are last: a result that has them is complete.
async fn put(clients: &Clients, directory: &Path, prefix: &S3Uri) -> Result<Vec<S3Uri>> {
    let mut written = Vec::new();
    for name in [files::STATISTICS, files::CONSTRAINTS, files::VIOLATIONS] {
        let Ok(bytes) = std::fs::read(directory.join(name)) else {
            // A baseline has no violations.
            continue;
        };
        let object = prefix.join(name);
        s3::put_json(&clients.s3, &object, bytes).await?;
        written.push(object);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(value: Value) -> Result<ValidationEvent> {
        ValidationEvent::new(serde_json::from_value(value)?)
    }

    #[test]
    fn an_event_becomes_a_command_line() {
        let line = event(json!({
            "data": ["s3://b/a.csv", "s3://b/--suggest"],
            "format": "csv",
            "constraints": "s3://b/c.json",
        }))
        .unwrap()
        .line(Path::new("/tmp/x"))
        .unwrap();
        let shown = format!("{:?}", line.validate);
        assert!(
            shown.contains("key: \"--suggest\"") && shown.contains("suggest: false"),
            "{shown}"
        );
        assert!(shown.contains("/tmp/x/constraints.json"), "{shown}");
        let wrong = event(json!({"data": ["s3://b/a"], "format": "xml", "suggest": true}));
        let error = wrong.unwrap().line(Path::new("/tmp/x")).unwrap_err();
        assert!(error.to_string().contains("'xml'"), "{error}");
    }

    #[test]
    fn impossible_events_are_rejected_before_anything_is_read() {
        for wrong in [
            json!({"data": [], "suggest": true}),
            json!({"data": ["/etc/passwd"], "suggest": true}),
            json!({"data": ["-"], "suggest": true}),
            json!({"data": ["s3://b/k"]}),
            json!({"data": ["s3://b/k"], "suggest": true, "constraints": "s3://b/c"}),
            json!({"data": ["s3://b/k"], "statistics": "s3://b/c"}),
            json!({"data": ["s3://b/k"], "constraints": "c.json"}),
            json!({"data": ["s3://b/k"], "suggest": true, "output": "here"}),
        ] {
            let error = event(wrong.clone()).expect_err(&wrong.to_string());
            assert_eq!(exit(&error), Exit::Usage, "{wrong}");
        }
        event(json!({"data": ["s3://b/k?versionId=v"], "suggest": true})).unwrap();
    }

    #[test]
    fn an_error_names_the_address_and_not_the_path() {
        let event = event(json!({"data": ["s3://b/k"], "constraints": "s3://b/c.json"})).unwrap();
        let scratch = Path::new("/tmp/x");
        let error = Err::<(), _>(anyhow!("/tmp/x/constraints.json: not a file"))
            .hint("make one")
            .unwrap_err();
        let error = event.renamed(error, scratch);
        assert_eq!(message(&error), "s3://b/c.json: not a file");
        assert_eq!(hints(&error), ["make one"]);
    }
}
