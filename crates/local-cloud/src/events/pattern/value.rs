//! The values of one field of a pattern.

use std::net::IpAddr;

use serde_json::{Map, Number, Value};

use super::address::{self, Block};
use super::folding;
use super::glob::Glob;

/// The values of a field: one of them has to match.
#[derive(Debug)]
pub(super) struct Field {
    matchers: Vec<Matcher>,
    /// True if the field can be absent (`{"exists": false}`).
    pub(super) absent: bool,
}

/// Matches a value.
#[derive(Debug)]
enum Matcher {
    Literal(Value),
    /// Text that is an address matches every spelling of it.
    Address(IpAddr),
    Exists,
    Prefix(String),
    PrefixIgnoringCase(String),
    Suffix(String),
    SuffixIgnoringCase(String),
    EqualsIgnoringCase(String),
    Wildcard(Glob),
    Numeric(Range),
    Cidr(Block),
    AnythingBut(Vec<Matcher>),
}

/// A range of numbers.
#[derive(Debug)]
struct Range {
    low: Bound,
    high: Bound,
}

/// The end of a range, and whether it belongs to the range.
type Bound = Option<(f64, bool)>;

impl Range {
    fn contains(&self, number: f64) -> bool {
        let above = |(low, closed)| number > low || closed && number >= low;
        let below = |(high, closed)| number < high || closed && number <= high;
        self.low.is_none_or(above) && self.high.is_none_or(below)
    }
}

const ONE_KEY: &str = "Only one key allowed in match expression";
const TOO_MANY: &str = "Too many elements in numeric expression";
const NO_EMPTY_AFFIX: &str = "Null prefix/suffix not allowed";
const ANYTHING_BUT_VALUE: &str =
    "Value of anything-but must be an array or single string/number value.";

impl Field {
    pub(super) fn compile(values: &[Value]) -> Result<Self, String> {
        if values.is_empty() {
            return Err("Empty arrays are not allowed".to_owned());
        }
        let mut field = Self {
            matchers: Vec::new(),
            absent: false,
        };
        for value in values {
            match value {
                Value::Object(expression) => match expression_of(expression)? {
                    Some(matcher) => field.matchers.push(matcher),
                    None => field.absent = true,
                },
                Value::Array(_) => {
                    return Err(
                        "Match value must be String, number, true, false, or null".to_owned()
                    );
                }
                Value::String(text) => field.matchers.push(text_of(text)),
                literal => field.matchers.push(Matcher::Literal(literal.clone())),
            }
        }
        Ok(field)
    }

    /// True if a value that is neither list nor object matches.
    pub(super) fn matches(&self, value: &Value) -> bool {
        self.matchers.iter().any(|matcher| matcher.matches(value))
    }

    /// The texts that match, if nothing else does.
    pub(super) fn exact(&self) -> Option<Vec<&str>> {
        let mut texts = Vec::new();
        for matcher in &self.matchers {
            let Matcher::Literal(Value::String(text)) = matcher else {
                return None;
            };
            texts.push(text.as_str());
        }
        (!self.absent).then_some(texts)
    }

    /// The number of values that one is compared with.
    pub(super) fn size(&self) -> usize {
        let sizes = self.matchers.iter().map(|matcher| match matcher {
            Matcher::AnythingBut(excluded) => excluded.len(),
            _ => 1,
        });
        sizes.sum()
    }

    /// The complexity of the wildcards.
    pub(super) fn complexity(&self) -> usize {
        self.matchers.iter().map(Matcher::complexity).sum()
    }
}

impl Matcher {
    fn matches(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Exists, _) => true,
            (Self::AnythingBut(excluded), _) => {
                !excluded.iter().any(|matcher| matcher.matches(value))
            }
            (Self::Literal(Value::Number(own)), Value::Number(number)) => {
                match (comparable(own), comparable(number)) {
                    (Some(own), Some(number)) => own.total_cmp(&number).is_eq(),
                    _ => own == number,
                }
            }
            (Self::Literal(own), _) => own == value,
            (Self::Numeric(range), Value::Number(number)) => {
                comparable(number).is_some_and(|number| range.contains(number))
            }
            (_, Value::String(text)) => self.matches_text(text),
            _ => false,
        }
    }

    fn matches_text(&self, text: &str) -> bool {
        match self {
            Self::Address(own) => address::parse(text) == Some(*own),
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::PrefixIgnoringCase(prefix) => folding::strip_prefix(text, prefix).is_some(),
            Self::SuffixIgnoringCase(suffix) => folding::strip_suffix(text, suffix).is_some(),
            Self::EqualsIgnoringCase(own) => {
                folding::strip_prefix(text, own).is_some_and(str::is_empty)
            }
            Self::Wildcard(glob) => glob.matches(text),
            Self::Cidr(block) => {
                address::parse(text).is_some_and(|address| block.contains(address))
            }
            Self::Literal(_) | Self::Exists | Self::Numeric(_) | Self::AnythingBut(_) => false,
        }
    }

    fn complexity(&self) -> usize {
        match self {
            Self::Wildcard(glob) => glob.complexity(),
            Self::AnythingBut(excluded) => excluded.iter().map(Self::complexity).sum(),
            _ => 0,
        }
    }
}

