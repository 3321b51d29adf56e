//! Which values of a column are a facet's group, or the favorable outcome.
//!
//! AWS's configuration has one list for both meanings, `value_or_threshold`, and the column's values
//! decide: several values are categories; a single one is a threshold if the column has a number
//! with a fraction, or if it has only integers and at least 5 % of them are distinct; otherwise it
//! is a category. With a threshold t the group is the values above t, which AWS prints as the
//! interval `(t, maximum]`. Rules and spelling are those of AWS's `smclarify` 0.5, with one
//! exception: a single number that is one of only two values of a column is always a category.
//! (AWS's rule turns a label of 0 and 1 in fewer than 40 rows into the empty interval above 1.)

use std::collections::{HashMap, HashSet};

use super::super::distinct::Distinct;
use super::super::{hash, number};

/// Share of distinct values from which a column of integers has a threshold (AWS).
const DISTINCT_SHARE: f64 = 0.05;

/// Maximum number of values of a facet whose values are each a group: more are identifiers or
/// measurements, not groups.
pub const MAX_GROUPS: usize = 256;

/// Maximum number of values of a selection.
pub const MAX_VALUES: usize = 1024;

/// Maximum length in bytes of a value that is kept: longer ones are texts, not categories.
const MAX_VALUE: usize = 1024;

/// Refuses values that are too long to be kept.
pub(super) fn bounded(text: &str) -> Result<(), String> {
    if text.len() > MAX_VALUE {
        return Err(format!(
            "a value of {} bytes: choose a column of categories",
            text.len()
        ));
    }
    Ok(())
}

/// A value in a configuration, with the spelling that is printed.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    text: String,
    number: Option<f64>,
}

impl Value {
    /// A value by its text; numbers are compared as numbers (`1` is `1.0`).
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            number: numeric(&text).map(|(value, _)| value),
            text,
        }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    #[expect(clippy::float_cmp, reason = "both were parsed from text")]
    fn is(&self, text: &str, number: Option<f64>) -> bool {
        match (self.number, number) {
            (Some(mine), Some(other)) => mine == other,
            _ => self.text == text,
        }
    }
}

/// The values of [`Selection::Values`], for the search: those that are numbers as in [`Value::is`].
#[derive(Debug, Default)]
struct Wanted {
    texts: HashSet<String>,
    /// The length of the longest text in bytes. Longer ones are not hashed: many rows can have the same
    /// long text of a dictionary.
    longest: usize,
    /// The bits of the numbers.
    numbers: HashSet<u64>,
}

impl Wanted {
    fn new(selection: &Selection) -> Self {
        let mut wanted = Self::default();
        if let Selection::Values(values) = selection {
            for value in values {
                if let Some(number) = value.number {
                    wanted.numbers.insert(bits(number));
                } else {
                    wanted.longest = wanted.longest.max(value.text.len());
                    wanted.texts.insert(value.text.clone());
                }
            }
        }
        wanted
    }

    fn has(&self, text: &str, number: Option<f64>) -> bool {
        match number {
            Some(number) => self.numbers.contains(&bits(number)),
            None => text.len() <= self.longest && self.texts.contains(text),
        }
    }
}

/// The bits of a number; those of 0 for −0.
fn bits(number: f64) -> u64 {
    (number + 0.0).to_bits()
}

/// The values of a column that are selected.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// Each value is a group of its own, compared with all other rows (facets only).
    Each,
    /// AWS's `value_or_threshold` with one number: the column's values decide.
    ValueOrThreshold(Value),
    /// Any of these values.
    Values(Vec<Value>),
    /// Numbers above this one.
    Above(f64),
}

impl Selection {
    /// The selection of AWS's `value_or_threshold` and `label_values_or_threshold`; without values,
    /// [`Selection::Each`].
    pub fn aws(mut values: Vec<Value>) -> Self {
        match values.pop() {
            None => Self::Each,
            Some(single) if values.is_empty() && single.number.is_some() => {
                Self::ValueOrThreshold(single)
            }
            Some(last) => {
                values.push(last);
                Self::Values(values)
            }
        }
    }
}

