//! Parses numbers by Deequ's rules (`StatefulDataType`).
//!
//! `^(-|\+)? ?\d+$` is Integral, the same with a fraction or an exponent is Fractional, and nothing
//! else is a number: not `.5`, `5.`, `NaN`, `inf`, `1,000` or `0x10`. A number beyond the range of a
//! double (`1e999`) does not count as a number either; that corner case is our decision.

use super::hash;

/// A parsed number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    /// The nearest double.
    pub(super) value: f64,
    /// Whether it has neither fraction nor exponent.
    pub(super) integral: bool,
    /// A hash of the exact value: equal for `7`, `007`, `7.0` and `70e-1`, and different for two
    /// numbers that only share the nearest double.
    pub(super) key: u64,
}

/// 10^0 to 10^22, the powers of ten that a double represents exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// Up to this number, every integer is a double.
const EXACT: u64 = 1 << 53;
/// This many decimal digits always fit into 64 bits.
const DIGITS: usize = 19;
/// 10^15: two numbers of at most 15 digits never share the nearest double.
const TOLD_APART: u64 = 1_000_000_000_000_000;

/// Parses a number; `None` if the text is not one.
pub(super) fn parse(text: &[u8]) -> Option<Number> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let (mantissa, whole) = digits(rest, 0);
    if whole == 0 {
        return None;
    }
    if whole == rest.len() {
        return if whole <= DIGITS {
            Some(integer(mantissa, negative))
        } else {
            slow(rest, negative, true, None)
        };
    }
    let mut at = whole;
    let (mut mantissa, mut fraction) = (mantissa, 0);
    if rest[at] == b'.' {
        (mantissa, fraction) = digits(&rest[at + 1..], mantissa);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if at == rest.len() {
        let exact = whole + fraction <= DIGITS;
        let scale = i64::try_from(fraction).unwrap_or(i64::MAX);
        // Clinger's fast path: both are exact doubles, so one division rounds once.
        if exact && mantissa <= EXACT && fraction < POWERS.len() {
            #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
            let value = mantissa as f64 / POWERS[fraction];
            let value = if negative { -value } else { value };
            return Some(Number {
                value,
                integral: false,
                key: if mantissa < TOLD_APART {
                    key_of(value)
                } else {
                    key_of_decimal(mantissa, -scale, negative, value)
                },
            });
        }
        return slow(rest, negative, false, exact.then_some((mantissa, -scale)));
    }
    if !matches!(rest[at], b'e' | b'E') {
        return None;
    }
    at += 1;
    at += usize::from(matches!(rest.get(at), Some(b'-' | b'+')));
    let (_, exponent) = digits(&rest[at..], 0);
    if exponent == 0 || at + exponent != rest.len() {
        return None;
    }
    slow(rest, negative, false, None)
}

/// Hashes an integer, for text and typed columns.
pub(super) fn key_of_integer(value: i64) -> u64 {
    hash::of_number(value.cast_unsigned())
}

/// Hashes any finite number; equals the hash of the integer if it has no fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "the cast saturates, and a value that does not round-trip is not an integer"
)]
pub(super) fn key_of(value: f64) -> u64 {
    let whole = value as i64;
    if whole as f64 == value && whole != i64::MAX {
        key_of_integer(whole)
    } else {
        hash::of_number(value.to_bits() ^ 0x5555_5555_5555_5555)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rounds to the nearest double, as reading the digits would"
)]
fn integer(magnitude: u64, negative: bool) -> Number {
    let value = magnitude as f64;
    let value = if negative { -value } else { value };
    Number {
        value,
        integral: true,
        key: match signed(magnitude, negative) {
            Some(integer) => key_of_integer(integer),
            None => key_of_decimal(magnitude, 0, negative, value),
        },
    }
}