/// A number as event-ruler compares it; `None` for one that has no such form: an integer that is not the shortest
/// text of its floating-point number. Zero has no sign.
fn comparable(number: &Number) -> Option<f64> {
    /// Up to here, every integer is exact.
    const EXACT: u64 = 1 << 53;
    let value = number.as_f64().filter(|value| value.is_finite())?;
    let integer = match (number.as_i64(), number.as_u64()) {
        (Some(integer), _) => Some(i128::from(integer)),
        (_, integer) => integer.map(i128::from),
    };
    let is_comparable = integer.is_none_or(|integer| {
        integer.unsigned_abs() <= EXACT.into() || value.to_string() == integer.to_string()
    });
    is_comparable.then_some(value + 0.0)
}

fn text_of(text: &str) -> Matcher {
    match address::parse(text) {
        Some(address) => Matcher::Address(address),
        None => Matcher::Literal(text.into()),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("{name} match pattern must be a string"))
}

fn glob(pattern: &str) -> Result<Matcher, String> {
    Glob::parse(pattern).map(Matcher::Wildcard)
}

/// A match expression; `None` is `{"exists": false}`.
fn expression_of(expression: &Map<String, Value>) -> Result<Option<Matcher>, String> {
    let (name, value) = expression
        .iter()
        .next()
        .ok_or("Match expression name not found")?;
    let matcher = match name.as_str() {
        "exactly" => Matcher::Literal(text(value, "exact")?.into()),
        "prefix" => match value {
            Value::Object(inner) => {
                Matcher::PrefixIgnoringCase(ignoring_case(inner, "prefix", "Prefix")?)
            }
            _ => Matcher::Prefix(text(value, "prefix")?.to_owned()),
        },
        "suffix" => match value {
            Value::Object(inner) => {
                Matcher::SuffixIgnoringCase(ignoring_case(inner, "suffix", "Suffix")?)
            }
            _ => Matcher::Suffix(text(value, "suffix")?.to_owned()),
        },
        "equals-ignore-case" => {
            Matcher::EqualsIgnoringCase(text(value, "equals-ignore-case")?.to_owned())
        }
        "wildcard" => glob(text(value, "wildcard")?)?,
        "numeric" => numeric(value)?,
        "anything-but" => anything_but(value)?,
        "cidr" => {
            let given = value
                .as_str()
                .ok_or("prefix match pattern must be a string")?;
            Matcher::Cidr(Block::parse(given)?)
        }
        "exists" => match value {
            Value::Bool(true) => Matcher::Exists,
            Value::Bool(false) if expression.len() == 1 => return Ok(None),
            Value::Bool(false) => return Err(ONE_KEY.to_owned()),
            _ => return Err("exists match pattern must be either true or false.".to_owned()),
        },
        other => return Err(format!("Unrecognized match type {other}")),
    };
    if expression.len() > 1 {
        let is_list = matches!(name.as_str(), "numeric" | "anything-but");
        return Err(if is_list { TOO_MANY } else { ONE_KEY }.to_owned());
    }
    Ok(Some(matcher))
}

/// The text of `{"equals-ignore-case": TEXT}` below `prefix` or `suffix`.
fn ignoring_case(inner: &Map<String, Value>, name: &str, title: &str) -> Result<String, String> {
    let (operator, value) = inner
        .iter()
        .next()
        .ok_or_else(|| format!("{title} expression name not found"))?;
    if operator != "equals-ignore-case" {
        return Err(format!("Unsupported {name} pattern: {operator}"));
    }
    let given = text(value, "equals-ignore-case")?;
    if inner.len() > 1 {
        return Err(ONE_KEY.to_owned());
    }
    Ok(given.to_owned())
}

fn anything_but(value: &Value) -> Result<Matcher, String> {
    let excluded = match value {
        Value::Object(inner) => {
            let (operator, value) = inner
                .iter()
                .next()
                .ok_or("Anything-But expression name not found")?;
            let excluded = anything_but_values(operator, value)?;
            if inner.len() > 1 {
                return Err(TOO_MANY.to_owned());
            }
            excluded
        }
        Value::Array(items) => anything_but_list(items)?,
        Value::String(_) | Value::Number(_) => vec![anything_but_item(value)?],
        _ => return Err(ANYTHING_BUT_VALUE.to_owned()),
    };
    Ok(Matcher::AnythingBut(excluded))
}

