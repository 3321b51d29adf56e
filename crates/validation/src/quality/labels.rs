//! The labels of ground truth, by id, in a compact sorted table: 16 bytes per record and 8 per label.

use std::sync::atomic::{AtomicU8, Ordering};

use rayon::slice::ParallelSliceMut as _;

/// Bits of a record's reference that count its labels; the others are the first label's index.
const LENGTH: u32 = 24;

/// Maximum number of labels in one record.
pub(super) const MAX_ROWS: usize = (1 << LENGTH) - 1;

/// Labels in the order of the files.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The hash of an id, and the place of its labels.
    records: Vec<(u64, u64)>,
    labels: Vec<f64>,
}

impl Records {
    /// Adds the record whose labels are all that were added after the last one.
    pub(super) fn push(&mut self, id: u64, labels: &[f64]) {
        let start = self.labels.len() as u64;
        self.labels.extend_from_slice(labels);
        self.records
            .push((id, start << LENGTH | labels.len() as u64));
    }

    /// Appends the records of the next files.
    pub(super) fn append(&mut self, other: &Self) {
        let shift = (self.labels.len() as u64) << LENGTH;
        self.labels.extend_from_slice(&other.labels);
        self.records
            .extend(other.records.iter().map(|(id, place)| (*id, place + shift)));
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Builds the table; of several records with the same id, the last one is kept.
    pub(super) fn into_table(self) -> Table {
        let Self {
            mut records,
            labels,
        } = self;
        // Stable: records of the same id stay in the order of the files.
        records.par_sort_by_key(|(id, _)| *id);
        let all = records.len();
        let mut kept = 0;
        for index in 0..all {
            if index + 1 == all || records[index].0 != records[index + 1].0 {
                records[kept] = records[index];
                kept += 1;
            }
        }
        records.truncate(kept);
        // About eight records per entry of the directory.
        let bits = (kept / 8).max(1).ilog2() + 1;
        let mut starts = vec![0_u32; (1 << bits) + 1];
        for (id, _) in &records {
            starts[entry(*id, bits) + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        Table {
            duplicates: (all - kept) as u64,
            is_used: records.iter().map(|_| AtomicU8::new(0)).collect(),
            records,
            labels,
            starts,
            bits,
        }
    }
}

/// The entry of an id in the directory: the first bits of the hash.
fn entry(id: u64, bits: u32) -> usize {
    usize::try_from(id >> (u64::BITS - bits)).unwrap_or(usize::MAX - 1)
}

/// Labels by the hash of an id.
///
/// Two different ids with the same 64-bit hash would be confused; with 10 million ids, the
/// probability that any two of them do is 3 in a million.
#[derive(Debug)]
pub(super) struct Table {
    records: Vec<(u64, u64)>,
    labels: Vec<f64>,
    /// Whether a prediction with the id was found.
    is_used: Vec<AtomicU8>,
    /// The index of the first record by the hash's first bits.
    starts: Vec<u32>,
    bits: u32,
    /// Number of records that were replaced by a later one.
    pub(super) duplicates: u64,
}

impl Table {
    /// Returns the labels of an id, and whether they were found before.
    pub(super) fn find(&self, id: u64) -> Option<(&[f64], bool)> {
        let entry = entry(id, self.bits);
        let start = *self.starts.get(entry)? as usize;
        let end = *self.starts.get(entry + 1)? as usize;
        let among = self.records[start..end]
            .iter()
            .position(|(known, _)| *known == id)?;
        let (_, place) = self.records[start + among];
        let first = usize::try_from(place >> LENGTH).ok()?;
        let count = usize::try_from(place & ((1 << LENGTH) - 1)).ok()?;
        let is_used = self.is_used[start + among].swap(1, Ordering::Relaxed) == 1;
        Some((&self.labels[first..first + count], is_used))
    }

    /// Number of records without any prediction.
    pub(super) fn unused(&self) -> u64 {
        let unused = self
            .is_used
            .iter()
            .filter(|used| used.load(Ordering::Relaxed) == 0);
        unused.count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::hash;
    use super::*;

    #[test]
    fn the_last_record_of_an_id_is_found() {
        let id = |number: u32| hash::of_text(number.to_string().as_bytes());
        let mut records = Records::default();
        for number in 0..10_000_u32 {
            records.push(id(number), &[f64::from(number)]);
        }
        let mut more = Records::default();
        more.push(id(7), &[70.0, 71.0]);
        more.push(id(10_000), &[]);
        records.append(&more);
        assert_eq!(records.len(), 10_002);
        let table = records.into_table();
        assert_eq!(table.duplicates, 1);
        assert_eq!(table.find(id(7)), Some((&[70.0, 71.0][..], false)));
        assert_eq!(table.find(id(7)), Some((&[70.0, 71.0][..], true)));
        assert_eq!(table.find(id(10_000)), Some((&[][..], false)));
        for number in 8..10_000_u32 {
            assert_eq!(
                table.find(id(number)),
                Some((&[f64::from(number)][..], false))
            );
        }
        assert_eq!(table.find(id(10_001)), None);
        assert_eq!(table.unused(), 7);
        let empty = Records::default().into_table();
        assert_eq!(
            (empty.find(1), empty.find(u64::MAX), empty.unused()),
            (None, None, 0)
        );
    }
}
