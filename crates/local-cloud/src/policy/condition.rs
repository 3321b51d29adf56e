//! The conditions of statements: operators, and the values that a request must have.

use std::net::IpAddr;

use base64::Engine as _;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use serde_json::Value;

use super::context::{Found, Lookup, Values};
use super::malformed::{Malformed, malformed, texts};
use super::pattern::{ArnPattern, Pattern, Syntax};

/// One operator for one key.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    /// In lower case.
    key: String,
    set: Option<Set>,
    /// The operator ends with `IfExists`.
    if_exists: bool,
    /// The operator is negated: all values must differ.
    negated: bool,
    test: Test,
}

/// How the values of a key with several values count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Any,
    All,
}

/// An operator with the values of the policy. A value that the operator cannot read never matches.
#[derive(Debug, Clone)]
enum Test {
    /// The key must be absent (true) or present.
    Null(Vec<bool>),
    Text(Vec<Pattern>),
    /// The same in upper and lower case; the texts can have variables.
    AnyCase(Vec<Pattern>),
    Number(Order, Vec<Option<f64>>),
    Date(Order, Vec<Option<Timestamp>>),
    Bool(Vec<Pattern>),
    Binary(Vec<Option<Vec<u8>>>),
    Address(Vec<Option<Network>>),
    Arn(Vec<Option<ArnPattern>>),
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, own: &T, wanted: &T) -> bool {
        match self {
            Self::Equal => own == wanted,
            Self::Less => own < wanted,
            Self::LessOrEqual => own <= wanted,
            Self::Greater => own > wanted,
            Self::GreaterOrEqual => own >= wanted,
        }
    }
}

/// A range of IP addresses.
#[derive(Debug, Clone, Copy)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Condition {
    /// Reads a `Condition` element.
    pub(super) fn all(element: &Value, variables: bool) -> Result<Vec<Self>, Malformed> {
        let operators = element
            .as_object()
            .ok_or_else(|| malformed("Condition is not an object"))?;
        let mut conditions = Vec::new();
        for (operator, keys) in operators {
            let keys = keys
                .as_object()
                .ok_or_else(|| malformed(format!("{operator} is not an object")))?;
            for (key, values) in keys {
                conditions.push(Self::new(operator, key, &texts(values)?, variables)?);
            }
        }
        Ok(conditions)
    }

    fn new(
        operator: &str,
        key: &str,
        values: &[String],
        variables: bool,
    ) -> Result<Self, Malformed> {
        let unknown = || malformed(format!("Invalid Condition type : {operator}"));
        // Operators are the same in upper and lower case.
        let lower = operator.to_ascii_lowercase();
        let (set, name) = match lower.split_once(':') {
            None => (None, lower.as_str()),
            Some(("foranyvalue", name)) => (Some(Set::Any), name),
            Some(("forallvalues", name)) => (Some(Set::All), name),
            Some(_) => return Err(unknown()),
        };
        let (name, if_exists) = match name.strip_suffix("ifexists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (negated, test) = test(name, values, variables).ok_or_else(unknown)?;
        if if_exists && matches!(test, Test::Null(_)) {
            return Err(unknown());
        }
        Ok(Self {
            key: key.to_ascii_lowercase(),
            set,
            if_exists,
            negated,
            test,
        })
    }

    /// Adds the key and the policy variables of the values.
    pub(super) fn keys(&self, keys: &mut Vec<String>) {
        keys.push(self.key.clone());
        match &self.test {
            Test::Text(patterns) | Test::AnyCase(patterns) | Test::Bool(patterns) => {
                for pattern in patterns {
                    pattern.keys(keys);
                }
            }
            Test::Arn(patterns) => {
                patterns
                    .iter()
                    .flatten()
                    .for_each(|pattern| pattern.keys(keys));
            }
            _ => {}
        }
    }

    /// True if the request meets the condition; `None` if that depends on a key that is not known.
    /// The rules for absent keys and for lists: user guide, "Condition operators" and "Set operators".
    pub(super) fn is_met(&self, lookup: &Lookup<'_>) -> Option<bool> {
        let found = lookup.find(&self.key);
        if let Test::Null(wanted) = &self.test {
            let is_absent = match found {
                Found::Unknown => return None,
                Found::Absent => true,
                Found::Values(_) => false,
            };
            return Some(wanted.contains(&is_absent));
        }
        let values = match found {
            Found::Unknown => return None,
            Found::Values(values) => values,
            Found::Absent => {
                let by_absence = match self.set {
                    None => self.negated,
                    Some(Set::Any) => false,
                    Some(Set::All) => true,
                };
                return Some(self.if_exists || by_absence);
            }
        };
        Some(match (self.set, values) {
            (_, Values::One(value)) => self.accepts(value, lookup),
            // A list needs a set operator.
            (None, Values::Many(_)) => false,
            (Some(Set::Any), Values::Many(values)) => {
                values.iter().any(|value| self.accepts(value, lookup))
            }
            (Some(Set::All), Values::Many(values)) => {
                values.iter().all(|value| self.accepts(value, lookup))
            }
        })
    }

    /// True if one value of the request matches one of the policy's values, or differs from all if
    /// the operator is negated. A value that cannot be compared does neither.
    fn accepts(&self, own: &str, lookup: &Lookup<'_>) -> bool {
        let negated = self.negated;
        match &self.test {
            Test::Null(_) => false,
            Test::Text(wanted) => decide(wanted, negated, |it| it.matches(own, lookup)),
            Test::AnyCase(wanted) => decide(wanted, negated, |it| {
                let wanted = it.resolve(lookup)?;
                Some(wanted.to_lowercase() == own.to_lowercase())
            }),
            Test::Number(order, wanted) => {
                let own = number(own);
                decide(wanted, negated, |it| Some(order.holds(&own?, &(*it)?)))
            }
            Test::Date(order, wanted) => {
                let own = date(own);
                decide(wanted, negated, |it| Some(order.holds(&own?, &(*it)?)))
            }
            Test::Bool(wanted) => {
                let own = boolean(own);
                decide(wanted, negated, |it| {
                    Some(boolean(&it.resolve(lookup)?)? == own?)
                })
            }
            Test::Binary(wanted) => {
                let own = binary(own);
                decide(wanted, negated, |it| Some(*own.as_ref()? == *it.as_ref()?))
            }
            Test::Address(wanted) => {
                let own = own.parse().ok();
                decide(wanted, negated, |it| Some((*it)?.contains(own?)))
            }
            Test::Arn(wanted) => {
                let is_arn = own.starts_with("arn:") && own.splitn(6, ':').count() == 6;
                decide(wanted, negated, |it| {
                    let it = it.as_ref().filter(|_| is_arn)?;
                    it.matches(own, lookup)
                })
            }
        }
    }
}

