//! The file of a mergeable profile (`mlops validate --profile-out`).
//!
//! JSON: `{"mlops_profile":1,"rows":…,"columns":[…]}`. Numbers that must be preserved bit for bit
//! (the sketch's items, the moments and the hashes) are little-endian bytes in base64. The format
//! is specific to this program: AWS's `statistics.json` has no counts of types and no registers, so
//! it cannot be merged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::categories::Categories;
use super::column::Column;
use super::distinct::{Content, Distinct};
use super::kll::Sketch;
use super::moments::Moments;
use super::types::{InferredType, TypeCounts};
use super::watch::Watch;
use super::{DataError, Profile};

/// Version of the format.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    mlops_profile: u32,
    rows: u64,
    /// Whether rows contain their columns' names (JSON Lines).
    #[serde(default)]
    open: bool,
    columns: Vec<Stored>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected: Option<InferredType>,
    types: TypeCounts,
    /// The count, and six doubles: see [`Moments::to_parts`].
    numbers: u64,
    moments: String,
    sketch: Vec<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distinct_hashes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distinct_registers: Option<String>,
    known_categories: Vec<String>,
    categories: Vec<(String, u64)>,
    #[serde(default)]
    numbers_uncounted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncounted_categories: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watch: Option<Watch>,
}

/// One level of a sketch.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    compactions: u64,
    odd: bool,
    items: String,
}

impl Profile {
    /// Serializes the profile.
    pub fn to_bytes(&self) -> Vec<u8> {
        let file = File {
            mlops_profile: VERSION,
            rows: self.rows,
            open: self.open,
            columns: self.columns.iter().map(stored).collect(),
        };
        serde_json::to_vec(&file).unwrap_or_default()
    }

    /// Parses a profile file; `name` is for messages.
    ///
    /// # Errors
    /// It is not a profile, has another version, or is inconsistent.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, DataError> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| {
            DataError::new(
                name,
                format!("not a profile written by `mlops validate --profile-out`: {error}"),
            )
        })?;
        if file.mlops_profile != VERSION {
            return Err(DataError::new(
                name,
                format!(
                    "a profile of version {}, but this version of mlops supports {VERSION}",
                    file.mlops_profile
                ),
            ));
        }
        let mut columns = Vec::with_capacity(file.columns.len());
        for column in file.columns {
            let label = column.name.clone();
            let column = read(column, file.rows)
                .ok_or_else(|| DataError::new(name, format!("damaged: column `{label}`")))?;
            columns.push(column);
        }
        Ok(Self::new(columns, file.rows, file.open))
    }
}

fn stored(column: &Column) -> Stored {
    let (distinct_hashes, distinct_registers) = match column.distinct.content() {
        Content::Hashes(hashes) => (
            Some(
                STANDARD.encode(
                    hashes
                        .into_iter()
                        .flat_map(u64::to_le_bytes)
                        .collect::<Vec<_>>(),
                ),
            ),
            None,
        ),
        Content::Registers(registers) => (None, Some(STANDARD.encode(registers))),
    };
    let counts = column.categories.counts().unwrap_or_default();
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    Stored {
        name: column.name.clone(),
        expected: column.expected,
        types: column.types,
        numbers: column.moments.count,
        moments: doubles(&column.moments.to_parts()),
        sketch: column
            .sketch
            .compactors()
            .map(|(items, compactions, odd)| Level {
                compactions,
                odd,
                items: doubles(&items),
            })
            .collect(),
        distinct_hashes,
        distinct_registers,
        known_categories: owned(column.categories.known().collect()),
        categories: counts
            .into_iter()
            .map(|(text, n)| (text.to_owned(), n))
            .collect(),
        numbers_uncounted: column.numbers_uncounted,
        uncounted_categories: column.categories.examples().map(owned),
        watch: column.watch.clone(),
    }
}

