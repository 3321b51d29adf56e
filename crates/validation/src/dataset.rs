//! Finds the files of a data set: directories, patterns, partitions, and the format by file name.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::{DataError, Partition};

/// The format of a file by its name (captured traffic is JSON Lines, too).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `.csv`
    Csv,
    /// `.jsonl`, `.ndjson`, `.json`
    Jsonl,
    /// `.parquet`
    Parquet,
}

impl Kind {
    /// Returns the format by the name of a file or object, ignoring a final `.gz` or `.zst`.
    pub fn of(name: &str) -> Option<Self> {
        let (stem, suffix) = suffix(name)?;
        let suffix = match suffix.as_str() {
            "gz" | "gzip" | "zst" | "zstd" => self::suffix(stem)?.1,
            _ => suffix,
        };
        match suffix.as_str() {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Jsonl => "JSON Lines",
            Self::Parquet => "Parquet",
        }
    }
}

/// Table formats that are not supported.
const UNREAD: [&str; 9] = [
    "tsv", "xlsx", "xls", "zip", "avro", "orc", "arrow", "feather", "tar",
];

fn suffix(name: &str) -> Option<(&str, String)> {
    let name = name.rsplit('/').next()?;
    let (stem, suffix) = name.rsplit_once('.')?;
    Some((stem, suffix.to_ascii_lowercase()))
}

/// Returns the common format of a data set, by the names of all its files; CSV if no name indicates
/// one.
///
/// # Errors
/// Two files have different formats, or one has a format that is not supported.
pub fn kind<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Kind, DataError> {
    let mut found: Option<(&str, Kind)> = None;
    for name in names {
        let suffix = suffix(name).map(|(_, suffix)| suffix).unwrap_or_default();
        if UNREAD.contains(&suffix.as_str()) {
            return Err(DataError::new(
                name,
                format!(".{suffix} files are not supported: use CSV, JSON Lines or Parquet"),
            ));
        }
        let Some(kind) = Kind::of(name) else {
            continue;
        };
        match found {
            None => found = Some((name, kind)),
            Some((_, other)) if other == kind => {}
            Some((first, other)) => {
                return Err(DataError::new(
                    name,
                    format!(
                        "the file is {} and {first} is {}: a data set must have one format",
                        kind.name(),
                        other.name()
                    ),
                ));
            }
        }
    }
    Ok(found.map_or(Kind::Csv, |(_, kind)| kind))
}

/// Returns whether Spark and Hive ignore a file or directory with this name: markers such as
/// `_SUCCESS`, and hidden ones. A partition (`_year=2026`) is not ignored.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || (name.starts_with('_') && !name.contains('='))
}

/// Selects the data files among those below a directory or prefix: those whose names indicate
/// `wanted`, or any format if `wanted` is `None`. If no name indicates a format (`part-00000`), an
/// explicitly requested format selects all of them.
///
/// # Errors
/// There are no such files.
pub fn choose<T>(
    directory: &str,
    files: Vec<T>,
    name: impl Fn(&T) -> String,
    wanted: Option<Kind>,
) -> Result<Vec<T>, DataError> {
    let (known, others): (Vec<T>, Vec<T>) = files
        .into_iter()
        .partition(|file| Kind::of(&name(file)).is_some());
    let any_known = !known.is_empty();
    let known: Vec<T> = known
        .into_iter()
        .filter(|file| wanted.is_none() || wanted == Kind::of(&name(file)))
        .collect();
    if !known.is_empty() {
        return Ok(known);
    }
    match wanted {
        Some(_) if !any_known && !others.is_empty() => Ok(others),
        Some(kind) => Err(DataError::new(
            directory,
            format!("no {} files in this directory", kind.name()),
        )),
        None if others.is_empty() => Err(DataError::new(directory, "no files in this directory")),
        None => Err(DataError::new(
            directory,
            "no .csv, .jsonl or .parquet files in this directory",
        )),
    }
}

/// Returns the files that an argument names, in order: one file, every data file below a directory,
/// or matches of a pattern (`*`, `?`, `[…]`, `**`). A file whose name equals the pattern takes
/// precedence.
///
/// # Errors
/// Nothing matches, or a directory cannot be read.
pub fn files(argument: &str, wanted: Option<Kind>) -> Result<Vec<PathBuf>, DataError> {
    match std::fs::metadata(argument) {
        Ok(_) => below(PathBuf::from(argument), wanted),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && argument.contains(['*', '?', '[']) =>
        {
            matches(argument, wanted)
        }
        Err(error) => Err(DataError::unread(argument, error)),
    }
}

