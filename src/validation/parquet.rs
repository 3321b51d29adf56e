//! Apache Parquet: columns as they are stored, each read and profiled on its own.
//!
//! The file's types decide: integers are Integral, floats and decimals Fractional (decimals without a fraction Integral), booleans Boolean,
//! dates and timestamps String, as Spark's cast to text and Deequ's rules would have it. A text is
//! classified as in CSV, but an empty one is a value: only null is missing. A NaN or an infinity is
//! counted as a String, as its text would be. Lists, maps, structs, binary columns and times of day
//! are refused by name.
//!
//! A text column whose pages all use a dictionary is read as indices, which are counted; the texts
//! are looked at once for each batch. Decoding is the `parquet` crate's.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::{self, ArrowPrimitiveType};
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Encoding, PageType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::column::Column;
use super::shared::Shared;
use super::{DataError, Input, Profiler, number};

/// So many values of a column are decoded at once.
const ROWS: usize = 32 * 1024;
/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

/// Reads a whole Parquet source into the profiler.
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
    let columns = profiler.take_columns(rows, partition.len());
    let mut work: Vec<(usize, &mut Column)> = columns.iter_mut().enumerate().collect();
    // The largest first, so that no thread begins a long one when the others are done.
    work.sort_by_key(|(index, _)| std::cmp::Reverse(stored_size(metadata.metadata(), *index)));
    rayon::scope_fifo(|scope| {
        for (index, column) in work {
            let (file, metadata, failed) = (file.clone(), metadata.clone(), &failed);
            scope.spawn_fifo(move |_| {
                if let Err(message) = column_of(file, metadata, index, column) {
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

/// Decodes every column and does nothing with it: how many rows and columns there are.
pub(super) fn decode(name: &str, input: Input) -> Result<(u64, usize), DataError> {
    let opened = Opened::of(name, input)?;
    let (mut rows, columns) = (0, opened.names().len());
    for index in 0..columns {
        rows = 0;
        for batch in batches(opened.file.clone(), opened.metadata.clone(), index)
            .map_err(|message| DataError::new(name, message))?
        {
            let batch = batch.map_err(|error| DataError::new(name, error.to_string()))?;
            rows += batch.num_rows() as u64;
        }
    }
    Ok((rows, columns))
}

/// A file and what its directory says.
struct Opened {
    file: Shared,
    metadata: ArrowReaderMetadata,
}

impl Opened {
    fn of(name: &str, input: Input) -> Result<Self, DataError> {
        let place = |error: io::Error| DataError::new(name, error.to_string());
        let file = match input {
            Input::File(file) if file.metadata().map_err(place)?.is_file() => file,
            // The directory of a Parquet file stands at its end.
            other => spooled(other.into_reader()).map_err(place)?,
        };
        let size = file.metadata().map_err(place)?.len();
        if size == 0 {
            return Err(DataError::new(name, "the file is empty"));
        }
        let file = Shared::new(file, size);
        let broken = |error: ParquetError| DataError::new(name, explain(&error));
        let stored = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(broken)?;
        let schema = readable(stored.schema(), stored.metadata())
            .map_err(|message| DataError::new(name, message))?;
        let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
        let metadata =
            ArrowReaderMetadata::try_new(stored.metadata().clone(), options).map_err(broken)?;
        Ok(Self { file, metadata })
    }

    fn names(&self) -> Vec<String> {
        let fields = self.metadata.schema().fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }
}

/// The values of one column, some at a time.
fn batches(
    file: Shared,
    metadata: ArrowReaderMetadata,
    index: usize,
) -> Result<ParquetRecordBatchReader, String> {
    let mask = ProjectionMask::roots(metadata.parquet_schema(), [index]);
    ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
        .with_projection(mask)
        .with_batch_size(ROWS)
        .build()
        .map_err(|error| explain(&error))
}

/// One column of all row groups.
fn column_of(
    file: Shared,
    metadata: ArrowReaderMetadata,
    index: usize,
    column: &mut Column,
) -> Result<(), String> {
    let expected = metadata.metadata().file_metadata().num_rows();
    let mut rows = 0;
    for batch in batches(file, metadata, index)? {
        let batch = batch.map_err(|error| format!("the file is damaged: {error}"))?;
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

/// Takes some values of a column.
fn observe(values: &ArrayRef, column: &mut Column) -> Result<(), String> {
    column.types.missing += values.logical_null_count() as u64;
    match values.data_type() {
        DataType::Null => {}
        DataType::Boolean => {
            let values = values.as_boolean();
            let there = values.len() - values.null_count();
            let yes = values.true_count();
            for (text, count) in [("true", yes), ("false", there - yes)] {
                if count > 0 {
                    column.repeat(Some(text.as_bytes()), count as u64);
                }
            }
        }
        DataType::Int8 => integers::<types::Int8Type>(values, column),
        DataType::Int16 => integers::<types::Int16Type>(values, column),
        DataType::Int32 => integers::<types::Int32Type>(values, column),
        DataType::Int64 => integers::<types::Int64Type>(values, column),
        DataType::UInt8 => integers::<types::UInt8Type>(values, column),
        DataType::UInt16 => integers::<types::UInt16Type>(values, column),
        DataType::UInt32 => integers::<types::UInt32Type>(values, column),
        DataType::UInt64 => large_integers(values, column),
        DataType::Float32 => {
            let values = values.as_primitive::<types::Float32Type>();
            floats(present(values).map(f64::from), column);
        }
        DataType::Float64 => {
            let values = values.as_primitive::<types::Float64Type>();
            floats(present(values), column);
        }
        DataType::Decimal128(_, scale) => decimals(values, *scale, column),
        DataType::Date32 => {
            let days = values.as_primitive::<types::Date32Type>();
            instants(present(days).map(i64::from), DAY, column);
        }
        DataType::Timestamp(unit, _) => timestamps(values, *unit, column),
        DataType::Utf8View => {
            let texts = values.as_string_view();
            let there = texts.len() - texts.null_count();
            column.texts(there, texts.iter().flatten().map(str::as_bytes));
        }
        DataType::Dictionary(_, _) => dictionary(values, column),
        other => return Err(refusal(other)),
    }
    Ok(())
}

/// The values that are there.
fn present<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
) -> impl Iterator<Item = T::Native> + '_ {
    let nulls = values.nulls();
    let all = values.values().iter().enumerate();
    all.filter(move |(index, _)| nulls.is_none_or(|nulls| nulls.is_valid(*index)))
        .map(|(_, value)| *value)
}

fn integers<T: ArrowPrimitiveType>(values: &ArrayRef, column: &mut Column)
where
    T::Native: Into<i64>,
{
    column.integers(present(values.as_primitive::<T>()).map(Into::into));
}

fn large_integers(values: &ArrayRef, column: &mut Column) {
    for value in present(values.as_primitive::<types::UInt64Type>()) {
        column.repeat(Some(value.to_string().as_bytes()), 1);
    }
}

fn floats(values: impl Iterator<Item = f64>, column: &mut Column) {
    let mut numbers = Vec::with_capacity(ROWS);
    for value in values {
        if value.is_finite() {
            numbers.push(value);
        } else {
            column.repeat(Some(value.to_string().as_bytes()), 1);
        }
    }
    column.floats(&numbers);
}

fn decimals(values: &ArrayRef, scale: i8, column: &mut Column) {
    let values = values.as_primitive::<types::Decimal128Type>();
    for (index, _) in values.values().iter().enumerate() {
        if values.is_valid(index) {
            let text = values.value_as_string(index);
            debug_assert!(scale <= 0 || text.contains('.'), "{text}");
            column.repeat(Some(text.as_bytes()), 1);
        }
    }
}

fn timestamps(values: &ArrayRef, unit: TimeUnit, column: &mut Column) {
    match unit {
        TimeUnit::Second => {
            let values = values.as_primitive::<types::TimestampSecondType>();
            instants(present(values), 1_000_000, column);
        }
        TimeUnit::Millisecond => {
            let values = values.as_primitive::<types::TimestampMillisecondType>();
            instants(present(values), 1_000, column);
        }
        TimeUnit::Microsecond => {
            let values = values.as_primitive::<types::TimestampMicrosecondType>();
            instants(present(values), 1, column);
        }
        TimeUnit::Nanosecond => {
            let values = values.as_primitive::<types::TimestampNanosecondType>();
            instants(
                present(values).map(|value| value.div_euclid(1_000)),
                1,
                column,
            );
        }
    }
}

/// Dates and times, told apart by their microseconds; they are written out only where the text is
/// counted.
fn instants(values: impl Iterator<Item = i64>, microseconds: i64, column: &mut Column) {
    let (mut last, mut count) = (None, 0_u64);
    for value in values {
        if last == Some(value) {
            count += 1;
            continue;
        }
        if let Some(last) = last {
            instant(last, microseconds, count, column);
        }
        (last, count) = (Some(value), 1);
    }
    if let Some(last) = last {
        instant(last, microseconds, count, column);
    }
}

fn instant(value: i64, microseconds: i64, count: u64, column: &mut Column) {
    let value = value.saturating_mul(microseconds);
    let is_date = microseconds == DAY;
    column.instant(number::key_of_integer(value), count, || {
        written(value, is_date)
    });
}

/// A time as Spark's cast to text writes it, in UTC.
fn written(microseconds: i64, date: bool) -> String {
    let Ok(time) = jiff::Timestamp::from_microsecond(microseconds) else {
        return microseconds.to_string();
    };
    let time = jiff::tz::Offset::UTC.to_datetime(time);
    if date {
        time.strftime("%Y-%m-%d").to_string()
    } else {
        time.strftime("%Y-%m-%d %H:%M:%S%.f").to_string()
    }
}

fn dictionary(values: &ArrayRef, column: &mut Column) {
    let values = values.as_dictionary::<types::Int32Type>();
    let texts = values.values().as_string::<i32>();
    let mut counts = vec![0_u64; texts.len()];
    for key in present(values.keys()) {
        if let Some(count) = usize::try_from(key)
            .ok()
            .and_then(|key| counts.get_mut(key))
        {
            *count += 1;
        }
    }
    let used = || counts.iter().enumerate().filter(|(_, count)| **count > 0);
    if used().all(|(index, _)| number::parse(texts.value(index).as_bytes()).is_none()) {
        for (index, count) in used() {
            column.repeat(Some(texts.value(index).as_bytes()), *count);
        }
    } else {
        // A sketch depends on the order of the numbers.
        let keys = present(values.keys()).filter_map(|key| usize::try_from(key).ok());
        column.texts(values.len(), keys.map(|key| texts.value(key).as_bytes()));
    }
}

/// The schema to read with: texts as views, or as dictionaries where every page has one.
fn readable(stored: &Schema, metadata: &ParquetMetaData) -> Result<Schema, String> {
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
                | DataType::Float32
                | DataType::Float64
                | DataType::Decimal128(_, _)
                | DataType::Date32
                | DataType::Timestamp(_, _)
        )
}

fn refusal(kind: &DataType) -> String {
    format!("a column of type {kind} has no statistics; leave it out or write it as text")
}

/// Whether the file says that every page of the column is encoded by a dictionary.
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
    match error {
        ParquetError::EOF(_) => "the Parquet file is truncated".to_owned(),
        other => format!("not a readable Parquet file (truncated?): {other}"),
    }
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

    /// Nulls, several row groups, with and without dictionaries: what the same table says as CSV.
    #[test]
    fn parquet_says_what_csv_says() {
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

    #[test]
    fn what_has_no_statistics_is_refused_and_not_a_number_is_a_text() {
        let binary: ArrayRef = Arc::new(BinaryArray::from(vec![b"\xff".as_slice(), b"ok"]));
        let error =
            statistics(written_to(vec![("b", binary)], true), &Format::Parquet).unwrap_err();
        assert!(
            error.starts_with("t: column `b`: a column of type Binary"),
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
