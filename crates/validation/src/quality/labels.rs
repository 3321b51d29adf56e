//! The labels of ground truth, by id, in a compact sorted table: 16 bytes per record. Records with
//! several labels need 16 bytes more, and 8 per label.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::slice::ParallelSliceMut as _;

/// Maximum number of labels in one record.
pub(super) const MAX_ROWS: usize = 1 << 24;

/// Marks the index of a list in place of a label: a quiet NaN that no calculation produces. A missing
/// label is the usual NaN.
const LIST: u64 = 0x7ffc_0000_0000_0000;

/// Records in the order of the files.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The hash of an id, and its label or the index of its list.
    entries: Vec<(u64, f64)>,
    /// The start and the end of the labels of records that do not have exactly one.
    lists: Vec<(usize, usize)>,
    labels: Vec<f64>,
}

/// Returns the index of a list, if the value is one.
fn list(value: f64) -> Option<usize> {
    let bits = value.to_bits();
    (bits & LIST == LIST && value.is_nan()).then(|| usize::try_from(bits ^ LIST).ok())?
}

impl Records {
    /// Adds a record.
    pub(super) fn push(&mut self, id: u64, labels: &[f64]) {
        let value = match labels {
            // Of any sign and payload.
            [label] if label.is_nan() => f64::NAN,
            [label] => *label,
            several => {
                let start = self.labels.len();
                self.labels.extend_from_slice(several);
                self.lists.push((start, self.labels.len()));
                f64::from_bits(LIST | (self.lists.len() as u64 - 1))
            }
        };
        self.entries.push((id, value));
    }

    /// Appends the records of the next files.
    pub(super) fn append(&mut self, other: &Self) {
        let (lists, labels) = (self.lists.len(), self.labels.len());
        self.labels.extend_from_slice(&other.labels);
        let moved = other
            .lists
            .iter()
            .map(|(start, end)| (start + labels, end + labels));
        self.lists.extend(moved);
        self.entries.extend(other.entries.iter().map(|(id, value)| {
            let value = match list(*value) {
                Some(index) => f64::from_bits(LIST | (index + lists) as u64),
                None => *value,
            };
            (*id, value)
        }));
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Builds the table; of several records with the same id, the last one is kept.
    pub(super) fn into_table(self) -> Table {
        let Self {
            entries: mut records,
            lists,
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
        // Four to eight records per entry of the directory.
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
            is_used: (0..kept.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            records,
            lists,
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

/// The index of an id in sorted records. Callers choose ids, so all of their hashes may begin with the
/// same bits: a binary search is fast nevertheless.
fn position<T: Ord>(records: &[(T, f64)], id: &T) -> Option<usize> {
    records.binary_search_by(|(known, _)| known.cmp(id)).ok()
}

/// Labels by the hash of an id.
///
/// Two different ids with the same 64-bit hash would be confused; with 10 million ids, the
/// probability that any two of them do is 3 in a million.
#[derive(Debug)]
pub(super) struct Table {
    records: Vec<(u64, f64)>,
    lists: Vec<(usize, usize)>,
    labels: Vec<f64>,
    /// One bit per record: whether a prediction with the id was found.
    is_used: Vec<AtomicU64>,
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
        let index = start + position(&self.records[start..end], &id)?;
        let value = &self.records[index].1;
        let labels = match list(*value) {
            None => std::slice::from_ref(value),
            Some(list) => {
                let (start, end) = *self.lists.get(list)?;
                &self.labels[start..end]
            }
        };
        let bit = 1 << (index % 64);
        let before = self.is_used[index / 64].fetch_or(bit, Ordering::Relaxed);
        Some((labels, before & bit != 0))
    }

    /// Number of records without any prediction.
    pub(super) fn unused(&self) -> u64 {
        let used = self
            .is_used
            .iter()
            .map(|bits| u64::from(bits.load(Ordering::Relaxed).count_ones()));
        self.records.len() as u64 - used.sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;

    use super::super::super::hash;
    use super::{Records, position};

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

    /// Ids are chosen by callers, and their hashes may agree in every bit that the directory uses.
    #[test]
    fn hashes_with_the_same_first_bits_are_found() {
        let mut records = Records::default();
        let ids: Vec<u64> = (0..10_000)
            .map(|number| (0xabcd << 48) | (number * 3))
            .collect();
        for id in &ids {
            records.push(*id, &[2.0]);
        }
        let table = records.into_table();
        let starts = table
            .starts
            .iter()
            .collect::<std::collections::BTreeSet<_>>();
        assert_eq!(
            starts.len(),
            2,
            "one entry of the directory has every record"
        );
        for id in &ids {
            assert_eq!(table.find(*id), Some((&[2.0][..], false)));
            assert_eq!(table.find(id + 1), None);
        }
    }

    /// A hash that counts how often it is compared.
    struct Counted<'a>(u64, &'a Cell<u32>);

    impl PartialEq for Counted<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }
    impl Eq for Counted<'_> {}
    impl PartialOrd for Counted<'_> {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Counted<'_> {
        fn cmp(&self, other: &Self) -> Ordering {
            self.1.set(self.1.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    #[test]
    fn a_search_in_one_entry_compares_few_records() {
        let count = Cell::new(0);
        let records: Vec<(Counted<'_>, f64)> = (0..100_000_u64)
            .map(|id| (Counted(id * 2, &count), 0.0))
            .collect();
        for id in (0..200_000).step_by(777) {
            count.set(0);
            let found = position(&records, &Counted(id, &count));
            assert_eq!(found.is_some(), id % 2 == 0);
            assert!(count.get() <= 20, "{} comparisons", count.get());
        }
    }
}
