//! The shapes of AWS requests: member names, types and limits, from AWS's own service models.
//!
//! `tools/api_shapes.py` generates the tables in `shapes/` from botocore; its docstring describes
//! the format. The local cloud checks every request against them, and this crate checks the
//! arguments of a definition's steps. A value that does not match is reported, so no part of a
//! request is silently ignored.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use regex::Regex;

mod check;

pub use check::Finding;
pub use check::{Calls, Check, Fault, Scalars};

/// The input shapes of one service.
#[derive(Debug)]
pub struct Table {
    /// The input shape of each operation, `-` for none.
    operations: HashMap<&'static str, &'static str>,
    shapes: HashMap<&'static str, Shape>,
}

/// Minimum and maximum of a length or value.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    min: Option<f64>,
    max: Option<f64>,
}

/// The type of a value.
#[derive(Debug)]
pub enum Shape {
    /// An object with these members.
    Structure(Vec<Member>),
    /// A list of one shape.
    List {
        /// The shape of the elements.
        item: &'static str,
        /// The allowed number of elements.
        limits: Limits,
    },
    /// An object with any member names.
    Map {
        /// The shape of the names.
        key: &'static str,
        /// The shape of the values.
        value: &'static str,
        /// The allowed number of entries.
        limits: Limits,
    },
    /// Text.
    Text {
        /// Its length in characters.
        limits: Limits,
        /// A pattern that the whole text must match.
        pattern: Option<Pattern>,
    },
    /// One of these words.
    Choice(Vec<&'static str>),
    /// An integer.
    Whole(Limits),
    /// A number.
    Number(Limits),
    /// `true` or `false`.
    Boolean,
    /// A timestamp: seconds since the epoch in JSON, ISO 8601 in forms.
    Time,
    /// Bytes in base64.
    Bytes,
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// Its name in a request.
    pub name: &'static str,
    /// The name of its shape.
    pub shape: &'static str,
    /// Whether the member is required.
    pub required: bool,
    /// True for members of a path, query or header, where numbers and booleans are transferred as
    /// text.
    as_text: bool,
}

/// A pattern that is compiled on first use.
#[derive(Debug)]
pub struct Pattern {
    source: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Returns whether the whole text matches. True for patterns with features that `regex` lacks
    /// (look-around).
    fn matches(&self, text: &str) -> bool {
        self.regex().is_none_or(|regex| regex.is_match(text))
    }

    fn regex(&self) -> Option<&Regex> {
        self.compiled
            .get_or_init(|| Regex::new(&format!("^(?:{})$", self.source)).ok())
            .as_ref()
    }
}

impl Table {
    /// The table of a service, by its name in ARNs.
    pub fn of(service: &str) -> Option<&'static Self> {
        macro_rules! tables {
            ($($name:literal),*) => {
                match service {
                    $($name => {
                        static TABLE: LazyLock<Table> = LazyLock::new(|| {
                            Table::parse(include_str!(concat!("shapes/", $name, ".txt")))
                        });
                        Some(&TABLE)
                    })*
                    _ => None,
                }
            };
        }
        tables!(
            "application-autoscaling",
            "cloudformation",
            "cloudwatch",
            "codebuild",
            "codecommit",
            "codeconnections",
            "codepipeline",
            "ec2",
            "ecr",
            "events",
            "iam",
            "kms",
            "lambda",
            "logs",
            "sagemaker",
            "scheduler",
            "sns",
            "sqs",
            "ssm",
            "sts"
        )
    }

    fn parse(text: &'static str) -> Self {
        let mut table = Self {
            operations: HashMap::new(),
            shapes: HashMap::new(),
        };
        for line in text.lines() {
            let mut rest = line;
            let (kind, name) = (word(&mut rest), word(&mut rest));
            if kind == ">" {
                table.operations.insert(name, word(&mut rest));
            } else if let Some(shape) = Shape::parse(kind, rest) {
                table.shapes.insert(name, shape);
            }
        }
        table
    }

    /// Returns whether the table contains an operation.
    pub fn has(&self, operation: &str) -> bool {
        self.operations.contains_key(operation)
    }

