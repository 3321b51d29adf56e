//! Reads and writes the analyzer's files.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mlops_core::quote;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::decode::{self, Encoding};
use super::{Baseline, DataError};

/// The statistics of the data.
pub const STATISTICS: &str = "statistics.json";
/// The constraints on data.
pub const CONSTRAINTS: &str = "constraints.json";
/// The violations of the constraints.
pub const VIOLATIONS: &str = "constraint_violations.json";

impl Baseline {
    /// Reads a baseline's files. Without statistics, drift is not measured.
    ///
    /// # Errors
    /// A file cannot be read or parsed.
    pub fn read(constraints: &Path, statistics: Option<&Path>) -> Result<Self, DataError> {
        let baseline = Self {
            constraints: read(constraints)?,
            statistics: statistics.map(read).transpose()?,
        };
        baseline.understood(constraints)
    }

    /// Parses the bytes of a baseline's files, whose names are for errors.
    ///
    /// # Errors
    /// A file cannot be parsed.
    pub fn parse(
        constraints: (&Path, &[u8]),
        statistics: Option<(&Path, &[u8])>,
    ) -> Result<Self, DataError> {
        fn parsed<T: DeserializeOwned>((path, bytes): (&Path, &[u8])) -> Result<T, DataError> {
            parse(&path.display().to_string(), bytes)
        }
        let baseline = Self {
            constraints: parsed(constraints)?,
            statistics: statistics.map(parsed).transpose()?,
        };
        baseline.understood(constraints.0)
    }

    fn understood(self, path: &Path) -> Result<Self, DataError> {
        let result = self.constraints.understood();
        result.map_err(|text| DataError::new(path.display().to_string(), text))?;
        Ok(self)
    }
}

/// Maximum size of a file in bytes: statistics of 16,384 columns have 100 MB.
pub const MAX_FILE: u64 = 256 << 20;

/// Reads one file.
///
/// # Errors
/// The file cannot be read or parsed, or is larger than 256 MiB.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, DataError> {
    let name = path.display().to_string();
    let failed = |error: io::Error| DataError::new(&name, error.to_string());
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
    if read.map_err(failed)? as u64 > MAX_FILE {
        let message = format!("the file is larger than {} MiB", MAX_FILE >> 20);
        return Err(DataError::new(&name, message));
    }
    parse(&name, &bytes)
}

/// Parses the bytes of one file. Skips a byte order mark, which some Windows editors write.
///
/// # Errors
/// The bytes cannot be parsed, or are UTF-16.
pub fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, DataError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let encoding = match bytes {
        // UTF-16 without a byte order mark: JSON begins with two ASCII characters.
        [0, b'{' | b' ' | b'\n' | b'\r', ..] | [b'{' | b' ' | b'\n' | b'\r', 0, ..] => {
            decode::UTF16
        }
        _ => decode::encoding(bytes),
    };
    if let Encoding::Foreign(what, hint) = encoding {
        let message = format!("this is {what}, which is not supported: {hint}");
        return Err(DataError::new(name, message));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        DataError::new(
            name,
            format!(
                "not a Model Monitor file: {}",
                quote::without_value(&error.to_string())
            ),
        )
    })
}

/// Serializes one file.
///
/// # Errors
/// Never, for the types of this crate.
pub fn render(value: &impl Serialize) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, Layout::default());
    value
        .serialize(&mut writer)
        .map_err(|error| DataError::new("JSON", error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Formats like AWS's files: one member per line and arrays on one line, so that a sketch of
/// thousands of numbers takes few lines in git.
#[derive(Default)]
struct Layout {
    depth: usize,
}

impl Layout {
    fn line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl serde_json::ser::Formatter for Layout {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"[ ")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" ]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b"," })?;
        self.line(writer)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" : ")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        self.line(writer)?;
        writer.write_all(b"}")
    }
}

/// Writes one file into a directory, which is created if necessary. An existing file is replaced
/// atomically.
///
/// # Errors
/// The directory cannot be created or written.
pub fn write(directory: &Path, name: &str, value: &impl Serialize) -> Result<PathBuf, DataError> {
    let path = directory.join(name);
    let bytes = render(value)?;
    std::fs::create_dir_all(directory)
        .map_err(|error| DataError::new(directory.display().to_string(), error.to_string()))?;
    replace(&path, &bytes)?;
    Ok(path)
}

