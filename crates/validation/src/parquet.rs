//! Apache Parquet: columns by their stored type, each read and profiled independently.
//!
//! The file's types decide: integers are Integral (durations too, which Spark reads as integers), floats and
//! decimals Fractional (decimals without a fraction Integral), booleans Boolean, dates and timestamps String,
//! as after Spark's cast to text by Deequ's rules. Text is classified as in CSV, but an empty text is a
//! value: only null is missing. NaN and infinity count as String, like their text. Lists, maps, structs,
//! binary columns and times of day are refused by name.
//!
//! A text column whose pages all use a dictionary is read as indices, which are counted; the texts
//! are processed once per batch. The `parquet` crate decodes.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, Encoding, PageType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use self::footer::Mark;
use self::values::observe;
use super::column::Column;
use super::shared::Shared;
use super::{DataError, Input, Profiler};

mod footer;
mod instant;
mod select;
mod text;
mod values;

pub(super) use select::select;
pub(super) use text::Texts;

/// Values of a column per batch.
const ROWS: usize = 32 * 1024;

/// Reads a Parquet source into the profiler.
pub(super) fn read(
    name: &str,
    input: Input,
    partition: &[(String, Option<String>)],
    profiler: &mut Profiler,
) -> Result<(), DataError> {
    let opened = Opened::of(name, input)?;
    profiler
        .begin(opened.names(), partition)
        .map_err(|message| DataError::new(name, message))?;
    let Opened { file, metadata } = opened;
    let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or_default();

    let failed: Mutex<Option<DataError>> = Mutex::new(None);
    let mut work: Vec<(usize, &mut Column)> =
        profiler.take_columns(rows, partition.len()).collect();
    // The largest first, so that no thread starts a long one when the others are done.
    work.sort_by_key(|(index, _)| std::cmp::Reverse(stored_size(metadata.metadata(), *index)));
    rayon::scope_fifo(|scope| {
        for (index, column) in work {
            let (file, metadata, failed) = (file.clone(), metadata.clone(), &failed);
            scope.spawn_fifo(move |_| {
                if let Err(message) = column_of(&file, metadata, index, column) {
                    let error =
                        DataError::new(name, format!("column `{}`: {message}", column.name));
                    failed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(error);
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    profiler.end(partition);
    Ok(())
}

/// Decodes every column and discards the values. Returns the number of rows and columns.
pub(super) fn decode(name: &str, input: Input) -> Result<(u64, usize), DataError> {
    let opened = Opened::of(name, input)?;
    let (mut rows, columns) = (0, opened.names().len());
    for index in 0..columns {
        rows = 0;
        for batch in batches(opened.file.clone(), opened.metadata.clone(), &[index], ROWS)
            .map_err(|message| DataError::new(name, message))?
        {
            let batch = batch.map_err(|error| DataError::new(name, error.to_string()))?;
            rows += batch.num_rows() as u64;
        }
    }
    Ok((rows, columns))
}

/// A file and its partition.
struct Opened {
    file: Shared,
    metadata: ArrowReaderMetadata,
}

impl Opened {
    fn of(name: &str, input: Input) -> Result<Self, DataError> {
        let place = |error: io::Error| DataError::new(name, error.to_string());
        let file = match input {
            Input::File(file) if file.metadata().map_err(place)?.is_file() => file,
            // Parquet's directory is at the end of the file.
            other => spooled(other.into_reader()).map_err(place)?,
        };
        let size = file.metadata().map_err(place)?.len();
        if size == 0 {
            return Err(DataError::new(name, "the file is empty"));
        }
        let file = Shared::new(file, size);
        let broken = |error: ParquetError| DataError::new(name, explain(&error));
        let refused = match footer::mark(&file).map_err(broken)? {
            Mark::Parquet => None,
            Mark::Encrypted => Some("the Parquet file is encrypted: decrypt it first"),
            Mark::Truncated => Some("the Parquet file is truncated"),
            Mark::Other => Some("not a Parquet file: it does not end with PAR1"),
        };
        if let Some(message) = refused {
            return Err(DataError::new(name, message));
        }
        let stored = stored(&file).map_err(broken)?;
        let schema = readable(stored.schema(), stored.metadata())
            .map_err(|message| DataError::new(name, message))?;
        let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
        let metadata =
            ArrowReaderMetadata::try_new(stored.metadata().clone(), options).map_err(broken)?;
        Ok(Self { file, metadata })
    }

    /// The columns' names; unnamed columns are named as in CSV.
    fn names(&self) -> Vec<String> {
        let fields = self.metadata.schema().fields().iter().enumerate();
        let named = fields.map(|(index, field)| match field.name().as_str() {
            "" => format!("_c{index}"),
            name => name.to_owned(),
        });
        named.collect()
    }
}

/// Reads the footer; falls back to the lenient parser if its types deviate from the format.
fn stored(file: &Shared) -> Result<ArrowReaderMetadata, ParquetError> {
    let strict = ArrowReaderMetadata::load(file, ArrowReaderOptions::new());
    let good = strict.as_ref().is_ok_and(|stored| {
        let mut chunks = chunks(stored.metadata());
        chunks.all(|chunk| chunk.dictionary_page_offset() != Some(0))
    });
    if good {
        return strict;
    }
    match footer::lenient(file) {
        Some(metadata) => {
            ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())
        }
        None => strict,
    }
}

fn chunks(metadata: &ParquetMetaData) -> impl Iterator<Item = &ColumnChunkMetaData> {
    let groups = metadata.row_groups().iter();
    groups.flat_map(RowGroupMetaData::columns)
}

/// The values of some columns in batches of rows.
fn batches(
    file: Shared,
    metadata: ArrowReaderMetadata,
    columns: &[usize],
    rows: usize,
) -> Result<ParquetRecordBatchReader, String> {
    let mask = ProjectionMask::roots(metadata.parquet_schema(), columns.iter().copied());
    ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
        .with_projection(mask)
        .with_batch_size(rows)
        .build()
        .map_err(|error| explain(&error))
}

/// One column of all row groups.
fn column_of(
    file: &Shared,
    metadata: ArrowReaderMetadata,
    index: usize,
    column: &mut Column,
) -> Result<(), String> {
    let expected = metadata.metadata().file_metadata().num_rows();
    let mut rows = 0;
    for batch in batches(file.clone(), metadata, &[index], ROWS)? {
        let batch = batch.map_err(|error| unreadable(file, &error.to_string()))?;
        rows += batch.num_rows();
        observe(batch.column(0), column)?;
    }
    if i64::try_from(rows).ok() == Some(expected) {
        Ok(())
    } else {
        Err(format!(
            "the file is damaged: {rows} values, but there are {expected} rows"
        ))
    }
}

/// Explains why the values of a column cannot be read.
fn unreadable(file: &Shared, error: &str) -> String {
    if footer::has_encrypted_columns(file) {
        "the column is encrypted: decrypt the file first".to_owned()
    } else if error.contains("NYI") {
        format!("cannot read it: {error}")
    } else {
        format!("the file is damaged: {error}")
    }
}

/// The schema to read with: texts as views, or as dictionaries if every page has one.
fn readable(stored: &Schema, metadata: &ParquetMetaData) -> Result<Schema, String> {
    let physical = metadata.file_metadata().schema_descr();
    if chunks(metadata).any(|chunk| chunk.compression() == Compression::LZO) {
        return Err(
            "compressed with LZO, which is not supported; use Snappy, gzip, Zstandard, LZ4 or Brotli"
                .to_owned(),
        );
    }
    let mut fields = Vec::with_capacity(stored.fields().len());
    for (index, field) in stored.fields().iter().enumerate() {
        let kind = match field.data_type() {
            DataType::Dictionary(_, values) => values.as_ref(),
            kind => kind,
        };
        let wanted = match kind {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                if all_in_dictionaries(metadata, index) {
                    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
                } else {
                    DataType::Utf8View
                }
            }
            // In nanoseconds, the crate's default, legacy timestamps overflow in the year 2262.
            DataType::Timestamp(_, _)
                if physical.column(index).physical_type() == Physical::INT96 =>
            {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            DataType::Duration(_) => DataType::Int64,
            known if is_known(known) => known.clone(),
            other => {
                return Err(format!("column `{}`: {}", field.name(), refusal(other)));
            }
        };
        fields.push(Field::new(field.name(), wanted, field.is_nullable()));
    }
    Ok(Schema::new(fields))
}

fn is_known(kind: &DataType) -> bool {
    kind.is_integer()
        || matches!(
            kind,
            DataType::Null
                | DataType::Boolean
                | DataType::Float16
                | DataType::Float32
                | DataType::Float64
                | DataType::Decimal32(_, _)
                | DataType::Decimal64(_, _)
                | DataType::Decimal128(_, _)
                | DataType::Decimal256(_, _)
                | DataType::Date32
                | DataType::Date64
                | DataType::Timestamp(_, _)
        )
}

fn refusal(kind: &DataType) -> String {
    format!("columns of type {kind} are not supported; omit the column or write it as text")
}

/// Returns whether every page of the column is dictionary-encoded, according to the file.
fn all_in_dictionaries(metadata: &ParquetMetaData, index: usize) -> bool {
    metadata.row_groups().iter().all(|group| {
        group.columns().get(index).is_some_and(|chunk| {
            chunk.page_encoding_stats().is_some_and(|pages| {
                pages.iter().all(|page| {
                    page.page_type == PageType::DICTIONARY_PAGE
                        || matches!(
                            page.encoding,
                            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY
                        )
                })
            })
        })
    })
}

fn stored_size(metadata: &ParquetMetaData, index: usize) -> i64 {
    let chunks = metadata.row_groups().iter();
    chunks
        .filter_map(|group| group.columns().get(index))
        .map(parquet::file::metadata::ColumnChunkMetaData::uncompressed_size)
        .sum()
}

fn explain(error: &ParquetError) -> String {
    format!("cannot read the Parquet file: {error}")
}

fn spooled(mut input: Box<dyn Read + Send>) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut input, &mut file)?;
    file.flush()?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    };
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::super::{Format, Source, Statistics, profile};
    use super::*;

    fn written_to(columns: Vec<(&str, ArrayRef)>, dictionaries: bool) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, values)| (name, values, true)),
        )
        .unwrap();
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(dictionaries)
            .set_max_row_group_row_count(Some(700))
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    fn statistics(bytes: Vec<u8>, format: &Format) -> Result<Statistics, String> {
        let source = Source::stream("t", move || Ok(io::Cursor::new(bytes)));
        let profile = profile(vec![source], format, None).map_err(|error| error.to_string())?;
        Ok(profile.statistics())
    }

    /// Nulls, several row groups, with and without dictionaries: the same statistics as the same
    /// table in CSV.
    #[test]
    fn parquet_and_csv_give_the_same_statistics() {
        let rows = 0..2_000_i64;
        let number = |i: i64| (i % 7 != 0).then_some(i * 7_919 % 1_009);
        let real =
            |i: i64| (i % 5 != 0).then(|| f64::from(u32::try_from(i).unwrap()) / 8.0 + 0.125);
        let text = |i: i64| (i % 11 != 0).then(|| format!("k{}", i % 40));
        let mut csv = String::from("n,x,kind,yes\n");
        for i in rows.clone() {
            let shown = |cell: Option<String>| cell.unwrap_or_default();
            csv.push_str(&format!(
                "{},{},{},{}\n",
                shown(number(i).map(|n| n.to_string())),
                shown(real(i).map(|x| format!("{x:?}"))),
                shown(text(i)),
                i % 3 == 0
            ));
        }
        let expected = statistics(csv.into_bytes(), &Format::Csv).unwrap();
        for dictionaries in [true, false] {
            let columns: Vec<(&str, ArrayRef)> = vec![
                (
                    "n",
                    Arc::new(rows.clone().map(number).collect::<Int64Array>()),
                ),
                (
                    "x",
                    Arc::new(rows.clone().map(real).collect::<Float64Array>()),
                ),
                (
                    "kind",
                    Arc::new(rows.clone().map(text).collect::<StringArray>()),
                ),
                (
                    "yes",
                    Arc::new(
                        rows.clone()
                            .map(|i| Some(i % 3 == 0))
                            .collect::<BooleanArray>(),
                    ),
                ),
            ];
            let found = statistics(written_to(columns, dictionaries), &Format::Parquet).unwrap();
            assert_eq!(found, expected, "dictionaries: {dictionaries}");
        }
    }

    /// Issue 8, 4.3: neighbors that are equal as doubles, in microseconds or in 64 bits.
    #[test]
    fn large_numbers_and_times_of_every_type_are_distinguished() {
        use arrow_array::types::{ArrowPrimitiveType, Decimal256Type};
        type I256 = <Decimal256Type as ArrowPrimitiveType>::Native;
        let rows = 0..200_i64;
        let wide = |i| i128::from(i) + 89_490_123_456_780_000_000;
        let counted = |i: i64| u64::MAX - i.cast_unsigned();
        let decimals = |scale| {
            let values = arrow_array::Decimal128Array::from_iter_values(rows.clone().map(wide));
            Arc::new(values.with_precision_and_scale(38, scale).unwrap()) as ArrayRef
        };
        let longest = rows.clone().map(|i| I256::from_i128(wide(i)));
        let longest = arrow_array::Decimal256Array::from_iter_values(longest);
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "uint64",
                Arc::new(arrow_array::UInt64Array::from_iter_values(
                    rows.clone().map(counted),
                )),
            ),
            (
                "int64",
                Arc::new(Int64Array::from_iter_values(
                    rows.clone().map(|i| i64::MIN + i),
                )),
            ),
            ("whole", decimals(0)),
            ("fraction", decimals(3)),
            (
                "longest",
                Arc::new(longest.with_precision_and_scale(76, 10).unwrap()),
            ),
            (
                "seconds",
                Arc::new(arrow_array::TimestampSecondArray::from_iter_values(
                    rows.clone().map(|i| i64::MAX - i),
                )),
            ),
            (
                "nanoseconds",
                Arc::new(arrow_array::TimestampNanosecondArray::from_iter_values(
                    rows.clone(),
                )),
            ),
            (
                "duration",
                Arc::new(arrow_array::DurationNanosecondArray::from_iter_values(
                    rows.clone().map(|i| i64::MAX - i),
                )),
            ),
        ];
        for dictionaries in [true, false] {
            let found =
                statistics(written_to(columns.clone(), dictionaries), &Format::Parquet).unwrap();
            for feature in &found.features {
                assert_eq!(feature.distinct(), Some(200.0), "{}", feature.name);
            }
            let types: Vec<String> = found
                .features
                .iter()
                .map(|feature| feature.inferred_type.to_string())
                .collect();
            assert_eq!(
                types,
                [
                    "Integral",
                    "Integral",
                    "Integral",
                    "Fractional",
                    "Fractional",
                    "String",
                    "String",
                    "Integral"
                ]
            );
        }
    }

    #[test]
    fn unsupported_columns_are_rejected_and_nan_is_text() {
        let binary: ArrayRef = Arc::new(BinaryArray::from(vec![b"\xff".as_slice(), b"ok"]));
        let error =
            statistics(written_to(vec![("b", binary)], true), &Format::Parquet).unwrap_err();
        assert!(
            error.starts_with("t: column `b`: columns of type Binary"),
            "{error}"
        );
        let reals: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0]));
        let found = statistics(written_to(vec![("x", reals)], true), &Format::Parquet).unwrap();
        let text = found.features[0].string_statistics.as_ref().unwrap();
        assert_eq!((text.common.num_present, &text.distribution), (3, &None));
        let mut bytes = written_to(
            vec![(
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![86_400_000_000_i64])) as ArrayRef,
            )],
            true,
        );
        let found = statistics(bytes.clone(), &Format::Parquet).unwrap();
        assert_eq!(
            found.features[0].categories()[0].value,
            "1970-01-02 00:00:00"
        );
        bytes.truncate(bytes.len() - 9);
        assert!(
            statistics(bytes, &Format::Parquet)
                .unwrap_err()
                .contains("truncated")
        );
    }
}