    /// Returns the name of an operation's input shape; `None` if the operation is not in the table,
    /// or has no input.
    pub fn input(&self, operation: &str) -> Option<&'static str> {
        self.operations
            .get(operation)
            .copied()
            .filter(|name| *name != "-")
    }

    /// Returns the shape with this name.
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.shapes.get(name)
    }

    /// Returns the shape of a list's elements; for any other shape, the shape itself.
    pub fn element(&self, name: &'static str) -> &'static str {
        match self.shape(name) {
            Some(Shape::List { item, .. }) => item,
            _ => name,
        }
    }

    /// Returns the members of a structure; empty for other shapes.
    pub fn members(&self, name: &str) -> &[Member] {
        match self.shape(name) {
            Some(Shape::Structure(members)) => members,
            _ => &[],
        }
    }
}

/// Splits off the next word of a line; empty at its end.
fn word(rest: &mut &'static str) -> &'static str {
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    *rest = after;
    word
}

impl Shape {
    fn parse(kind: &str, mut rest: &'static str) -> Option<Self> {
        Some(match kind {
            "{" => Self::Structure(rest.split(' ').filter_map(Member::parse).collect()),
            "[" => Self::List {
                item: word(&mut rest),
                limits: Limits::parse(&mut rest),
            },
            "%" => Self::Map {
                key: word(&mut rest),
                value: word(&mut rest),
                limits: Limits::parse(&mut rest),
            },
            "s" => Self::Text {
                limits: Limits::parse(&mut rest),
                pattern: (!rest.is_empty()).then(|| Pattern {
                    source: rest,
                    compiled: OnceLock::new(),
                }),
            },
            "e" => Self::Choice(rest.split('|').collect()),
            "i" => Self::Whole(Limits::parse(&mut rest)),
            "f" => Self::Number(Limits::parse(&mut rest)),
            "b" => Self::Boolean,
            "t" => Self::Time,
            "x" => Self::Bytes,
            _ => return None,
        })
    }
}

impl Member {
    fn parse(word: &'static str) -> Option<Self> {
        let (name, shape) = word.split_once('=')?;
        Some(Self {
            required: name.contains('!'),
            as_text: name.contains('~'),
            name: name.trim_end_matches(['!', '~']),
            shape,
        })
    }
}

impl Limits {
    fn parse(rest: &mut &'static str) -> Self {
        Self {
            min: word(rest).parse().ok(),
            max: word(rest).parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: [&str; 20] = [
        "application-autoscaling",
        "cloudformation",
        "cloudwatch",
        "codebuild",
        "codecommit",
        "codeconnections",
        "codepipeline",
        "ec2",
        "ecr",
        "events",
        "iam",
        "kms",
        "lambda",
        "logs",
        "sagemaker",
        "scheduler",
        "sns",
        "sqs",
        "ssm",
        "sts",
    ];

    #[test]
    fn every_name_in_the_tables_has_a_shape() {
        for service in SERVICES {
            let table = Table::of(service).unwrap();
            let known = |name: &str| {
                assert!(table.shape(name).is_some(), "{service}: {name}");
            };
            for input in table.operations.values().filter(|input| **input != "-") {
                known(input);
            }
            for shape in table.shapes.values() {
                match shape {
                    Shape::Structure(members) => members.iter().for_each(|m| known(m.shape)),
                    Shape::List { item, .. } => known(item),
                    Shape::Map { key, value, .. } => {
                        known(key);
                        known(value);
                    }
                    _ => {}
                }
            }
        }
        assert!(Table::of("s3").is_none());
    }

    /// A pattern that `regex` cannot compile is not checked; this affects only patterns with
    /// look-around.
    #[test]
    fn every_pattern_compiles_or_uses_look_around() {
        for service in SERVICES {
            for (name, shape) in &Table::of(service).unwrap().shapes {
                if let Shape::Text {
                    pattern: Some(pattern),
                    ..
                } = shape
                {
                    let looks = ["(?=", "(?!", "(?<!", "(?<="]
                        .iter()
                        .any(|part| pattern.source.contains(part));
                    assert!(
                        looks || pattern.regex().is_some(),
                        "{service} {name}: {}",
                        pattern.source
                    );
                }
            }
        }
    }
}