fn signed(magnitude: u64, negative: bool) -> Option<i64> {
    if negative {
        0_i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// Hashes `mantissa` · 10^`exponent`, whose nearest double is `value`.
fn key_of_decimal(mut mantissa: u64, mut exponent: i64, negative: bool, value: f64) -> u64 {
    if mantissa == 0 {
        return key_of_integer(0);
    }
    while mantissa.is_multiple_of(10) {
        mantissa /= 10;
        exponent = exponent.saturating_add(1);
    }
    let power = u32::try_from(exponent)
        .ok()
        .and_then(|exponent| 10_u64.checked_pow(exponent));
    let whole = power.and_then(|power| mantissa.checked_mul(power));
    if let Some(integer) = whole.and_then(|magnitude| signed(magnitude, negative)) {
        return key_of_integer(integer);
    }
    if mantissa < TOLD_APART {
        return key_of(value);
    }
    let place = hash::of_number(exponent.cast_unsigned() ^ u64::from(negative).rotate_right(1));
    hash::of_number(mantissa.wrapping_add(place))
}

/// Hashes a number with more digits than 64 bits can store, or with an exponent.
#[cold]
fn key_of_digits(text: &[u8], negative: bool, value: f64) -> u64 {
    let (digits, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])),
        None => (text, 0),
    };
    let mut significant: Vec<u8> = digits
        .iter()
        .copied()
        .filter(|byte| *byte != b'.')
        .collect();
    let point = digits.iter().position(|byte| *byte == b'.');
    let fraction = point.map_or(0, |at| digits.len() - at - 1);
    let mut exponent = exponent.saturating_sub_unsigned(fraction as u64);
    while significant.last() == Some(&b'0') {
        significant.pop();
        exponent = exponent.saturating_add(1);
    }
    let zeros = significant
        .iter()
        .take_while(|digit| **digit == b'0')
        .count();
    let significant = &significant[zeros..];
    if significant.len() <= DIGITS {
        let (mantissa, _) = self::digits(significant, 0);
        return key_of_decimal(mantissa, exponent, negative, value);
    }
    let place = hash::of_number(exponent.cast_unsigned() ^ u64::from(negative).rotate_right(1));
    hash::of_number(hash::of_text(significant).wrapping_add(place))
}

/// Parses an exponent, saturating at 64 bits.
fn exponent(text: &[u8]) -> i64 {
    let unsigned = text
        .strip_prefix(b"+")
        .or(text.strip_prefix(b"-"))
        .unwrap_or(text);
    let magnitude = unsigned.iter().fold(0_i64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(i64::from(digit.wrapping_sub(b'0')))
    });
    if text.first() == Some(&b'-') {
        -magnitude
    } else {
        magnitude
    }
}

