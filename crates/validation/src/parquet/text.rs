//! The rows of a Parquet file as texts, for analyses of whole rows. Values are spelled as Spark casts
//! them to text, numbers so that they parse back to the same number.

use arrow_array::cast::AsArray;
use arrow_array::types::{self, ArrowPrimitiveType, DecimalType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::super::{DataError, Input};
use super::instant::{Instant, Unit};
use super::{Opened, ROWS, explain, refusal, unreadable};

/// Maximum number of values per batch, unless a table has more columns.
const VALUES: usize = 256 * 1024;

/// An opened file.
pub(in super::super) struct Texts {
    name: String,
    opened: Opened,
}

/// The values of the wanted columns in some rows: one list per column.
pub(in super::super) type TextColumns = Vec<Vec<Option<String>>>;

impl Texts {
    /// Opens a file.
    ///
    /// # Errors
    /// The source is not a Parquet file that can be read.
    pub(in super::super) fn open(name: &str, input: Input) -> Result<Self, DataError> {
        Ok(Self {
            name: name.to_owned(),
            opened: Opened::of(name, input)?,
        })
    }

    /// The columns.
    pub(in super::super) fn names(&self) -> Vec<String> {
        self.opened.names()
    }

    /// Reads columns, by index in ascending order, in batches of rows.
    ///
    /// # Errors
    /// The file is damaged, or a column has a type that is not supported.
    pub(in super::super) fn read(
        self,
        wanted: &[usize],
    ) -> Result<impl Iterator<Item = Result<TextColumns, DataError>>, DataError> {
        let Self { name, opened } = self;
        let Opened { file, metadata } = opened;
        let mask = ProjectionMask::roots(metadata.parquet_schema(), wanted.iter().copied());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata)
            .with_projection(mask)
            .with_batch_size((VALUES / wanted.len().max(1)).clamp(1, ROWS))
            .build()
            .map_err(|error| DataError::new(&name, explain(&error)))?;
        Ok(reader.map(move |batch| {
            let batch = batch
                .map_err(|error| DataError::new(&name, unreadable(&file, &error.to_string())))?;
            let columns = batch.columns().iter();
            columns
                .map(|values| texts(values).map_err(|message| DataError::new(&name, message)))
                .collect()
        }))
    }
}

/// The values of a column as texts.
fn texts(values: &ArrayRef) -> Result<Vec<Option<String>>, String> {
    Ok(match values.data_type() {
        DataType::Null => vec![None; values.len()],
        DataType::Boolean => spelled(values.as_boolean().iter()),
        DataType::Int8 => numbers::<types::Int8Type>(values),
        DataType::Int16 => numbers::<types::Int16Type>(values),
        DataType::Int32 => numbers::<types::Int32Type>(values),
        DataType::Int64 => numbers::<types::Int64Type>(values),
        DataType::UInt8 => numbers::<types::UInt8Type>(values),
        DataType::UInt16 => numbers::<types::UInt16Type>(values),
        DataType::UInt32 => numbers::<types::UInt32Type>(values),
        DataType::UInt64 => numbers::<types::UInt64Type>(values),
        DataType::Float16 => {
            let values = values.as_primitive::<types::Float16Type>();
            floats(values.iter().map(|value| value.map(f64::from)))
        }
        DataType::Float32 => {
            let values = values.as_primitive::<types::Float32Type>();
            floats(values.iter().map(|value| value.map(f64::from)))
        }
        DataType::Float64 => floats(values.as_primitive::<types::Float64Type>().iter()),
        DataType::Decimal32(_, _) => decimals::<types::Decimal32Type>(values),
        DataType::Decimal64(_, _) => decimals::<types::Decimal64Type>(values),
        DataType::Decimal128(_, _) => decimals::<types::Decimal128Type>(values),
        DataType::Decimal256(_, _) => decimals::<types::Decimal256Type>(values),
        DataType::Date32 => {
            let days = values.as_primitive::<types::Date32Type>().iter();
            instants(days.map(|day| day.map(i64::from)), Unit::Days)
        }
        DataType::Date64 => {
            let values = values.as_primitive::<types::Date64Type>().iter();
            instants(values, Unit::DateMilliseconds)
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            let values = values.as_primitive::<types::TimestampSecondType>().iter();
            instants(values, Unit::Seconds)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let values = values.as_primitive::<types::TimestampMillisecondType>();
            instants(values.iter(), Unit::Milliseconds)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = values.as_primitive::<types::TimestampMicrosecondType>();
            instants(values.iter(), Unit::Microseconds)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let values = values.as_primitive::<types::TimestampNanosecondType>();
            instants(values.iter(), Unit::Nanoseconds)
        }
        DataType::Utf8View => spelled(values.as_string_view().iter()),
        DataType::Dictionary(_, _) => {
            let values = values.as_dictionary::<types::Int32Type>();
            let texts = values.values().as_string::<i32>();
            let keys = values.keys().iter();
            spelled(keys.map(|key| Some(texts.value(usize::try_from(key?).ok()?))))
        }
        other => return Err(refusal(other)),
    })
}

fn spelled<T: ToString>(values: impl Iterator<Item = Option<T>>) -> Vec<Option<String>> {
    values
        .map(|value| value.map(|value| value.to_string()))
        .collect()
}

fn numbers<T: ArrowPrimitiveType>(values: &ArrayRef) -> Vec<Option<String>>
where
    T::Native: ToString,
{
    spelled(values.as_primitive::<T>().iter())
}

fn floats(values: impl Iterator<Item = Option<f64>>) -> Vec<Option<String>> {
    values
        .map(|value| value.map(|value| format!("{value:?}")))
        .collect()
}

fn decimals<T: DecimalType>(values: &ArrayRef) -> Vec<Option<String>> {
    let values = values.as_primitive::<T>();
    (0..values.len())
        .map(|index| {
            values
                .is_valid(index)
                .then(|| values.value_as_string(index))
        })
        .collect()
}

fn instants(values: impl Iterator<Item = Option<i64>>, unit: Unit) -> Vec<Option<String>> {
    values
        .map(|value| value.map(|value| Instant::of(value, unit).text()))
        .collect()
}