/// `compare` says whether a value of the policy matches; `None` if it cannot be compared.
fn decide<T>(wanted: &[T], negated: bool, compare: impl Fn(&T) -> Option<bool>) -> bool {
    let mut compared = wanted.iter().map(compare);
    if negated {
        compared.all(|matches| matches == Some(false))
    } else {
        compared.any(|matches| matches == Some(true))
    }
}

/// The test of an operator in lower case, and whether it is negated.
fn test(operator: &str, values: &[String], variables: bool) -> Option<(bool, Test)> {
    let patterns = |wildcards| {
        let syntax = Syntax {
            wildcards,
            variables,
        };
        let values = values.iter();
        values.map(|value| Pattern::parse(value, syntax)).collect()
    };
    let numbers = |order| {
        let values = values.iter().map(|value| number(value)).collect();
        Test::Number(order, values)
    };
    let dates = |order| {
        let values = values.iter().map(|value| date(value)).collect();
        Test::Date(order, values)
    };
    let arns = || {
        let values = values.iter();
        Test::Arn(
            values
                .map(|value| ArnPattern::parse(value, variables))
                .collect(),
        )
    };
    let networks = || Test::Address(values.iter().map(|value| Network::parse(value)).collect());
    Some(match operator {
        "null" => {
            let wanted = values.iter().map(|value| boolean(value));
            (false, Test::Null(wanted.collect::<Option<_>>()?))
        }
        "stringequals" => (false, Test::Text(patterns(false))),
        "stringnotequals" => (true, Test::Text(patterns(false))),
        "stringlike" => (false, Test::Text(patterns(true))),
        "stringnotlike" => (true, Test::Text(patterns(true))),
        "stringequalsignorecase" => (false, Test::AnyCase(patterns(false))),
        "stringnotequalsignorecase" => (true, Test::AnyCase(patterns(false))),
        "numericequals" => (false, numbers(Order::Equal)),
        "numericnotequals" => (true, numbers(Order::Equal)),
        "numericlessthan" => (false, numbers(Order::Less)),
        "numericlessthanequals" => (false, numbers(Order::LessOrEqual)),
        "numericgreaterthan" => (false, numbers(Order::Greater)),
        "numericgreaterthanequals" => (false, numbers(Order::GreaterOrEqual)),
        "dateequals" => (false, dates(Order::Equal)),
        "datenotequals" => (true, dates(Order::Equal)),
        "datelessthan" => (false, dates(Order::Less)),
        "datelessthanequals" => (false, dates(Order::LessOrEqual)),
        "dategreaterthan" => (false, dates(Order::Greater)),
        "dategreaterthanequals" => (false, dates(Order::GreaterOrEqual)),
        "bool" => (false, Test::Bool(patterns(false))),
        "binaryequals" => {
            let values = values.iter().map(|value| binary(value)).collect();
            (false, Test::Binary(values))
        }
        "ipaddress" => (false, networks()),
        "notipaddress" => (true, networks()),
        "arnequals" | "arnlike" => (false, arns()),
        "arnnotequals" | "arnnotlike" => (true, arns()),
        _ => return None,
    })
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|it: &f64| it.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn binary(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// A date of ISO 8601 or the seconds since the epoch.
fn date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let time = match text.parse::<DateTime>() {
        Ok(time) => time,
        Err(_) => text
            .parse::<Date>()
            .ok()?
            .to_datetime(jiff::civil::Time::midnight()),
    };
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(time.timestamp())
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Self { address, prefix })
    }

    fn contains(self, other: IpAddr) -> bool {
        let differing = match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differing >= self.prefix
    }
}
