//! Values of rows as numbers: a regression's numbers, and the codes of classes.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use mlops_core::quote::short;

use super::Problem;

/// Maximum number of classes. A confusion matrix has the square of it: with names of 33 bytes, it takes
/// 230 MB in memory, and 38 MB in the file.
pub(super) const MAX_CLASSES: usize = 1000;

/// Maximum length of a class's name in bytes: a longer text is most likely not a class, and a
/// confusion matrix repeats the names.
const MAX_NAME: usize = 256;

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell<'a> {
    Missing,
    Number(f64),
    Text(&'a str),
}

/// Parses a finite number, or returns what is wrong with it. A missing value is not a number.
pub(super) fn number(cell: Cell<'_>) -> Result<f64, String> {
    let (value, text) = match cell {
        Cell::Missing => return Ok(f64::NAN),
        Cell::Number(value) => (Some(value), None),
        Cell::Text(text) => (fast_float2::parse(text.trim()).ok(), Some(text)),
    };
    value
        .filter(|value: &f64| value.is_finite())
        .ok_or_else(|| match text {
            Some(text) => format!("`{}` is not a number", short(text)),
            None => "the number is not finite".to_owned(),
        })
}

/// The classes of predictions and labels, with a code for each.
///
/// Classes are compared as text; whole numbers are equal however they are written (`1`, `1.0`). In a
/// binary classification `true` and `false` are 1 and 0.
pub(super) struct Classes {
    is_binary: bool,
    known: Mutex<Known>,
}

/// The message for too many classes.
pub(super) const TOO_MANY: &str = "more than 1000 classes: is the problem a Regression?";

#[derive(Default)]
struct Known {
    codes: HashMap<String, u32>,
    names: Vec<String>,
}

/// The code of the class 0 of a binary classification.
pub(super) const NEGATIVE: u32 = 0;
/// The code of the class 1 of a binary classification.
pub(super) const POSITIVE: u32 = 1;

impl Classes {
    pub(super) fn new(problem: Problem) -> Self {
        let mut known = Known::default();
        let is_binary = problem == Problem::BinaryClassification;
        if is_binary {
            for name in ["0", "1"] {
                known.add(name);
            }
        }
        Self {
            is_binary,
            known: Mutex::new(known),
        }
    }

    /// Returns a view with a cache, for one thread.
    pub(super) fn local(&self) -> Local<'_> {
        Local {
            classes: self,
            codes: HashMap::new(),
            seen: HashSet::new(),
            is_over: false,
            last: (String::new(), 0),
        }
    }

    /// The classes' names by code.
    pub(super) fn into_names(self) -> Vec<String> {
        let known = self.known.into_inner();
        known.unwrap_or_else(PoisonError::into_inner).names
    }

    fn code(&self, text: &str) -> u32 {
        let name = self.canonical(text);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.codes.get(&name) {
            Some(code) => *code,
            None => known.add(&name),
        }
    }

    fn canonical(&self, text: &str) -> String {
        if self.is_binary && text.eq_ignore_ascii_case("true") {
            return "1".to_owned();
        }
        if self.is_binary && text.eq_ignore_ascii_case("false") {
            return "0".to_owned();
        }
        let whole = fast_float2::parse::<f64, _>(text)
            .ok()
            .filter(|value| value.trunc().to_bits() == value.to_bits() && value.abs() < 1e15);
        match whole {
            // Zero has no sign.
            Some(value) => format!("{}", value + 0.0),
            None => text.to_owned(),
        }
    }
}

impl Known {
    fn add(&mut self, name: &str) -> u32 {
        let code = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.codes.insert(name.to_owned(), code);
        code
    }
}

/// The classes of one block of rows. It has its own limit: what other threads have found in the meantime
/// must not decide which row is an error.
pub(super) struct Local<'a> {
    classes: &'a Classes,
    codes: HashMap<String, u32>,
    seen: HashSet<u32>,
    /// Whether there were too many classes.
    pub(super) is_over: bool,
    last: (String, u32),
}