/// Restores a column; `None` if it is inconsistent.
fn read(stored: Stored, rows: u64) -> Option<Column> {
    let parts: [f64; 6] = from_doubles(&stored.moments)?.try_into().ok()?;
    let mut levels = Vec::with_capacity(stored.sketch.len());
    let mut weight = 0_u64;
    for (height, level) in stored.sketch.into_iter().enumerate() {
        let items = from_doubles(&level.items)?;
        if items.iter().any(|item| !item.is_finite()) {
            return None;
        }
        let each = 1_u64.checked_shl(u32::try_from(height).ok()?)?;
        weight = weight.checked_add(each.checked_mul(items.len() as u64)?)?;
        levels.push((items, level.compactions, level.odd));
    }
    let types = stored.types;
    let numbers = types.integral.checked_add(types.fractional)?;
    if weight != numbers || stored.numbers != numbers || types.checked_total()? != rows {
        return None;
    }
    let distinct = match (stored.distinct_hashes, stored.distinct_registers) {
        (Some(hashes), None) => Distinct::of(Content::Hashes(from_words(&hashes)?))?,
        (None, Some(registers)) => {
            Distinct::of(Content::Registers(STANDARD.decode(registers).ok()?))?
        }
        _ => return None,
    };
    Some(Column {
        name: stored.name,
        expected: stored.expected,
        types,
        moments: Moments::of_parts(numbers, parts),
        sketch: Sketch::of_compactors(levels)?,
        distinct,
        numbers_uncounted: stored.numbers_uncounted,
        categories: Categories::of(
            stored.known_categories,
            stored.categories,
            stored.uncounted_categories,
        ),
        watch: stored.watch,
    })
}

fn doubles(values: &[f64]) -> String {
    STANDARD.encode(
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect::<Vec<_>>(),
    )
}

fn from_doubles(text: &str) -> Option<Vec<f64>> {
    Some(from_words(text)?.into_iter().map(f64::from_bits).collect())
}

fn from_words(text: &str) -> Option<Vec<u64>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (words, rest) = bytes.as_chunks::<8>();
    rest.is_empty()
        .then(|| words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Source, profile};
    use super::*;

    fn profile_of(rows: impl Iterator<Item = u32>) -> Profile {
        let mut text = String::from("n,kind,id\n");
        for i in rows {
            let n = i.wrapping_mul(2_654_435_761);
            text.push_str(&format!(
                "{}.{i},{},x{n}\n",
                n % 977,
                ["a", "b", ""][n as usize % 3]
            ));
        }
        let source = Source::stream("t.csv", move || Ok(std::io::Cursor::new(text)));
        profile(vec![source], &Format::Csv, None).unwrap()
    }

    #[test]
    fn a_profile_is_preserved_bit_for_bit_and_can_be_merged() {
        let (left, right) = (profile_of(0..30_000), profile_of(30_000..50_000));
        let again = |profile: &Profile| Profile::from_bytes("p", &profile.to_bytes()).unwrap();
        assert_eq!(again(&left).to_bytes(), left.to_bytes());
        let mut merged = again(&left);
        merged.merge(&again(&right)).unwrap();
        let mut direct = left.clone();
        direct.merge(&right).unwrap();
        assert_eq!(merged.to_bytes(), direct.to_bytes());
        let whole = profile_of(0..50_000);
        let sums = |profile: &Profile| {
            let statistics = profile.statistics();
            let numbers = statistics.features[0].numerical_statistics.clone().unwrap();
            (
                profile.rows(),
                numbers.mean,
                statistics.features[2]
                    .string_statistics
                    .as_ref()
                    .unwrap()
                    .distinct_count,
            )
        };
        let ((rows, mean, ids), (all, expected, known)) = (sums(&merged), sums(&whole));
        assert_eq!((rows, ids), (all, known));
        assert!(
            (mean - expected).abs() < 1e-12 * expected,
            "{mean} {expected}"
        );
    }

    #[test]
    fn a_damaged_profile_is_refused() {
        let bytes = profile_of(0..100).to_bytes();
        let text = String::from_utf8(bytes).unwrap();
        for (from, to) in [
            ("\"mlops_profile\":1", "\"mlops_profile\":2"),
            ("\"rows\":100", "\"rows\":101"),
            ("\"missing\":0", "\"missing\":1"),
            ("\"compactions\":0", "\"compacted\":0"),
            ("\"moments\":\"", "\"moments\":\"AAAA"),
        ] {
            assert!(text.contains(from), "{from}");
            let damaged = text.replacen(from, to, 1);
            let error = Profile::from_bytes("p.json", damaged.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("p.json: "), "{error}");
        }
        assert!(Profile::from_bytes("p.json", b"{}").is_err());
    }
}
