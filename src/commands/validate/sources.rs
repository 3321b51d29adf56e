//! Where data is read from: files, directories, stdin, S3.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::DataFormat;
use crate::aws::capture;
use crate::aws::s3::S3Uri;
use crate::context::Context;
use crate::error::{Exit, Failure};
use crate::validation::Source;

/// The sources that the arguments name, in their order.
pub(super) async fn open(
    ctx: &Context,
    data: &[String],
    format: DataFormat,
) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for data in data {
        if data == "-" {
            sources.push(Source::stream("stdin", || Ok(std::io::stdin())));
        } else if data.starts_with("s3://") {
            sources.extend(remote(ctx, data).await?);
        } else {
            let suffix = match format {
                DataFormat::Csv => "csv",
                DataFormat::Parquet => "parquet",
                DataFormat::Capture => "jsonl",
            };
            let paths = paths(Path::new(data), suffix)?;
            sources.extend(paths.into_iter().map(Source::file));
        }
    }
    Ok(sources)
}

async fn remote(ctx: &Context, data: &str) -> Result<Vec<Source>> {
    let address: S3Uri = data.parse()?;
    let clients = ctx.aws().await?;
    let objects = capture::objects(clients, &address).await?;
    if objects.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            format!("{address}: there is no such object"),
        ));
    }
    Ok(objects
        .iter()
        .map(|object| Source::stream(object.to_string(), capture::opener(clients, object, None)))
        .collect())
}

/// The file, or all files with the suffix below the directory, in order.
fn paths(path: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let shown = path.display();
    let broken = |error: std::io::Error| Failure::new(Exit::Failed, format!("{shown}: {error}"));
    for unread in ["zip"] {
        if has_suffix(&shown.to_string(), unread) {
            return Err(Failure::usage(format!(
                "{shown}: .{unread} files cannot be read; CSV and captured JSON Lines can"
            )));
        }
    }
    if !std::fs::metadata(path).map_err(broken)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut pending = vec![path.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(broken)?;
            if name.starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                pending.push(path);
            } else if has_suffix(&name, suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            format!("{shown}: no .{suffix} files in it"),
        ));
    }
    Ok(found)
}

pub(super) fn has_suffix(name: &str, suffix: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case(suffix))
}
