//! Resolves data arguments: files, directories, patterns, stdin, S3.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint, hinted};
use mlops_validation::capture::{Window, is_captured};
use mlops_validation::dataset::{self, Kind};
use mlops_validation::{Format, Partition, Source};

use super::DataFormat;
use super::location::DataLocation;
use crate::aws::Clients;
use crate::aws::capture;
use crate::aws::datasets;
use crate::aws::s3::{S3Object, S3Uri};
use crate::context::Context;

/// A source for a location.
#[derive(Debug)]
enum ResolvedSource {
    Stdin,
    File(PathBuf),
    Object {
        address: S3Uri,
        version_id: Option<String>,
        /// Size in bytes; 0 for an explicit version.
        size: u64,
    },
}

impl ResolvedSource {
    fn name(&self) -> String {
        match self {
            Self::Stdin => "stdin".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Object { address, .. } => address.to_string(),
        }
    }

    async fn source(&self, ctx: &Context) -> Result<Source> {
        Ok(match self {
            Self::Stdin => Source::stream("stdin", || Ok(std::io::stdin())),
            Self::File(path) => Source::file(path.clone()),
            Self::Object {
                address,
                version_id,
                ..
            } => {
                let open = capture::opener(ctx.aws().await?, address, version_id.as_deref());
                Source::stream(address.to_string(), open)
            }
        })
    }

    fn is_stdin(&self) -> bool {
        matches!(self, Self::Stdin)
    }

    /// Returns whether the source can be opened twice: once to detect the format, once to read.
    fn can_be_reopened(&self) -> bool {
        match self {
            Self::Stdin => false,
            Self::File(path) => std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()),
            Self::Object { .. } => true,
        }
    }
}

/// Resolves the arguments to sources, in order, and their common format.
pub(super) async fn open(
    ctx: &Context,
    data: &[DataLocation],
    format: Option<DataFormat>,
) -> Result<(Vec<Source>, Format)> {
    let (places, format) = resolve(ctx, data, format).await?;
    let mut sources = Vec::with_capacity(places.len());
    for place in &places {
        sources.push(place.source(ctx).await?);
    }
    if !matches!(format, Format::Capture(_)) {
        for (source, partition) in sources.iter_mut().zip(partitions(&places)?) {
            source.partition = partition;
        }
    }
    Ok((sources, format))
}

/// Resolves `s3://` addresses to objects, their sizes in bytes, and their format.
pub(super) async fn objects(
    ctx: &Context,
    data: &[DataLocation],
    format: Option<DataFormat>,
) -> Result<(Vec<(S3Uri, u64)>, Format)> {
    let (places, format) = resolve(ctx, data, format).await?;
    if !matches!(format, Format::Capture(_)) {
        partitions(&places)?;
    }
    let objects = places.into_iter().filter_map(|place| match place {
        ResolvedSource::Object { address, size, .. } => Some((address, size)),
        ResolvedSource::Stdin | ResolvedSource::File(_) => None,
    });
    Ok((objects.collect(), format))
}