/// Adds the leading decimal digits to `mantissa` (wrapping) and returns their number.
fn digits(text: &[u8], mut mantissa: u64) -> (u64, usize) {
    let mut at = 0;
    while let Some(word) = text.get(at..at + 8) {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        if !all_digits(word) {
            break;
        }
        mantissa = mantissa
            .wrapping_mul(100_000_000)
            .wrapping_add(eight_digits(word));
        at += 8;
    }
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0'))
        && digit < 10
    {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (mantissa, at)
}

/// Whether all eight bytes are `0` to `9`.
fn all_digits(word: u64) -> bool {
    let high = word & 0xf0f0_f0f0_f0f0_f0f0;
    let carried = word.wrapping_add(0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0;
    (high | (carried >> 4)) == 0x3333_3333_3333_3333
}

/// The value of eight decimal digits, the first in the lowest byte (Lemire, "Quickly parsing eight
/// digits", 2018).
fn eight_digits(word: u64) -> u64 {
    let word = word.wrapping_sub(0x3030_3030_3030_3030);
    let pairs = word.wrapping_mul(10).wrapping_add(word >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    low.wrapping_add(high) >> 32
}

/// Parses a number with many digits or an exponent. `exact` is its mantissa and exponent, if 64 bits
/// can store the mantissa.
#[cold]
fn slow(
    digits: &[u8],
    negative: bool,
    integral: bool,
    exact: Option<(u64, i64)>,
) -> Option<Number> {
    let value: f64 = fast_float2::parse(digits).ok()?;
    let value = if negative { -value } else { value };
    value.is_finite().then(|| Number {
        value,
        integral,
        key: match exact {
            Some((mantissa, exponent)) => key_of_decimal(mantissa, exponent, negative, value),
            None => key_of_digits(digits, negative, value),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_match_deequ() {
        for (text, value, integral) in [
            ("0", 0.0, true),
            ("-12", -12.0, true),
            ("+ 7", 7.0, true),
            (" 7", 7.0, true),
            ("007", 7.0, true),
            ("9223372036854775809", 9_223_372_036_854_775_809.0, true),
            (
                "123456789012345678901234567890",
                1.234_567_890_123_456_8e29,
                true,
            ),
            ("1.50", 1.5, false),
            ("-1e-3", -0.001, false),
            ("1.5E+2", 150.0, false),
            ("0.6369616873214543", 0.636_961_687_321_454_3, false),
            ("9007199254740993.0", 9_007_199_254_740_992.0, false),
            ("0.00000000000000000000000001", 1e-26, false),
        ] {
            let number = parse(text.as_bytes()).unwrap();
            assert_eq!((number.value, number.integral), (value, integral), "{text}");
        }
        for text in [
            "",
            ".5",
            "5.",
            "NaN",
            "inf",
            "-inf",
            "1,000",
            "True",
            "1e",
            "1e+",
            "1.e5",
            "-",
            "+",
            "  7",
            "7 ",
            "0x10",
            "1_000",
            "1e999",
            "٣",
            "-.5",
            "- -5",
            "12345678x",
            "1234567:",
            "1e5x",
            "1.5.5",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    /// Against the standard library, for every number of digits before and after the point.
    #[test]
    #[expect(clippy::float_cmp, reason = "the nearest double is one")]
    fn every_length_is_read_as_the_standard_library_does() {
        let digits = "98765432101234567899876543210";
        for whole in 1..=digits.len() {
            for fraction in 0..24 {
                let mut text = digits[..whole].to_owned();
                if fraction > 0 {
                    text = format!("{text}.{}", &digits[3..3 + fraction]);
                }
                let number = parse(text.as_bytes()).unwrap();
                assert_eq!(number.value, text.parse::<f64>().unwrap(), "{text}");
            }
        }
    }

    #[test]
    fn the_same_number_has_the_same_key() {
        let key = |text: &str| parse(text.as_bytes()).unwrap().key;
        for same in [
            ["7", "7.0"],
            ["007", "70e-1"],
            ["-3", "-3.00"],
            ["0.5", "5e-1"],
            ["1e18", "1000000000000000000"],
            ["1e20", "100000000000000000000.0"],
            ["89490123456780000001", "89490123456780000001.00"],
            ["0089490123456780000001", "8949012345678000000.1e1"],
            ["-12345678901234567890.5", "-123456789012345678905e-1"],
            ["0.00000000000000000000", "-0"],
            ["9223372036854775808", "9223372036854775808.0"],
        ] {
            assert_eq!(key(same[0]), key(same[1]), "{same:?}");
        }
        assert_eq!(key("12"), key_of_integer(12));
        assert_eq!(key("-12"), key_of_integer(-12));
        assert_eq!(key("1e18"), key_of(1e18));
        assert_eq!(key("100000000000000000000"), key_of(1e20));
        assert_ne!(key("7"), key("-7"));
    }

    /// Issue 8, 4.3. Neighbors that have the same nearest double.
    #[test]
    fn numbers_are_distinguished_by_their_last_digit() {
        let key = |text: &str| parse(text.as_bytes()).unwrap().key;
        for [one, other] in [
            ["1000000000000000001", "1000000000000000002"],
            ["9007199254740993", "9007199254740992.0"],
            ["89490123456780000000", "89490123456780000001"],
            ["18446744073709551615", "18446744073709551614"],
            ["9223372036854775808", "9223372036854775807"],
            // As 64-bit integers these two are equal.
            ["9000000000000000000", "-9446744073709551616"],
            ["123456789012345.67", "123456789012345.68"],
            ["0.9007199254740991", "0.9007199254740990"],
            ["-89490123456780000001.5", "89490123456780000001.5"],
            ["89490123456780000001e3", "89490123456780000002e3"],
            ["89490123456780000001e3", "89490123456780000001e4"],
            ["0.30000000000000004", "0.300000000000000041"],
        ] {
            assert_ne!(key(one), key(other), "{one} {other}");
        }
    }
}