/// Writes a file. An existing regular file, or a link to one, is replaced atomically; anything else (a pipe) is written
/// to. No link is followed: a repository could lead the output elsewhere.
///
/// # Errors
/// The file cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let special = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    let written = if special {
        std::fs::write(path, bytes)
    } else {
        let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
        // A new file with a name of its own: two writers do not meet.
        tempfile::Builder::new()
            .prefix(".unfinished-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory.unwrap_or(Path::new(".")))
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.persist(path).map_err(|failed| failed.error)?;
                Ok(())
            })
    };
    written.map_err(|error| DataError::new(path.display().to_string(), error.to_string()))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::super::{Statistics, drift};
    use crate::Constraints;

    use super::*;

    fn aws(name: &str) -> (PathBuf, serde_json::Value) {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .join("tests/data")
            .join(name);
        let value = read(&path).unwrap();
        (path, value)
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"old");
        assert_eq!(std::fs::read(&link).unwrap(), b"new");
        // As other programs create files, and nothing else is left.
        let mode = std::fs::metadata(&link).unwrap().permissions().mode();
        std::fs::write(directory.path().join("c"), "").unwrap();
        let other = std::fs::metadata(directory.path().join("c")).unwrap();
        assert_eq!(mode, other.permissions().mode());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    /// Five features of a baseline that AWS's own analyzer wrote.
    fn sample() -> Baseline {
        let (constraints, _) = aws("aws-constraints.json");
        let (statistics, _) = aws("aws-statistics.json");
        Baseline::read(&constraints, Some(&statistics)).unwrap()
    }

    #[test]
    fn aws_files_are_written_back_unchanged() {
        let baseline = sample();
        let again = serde_json::to_value(baseline.statistics.unwrap()).unwrap();
        assert_eq!(again, aws("aws-statistics.json").1);
        let again = serde_json::to_value(baseline.constraints).unwrap();
        assert_eq!(again, aws("aws-constraints.json").1);
    }

    #[test]
    fn files_are_laid_out_as_aws_does() {
        let constraints: Constraints = parse(
            "c.json",
            br#"{"version":0.0,"features":[{"name":"id","inferred_type":"String","completeness":1.0,
               "string_constraints":{"domains":["a","b"]}}],"monitoring_config":{}}"#,
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(render(&constraints).unwrap()).unwrap(),
            r#"{
  "version" : 0.0,
  "features" : [ {
    "name" : "id",
    "inferred_type" : "String",
    "completeness" : 1.0,
    "string_constraints" : {
      "domains" : [ "a", "b" ]
    }
  } ],
  "monitoring_config" : {
  }
}
"#
        );
    }

    #[test]
    fn aws_sketches_weigh_the_number_of_rows_and_agree_with_the_buckets() {
        let statistics = sample().statistics.unwrap();
        let feature = &statistics.features[2];
        let numbers = feature.numerical_statistics.as_ref().unwrap();
        let ranks = feature.ranks().unwrap();
        assert_eq!(ranks.total(), 23_432.0);
        let kll = numbers.distribution.as_ref().unwrap().kll.as_ref().unwrap();
        for bucket in &kll.buckets[..9] {
            let count = ranks.below(bucket.upper_bound) - ranks.below(bucket.lower_bound);
            assert_eq!(count, bucket.count, "{bucket:?}");
        }
    }

    #[test]
    fn a_baseline_has_no_distance_from_itself() {
        let baseline = sample();
        let statistics = baseline.statistics.unwrap();
        let drifts = drift::compare(&statistics, &statistics, &baseline.constraints);
        let measured: Vec<_> = drifts.iter().map(|d| (d.distance, d.drifted)).collect();
        assert_eq!(measured[0], (None, false), "id has too many values");
        assert!(measured[1..].iter().all(|m| *m == (Some(0.0), false)));
        assert_eq!(measured.len(), 5);
    }

    /// `serde_json` parses numbers exactly only with its feature `float_roundtrip`; without it, a
    /// column with few values would drift from itself.
    #[test]
    fn numbers_are_preserved_to_the_last_bit() {
        for value in [0.105_655_769_290_374_25, 0.1 + 0.2, 2.0 / 3.0, 5e-324] {
            let bytes = render(&value).unwrap();
            assert_eq!(parse::<f64>("s.json", &bytes).unwrap(), value);
        }
    }

    /// Our suggestion rules, applied to AWS's statistics, give AWS's constraints.
    #[test]
    fn suggestions_agree_with_aws() {
        let baseline = sample();
        let mut suggested = Constraints::suggest(baseline.statistics.as_ref().unwrap());
        let mut expected = baseline.constraints;
        for features in [&mut suggested.features, &mut expected.features] {
            for strings in features
                .iter_mut()
                .filter_map(|f| f.string_constraints.as_mut())
            {
                strings.domains.sort();
            }
        }
        assert_eq!(suggested, expected);
    }

    /// Issue 8, 4.6: twelve columns, four of them texts, whose data is not public.
    #[test]
    fn suggestions_for_aws_statistics_without_data_agree() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .join("tests/data/aws-output/data-quality/cardio");
        let packed = std::fs::File::open(folder.join("statistics-engineered.json.gz")).unwrap();
        let mut bytes = Vec::new();
        io::copy(&mut flate2::read::GzDecoder::new(packed), &mut bytes).unwrap();
        let statistics: Statistics = parse("statistics", &bytes).unwrap();
        let written = serde_json::to_value(&statistics).unwrap();
        let original: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(written, original);
        let mut expected: Constraints = read(&folder.join("constraints-engineered.json")).unwrap();
        let mut suggested = Constraints::suggest(&statistics);
        for features in [&mut suggested.features, &mut expected.features] {
            for strings in features
                .iter_mut()
                .filter_map(|f| f.string_constraints.as_mut())
            {
                strings.domains.sort();
            }
        }
        assert_eq!(suggested.features.len(), 12);
        assert_eq!(suggested, expected);
    }

    #[test]
    fn statistics_are_not_constraints() {
        let (statistics, _) = aws("aws-statistics.json");
        let error = Baseline::read(&statistics, None).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "aws-statistics.json: these are statistics, not constraints: \
                                 pass constraints.json instead"
            ),
            "{error}"
        );
    }

    /// Issue 8, 4.4: files as editors on Windows save them.
    #[test]
    fn a_byte_order_mark_is_skipped_and_utf16_is_named() {
        let text = r#"{"version":0.0,"features":[]}"#;
        let marked = format!("\u{feff}{text}");
        assert!(parse::<Constraints>("c.json", marked.as_bytes()).is_ok());
        let little: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = marked.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [&little[..], &big, &little[2..], &big[2..]] {
            let error = parse::<Constraints>("c.json", bytes).unwrap_err();
            assert!(
                error.to_string().starts_with("c.json: this is UTF-16"),
                "{error}"
            );
        }
    }

    #[test]
    fn another_schema_is_refused_with_the_files_name() {
        let error = parse::<Constraints>("c.json", b"{\"rules\":[]}").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("c.json: not a Model Monitor file"),
            "{error}"
        );
        assert!(parse::<Statistics>("s.json", b"[1,2").is_err());
    }
}
