//! Text formatting: tables, states, times, sizes, and sanitizing.

mod state;
mod table;

pub use state::{LIVE, state, states};
pub use table::{table, wide_table};

/// Maximum line width in columns.
pub const WIDTH: usize = 80;

/// Removes control characters from text of a data set or of AWS, for output on a terminal: also those that end
/// a line or change the direction of text without being a control character for Unicode.
pub fn clean(text: &str) -> String {
    let controls = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if controls(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Returns cleaned text whose further lines are indented, so that none looks like a line of its own.
pub fn clean_paragraph(text: &str) -> String {
    clean(text).replace('\n', "\n  ")
}

/// Formats a time: `2026-01-02 03:04Z`.
pub fn time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%MZ").to_string()
}

/// Formats a time with seconds, for log lines: `2026-01-02 03:04:05Z`.
pub fn exact_time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Formats a duration: `3 s`, `2 min 5 s`, `1 h 4 min`.
pub fn duration(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let parts = match (hours, minutes, rest) {
        (0, 0, s) => [(s, "s"), (0, "")],
        (0, m, s) => [(m, "min"), (s, "s")],
        (h, m, _) => [(h, "h"), (m, "min")],
    };
    let shown = parts.iter().enumerate();
    let shown = shown.filter(|(index, (count, _))| *index == 0 || *count > 0);
    let shown: Vec<String> = shown
        .map(|(_, (count, unit))| format!("{count} {unit}"))
        .collect();
    shown.join(" ")
}

/// Formats a number of bytes: `512 B`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = count as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\nc");
        assert_eq!(clean("a\u{202e}b\u{2028}c"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(clean_paragraph("a\nerror: b"), "a\n  error: b");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (125, "2 min 5 s"),
            (3600, "1 h"),
            (7380, "2 h 3 min"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