fn matches(pattern: &str, wanted: Option<Kind>) -> Result<Vec<PathBuf>, DataError> {
    let options = glob::MatchOptions {
        require_literal_separator: true,
        require_literal_leading_dot: true,
        ..glob::MatchOptions::default()
    };
    let paths = glob::glob_with(pattern, options)
        .map_err(|error| DataError::new(pattern, format!("not a pattern: {}", error.msg)))?;
    let mut found = Vec::new();
    for path in paths {
        let path = path.map_err(|error| {
            DataError::new(
                error.path().display().to_string(),
                error.error().to_string(),
            )
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let last = pattern.trim_end_matches('/').rsplit('/').next();
        let asked = last.is_some_and(|last| last.starts_with('_') || last.starts_with('.'));
        if asked || !is_hidden(&name) {
            found.extend(below(path, wanted)?);
        }
    }
    if found.is_empty() {
        return Err(DataError::new(pattern, "no file matches this pattern"));
    }
    Ok(found)
}

/// Returns the file itself, or the data files below the directory.
fn below(path: PathBuf, wanted: Option<Kind>) -> Result<Vec<PathBuf>, DataError> {
    let unread = |path: &Path, error| DataError::unread(path.display().to_string(), error);
    if !std::fs::metadata(&path)
        .map_err(|error| unread(&path, error))?
        .is_dir()
    {
        return Ok(vec![path]);
    }
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut pending = vec![path.clone()];
    while let Some(directory) = pending.pop() {
        let real = directory
            .canonicalize()
            .map_err(|error| unread(&directory, error))?;
        // A link may point back to one of its ancestors.
        if !seen.insert(real) {
            continue;
        }
        let entries = std::fs::read_dir(&directory).map_err(|error| unread(&directory, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unread(&directory, error))?;
            if is_hidden(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            let metadata = std::fs::metadata(&path).map_err(|error| unread(&path, error))?;
            if metadata.is_dir() {
                pending.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    let name = |path: &PathBuf| path.display().to_string();
    choose(&name(&path), found, name, wanted)
}

/// The name that Hive and Spark use for a partition with a missing value.
const DEFAULT_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Returns the partition of a file, by its directories: `…/year=2026/month=05/part-0.csv`.
/// Considers the directories directly above the file, up to the first without `=`. Names and values
/// are percent-decoded; `None` is a missing value.
///
/// # Errors
/// A directory has a column without a value, or a column occurs twice.
pub fn partition(name: &str) -> Result<Partition, DataError> {
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| DataError::new(name, format!("`{text}` is not percent-encoded UTF-8")))
    };
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    for directory in name.split('/').rev().skip(1) {
        let Some((key, value)) = directory.split_once('=').filter(|(key, _)| !key.is_empty())
        else {
            break;
        };
        if value.is_empty() {
            return Err(DataError::new(
                name,
                format!("the directory `{directory}` has a column name but no value"),
            ));
        }
        let key = decoded(key)?;
        if found.iter().any(|(known, _)| *known == key) {
            return Err(DataError::new(
                name,
                format!("two parent directories define the column `{key}`"),
            ));
        }
        let value = decoded(value)?;
        found.push((key, (value != DEFAULT_PARTITION).then_some(value)));
    }
    found.reverse();
    Ok(found)
}

/// The partitions of a data set's files.
///
/// # Errors
/// The files have different columns.
pub fn partitions(names: &[String]) -> Result<Vec<Partition>, DataError> {
    let all: Vec<Partition> = names
        .iter()
        .map(|name| partition(name))
        .collect::<Result<_, _>>()?;
    let keys = |i: usize| all[i].iter().map(|(key, _)| key.as_str());
    let spelled = |i: usize| match keys(i).collect::<Vec<_>>().join("/") {
        none if none.is_empty() => "in no partition".to_owned(),
        keys => format!("in a partition by {keys}"),
    };
    for i in 1..all.len() {
        if !keys(i).eq(keys(0)) {
            return Err(DataError::new(
                &names[i],
                format!(
                    "the file is {}, but {} is {}",
                    spelled(i),
                    names[0],
                    spelled(0)
                ),
            ));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        directory
    }

    fn found(
        directory: &tempfile::TempDir,
        argument: &str,
        wanted: Option<Kind>,
    ) -> Result<Vec<String>, String> {
        let root = directory.path().display().to_string();
        let argument = format!("{root}/{argument}");
        let paths = files(argument.trim_end_matches('/'), wanted)
            .map_err(|error| error.to_string().replace(&root, ""))?;
        Ok(paths
            .iter()
            .map(|path| path.display().to_string().replace(&format!("{root}/"), ""))
            .collect())
    }

    #[test]
    fn names_determine_the_format() {
        for (name, kind) in [
            ("a.CSV", Some(Kind::Csv)),
            ("s3://b/x.y/a.csv.gz", Some(Kind::Csv)),
            ("a.json.zst", Some(Kind::Jsonl)),
            ("a.snappy.parquet", Some(Kind::Parquet)),
            ("a.gz", None),
            ("d.csv/part-0", None),
            ("csv", None),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
        }
        assert_eq!(kind(["stdin", "x"]).unwrap(), Kind::Csv);
        assert_eq!(kind(["x", "a.parquet"]).unwrap(), Kind::Parquet);
        assert_eq!(
            kind(["a.csv", "b.jsonl"]).unwrap_err().to_string(),
            "b.jsonl: the file is JSON Lines and a.csv is CSV: a data set must have one format"
        );
        assert!(
            kind(["a.xlsx"])
                .unwrap_err()
                .to_string()
                .contains("not supported")
        );
    }

    #[test]
    fn directories_are_expanded_to_their_data_files_in_order() {
        let directory = tree(&[
            "d/b.csv",
            "d/a/z.csv.gz",
            "d/_SUCCESS",
            "d/.hidden.csv",
            "d/_temporary/t.csv",
            "d/notes.txt",
            "d/_year=1/c.csv",
            "mixed/a.csv",
            "mixed/b.parquet",
            "plain/part-0",
            "plain/part-1",
            "hidden/_SUCCESS",
        ]);
        std::os::unix::fs::symlink(directory.path().join("d"), directory.path().join("d/loop"))
            .unwrap();
        let all = ["d/_year=1/c.csv", "d/a/z.csv.gz", "d/b.csv"];
        assert_eq!(found(&directory, "d", None).unwrap(), all);
        assert_eq!(found(&directory, "mixed", None).unwrap().len(), 2);
        assert_eq!(
            found(&directory, "mixed", Some(Kind::Csv)).unwrap(),
            ["mixed/a.csv"]
        );
        assert_eq!(
            found(&directory, "plain", Some(Kind::Csv)).unwrap().len(),
            2
        );
        for (argument, wanted, message) in [
            (
                "plain",
                None,
                "/plain: no .csv, .jsonl or .parquet files in this directory",
            ),
            ("hidden", None, "/hidden: no files in this directory"),
            (
                "d",
                Some(Kind::Parquet),
                "/d: no Parquet files in this directory",
            ),
            (
                "nothing",
                None,
                "/nothing: No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(found(&directory, argument, wanted).unwrap_err(), message);
        }
        std::os::unix::fs::symlink("nowhere", directory.path().join("d/x.csv")).unwrap();
        let dangling = found(&directory, "d", None).unwrap_err();
        assert!(dangling.starts_with("/d/x.csv: No such file"), "{dangling}");
    }

    #[test]
    fn patterns_match_and_an_exact_name_takes_precedence() {
        let directory = tree(&[
            "a1.csv",
            "a2.csv",
            "a[1].csv",
            "_a3.csv",
            "y=1/p.csv",
            "y=2/p.csv",
        ]);
        assert_eq!(found(&directory, "a[1].csv", None).unwrap(), ["a[1].csv"]);
        assert_eq!(
            found(&directory, "a[12].csv", None).unwrap(),
            ["a1.csv", "a2.csv"]
        );
        assert_eq!(
            found(&directory, "*a?.csv", None).unwrap(),
            ["a1.csv", "a2.csv"]
        );
        assert_eq!(found(&directory, "_*.csv", None).unwrap(), ["_a3.csv"]);
        assert_eq!(
            found(&directory, "y=*", None).unwrap(),
            ["y=1/p.csv", "y=2/p.csv"]
        );
        assert_eq!(found(&directory, "**/p.csv", None).unwrap().len(), 2);
        assert_eq!(
            found(&directory, "b*.csv", None).unwrap_err(),
            "/b*.csv: no file matches this pattern"
        );
        assert!(
            found(&directory, "b[.csv", None)
                .unwrap_err()
                .contains("not a pattern")
        );
    }

    #[test]
    fn directories_name_partitions() {
        let pairs = |name: &str| -> Vec<(String, Option<String>)> { partition(name).unwrap() };
        let pair = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        assert_eq!(
            pairs("/x=1/data/year=2026/city=S%C3%A3o%20Paulo%2F1/part=0.csv"),
            [
                pair("year", Some("2026")),
                pair("city", Some("São Paulo/1"))
            ]
        );
        assert_eq!(
            pairs("s3://b/t/a=__HIVE_DEFAULT_PARTITION__/x.parquet"),
            [pair("a", None)]
        );
        assert_eq!(pairs("a=1=2/x"), [pair("a", Some("1=2"))]);
        assert_eq!(pairs("=1/x.csv"), []);
        for (name, message) in [
            (
                "y=/x.csv",
                "y=/x.csv: the directory `y=` has a column name but no value",
            ),
            (
                "y=1/y=2/x.csv",
                "y=1/y=2/x.csv: two parent directories define the column `y`",
            ),
            (
                "y=%ff/x.csv",
                "y=%ff/x.csv: `%ff` is not percent-encoded UTF-8",
            ),
        ] {
            assert_eq!(partition(name).unwrap_err().to_string(), message);
        }
        let names = ["t/y=1/m=2/a.csv".to_owned(), "t/y=1/b.csv".to_owned()];
        assert_eq!(
            partitions(&names).unwrap_err().to_string(),
            "t/y=1/b.csv: the file is in a partition by y, but t/y=1/m=2/a.csv is in a partition by y/m"
        );
    }
}
