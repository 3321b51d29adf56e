//! Opens the data of a job as sources for the engine: the files below `dataset_source`, restricted
//! to the time window, and rewritten where the contract allows formats that the engine does not
//! support.

use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_validation::dataset::{is_hidden, partitions};
use mlops_validation::{Baseline, Format, Input, Source};

use super::job::{AnalyzerJob, DatasetFormat, Sides};
use super::lines::{Lines, cut, read};
use super::script;

/// Maximum length of the first record, in bytes.
const MAX_RECORD: u64 = 128 << 20;

/// Lists the job's files; of captured traffic, those that may hold events of the window.
///
/// # Errors
/// They cannot be listed, or there is none.
pub(super) fn files(job: &AnalyzerJob) -> Result<Vec<PathBuf>> {
    let mut files = list(&job.source)
        .with_context(|| format!("cannot read dataset_source {}", job.source.display()))?;
    if matches!(
        job.format,
        DatasetFormat::Capture(_) | DatasetFormat::Merged
    ) {
        files.retain(|file| {
            let below = file.strip_prefix(&job.source).unwrap_or(file);
            job.window.may_hold(&below.to_string_lossy())
        });
    }
    if files.is_empty() {
        return Err(job.nothing());
    }
    Ok(files)
}

/// Opens the job's data.
///
/// # Errors
/// The data is missing or cannot be listed, or a preprocessor cannot be started.
pub(super) fn open(
    job: &AnalyzerJob,
    baseline: Option<&Baseline>,
) -> Result<(Vec<Source>, Format)> {
    let mut files = files(job)?;
    let names: Vec<String> = baseline
        .map(|baseline| &baseline.constraints.features)
        .into_iter()
        .flatten()
        .map(|feature| feature.name.clone())
        .collect();
    let whole = |files: &[PathBuf]| files.iter().cloned().map(Source::file).collect::<Vec<_>>();
    let (mut sources, format) = match &job.format {
        DatasetFormat::Csv { header: true } => (whole(&files), Format::Csv),
        DatasetFormat::Csv { header: false } => {
            // A part without rows has no columns either.
            files.retain(|file| file.metadata().is_ok_and(|metadata| metadata.len() > 0));
            let with_names = files.iter().map(|file| {
                let names = names.clone();
                source(file, move |file| with_header(read(file)?, &names))
            });
            (with_names.collect(), Format::Csv)
        }
        DatasetFormat::JsonLines => (whole(&files), Format::Jsonl),
        DatasetFormat::Parquet => (whole(&files), Format::Parquet),
        DatasetFormat::Capture(sides) => return captured(job, *sides, &names, files),
        DatasetFormat::Merged => return Ok((whole(&files), Format::Capture(job.window))),
    };
    let below: Vec<String> = files
        .iter()
        .map(|file| {
            let below = file.strip_prefix(&job.source).unwrap_or(file);
            below.to_string_lossy().into_owned()
        })
        .collect();
    for (source, partition) in sources.iter_mut().zip(partitions(&below)?) {
        source.partition = partition;
    }
    Ok((sources, format))
}

/// Captured traffic: unchanged, only one side of it, or the output of a script.
fn captured(
    job: &AnalyzerJob,
    sides: Sides,
    names: &[String],
    files: Vec<PathBuf>,
) -> Result<(Vec<Source>, Format)> {
    if let Some(script) = &job.preprocessor {
        let records = script::preprocess(script, names, files, job.window, sides)?;
        return Ok((vec![records], Format::Jsonl));
    }
    let sources = files.into_iter().map(|file| match sides.ignored() {
        None => Source::file(file),
        Some(_) => source(&file, move |file| {
            let lines = Lines::new(read(file)?, move |line| cut(line, sides));
            Ok(Input::Stream(Box::new(lines)))
        }),
    });
    Ok((sources.collect(), Format::Capture(job.window)))
}

fn source(file: &Path, open: impl FnOnce(&Path) -> io::Result<Input> + Send + 'static) -> Source {
    let path = file.to_owned();
    Source {
        name: file.display().to_string(),
        open: Box::new(move || open(&path)),
        partition: Vec::new(),
    }
}

/// Returns the file, or every file below the directory, sorted. Skips links, and names that begin
/// with `.` or `_`, as Spark does.
pub(super) fn list(root: &Path) -> io::Result<Vec<PathBuf>> {
    if root.metadata()?.is_file() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if is_hidden(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Adds a header to CSV without one: Spark's positional names, `_cN`.
fn with_header(mut input: Box<dyn Read + Send>, names: &[String]) -> io::Result<Input> {
    let mut start = Vec::new();
    let fields = loop {
        let before = start.len();
        (&mut input).take(64 << 10).read_to_end(&mut start)?;
        let ended = start.len() == before;
        if before == 0 && start.starts_with(b"\xef\xbb\xbf") {
            start.drain(..3);
        }
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(&start[..]);
        let mut record = csv::ByteRecord::new();
        let found = reader
            .read_byte_record(&mut record)
            .map_err(io::Error::other)?;
        // A record at the end of the buffer may continue in the next one.
        if ended || (found && reader.position().byte() < start.len() as u64) {
            break record.len();
        }
        if start.len() as u64 > MAX_RECORD {
            return Err(io::Error::other("the first line is longer than 128 MiB"));
        }
    };
    let header: Vec<String> = (0..fields)
        .map(|column| {
            names
                .get(column)
                .cloned()
                .unwrap_or_else(|| format!("_c{column}"))
        })
        .collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&header).map_err(io::Error::other)?;
    let header = writer.into_inner().map_err(io::Error::other)?;
    let bytes = Cursor::new(header).chain(Cursor::new(start)).chain(input);
    Ok(Input::Stream(Box::new(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(input: Input) -> String {
        let Input::Stream(mut stream) = input else {
            panic!("a stream");
        };
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn data_without_a_header_gets_the_baselines_names() {
        let names = ["a".to_owned(), "b, c".to_owned()];
        let with = |data: &'static str, names: &[String]| {
            text(with_header(Box::new(data.as_bytes()), names).unwrap())
        };
        assert_eq!(
            with("\u{feff}1,\"x\ny\",3\n4,5,6\n", &names),
            "a,\"b, c\",_c2\n1,\"x\ny\",3\n4,5,6\n"
        );
        assert_eq!(with("1", &[]), "_c0\n1");
        let long = format!("\"{}\",2\n3,4\n", "x".repeat(200_000));
        let input = with_header(Box::new(Cursor::new(long.clone())), &names).unwrap();
        assert_eq!(text(input), format!("a,\"b, c\"\n{long}"));
    }

    #[test]
    fn files_that_spark_skips_are_skipped() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b.csv", "sub/a.csv", "_SUCCESS", ".part.crc", "_tmp/x.csv"] {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("link")).unwrap();
        let found = list(root.path()).unwrap();
        assert_eq!(
            found,
            [root.path().join("b.csv"), root.path().join("sub/a.csv")]
        );
        assert_eq!(list(&root.path().join("b.csv")).unwrap().len(), 1);
        assert!(list(&root.path().join("nowhere")).is_err());
    }
}