/// Resolves the arguments to locations, in order, and their common format.
async fn resolve(
    ctx: &Context,
    data: &[DataLocation],
    format: Option<DataFormat>,
) -> Result<(Vec<ResolvedSource>, Format)> {
    let wanted = format.map(|format| match format {
        DataFormat::Csv => Kind::Csv,
        DataFormat::Jsonl | DataFormat::Capture => Kind::Jsonl,
        DataFormat::Parquet => Kind::Parquet,
    });
    let mut places: Vec<ResolvedSource> = Vec::new();
    for location in data {
        match location {
            DataLocation::Stdin => {
                if places.iter().any(ResolvedSource::is_stdin) {
                    return Err(Failure::usage("stdin (`-`) can be read only once"));
                }
                if std::io::stdin().is_terminal() {
                    return Err(Failure::usage("stdin is a terminal: no data to read"))
                        .hint("pipe the data: `zcat data.csv.gz | mlops validate -`");
                }
                places.push(ResolvedSource::Stdin);
            }
            DataLocation::S3(object) => places.extend(remote(ctx, object, wanted).await?),
            DataLocation::Local(path) | DataLocation::Other(path) => {
                let files = described(dataset::files(path, wanted), path)?;
                places.extend(files.into_iter().map(ResolvedSource::File));
            }
        }
    }
    let names: Vec<String> = places.iter().map(ResolvedSource::name).collect();
    let kind = match wanted {
        Some(kind) => kind,
        None => dataset::kind(names.iter().map(String::as_str))
            .hint("pass files of one format, or select a format with --format")?,
    };
    let captured = match format {
        Some(format) => format == DataFormat::Capture,
        None => kind == Kind::Jsonl && first_is_captured(ctx, &places).await?,
    };
    let format = match kind {
        _ if captured => Format::Capture(Window::default()),
        Kind::Csv => Format::Csv,
        Kind::Jsonl => Format::Jsonl,
        Kind::Parquet => Format::Parquet,
    };
    Ok((places, format))
}

/// Returns the columns that the directory names define, for each location.
fn partitions(places: &[ResolvedSource]) -> Result<Vec<Partition>> {
    let names: Vec<String> = places.iter().map(ResolvedSource::name).collect();
    dataset::partitions(&names)
        .hint("pass directories of one layout; directories such as year=2026 are columns")
}

/// Returns whether the first line of JSON Lines was captured by an endpoint.
async fn first_is_captured(ctx: &Context, places: &[ResolvedSource]) -> Result<bool> {
    let Some(place) = places.first().filter(|place| place.can_be_reopened()) else {
        return Ok(false);
    };
    let source = place.source(ctx).await?;
    Ok(tokio::task::spawn_blocking(move || is_captured(source)).await??)
}

/// Adds a hint to an error about local files.
fn described(
    files: Result<Vec<PathBuf>, mlops_validation::DataError>,
    data: &str,
) -> Result<Vec<PathBuf>> {
    files.map_err(|error| {
        let hint = if data.contains(['*', '?', '[']) {
            "a pattern matches files and directories; `**` matches any depth"
        } else if std::path::Path::new(data).is_dir() {
            "pass the files, or their format with --format"
        } else {
            "pass files, directories, patterns, s3://BUCKET/KEY, or `-` for stdin"
        };
        hinted(error.into(), hint)
    })
}

/// Resolves an address to the object, its version, or the data files below the prefix.
async fn remote(
    ctx: &Context,
    object: &S3Object,
    wanted: Option<Kind>,
) -> Result<Vec<ResolvedSource>> {
    let address = object.uri.clone();
    if object.version_id.is_some() {
        return Ok(vec![ResolvedSource::Object {
            address,
            version_id: object.version_id.clone(),
            size: 0,
        }]);
    }
    let clients: &Clients = ctx.aws().await?;
    let mut objects = capture::sized(clients, &address).await?;
    let place = |(address, size)| ResolvedSource::Object {
        address,
        version_id: None,
        size,
    };
    if let Some(found) = objects.iter().find(|(found, _)| *found == address) {
        return Ok(vec![place(found.clone())]);
    }
    if objects.is_empty() {
        let error = Failure::new(
            Exit::Failed,
            format!("{address}: no such object, and no objects below this prefix"),
        );
        return Err(hinted(
            error,
            "patterns work for local files only; list the objects with `aws s3 ls`",
        ));
    }
    objects.retain(|(object, _)| {
        let below = object.key.strip_prefix(&address.key).unwrap_or(&object.key);
        // The manifest that `mlops data push` writes next to the files of a data set.
        below.trim_start_matches('/') != datasets::MANIFEST
            && !below.split('/').any(dataset::is_hidden)
    });
    let chosen = dataset::choose(
        &address.to_string(),
        objects,
        |(object, _)| object.to_string(),
        wanted,
    )
    .hint("pass the objects, or their format with --format")?;
    Ok(chosen.into_iter().map(place).collect())
}
