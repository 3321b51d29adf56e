//! Counts per category, for columns with few distinct values.

use super::hash;

/// Deequ's `DEFAULT_CARDINALITY_THRESHOLD`: a column with more distinct values is not categorical.
pub(super) const MAX_CATEGORIES: usize = 120;
/// Maximum length of a category in bytes; longer text is not categorical.
const MAX_LENGTH: usize = 1024;
/// Maximum number of unknown categories to report.
const EXAMPLES: usize = 5;

/// Counts of categories. The baseline's categories are always counted. Others are counted until
/// there are more than [`MAX_CATEGORIES`] of them; then none of them is. The counts therefore
/// depend neither on the order of values nor on how the data was split.
#[derive(Debug, Clone, Default)]
pub(super) struct Categories {
    /// The baseline's categories first.
    entries: Vec<Entry>,
    known: usize,
    /// Indices into `entries` plus one, by hash; a power of two, at most half full.
    slots: Vec<u32>,
    /// Examples of other categories, from before the limit was exceeded.
    examples: Option<Vec<Box<str>>>,
}

#[derive(Debug, Clone)]
struct Entry {
    hash: u64,
    text: Box<str>,
    count: u64,
}

impl Categories {
    /// Counts that start with the categories of the baseline.
    pub(super) fn with(known: impl IntoIterator<Item = String>) -> Self {
        let mut categories = Self::default();
        for text in known {
            let hash = hash::of_text(text.as_bytes());
            if categories.find(text.as_bytes(), hash).is_none() {
                categories.push(&text, hash, 0);
            }
        }
        categories.known = categories.entries.len();
        categories
    }

