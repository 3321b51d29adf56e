//! Cells of Parquet columns.

use arrow_array::cast::AsArray;
use arrow_array::types::{self, ArrowPrimitiveType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::payload::Sink;
use super::values::Cell;

/// Up to this number, every integer is a double.
const EXACT: i64 = 1 << 53;

/// Passes on every value of a column.
///
/// # Errors
/// Columns that are neither numbers nor text; errors of the sink.
pub(super) fn cells(column: &ArrayRef, sink: &mut Sink<'_>) -> Result<(), String> {
    match column.data_type() {
        DataType::Null => (0..column.len()).try_for_each(|_| sink(Cell::Missing)),
        DataType::Boolean => {
            let mut flags = column.as_boolean().iter();
            flags.try_for_each(|flag| {
                sink(flag.map_or(Cell::Missing, |flag| {
                    Cell::Text(if flag { "true" } else { "false" })
                }))
            })
        }
        DataType::Int8 => integers::<types::Int8Type>(column, sink),
        DataType::Int16 => integers::<types::Int16Type>(column, sink),
        DataType::Int32 => integers::<types::Int32Type>(column, sink),
        DataType::Int64 => integers::<types::Int64Type>(column, sink),
        DataType::UInt8 => integers::<types::UInt8Type>(column, sink),
        DataType::UInt16 => integers::<types::UInt16Type>(column, sink),
        DataType::UInt32 => integers::<types::UInt32Type>(column, sink),
        DataType::UInt64 => {
            let mut values = column.as_primitive::<types::UInt64Type>().iter();
            values.try_for_each(|value| text(value.map(|value| value.to_string()).as_deref(), sink))
        }
        DataType::Float16 => floats::<types::Float16Type>(column, f64::from, sink),
        DataType::Float32 => floats::<types::Float32Type>(column, f64::from, sink),
        DataType::Float64 => floats::<types::Float64Type>(column, |value| value, sink),
        DataType::Decimal32(_, _) => decimals::<types::Decimal32Type>(column, sink),
        DataType::Decimal64(_, _) => decimals::<types::Decimal64Type>(column, sink),
        DataType::Decimal128(_, _) => decimals::<types::Decimal128Type>(column, sink),
        DataType::Decimal256(_, _) => decimals::<types::Decimal256Type>(column, sink),
        DataType::Utf8View => {
            let mut texts = column.as_string_view().iter();
            texts.try_for_each(|text| sink(text.map_or(Cell::Missing, Cell::Text)))
        }
        DataType::Dictionary(_, _) => {
            let column = column.as_dictionary::<types::Int32Type>();
            let texts = column.values().as_string::<i32>();
            let mut keys = column.keys().iter();
            keys.try_for_each(|key| {
                let key = key.and_then(|key| usize::try_from(key).ok());
                sink(key.map_or(Cell::Missing, |key| Cell::Text(texts.value(key))))
            })
        }
        other => Err(format!(
            "columns of type {other} are neither numbers nor text"
        )),
    }
}

fn text(value: Option<&str>, sink: &mut Sink<'_>) -> Result<(), String> {
    sink(value.map_or(Cell::Missing, Cell::Text))
}

#[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
fn integers<T: ArrowPrimitiveType>(column: &ArrayRef, sink: &mut Sink<'_>) -> Result<(), String>
where
    T::Native: Into<i64>,
{
    let mut values = column.as_primitive::<T>().iter();
    values.try_for_each(|value| match value.map(Into::into) {
        None => sink(Cell::Missing),
        Some(value) if (-EXACT..=EXACT).contains(&value) => sink(Cell::Number(value as f64)),
        Some(value) => sink(Cell::Text(&value.to_string())),
    })
}

fn floats<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    convert: impl Fn(T::Native) -> f64,
    sink: &mut Sink<'_>,
) -> Result<(), String> {
    let mut values = column.as_primitive::<T>().iter();
    values.try_for_each(|value| {
        // pandas writes NaN for a missing value.
        let value = value.map(&convert).filter(|value| !value.is_nan());
        sink(value.map_or(Cell::Missing, Cell::Number))
    })
}

fn decimals<T: types::DecimalType>(column: &ArrayRef, sink: &mut Sink<'_>) -> Result<(), String> {
    let values = column.as_primitive::<T>();
    (0..values.len()).try_for_each(|row| {
        text(
            values
                .is_valid(row)
                .then(|| values.value_as_string(row))
                .as_deref(),
            sink,
        )
    })
}
