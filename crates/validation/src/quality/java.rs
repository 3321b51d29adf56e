//! Formats numbers as AWS's analyzer does in descriptions: Java's `Double.toString`.

/// Formats a number: at least one digit after the point, and an exponent below 10⁻³ and from 10⁷ on
/// (`8.080858763541535E-4`).
///
/// The digits are the fewest that identify the number. Before version 19, Java printed one digit too
/// many for a few numbers; none of AWS's 94 known figures is one of them.
pub(super) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
        Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every figure of AWS's descriptions.
    #[test]
    fn the_figures_of_aws_are_printed_as_aws_does() {
        let mut count = 0;
        for text in super::super::tests::VIOLATIONS {
            for figure in text.split([' ', '\'']) {
                if figure.contains('.') && figure.parse::<f64>().is_ok() {
                    assert_eq!(double(figure.parse().unwrap()), figure);
                    count += 1;
                }
            }
        }
        assert!(count > 90, "{count}");
    }

    #[test]
    fn other_sizes() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (0.001, "0.001"),
            (0.000_999, "9.99E-4"),
            (1e7, "1.0E7"),
            (9_999_999.5, "9999999.5"),
            (-15_567_140.995_764, "-1.5567140995764E7"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), text);
        }
    }
}