    /// Returns whether any category is still counted.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.examples.is_none() || self.known > 0
    }

    /// Counts `count` occurrences of a text; `hash` is its `hash::of_text`.
    #[inline]
    pub(super) fn add(&mut self, text: &[u8], hash: u64, count: u64) {
        if let Some(index) = self.find(text, hash) {
            self.entries[index].count += count;
        } else if self.examples.is_none() {
            self.add_new(text, hash, count);
        }
    }

    /// Merges the counts of another part of the data.
    ///
    /// # Errors
    /// One side did not count everything, and the two had different baselines.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), String> {
        let closed = self.examples.is_some() || other.examples.is_some();
        if closed && !(self.knows(other) && other.knows(self)) {
            return Err(
                "the profiles were created with different constraints or statistics".to_owned(),
            );
        }
        if self.known < other.known {
            // Only one side begins with the baseline's categories, so start with that one.
            let mut with = Self::with(
                other.entries[..other.known]
                    .iter()
                    .map(|entry| entry.text.to_string()),
            );
            with.take(self);
            *self = with;
        }
        self.take(other);
        Ok(())
    }

    fn knows(&self, other: &Self) -> bool {
        other.entries[..other.known].iter().all(|entry| {
            self.find(entry.text.as_bytes(), entry.hash)
                .is_some_and(|index| index < self.known)
        })
    }

    /// Returns whether every occurrence of this category was counted.
    pub(super) fn counted(&self, text: &str) -> bool {
        let hash = hash::of_text(text.as_bytes());
        let found = self.find(text.as_bytes(), hash);
        self.examples.is_none() || found.is_some_and(|index| index < self.known)
    }

    fn take(&mut self, other: &Self) {
        if let Some(examples) = &other.examples {
            self.close(examples.clone());
        }
        for entry in other.entries.iter().filter(|entry| entry.count > 0) {
            self.add(entry.text.as_bytes(), entry.hash, entry.count);
        }
    }

    /// Returns the categories by descending count, or `None` if the column has too many and the
    /// baseline has none. If there are too many, includes the baseline's categories even with a
    /// count of zero, because a comparison must see that they disappeared.
    pub(super) fn counts(&self) -> Option<Vec<(&str, u64)>> {
        if !self.is_open() {
            return None;
        }
        let mut counts: Vec<(&str, u64)> = self
            .entries
            .iter()
            .filter(|entry| entry.count > 0 || self.examples.is_some())
            .map(|entry| (&*entry.text, entry.count))
            .collect();
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        Some(counts)
    }

    /// Returns examples of text that was not counted; `None` if every category was counted.
    pub(super) fn examples(&self) -> Option<Vec<&str>> {
        let examples = self.examples.as_ref()?;
        Some(examples.iter().map(|text| &**text).collect())
    }

    /// The baseline's categories in their original order.
    pub(super) fn known(&self) -> impl Iterator<Item = &str> {
        self.entries[..self.known].iter().map(|entry| &*entry.text)
    }

    /// Restores counts from a profile file.
    pub(super) fn of(
        known: Vec<String>,
        counts: Vec<(String, u64)>,
        examples: Option<Vec<String>>,
    ) -> Self {
        let mut categories = Self::with(known);
        for (text, count) in counts {
            let hash = hash::of_text(text.as_bytes());
            categories.add(text.as_bytes(), hash, count);
        }
        if let Some(examples) = examples {
            categories.close(examples.into_iter().map(String::into).collect());
        }
        categories
    }

    #[inline]
    fn find(&self, text: &[u8], hash: u64) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = slot(hash) & mask;
        loop {
            let index = (self.slots[at] as usize).checked_sub(1)?;
            let entry = &self.entries[index];
            if entry.hash == hash && entry.text.as_bytes() == text {
                return Some(index);
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn add_new(&mut self, text: &[u8], hash: u64, count: u64) {
        let readable = String::from_utf8_lossy(text);
        if text.len() > MAX_LENGTH {
            let examples = self.others();
            self.close(examples);
        } else if self.entries.len() >= self.known + MAX_CATEGORIES {
            let mut examples = self.others();
            examples.push(readable.into());
            self.close(examples);
        } else {
            self.push(&readable, hash, count);
        }
    }

    fn push(&mut self, text: &str, hash: u64, count: u64) {
        self.entries.push(Entry {
            hash,
            text: text.into(),
            count,
        });
        if self.entries.len() * 2 > self.slots.len() {
            self.index();
        } else {
            self.enter(self.entries.len() - 1);
        }
    }

    fn others(&self) -> Vec<Box<str>> {
        let others = self.entries[self.known..].iter();
        others.map(|entry| entry.text.clone()).collect()
    }

    /// Stops counting categories that the baseline does not have.
    fn close(&mut self, more: Vec<Box<str>>) {
        let mut examples = self.examples.take().unwrap_or_default();
        examples.extend(more);
        examples.extend(self.others());
        examples.retain(|text| text.len() <= MAX_LENGTH);
        examples.sort_unstable();
        examples.dedup();
        examples.truncate(EXAMPLES);
        self.examples = Some(examples);
        self.entries.truncate(self.known);
        self.index();
    }

    fn index(&mut self) {
        let size = (self.entries.len() * 2).next_power_of_two().max(16);
        self.slots.clear();
        self.slots.resize(size, 0);
        for index in 0..self.entries.len() {
            self.enter(index);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "far fewer than 2^32 categories"
    )]
    fn enter(&mut self, index: usize) {
        let mask = self.slots.len() - 1;
        let mut at = slot(self.entries[index].hash) & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = index as u32 + 1;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits choose a slot"
)]
fn slot(hash: u64) -> usize {
    hash as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(categories: &mut Categories, text: &str) {
        categories.add(text.as_bytes(), hash::of_text(text.as_bytes()), 1);
    }

    #[test]
    fn a_column_of_many_values_is_not_categorical() {
        let mut categories = Categories::default();
        for i in 0..MAX_CATEGORIES {
            insert(&mut categories, &i.to_string());
        }
        assert_eq!(categories.counts().unwrap().len(), MAX_CATEGORIES);
        insert(&mut categories, "one more");
        assert!(categories.counts().is_none());
        assert!(!categories.is_open());
    }

    #[test]
    fn the_baselines_categories_are_counted_to_the_end() {
        let mut categories = Categories::with(["JFK".to_owned(), "JFK".to_owned()]);
        for i in 0..1_000 {
            insert(&mut categories, &i.to_string());
            insert(&mut categories, "JFK");
        }
        assert_eq!(
            categories.examples().unwrap(),
            ["0", "1", "10", "100", "101"]
        );
        assert_eq!(categories.counts().unwrap(), [("JFK", 1_000)]);
    }

    #[test]
    fn counts_do_not_depend_on_the_order_or_the_split() {
        let texts: Vec<String> = (0..600).map(|i| format!("{}", i % 130)).collect();
        let of = |texts: &mut dyn Iterator<Item = &String>, known: &[&str]| {
            let mut categories = Categories::with(known.iter().map(|&text| text.to_owned()));
            texts.for_each(|text| insert(&mut categories, text));
            categories
        };
        for known in [[].as_slice(), &["7", "12"]] {
            let forwards = of(&mut texts.iter(), known);
            let backwards = of(&mut texts.iter().rev(), known);
            let mut merged = of(&mut texts[..100].iter(), known);
            merged.merge(&of(&mut texts[100..].iter(), known)).unwrap();
            let counts = |categories: &Categories| -> Option<Vec<(String, u64)>> {
                let counts = categories.counts()?;
                Some(
                    counts
                        .iter()
                        .map(|(text, n)| ((*text).to_owned(), *n))
                        .collect(),
                )
            };
            assert_eq!(counts(&forwards), counts(&backwards));
            assert_eq!(counts(&forwards), counts(&merged));
            assert_eq!(forwards.is_open(), !known.is_empty());
            let other = of(&mut texts.iter(), &["3"]);
            assert!(merged.merge(&other).is_err());
        }
    }
}