/// Parses a number, also in spellings that Deequ's rules do not accept (`.5`); finite, and of at most
/// [`MAX_VALUE`] bytes. Returns whether it is an integer without a fraction or exponent.
pub(super) fn numeric(text: &str) -> Option<(f64, bool)> {
    if text.len() > MAX_VALUE {
        return None;
    }
    let text = text.trim();
    if let Some(number) = number::parse(text.as_bytes()) {
        return Some((number.value, number.integral));
    }
    let value: f64 = text.parse().ok()?;
    value.is_finite().then_some((value, false))
}

/// What the values of a column have in common.
#[derive(Debug, Default)]
struct Shape {
    integral: u64,
    fractional: u64,
    text: u64,
    distinct: Distinct,
    max: Option<f64>,
    /// Whether the selection's value occurred.
    found: bool,
}

/// Classifies the values of one column while they are read, and decides at the end which classes are
/// selected.
#[derive(Debug)]
pub(super) struct Classifier {
    selection: Selection,
    wanted: Wanted,
    shape: Shape,
    /// The values of [`Selection::Each`], in order of first appearance.
    values: Vec<String>,
    ids: HashMap<String, u32>,
}

/// The class of a value that equals the selection's.
const EQUAL: u32 = 1;
/// The class of a number above the selection's.
const ABOVE: u32 = 2;

/// A group: the text that AWS prints for it, and its rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) text: String,
    selected: Classes,
}

/// Selected classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Classes {
    /// This class alone.
    One(u32),
    /// None: the interval is empty.
    Nothing,
}

impl Group {
    /// Returns whether the rows of a class are in the group.
    pub(super) fn has(&self, class: u32) -> bool {
        self.selected == Classes::One(class)
    }
}

impl Classifier {
    pub(super) fn new(selection: Selection) -> Self {
        Self {
            wanted: Wanted::new(&selection),
            selection,
            shape: Shape::default(),
            values: Vec::new(),
            ids: HashMap::new(),
        }
    }

    /// Returns the class of a value.
    ///
    /// # Errors
    /// The column has too many values for groups.
    pub(super) fn classify(&mut self, text: &str) -> Result<u32, String> {
        if matches!(self.selection, Selection::Each) {
            return self.id(text);
        }
        let number = numeric(text);
        let value = number.map(|(value, _)| value);
        self.shape.observe(text, number);
        Ok(match &self.selection {
            Selection::ValueOrThreshold(wanted) if wanted.is(text, value) => {
                self.shape.found = true;
                EQUAL
            }
            Selection::ValueOrThreshold(wanted) => above(value, wanted.number),
            Selection::Above(threshold) => above(value, Some(*threshold)),
            Selection::Values(_) if self.wanted.has(text, value) => EQUAL,
            _ => 0,
        })
    }

    fn id(&mut self, text: &str) -> Result<u32, String> {
        if let Some(id) = self.ids.get(text) {
            return Ok(*id);
        }
        bounded(text)?;
        if self.values.len() == MAX_GROUPS {
            return Err(format!(
                "more than {MAX_GROUPS} different values: name the values of the group, or a \
                 threshold"
            ));
        }
        let id = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(text.to_owned());
        self.ids.insert(text.to_owned(), id);
        Ok(id)
    }

    /// The groups, in order. `other` is a column whose maximum also bounds an interval.
    pub(super) fn groups(&self, other: Option<&Self>) -> Vec<Group> {
        let one = |text: String, class| {
            vec![Group {
                text,
                selected: Classes::One(class),
            }]
        };
        match &self.selection {
            Selection::Each => (0_u32..)
                .zip(&self.values)
                .flat_map(|(id, text)| one(text.clone(), id))
                .collect(),
            Selection::Values(values) => {
                let texts: Vec<&str> = values.iter().map(Value::text).collect();
                one(texts.join(","), EQUAL)
            }
            Selection::ValueOrThreshold(value) => match value.number {
                Some(threshold) if self.shape.is_continuous() => {
                    let integral = numeric(&value.text).is_some_and(|(_, integral)| integral);
                    vec![self.interval(threshold, integral, other)]
                }
                _ => one(value.text.clone(), EQUAL),
            },
            Selection::Above(threshold) => {
                vec![self.interval(*threshold, threshold.fract() == 0.0, other)]
            }
        }
    }

