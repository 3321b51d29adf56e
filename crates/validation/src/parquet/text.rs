//! The rows of a Parquet file as texts, for analyses of whole rows. Values are spelled as Spark casts
//! them to text, numbers so that they parse back to the same number.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{self, ArrowPrimitiveType, DecimalType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};

use super::super::{DataError, Input};
use super::instant::{Instant, Unit};
use super::{Opened, ROWS, batches, refusal, unreadable};

/// Maximum number of values per batch, unless a table has more columns.
const VALUES: usize = 256 * 1024;

/// An opened file.
pub(in super::super) struct Texts {
    name: String,
    opened: Opened,
}

/// The values of a column, `None` if missing. Texts are those of the batch and not copies, because many
/// rows can have the same long text of a dictionary.
pub(in super::super) type TextColumn<'a> = Vec<Option<Cow<'a, str>>>;

/// The wanted columns of some rows.
pub(in super::super) struct TextBatch(RecordBatch);

impl TextBatch {
    /// Number of rows.
    pub(in super::super) fn rows(&self) -> usize {
        self.0.num_rows()
    }

    /// The values: one list per column.
    ///
    /// # Errors
    /// A column has a type that is not supported.
    pub(in super::super) fn columns(&self) -> Result<Vec<TextColumn<'_>>, String> {
        self.0.columns().iter().map(texts).collect()
    }
}

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
    /// The file is damaged.
    pub(in super::super) fn read(
        self,
        wanted: &[usize],
    ) -> Result<impl Iterator<Item = Result<TextBatch, DataError>>, DataError> {
        let Self { name, opened } = self;
        let Opened { file, metadata } = opened;
        let rows = (VALUES / wanted.len().max(1)).clamp(1, ROWS);
        let reader = batches(file.clone(), metadata, wanted, rows)
            .map_err(|message| DataError::new(&name, message))?;
        Ok(reader.map(move |batch| {
            batch
                .map(TextBatch)
                .map_err(|error| DataError::new(&name, unreadable(&file, &error.to_string())))
        }))
    }
}

/// The values of a column as texts.
fn texts(values: &ArrayRef) -> Result<TextColumn<'_>, String> {
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
        DataType::Utf8View => {
            let values = values.as_string_view().iter();
            values.map(|value| value.map(Cow::Borrowed)).collect()
        }
        DataType::Dictionary(_, _) => {
            let values = values.as_dictionary::<types::Int32Type>();
            let texts = values.values().as_string::<i32>();
            let keys = values.keys().iter();
            keys.map(|key| Some(Cow::Borrowed(texts.value(usize::try_from(key?).ok()?))))
                .collect()
        }
        other => return Err(refusal(other)),
    })
}

fn spelled<T: ToString>(values: impl Iterator<Item = Option<T>>) -> TextColumn<'static> {
    owned(values, |value| value.to_string())
}

fn owned<T>(
    values: impl Iterator<Item = Option<T>>,
    spell: impl Fn(T) -> String,
) -> TextColumn<'static> {
    values
        .map(|value| Some(Cow::Owned(spell(value?))))
        .collect()
}

fn numbers<T: ArrowPrimitiveType>(values: &ArrayRef) -> TextColumn<'static>
where
    T::Native: ToString,
{
    spelled(values.as_primitive::<T>().iter())
}

fn floats(values: impl Iterator<Item = Option<f64>>) -> TextColumn<'static> {
    owned(values, |value| format!("{value:?}"))
}

fn decimals<T: DecimalType>(values: &ArrayRef) -> TextColumn<'static> {
    let values = values.as_primitive::<T>();
    let present = (0..values.len()).map(|index| values.is_valid(index).then_some(index));
    owned(present, |index| values.value_as_string(index))
}

fn instants(values: impl Iterator<Item = Option<i64>>, unit: Unit) -> TextColumn<'static> {
    owned(values, |value| Instant::of(value, unit).text())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{DictionaryArray, Int32Array, StringArray, StringViewArray};

    use super::*;

    /// The bytes of all values that are not in the array itself.
    fn copied(values: ArrayRef) -> usize {
        let batch = RecordBatch::try_from_iter([("c", values)]).unwrap();
        let batch = TextBatch(batch);
        let columns = batch.columns().unwrap();
        assert_eq!((columns.len(), columns[0].len()), (1, batch.rows()));
        let own = columns[0].iter().flatten().map(|value| match value {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => text.len(),
        });
        own.sum()
    }

    #[test]
    fn texts_are_not_copied() {
        let long = "x".repeat(4_096);
        let keys = (0..1_000).map(|i| (i % 5 != 0).then_some(0));
        let keys: Int32Array = keys.collect();
        let texts = Arc::new(StringArray::from(vec![long.as_str()]));
        let dictionary = DictionaryArray::try_new(keys, texts).unwrap();
        assert_eq!(copied(Arc::new(dictionary)), 0);
        let view = StringViewArray::from_iter([Some(long.as_str()), None]);
        assert_eq!(copied(Arc::new(view)), 0);
        let numbers = Int32Array::from(vec![Some(12), None, Some(-3)]);
        assert_eq!(copied(Arc::new(numbers)), 4);
    }
}
