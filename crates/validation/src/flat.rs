//! Parses the JSON of tables: objects and arrays of scalars, one value at a time.
//!
//! RFC 8259, with two differences from a general parser: a number keeps its original text, so that
//! `9223372036854775809` and `1e400` are counted exactly, and an object or array in place of a
//! scalar is rejected. SageMaker Model Monitor's analyzer also supports only tabular or flattened
//! JSON (developer guide, "Preprocessing script").

use std::ops::Range;

/// The location of a key's or value's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TextRange {
    /// In the text itself.
    Plain(Range<usize>),
    /// It has escapes, and is therefore in the scanner's buffer.
    Unescaped(Range<usize>),
}

/// Scans a text from left to right.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    unescaped: String,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self::with_buffer(text, String::new())
    }

    /// Reuses the buffer of an earlier scanner, to avoid an allocation per line.
    pub(super) fn with_buffer(text: &'a str, mut unescaped: String) -> Self {
        unescaped.clear();
        Self {
            text,
            at: 0,
            unescaped,
        }
    }

    pub(super) fn into_buffer(self) -> String {
        self.unescaped
    }

    /// Returns the text of a key or value.
    pub(super) fn get(&self, piece: &TextRange) -> &str {
        match piece {
            TextRange::Plain(range) => &self.text[range.clone()],
            TextRange::Unescaped(range) => &self.unescaped[range.clone()],
        }
    }

    /// Returns the next byte that is not white space, without consuming it.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let space = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        self.at += space;
        rest.get(space).copied()
    }

    /// Consumes the next byte if it is the wanted one.
    pub(super) fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Inside an object: consumes the next key and its colon; `None` at the end.
    pub(super) fn member(&mut self, first: bool) -> Result<Option<TextRange>, String> {
        if !self.more(first, b'}')? {
            return Ok(None);
        }
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a key in quotes"));
        }
        let key = self.string()?;
        if self.take(b':') {
            Ok(Some(key))
        } else {
            Err(self.unexpected("`:`"))
        }
    }

    /// Inside an object or array: returns whether another element precedes `end`.
    pub(super) fn more(&mut self, first: bool, end: u8) -> Result<bool, String> {
        if self.take(end) {
            Ok(false)
        } else if first || self.take(b',') {
            Ok(true)
        } else {
            Err(self.unexpected(&format!("`,` or `{}`", char::from(end))))
        }
    }

    /// Parses a scalar and returns its text; `None` for null.
    pub(super) fn scalar(&mut self) -> Result<Option<TextRange>, String> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.string().map(Some),
            Some(b'-' | b'0'..=b'9') => return self.number().map(Some),
            Some(b'{') => return Err("an object is nested here: flatten it".to_owned()),
            Some(b'[') => return Err("an array is nested here: flatten it".to_owned()),
            _ => {}
        }
        for (word, value) in [("null", false), ("true", true), ("false", true)] {
            if self.text[self.at..].starts_with(word) {
                let range = self.at..self.at + word.len();
                self.at = range.end;
                return Ok(value.then_some(TextRange::Plain(range)));
            }
        }
        for word in ["NaN", "Infinity"] {
            if self.text[self.at..].starts_with(word) {
                return Err(format!(
                    "{word} is not JSON: write null for a missing value"
                ));
            }
        }
        self.at = self.at.max(start);
        Err(self.unexpected("a value"))
    }

    /// Checks that only white space is left.
    pub(super) fn end(&mut self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end")),
        }
    }

    fn number(&mut self) -> Result<TextRange, String> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let digits = |from: usize| {
            let digits = bytes[from..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit());
            from + digits.count()
        };
        let whole = start + usize::from(bytes[start] == b'-');
        let mut end = digits(whole);
        let mut good = end > whole && (bytes[whole] != b'0' || end == whole + 1);
        if bytes.get(end) == Some(&b'.') {
            let fraction = end + 1;
            end = digits(fraction);
            good &= end > fraction;
        }
        if let Some(b'e' | b'E') = bytes.get(end) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = end + 1 + sign;
            end = digits(exponent.min(bytes.len()));
            good &= end > exponent;
        }
        if good {
            self.at = end;
            Ok(TextRange::Plain(start..end))
        } else {
            Err(self.unexpected("a number"))
        }
    }

    /// Parses the string that starts here.
    fn string(&mut self) -> Result<TextRange, String> {
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut copied = None;
        let mut at = start;
        loop {
            let stop = memchr::memchr2(b'"', b'\\', &bytes[at..]).map(|length| at + length);
            let part = &self.text[at..stop.unwrap_or(bytes.len())];
            if part.bytes().any(|byte| byte < 0x20) {
                return Err(self.column("a control character in a string: write it as \\u00XX"));
            }
            let Some(stop) = stop else {
                return Err(self.column("a string is opened here and never closed"));
            };
            if bytes[stop] == b'"' {
                self.at = stop + 1;
                let Some(from) = copied else {
                    return Ok(TextRange::Plain(start..stop));
                };
                self.unescaped.push_str(part);
                return Ok(TextRange::Unescaped(from..self.unescaped.len()));
            }
            copied.get_or_insert(self.unescaped.len());
            self.unescaped.push_str(part);
            let (character, length) = escape(&self.text[stop..])
                .ok_or_else(|| self.column("an invalid escape in a string"))?;
            self.unescaped.push(character);
            at = stop + length;
        }
    }

    fn unexpected(&mut self, wanted: &str) -> String {
        let found = if self.peek().is_none() {
            self.at = self.text.trim_ascii_end().len();
            "the line ends".to_owned()
        } else {
            let found = self.text[self.at..].chars().next().unwrap_or_default();
            format!("found `{found}`")
        };
        self.column(&format!("{found}; expected {wanted}"))
    }

    fn column(&self, message: &str) -> String {
        let column = self.text[..self.at].chars().count() + 1;
        format!("{message} (column {column})")
    }
}