    /// The interval above a threshold: `(40, 75]`, in integers if both ends are.
    #[expect(clippy::float_cmp, reason = "both are values of the data")]
    fn interval(&self, threshold: f64, integral: bool, other: Option<&Self>) -> Group {
        let shapes = [Some(self), other].into_iter().flatten();
        let (mut integral, mut max) = (integral, None);
        for shape in shapes.map(|classifier| &classifier.shape) {
            integral &= shape.fractional == 0;
            max = max.into_iter().chain(shape.max).reduce(f64::max);
        }
        let spelled = |value: f64| {
            if integral {
                format!("{value:.0}")
            } else {
                spelled(value)
            }
        };
        match max {
            Some(max) if max > threshold => Group {
                text: format!("({}, {}]", spelled(threshold), spelled(max)),
                selected: Classes::One(ABOVE),
            },
            // AWS sorts the two ends; no value is above the threshold, so the group stays empty.
            Some(max) if max.abs() != threshold => Group {
                text: format!("({}, {}]", spelled(max), spelled(threshold)),
                selected: Classes::Nothing,
            },
            _ => Group {
                text: String::new(),
                selected: Classes::Nothing,
            },
        }
    }
}

fn above(value: Option<f64>, threshold: Option<f64>) -> u32 {
    match (value, threshold) {
        (Some(value), Some(threshold)) if value > threshold => ABOVE,
        _ => 0,
    }
}

