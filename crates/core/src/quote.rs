//! Quotations in errors: the content of a user's file on one line, truncated, and without
//! characters that a terminal interprets.

/// Maximum length of a quotation in characters: enough for a name, an ARN or a path.
const SHOWN: usize = 100;

/// Maximum length in characters of a message about a file, including its quotations.
const MESSAGE: usize = 2000;

/// Maximum length of any error in characters. pip's output is the longest that is printed.
const ERROR: usize = 8000;

/// Formats text of a file or a name on one line, truncated.
pub fn short(text: &str) -> String {
    shortened(&harmless(text), SHOWN)
}

/// Formats a message about a file on one line, and truncates each quotation (`` `…` `` and `"…"`)
/// and the message itself.
pub fn bounded(message: &str) -> String {
    let text = harmless(message);
    if text.len() <= SHOWN {
        return text;
    }
    let (mut done, mut rest) = (String::new(), text.as_str());
    while let Some(start) = rest.find(['`', '"']) {
        let (before, quoted) = rest.split_at(start + 1);
        done.push_str(before);
        rest = quoted;
        let mark = if before.ends_with('`') { '`' } else { '"' };
        let Some(end) = quoted.find(mark) else {
            break;
        };
        done.push_str(&shortened(&quoted[..end], SHOWN));
        done.push(mark);
        rest = &quoted[end + 1..];
    }
    done.push_str(rest);
    shortened(&done, MESSAGE)
}

/// Removes the offending value from a message of serde, because it may be long, or a secret.
pub fn without_value(message: &str) -> String {
    const EXPECTED: &str = ", expected ";

    for kind in ["invalid type: ", "invalid value: "] {
        if let Some(rest) = message.strip_prefix(kind)
            && let Some(at) = rest.rfind(EXPECTED)
        {
            let found = rest[..at].split(['`', '"']).next().unwrap_or_default();
            return format!("{kind}{}{}", found.trim_end(), &rest[at..]);
        }
    }
    if message.starts_with("unknown variant `") {
        let expected = message.rfind("`, expected ").map(|at| &message[at + 1..]);
        return format!("unknown value{}", expected.unwrap_or_default());
    }
    message.to_owned()
}

/// Truncates any error, which may have several lines.
pub fn capped(message: &str) -> String {
    shortened(message, ERROR)
}

fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let length = text.chars().count();
    if length <= limit {
        return text.to_owned();
    }
    // The end of a long message often contains the position or the reason.
    let tail = limit / 5;
    let head: String = text.chars().take(limit - tail).collect();
    let tail: String = text.chars().skip(length - tail).collect();
    format!("{head}…{tail}")
}

/// Removes control characters (including line breaks) and those that change the text direction.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|sign| match sign {
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            sign if sign.is_control() => '\u{fffd}',
            sign => sign,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_are_shortened_and_harmless() {
        assert_eq!(
            short("a\u{1b}[31m\nb\u{202e}"),
            "a\u{fffd}[31m\u{fffd}b\u{fffd}"
        );
        assert_eq!(short(&"x".repeat(100_000)).chars().count(), SHOWN + 1);
        let long = "y".repeat(100_000);
        for message in [
            format!("`{long}` is not a number, line 3"),
            format!("invalid type: string \"{long}\", expected f64 at line 3"),
            format!("a ` {long} line 3"),
            format!("`a`b`{long}` line 3"),
        ] {
            let shown = bounded(&message);
            assert!(shown.chars().count() <= MESSAGE + 1, "{}", shown.len());
            assert!(shown.ends_with("line 3"), "{shown}");
        }
        assert_eq!(bounded("`a` is b"), "`a` is b");
    }
}
