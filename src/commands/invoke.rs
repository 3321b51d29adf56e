//! `mlops invoke`: requests to the endpoint.
//!
//! ```text
//! Input (file, stdin or the sample of mlops.toml) ─┬─ once   one request, its response
//!                                                  ├─ lines  a request per line, responses in order
//!                                                  └─ load   N requests at a rate, latencies
//! ```

use std::path::PathBuf;

use anyhow::Result;
use mlops_core::error::hinted;

use crate::aws::error::kind_of;
use crate::aws::invocation::{self, Header, Refused};
use crate::aws::{ErrorKind, Missing};
use crate::context::Context;
use crate::output::Format;

mod input;
mod latency;
mod lines;
mod load;
mod report;

use input::Input;
pub use report::InvokeReport;
use report::Single;

/// Send a request to the endpoint and print the response
///
/// Without --file, sends the sample of mlops.toml (deploy.sample). With --lines, sends one request
/// per line and prints the responses in the same order, one per line; with --output json, one object
/// per line. With --repeat, measures latencies: requests are sent at the rate, whether or not earlier
/// ones have been answered, and without retries. Requests are captured like any other traffic. A
/// request has at most 25 MB on AWS and 6 MB on the local cloud. Exits with 1 if a request fails.
///
/// Example: mlops invoke --file row.csv
#[derive(Debug, clap::Args)]
pub struct InvokeArgs {
    /// The file to send, or `-` for stdin [default: deploy.sample of mlops.toml]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// The media type of the request [default: by the file's extension; text/csv for stdin]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The media type that the response should have
    #[arg(long, value_name = "TYPE")]
    accept: Option<String>,
    /// The variant that should answer [default: by the variants' weights]
    #[arg(long, value_name = "VARIANT")]
    target_variant: Option<String>,
    /// Send one request per line; skips empty lines
    #[arg(long, conflicts_with = "repeat")]
    lines: bool,
    /// Send the request this many times (1 to 100000) and print latencies
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: Option<u32>,
    /// Requests per second for --repeat: from 0.01 to 1000
    #[arg(long, value_name = "RATE", requires = "repeat", default_value_t = 10.0, value_parser = rate)]
    rate: f64,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.01..=1000.0).contains(&value) => Ok(value),
        _ => Err("a number of requests per second, from 0.01 to 1000".to_owned()),
    }
}

/// Sends the requests.
pub async fn run(ctx: &Context, args: &InvokeArgs) -> Result<InvokeReport> {
    let project = ctx.project()?;
    let input = Input::of(&project, args.file.as_deref(), args.lines)?;
    let header = Header {
        content_type: Some(
            args.content_type
                .clone()
                .unwrap_or_else(|| input.content_type()),
        ),
        accept: args.accept.clone(),
        target_variant: args.target_variant.clone(),
    };
    let clients = ctx.aws_of(&project).await?;
    let endpoint = project.file.name.as_str();
    let limit = invocation::largest(clients);
    if args.lines {
        lines::run(ctx, clients, endpoint, &header, &input, limit).await?;
        return Ok(InvokeReport::Printed);
    }
    let body = input.read(limit)?;
    if let Some(count) = args.repeat {
        let client = clients.measuring_runtime();
        let load = load::Load {
            client,
            endpoint: endpoint.to_owned(),
            header,
            body,
            count,
            rate: args.rate,
        };
        return Ok(InvokeReport::Measured(Box::new(load.run(ctx).await)));
    }
    let answer = invocation::send(&clients.runtime, endpoint, &header, body)
        .await
        .map_err(|refused| explained(ctx, refused))?;
    if ctx.output.format() == Format::Json {
        return Ok(InvokeReport::Single(Single::new(endpoint, answer)));
    }
    ctx.output.body(&answer.body)?;
    Ok(InvokeReport::Printed)
}

/// The error of a request, with the command that prints the log.
fn explained(ctx: &Context, refused: Refused) -> anyhow::Error {
    if kind_of(&refused.error) == Some(ErrorKind::NotFound(Missing::Endpoint)) {
        let promote = ctx.command("promote");
        return hinted(refused.error, format!("deploy a version with `{promote}`"));
    }
    if !refused.is_of_the_model() {
        return refused.error;
    }
    let logs = ctx.command("endpoint logs");
    hinted(
        refused.error,
        format!("print the model's log with `{logs}`"),
    )
}