impl Shape {
    fn observe(&mut self, text: &str, number: Option<(f64, bool)>) {
        let Some((value, integral)) = number else {
            self.text += 1;
            return;
        };
        if integral {
            self.integral += 1;
        } else {
            self.fractional += 1;
        }
        self.max = Some(self.max.map_or(value, |max| max.max(value)));
        let key = number::parse(text.trim().as_bytes())
            .map_or_else(|| hash::of_text(text.as_bytes()), |number| number.key);
        self.distinct.insert(key);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
    fn is_continuous(&self) -> bool {
        let (numbers, distinct) = (self.integral + self.fractional, self.distinct.count());
        if self.text > 0 || numbers == 0 || (self.found && distinct <= 2) {
            return false;
        }
        self.fractional > 0 || distinct as f64 >= DISTINCT_SHARE * numbers as f64
    }
}

/// Formats a number as Python does (`0.1`, `75.0`, `1e-05`, `Infinity`), as AWS's files do.
pub(super) fn spelled(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if value == 0.0 || (1e-4..1e16).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The groups' texts, and which of the values they have.
    fn groups(selection: Selection, values: &[&str]) -> Vec<(String, Vec<bool>)> {
        let mut classifier = Classifier::new(selection);
        let classes: Vec<u32> = values
            .iter()
            .map(|value| classifier.classify(value).unwrap())
            .collect();
        let groups = classifier.groups(None).into_iter();
        groups
            .map(|group| {
                let inside = classes.iter().map(|class| group.has(*class)).collect();
                (group.text, inside)
            })
            .collect()
    }

    fn aws(values: &[&str]) -> Selection {
        Selection::aws(values.iter().map(|value| Value::new(*value)).collect())
    }

    #[test]
    fn one_number_is_a_threshold_or_a_value() {
        let one = |text: &str, inside: &[bool]| vec![(text.to_owned(), inside.to_vec())];
        let ages = ["40", "75", "39", "41"];
        assert_eq!(
            groups(aws(&["40"]), &ages),
            one("(40, 75]", &[false, true, false, true])
        );
        let scores = ["0.5", "0.75", "0", "1"];
        assert_eq!(
            groups(aws(&["0.5"]), &scores),
            one("(0.5, 1.0]", &[false, true, false, true])
        );
        assert_eq!(
            groups(aws(&["0"]), &["1", "0", "0", "1"]),
            one("0", &[false, true, true, false])
        );
        // 3 of 100 integers are distinct: categories.
        let many: Vec<&str> = (0..100).map(|i| ["0", "1", "2"][i % 3]).collect();
        assert_eq!(groups(aws(&["1"]), &many)[0].0, "1");
        assert_eq!(groups(aws(&["1"]), &many[..59])[0].0, "(1, 2]");
        // A text is always a value.
        assert_eq!(
            groups(aws(&["a"]), &["a", "1", "2.5"]),
            one("a", &[true, false, false])
        );
        // Nothing is above the threshold.
        assert_eq!(groups(aws(&["75"]), &ages), one("", &[false; 4]));
        assert_eq!(groups(aws(&["90"]), &ages), one("(75, 90]", &[false; 4]));
    }

    #[test]
    fn several_values_are_categories_and_none_means_each() {
        assert_eq!(
            groups(aws(&["1", "b"]), &["1.0", "b", "2", "1"]),
            [("1,b".to_owned(), vec![true, true, false, true])]
        );
        assert_eq!(
            groups(aws(&[]), &["high", "low", "high"]),
            [
                ("high".to_owned(), vec![true, false, true]),
                ("low".to_owned(), vec![false, true, false])
            ]
        );
        let mut classifier = Classifier::new(Selection::Each);
        for i in 0..MAX_GROUPS {
            classifier.classify(&i.to_string()).unwrap();
        }
        let long = classifier.classify(&"x".repeat(2_000)).unwrap_err();
        assert!(long.contains("a value of 2000 bytes"), "{long}");
        assert!(
            classifier
                .classify("one more")
                .unwrap_err()
                .contains("more than 256")
        );
    }

    #[test]
    fn values_are_found_as_one_by_one() {
        let values = ["0", "-0", "1.50", "a", "", "1e2", "nan", "inf", " 7", "x7"];
        let all: Vec<Value> = values.map(Value::new).to_vec();
        let others = ["-0.0", "+0", "1.5", "100", "NaN", "7", "A", "b", "0.1"];
        for chosen in all.windows(3) {
            let wanted = Wanted::new(&Selection::Values(chosen.to_vec()));
            for text in values.iter().chain(&others) {
                let number = numeric(text).map(|(value, _)| value);
                let expected = chosen.iter().any(|value| value.is(text, number));
                assert_eq!(wanted.has(text, number), expected, "{text} in {chosen:?}");
            }
        }
    }

    #[test]
    fn long_texts_are_not_numbers() {
        assert!(numeric(&"0".repeat(MAX_VALUE)).is_some());
        assert_eq!(numeric(&"0".repeat(MAX_VALUE + 1)), None);
        let wanted = Wanted::new(&Selection::Values(vec![
            Value::new("yes"),
            Value::new("no"),
        ]));
        assert_eq!(wanted.longest, 3);
        assert!(wanted.has("yes", None) && !wanted.has("yes ", None));
    }

    #[test]
    fn an_explicit_threshold_does_not_depend_on_the_values() {
        assert_eq!(
            groups(Selection::Above(0.0), &["0", "1", "0"]),
            [("(0, 1]".to_owned(), vec![false, true, false])]
        );
    }

    #[test]
    fn numbers_are_spelled_as_in_python() {
        for (value, text) in [
            (0.1, "0.1"),
            (75.0, "75.0"),
            (-0.0, "-0.0"),
            (0.00005, "5e-05"),
            (1.5e22, "1.5e+22"),
            (1e-101, "1e-101"),
            (0.0001, "0.0001"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(spelled(value), text);
        }
    }
}