fn anything_but_item(item: &Value) -> Result<Matcher, String> {
    match item {
        Value::Number(number) if comparable(number).is_none() => {
            Err(format!("Cannot compare number : {number}"))
        }
        Value::Number(_) | Value::String(_) => Ok(Matcher::Literal(item.clone())),
        _ => Err("Inside anything but list, start|null|boolean is not supported.".to_owned()),
    }
}

fn anything_but_list(items: &[Value]) -> Result<Vec<Matcher>, String> {
    let excluded: Vec<Matcher> = items
        .iter()
        .map(anything_but_item)
        .collect::<Result<_, _>>()?;
    let numbers = items.iter().filter(|item| item.is_number()).count();
    if items.is_empty() || numbers != 0 && numbers != items.len() {
        return Err(
            "Inside anything but list, either all values are number or string, mixed type is not supported"
                .to_owned(),
        );
    }
    Ok(excluded)
}

/// The values of `{"anything-but": {OPERATOR: VALUES}}`.
fn anything_but_values(operator: &str, value: &Value) -> Result<Vec<Matcher>, String> {
    if !matches!(
        operator,
        "equals-ignore-case" | "prefix" | "suffix" | "wildcard"
    ) {
        return Err(format!("Unsupported anything-but pattern: {operator}"));
    }
    let items = match value {
        Value::Array(items) => items.as_slice(),
        Value::String(_) | Value::Number(_) => std::slice::from_ref(value),
        _ => return Err(ANYTHING_BUT_VALUE.to_owned()),
    };
    let matcher = |item: &Value| {
        let wrong = || match operator {
            "equals-ignore-case" => {
                "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported."
            }
            "wildcard" => "wildcard match pattern must be a string",
            _ => "prefix/suffix match pattern must be a string",
        };
        let text = item.as_str().ok_or_else(wrong)?.to_owned();
        match operator {
            "equals-ignore-case" => Ok(Matcher::EqualsIgnoringCase(text)),
            "wildcard" => glob(&text),
            _ if text.is_empty() => Err(NO_EMPTY_AFFIX.to_owned()),
            "prefix" => Ok(Matcher::Prefix(text)),
            _ => Ok(Matcher::Suffix(text)),
        }
    };
    items.iter().map(matcher).collect()
}

/// `[OPERATOR, NUMBER]` or `[OPERATOR, NUMBER, OPERATOR, NUMBER]`.
fn numeric(value: &Value) -> Result<Matcher, String> {
    let Value::Array(items) = value else {
        return Err("Value of numeric must be an array.".to_owned());
    };
    let shown = |item: Option<&Value>| item.map_or_else(|| "]".to_owned(), ToString::to_string);
    let operator = items
        .first()
        .and_then(Value::as_str)
        .ok_or_else(|| format!("Invalid member in numeric match: {}", shown(items.first())))?;
    if !matches!(operator, "=" | "<" | "<=" | ">" | ">=") {
        return Err(format!("Unrecognized numeric range operator: {operator}"));
    }
    let name = if operator == "=" { "equals" } else { operator };
    let number = bound(items.get(1), name)?;
    let rest = items.get(2..).unwrap_or_default();
    let closed = operator.ends_with('=');
    if rest.is_empty() || !operator.starts_with('>') {
        if !rest.is_empty() {
            return Err(TOO_MANY.to_owned());
        }
        let end = Some((number, closed));
        return Ok(Matcher::Numeric(Range {
            low: end.filter(|_| !operator.starts_with('<')),
            high: end.filter(|_| !operator.starts_with('>')),
        }));
    }
    let second = rest
        .first()
        .and_then(Value::as_str)
        .ok_or_else(|| format!("Bad value in numeric range: {}", shown(rest.first())))?;
    if !matches!(second, "<" | "<=") {
        return Err(format!("Bad numeric range operator: {second}"));
    }
    let top = bound(rest.get(1), second)?;
    if rest.len() > 2 {
        return Err("Too many terms in numeric range expression".to_owned());
    }
    if number >= top {
        return Err("Bottom must be less than top".to_owned());
    }
    Ok(Matcher::Numeric(Range {
        low: Some((number, closed)),
        high: Some((top, second.ends_with('='))),
    }))
}

fn bound(value: Option<&Value>, operator: &str) -> Result<f64, String> {
    match value {
        Some(Value::Number(number)) => {
            comparable(number).ok_or_else(|| format!("Cannot compare number : {number}"))
        }
        _ => Err(format!("Value of {operator} must be numeric")),
    }
}