/// The character of an escape sequence, and the sequence's length in bytes.
fn escape(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 4)?;
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|_| hex)
    };
    Some(match text.as_bytes().get(1)? {
        b'"' => ('"', 2),
        b'\\' => ('\\', 2),
        b'/' => ('/', 2),
        b'b' => ('\u{8}', 2),
        b'f' => ('\u{c}', 2),
        b'n' => ('\n', 2),
        b'r' => ('\r', 2),
        b't' => ('\t', 2),
        b'u' => {
            let first = unit(2)?;
            if (0xd800..0xdc00).contains(&first) {
                let second = unit(8).filter(|_| text.get(6..8) == Some("\\u"))?;
                let second = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                (
                    char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)?,
                    12,
                )
            } else {
                (char::from_u32(first)?, 6)
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
        let mut scanner = Scanner::new(text);
        assert!(scanner.take(b'{'), "{text}");
        let mut members = Vec::new();
        while let Some(key) = scanner.member(members.is_empty())? {
            let value = scanner.scalar()?;
            members.push((
                scanner.get(&key).to_owned(),
                value.map(|value| scanner.get(&value).to_owned()),
            ));
        }
        scanner.end()?;
        Ok(members)
    }

    #[test]
    fn numbers_keep_their_text_and_strings_lose_their_escapes() {
        let members = object(
            r#" { "a" : 9223372036854775809,"b":1e400 , "c":-0.50E+1,"d":null,"e":true,
                "f\u00fc":"a\"\\\/\n\ud83d\ude00é","g":"" } "#,
        )
        .unwrap();
        let expected = [
            ("a", Some("9223372036854775809")),
            ("b", Some("1e400")),
            ("c", Some("-0.50E+1")),
            ("d", None),
            ("e", Some("true")),
            ("fü", Some("a\"\\/\n😀é")),
            ("g", Some("")),
        ];
        assert_eq!(members.len(), expected.len());
        for ((key, value), (wanted_key, wanted)) in members.iter().zip(expected) {
            assert_eq!((key.as_str(), value.as_deref()), (wanted_key, wanted));
        }
        assert_eq!(object("{}").unwrap(), []);
    }

    #[test]
    fn nested_or_invalid_objects_are_rejected() {
        for (text, message) in [
            (r#"{"a":1"#, "the line ends; expected `,` or `}` (column 7)"),
            (r#"{"a":1,}"#, "found `}`; expected a key in quotes"),
            (r#"{a:1}"#, "found `a`; expected a key in quotes"),
            (r#"{"a" 1}"#, "found `1`; expected `:`"),
            (r#"{"a":01}"#, "found `0`; expected a number"),
            (r#"{"a":1.}"#, "expected a number"),
            (r#"{"a":-}"#, "expected a number"),
            (r#"{"a":2e}"#, "expected a number"),
            (r#"{"a":2e"#, "expected a number"),
            (r#"{"a":nul}"#, "found `n`; expected a value"),
            (r#"{"a":NaN}"#, "NaN is not JSON: write null"),
            (
                r#"{"a":"x"#,
                "a string is opened here and never closed (column 6)",
            ),
            (r#"{"a":"\x"}"#, "an invalid escape"),
            (r#"{"a":"\ud800"}"#, "an invalid escape"),
            (r#"{"a":"\u+123"}"#, "an invalid escape"),
            ("{\"a\":\"\t\"}", "a control character"),
            (r#"{"a":{"b":1}}"#, "an object is nested here"),
            (r#"{"a":[1]}"#, "an array is nested here"),
            (r#"{"a":1} {"#, "found `{`; expected the end"),
            (r#"{"a":1 ü"#, "found `ü`; expected `,` or `}` (column 8)"),
        ] {
            let error = object(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
