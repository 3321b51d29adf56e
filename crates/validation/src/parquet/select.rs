//! Reads some columns of a Parquet file row by row.

use arrow_array::{ArrayRef, RecordBatch};

use super::super::{DataError, Input};
use super::{Opened, ROWS, batches, unreadable};

/// Returns the positions of the wanted columns, by the names of all.
pub(in super::super) type Pick<'a> = dyn Fn(&[String]) -> Result<Vec<usize>, String> + 'a;

/// Opens the columns at the positions that `pick` returns, in its order; a position may repeat.
///
/// # Errors
/// The file cannot be read, or errors of `pick`.
pub(in super::super) fn select(
    name: &str,
    input: Input,
    pick: &Pick<'_>,
) -> Result<impl Iterator<Item = Result<Vec<ArrayRef>, DataError>> + use<>, DataError> {
    let opened = Opened::of(name, input)?;
    let failed = |message: String| DataError::new(name, message);
    let wanted = pick(&opened.names()).map_err(failed)?;
    let Opened { file, metadata } = opened;
    // The reader has the columns in the order of the file.
    let mut read = wanted.clone();
    read.sort_unstable();
    read.dedup();
    let reader = batches(file.clone(), metadata, &read, ROWS).map_err(failed)?;
    let places: Vec<usize> = wanted
        .iter()
        .filter_map(|column| read.binary_search(column).ok())
        .collect();
    let name = name.to_owned();
    Ok(reader.map(move |batch| {
        let batch: RecordBatch = batch.map_err(|error| {
            DataError::new(name.as_str(), unreadable(&file, &error.to_string()))
        })?;
        Ok(places
            .iter()
            .map(|place| batch.column(*place).clone())
            .collect())
    }))
}