impl Local<'_> {
    /// Returns the code of a class as a number; not a number for a missing value.
    pub(super) fn code(&mut self, cell: Cell<'_>) -> Result<f64, String> {
        let printed;
        let text = match cell {
            Cell::Missing => return Ok(f64::NAN),
            Cell::Text(text) => text.trim(),
            Cell::Number(value) => {
                printed = value.to_string();
                printed.as_str()
            }
        };
        if text == self.last.0 && !text.is_empty() {
            return Ok(f64::from(self.last.1));
        }
        if text.is_empty() {
            return Ok(f64::NAN);
        }
        let code = if let Some(code) = self.codes.get(text) {
            *code
        } else {
            if text.len() > MAX_NAME {
                return Err(format!(
                    "`{}` of {} bytes is too long for a class: at most {MAX_NAME} bytes are allowed",
                    short(text),
                    text.len()
                ));
            }
            let code = self.classes.code(text);
            self.seen.insert(code);
            if let Err(message) = self.check_number(text) {
                self.is_over = true;
                return Err(message);
            }
            // Spellings of numbers are without limit.
            if self.codes.len() < 4 * MAX_CLASSES {
                self.codes.insert(text.to_owned(), code);
            }
            code
        };
        self.last.0.clear();
        self.last.0.push_str(text);
        self.last.1 = code;
        Ok(f64::from(code))
    }

    fn check_number(&self, text: &str) -> Result<(), String> {
        if self.classes.is_binary && self.seen.len() > 2 {
            return Err(format!(
                "`{}` is one class too many for BinaryClassification; if it is a probability, set \
                 probability_attribute",
                short(text)
            ));
        }
        if self.seen.len() > MAX_CLASSES {
            return Err(TOO_MANY.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_parsed_as_predictions_are_written() {
        for (text, value) in [("0.5", 0.5), (" 1e-3 ", 1e-3), (".5", 0.5), ("-7", -7.0)] {
            assert_eq!(number(Cell::Text(text)), Ok(value));
        }
        assert!(number(Cell::Missing).unwrap().is_nan());
        for text in ["x", "NaN", "inf", "1,5"] {
            assert!(
                number(Cell::Text(text))
                    .unwrap_err()
                    .contains("is not a number")
            );
        }
        assert!(number(Cell::Number(f64::NAN)).is_err());
    }

    #[test]
    fn spellings_of_a_class_are_one_class() {
        let classes = Classes::new(Problem::BinaryClassification);
        let mut local = classes.local();
        for text in ["1", "1.0", "true", "True", " 1 ", "1e0"] {
            assert_eq!(local.code(Cell::Text(text)), Ok(1.0), "{text}");
        }
        assert_eq!(local.code(Cell::Number(-0.0)), Ok(0.0));
        assert!(local.code(Cell::Text("")).unwrap().is_nan());
        let error = local.code(Cell::Text("0.73")).unwrap_err();
        // Another block has its own limit.
        assert_eq!(classes.local().code(Cell::Text("no")), Ok(3.0));
        assert!(error.contains("`0.73` is one class too many"), "{error}");
        assert_eq!(classes.into_names(), ["0", "1", "0.73", "no"]);
        let many = Classes::new(Problem::MulticlassClassification);
        assert_eq!(many.local().code(Cell::Text("true")), Ok(0.0));
        let mut local = many.local();
        for class in 0..MAX_CLASSES {
            local.code(Cell::Text(&class.to_string())).unwrap();
        }
        assert_eq!(local.code(Cell::Text("x")), Err(TOO_MANY.to_owned()));
    }

    #[test]
    fn long_names_of_classes_are_refused() {
        let classes = Classes::new(Problem::MulticlassClassification);
        let mut local = classes.local();
        assert_eq!(local.code(Cell::Text(&"é".repeat(128))), Ok(0.0));
        let error = local.code(Cell::Text(&"é".repeat(129))).unwrap_err();
        assert!(
            error.contains("of 258 bytes is too long for a class: at most 256"),
            "{error}"
        );
        assert!(error.len() < 400, "{error}");
        assert_eq!(classes.into_names().len(), 1);
    }
}
