//! Counts per category, for columns of few distinct values.

use std::collections::HashMap;

/// Deequ's `DEFAULT_CARDINALITY_THRESHOLD`: a column with more distinct values is not categorical.
pub(super) const MAX_CATEGORIES: usize = 120;
/// A longer text is no category.
const MAX_LENGTH: usize = 1024;

/// Counts of categories. The baseline's categories are always counted; up to
/// [`MAX_CATEGORIES`] others are, until there are more.
#[derive(Debug, Clone, Default)]
pub(super) struct Categories {
    counts: HashMap<Box<str>, u64>,
    known: usize,
    overflowed: bool,
}

impl Categories {
    /// Counts that start with the categories of the baseline.
    pub(super) fn with(known: impl IntoIterator<Item = String>) -> Self {
        let counts: HashMap<Box<str>, u64> = known
            .into_iter()
            .map(|category| (category.into(), 0))
            .collect();
        Self {
            known: counts.len(),
            counts,
            overflowed: false,
        }
    }

    pub(super) fn insert(&mut self, text: &str) {
        if self.overflowed && self.known == 0 {
            return;
        }
        self.add(text, 1);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.known = self.known.max(other.known);
        if other.overflowed {
            self.overflow();
        }
        for (category, count) in &other.counts {
            self.add(category, *count);
        }
    }

    /// The categories in descending order of their counts, or `None` when the column has too many
    /// and the baseline knows none.
    pub(super) fn counts(&self) -> Option<Vec<(&str, u64)>> {
        if self.overflowed && self.known == 0 {
            return None;
        }
        let mut counts: Vec<(&str, u64)> = self
            .counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(category, count)| (&**category, *count))
            .collect();
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        Some(counts)
    }

    /// Whether every category was counted.
    pub(super) fn is_complete(&self) -> bool {
        !self.overflowed
    }

    fn add(&mut self, text: &str, count: u64) {
        if let Some(known) = self.counts.get_mut(text) {
            *known += count;
        } else if self.overflowed {
            // Counted among the present values of the column only.
        } else if self.counts.len() >= self.known + MAX_CATEGORIES || text.len() > MAX_LENGTH {
            self.overflow();
        } else {
            self.counts.insert(text.into(), count);
        }
    }

    fn overflow(&mut self) {
        self.overflowed = true;
        if self.known == 0 {
            self.counts = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_many_values_is_not_categorical() {
        let mut categories = Categories::default();
        for i in 0..MAX_CATEGORIES {
            categories.insert(&i.to_string());
        }
        assert_eq!(categories.counts().unwrap().len(), MAX_CATEGORIES);
        categories.insert("one more");
        assert!(categories.counts().is_none());
    }

    #[test]
    fn the_baselines_categories_are_counted_to_the_end() {
        let mut categories = Categories::with(["JFK".to_owned()]);
        for i in 0..1_000 {
            categories.insert(&i.to_string());
            categories.insert("JFK");
        }
        assert!(!categories.is_complete());
        assert_eq!(categories.counts().unwrap()[0], ("JFK", 1_000));
    }
}
