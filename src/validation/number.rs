//! Numbers in text, by Deequ's rules (`StatefulDataType`).
//!
//! `^(-|\+)? ?\d+$` is Integral, the same with a fraction or an exponent is Fractional, and nothing
//! else is a number: not `.5`, `5.`, `NaN`, `inf`, `1,000` or `0x10`. Digits beyond what a double
//! can hold (`1e999`) are no number either; that corner is ours.

use super::hash;

/// A number as it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    /// The double that is nearest.
    pub(super) value: f64,
    /// Whether it was written without a fraction and an exponent.
    pub(super) integral: bool,
    /// A hash of the value: equal for `7`, `007`, `7.0` and `70e-1`.
    pub(super) key: u64,
}

/// 10^0 to 10^22, the powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// Up to here every whole number is a double.
const EXACT: u64 = 1 << 53;
/// So many decimal digits always fit into 64 bits.
const DIGITS: usize = 19;

/// Reads a number; `None` when the text is none.
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
            slow(rest, negative, true)
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
        // Clinger's fast path: both are exact doubles, so one division rounds once.
        if whole + fraction <= DIGITS && mantissa <= EXACT && fraction < POWERS.len() {
            #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
            let value = mantissa as f64 / POWERS[fraction];
            return Some(number(if negative { -value } else { value }, false));
        }
        return slow(rest, negative, false);
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
    slow(rest, negative, false)
}

/// The hash of a whole number, as text and typed columns use it.
pub(super) fn key_of_integer(value: i64) -> u64 {
    hash::of_number(value.cast_unsigned())
}

/// The hash of any finite number; a whole number has that of the integer.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "the cast saturates, and what is not the same number again is not whole"
)]
pub(super) fn key_of(value: f64) -> u64 {
    let whole = value as i64;
    if whole as f64 == value && whole.unsigned_abs() <= EXACT {
        key_of_integer(whole)
    } else {
        hash::of_number(value.to_bits() ^ 0x5555_5555_5555_5555)
    }
}

fn number(value: f64, integral: bool) -> Number {
    Number {
        value,
        integral,
        key: key_of(value),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rounds to the nearest double, as reading the digits would"
)]
fn integer(magnitude: u64, negative: bool) -> Number {
    let value = magnitude as f64;
    Number {
        value: if negative { -value } else { value },
        integral: true,
        key: hash::of_number(if negative {
            magnitude.wrapping_neg()
        } else {
            magnitude
        }),
    }
}

/// Adds the leading decimal digits to `mantissa` (wrapping) and says how many there were.
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

#[cold]
fn slow(digits: &[u8], negative: bool, integral: bool) -> Option<Number> {
    let value: f64 = fast_float2::parse(digits).ok()?;
    value
        .is_finite()
        .then(|| number(if negative { -value } else { value }, integral))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_deequ_says() {
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
        ] {
            assert_eq!(key(same[0]), key(same[1]), "{same:?}");
        }
        assert_eq!(key("12"), key_of_integer(12));
        assert_eq!(key("-12"), key_of_integer(-12));
        // Neighbours that no double can tell apart.
        assert_ne!(key("1000000000000000001"), key("1000000000000000002"));
        assert_ne!(key("7"), key("-7"));
    }
}
