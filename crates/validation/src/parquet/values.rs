//! The values of a column, by their stored type.

use arrow_array::cast::AsArray;
use arrow_array::types::{self, ArrowPrimitiveType};
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use arrow_schema::{DataType, TimeUnit};

use super::super::column::Column;
use super::super::number;
use super::instant::{Instant, Unit};
use super::{ROWS, refusal};

/// Adds values of a column.
pub(super) fn observe(values: &ArrayRef, column: &mut Column) -> Result<(), String> {
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
        DataType::Float16 => {
            let values = values.as_primitive::<types::Float16Type>();
            floats(present(values).map(f64::from), column);
        }
        DataType::Float32 => {
            let values = values.as_primitive::<types::Float32Type>();
            floats(present(values).map(f64::from), column);
        }
        DataType::Float64 => {
            let values = values.as_primitive::<types::Float64Type>();
            floats(present(values), column);
        }
        DataType::Decimal32(_, _) => decimals::<types::Decimal32Type>(values, column),
        DataType::Decimal64(_, _) => decimals::<types::Decimal64Type>(values, column),
        DataType::Decimal128(_, _) => decimals::<types::Decimal128Type>(values, column),
        DataType::Decimal256(_, _) => decimals::<types::Decimal256Type>(values, column),
        DataType::Date32 => {
            let days = values.as_primitive::<types::Date32Type>();
            instants(present(days).map(i64::from), Unit::Days, column);
        }
        DataType::Date64 => {
            let values = values.as_primitive::<types::Date64Type>();
            instants(present(values), Unit::DateMilliseconds, column);
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

/// The present values.
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

fn decimals<T: types::DecimalType>(values: &ArrayRef, column: &mut Column) {
    let values = values.as_primitive::<T>();
    for index in 0..values.len() {
        if values.is_valid(index) {
            let text = values.value_as_string(index);
            column.repeat(Some(text.as_bytes()), 1);
        }
    }
}

fn timestamps(values: &ArrayRef, unit: TimeUnit, column: &mut Column) {
    match unit {
        TimeUnit::Second => {
            let values = values.as_primitive::<types::TimestampSecondType>();
            instants(present(values), Unit::Seconds, column);
        }
        TimeUnit::Millisecond => {
            let values = values.as_primitive::<types::TimestampMillisecondType>();
            instants(present(values), Unit::Milliseconds, column);
        }
        TimeUnit::Microsecond => {
            let values = values.as_primitive::<types::TimestampMicrosecondType>();
            instants(present(values), Unit::Microseconds, column);
        }
        TimeUnit::Nanosecond => {
            let values = values.as_primitive::<types::TimestampNanosecondType>();
            instants(present(values), Unit::Nanoseconds, column);
        }
    }
}

/// Adds dates and times, which are formatted only if the text is counted.
fn instants(values: impl Iterator<Item = i64>, unit: Unit, column: &mut Column) {
    let mut take = |value, count| {
        let instant = Instant::of(value, unit);
        column.instant(instant.key(), count, || instant.text());
    };
    let (mut last, mut count) = (None, 0_u64);
    for value in values {
        if last == Some(value) {
            count += 1;
            continue;
        }
        if let Some(last) = last {
            take(last, count);
        }
        (last, count) = (Some(value), 1);
    }
    if let Some(last) = last {
        take(last, count);
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
        // A sketch depends on the order of numbers.
        let keys = present(values.keys()).filter_map(|key| usize::try_from(key).ok());
        column.texts(values.len(), keys.map(|key| texts.value(key).as_bytes()));
    }
}
