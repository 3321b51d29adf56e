//! `mlops notebook open`: opens JupyterLab in a browser.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::wait::Waiter;
use serde::Serialize;

use super::NotebookArgs;
use crate::aws::Clients;
use crate::aws::sagemaker::notebooks::{self, URL_SECONDS};
use crate::context::Context;

/// Open JupyterLab in a browser
///
/// Requests a URL that is valid for five minutes and opens it. Without a terminal, or with
/// --print-url or --output json, prints it instead: whoever has it can use the notebook. On the
/// local cloud, the first call installs JupyterLab, which takes about a minute.
///
/// Example: mlops notebook open
#[derive(Debug, clap::Args)]
pub struct OpenArgs {
    #[command(flatten)]
    pub(super) notebook: NotebookArgs,
    /// Print the URL and open no browser
    #[arg(long)]
    print_url: bool,
    /// Duration of the session: 30m to 12h
    #[arg(long, value_name = "DURATION", default_value = "12h", value_parser = session)]
    session: i32,
}

/// Parses a duration between SageMaker's limits; returns seconds.
fn session(text: &str) -> Result<i32, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    match i32::try_from(parsed.as_secs()) {
        Ok(seconds @ 1800..=43200) => Ok(seconds),
        _ => Err("SageMaker allows 30m to 12h".to_owned()),
    }
}

/// A notebook that can be opened.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "named as in the JSON")]
pub struct Opened {
    notebook: String,
    url: String,
    /// Time in which the URL can be opened.
    url_expires_seconds: u32,
    session_seconds: i32,
    /// True if a browser was started.
    opened: bool,
    #[serde(skip)]
    print_url: String,
}

/// The program that opens an address in the user's browser.
const OPENER: &str = if cfg!(target_os = "macos") {
    "open"
} else {
    "xdg-open"
};

/// Time for the browser to read the file with the address, after its program has been started.
const READING: Duration = Duration::from_secs(3);

pub(super) async fn run(
    ctx: &Context,
    clients: &Clients,
    name: &str,
    args: &OpenArgs,
) -> Result<Opened> {
    let found = notebooks::describe(clients, name).await?;
    if !found.status.is_in_service() {
        let message = format!("the notebook {name} is {}", found.status);
        return Err(Failure::new(Exit::Failed, message))
            .hint(format!("run `{}`", ctx.command("notebook start")));
    }
    let task = ctx.progress.task(format!("opening the notebook {name}"));
    let url = notebooks::presigned_url(clients, name, args.session).await?;
    drop(task);
    let opened = !args.print_url && ctx.output.is_interactive() && open(&url).await?;
    Ok(Opened {
        notebook: name.to_owned(),
        url,
        url_expires_seconds: URL_SECONDS,
        session_seconds: args.session,
        opened,
        print_url: ctx.command("notebook open --print-url"),
    })
}

/// Starts the browser; false if there is no program for it. Every user of the machine can read the
/// arguments of programs, so the address is in a file that only this user can read.
async fn open(url: &str) -> Result<bool> {
    let mut file = tempfile::Builder::new()
        .prefix("mlops-notebook-")
        .suffix(".html")
        .tempfile()
        .context("cannot create a file for the browser")?;
    file.write_all(page(url).as_bytes())?;
    file.flush()?;
    if !start(file.path())? {
        return Ok(false);
    }
    let waiter = Waiter {
        interval: READING,
        timeout: READING,
    };
    waiter.pause().await;
    Ok(true)
}

fn start(file: &Path) -> Result<bool> {
    let started = Command::new(OPENER)
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match started {
        Ok(status) => Ok(status.success()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot start {OPENER}")),
    }
}

/// A page that leads to the address.
fn page(url: &str) -> String {
    let url = url
        .replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;");
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Notebook</title>\
         <meta http-equiv=\"refresh\" content=\"0; url={url}\">\
         <p><a href=\"{url}\">Open the notebook</a>\n"
    )
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.opened {
            writeln!(f, "The notebook {} opens in your browser.", self.notebook)?;
            writeln!(f, "If it does not, run: {}", self.print_url)
        } else {
            writeln!(f, "{}", self.url)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_within_the_limits_of_sagemaker() {
        assert_eq!(session("12h"), Ok(43200));
        assert_eq!(session("30m"), Ok(1800));
        for refused in ["29m", "13h", "-1h", "long"] {
            assert!(session(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_url_cannot_leave_its_attribute() {
        let page = page("http://127.0.0.1:1/?a=\"><script>&b");
        assert!(
            page.contains("url=http://127.0.0.1:1/?a=&quot;>&lt;script>&amp;b\""),
            "{page}"
        );
        assert!(!page.contains("<script"), "{page}");
    }
}
