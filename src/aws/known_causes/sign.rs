//! Signs: texts that identify a cause, with gaps and names.
//!
//! ```text
//! No module named '{module}'     {module} is any text without quotes; at the end, without spaces
//! Data download failed…denied    … is any text, also none
//! ^Killed                        the complete line
//! ```
//!
//! A sign that begins or ends within a word does not match: `exit code: 13` is not a sign of `exit code: 137`.

/// Maximum length of a name's value, in bytes; longer text is not what a message quotes.
const LONGEST_VALUE: usize = 400;

/// The values of a sign's names.
pub(super) type Names<'a> = Vec<(&'static str, &'a str)>;

enum Part {
    Text(&'static str),
    Name(&'static str),
    Gap,
}

/// Splits a sign into its parts.
fn parts(sign: &'static str) -> Vec<Part> {
    let mut found = Vec::new();
    let mut rest = sign;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('…') {
            found.push(Part::Gap);
            rest = after;
        } else if let Some((name, after)) = name(rest) {
            found.push(Part::Name(name));
            rest = after;
        } else {
            let next = rest
                .char_indices()
                .skip(1)
                .find(|(at, c)| *c == '…' || name(&rest[*at..]).is_some());
            let end = next.map_or(rest.len(), |(at, _)| at);
            found.push(Part::Text(&rest[..end]));
            rest = &rest[end..];
        }
    }
    found
}

/// The name at the start of a text: `{name}`.
fn name(text: &'static str) -> Option<(&'static str, &'static str)> {
    let (name, after) = text.strip_prefix('{')?.split_once('}')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase());
    is_name.then_some((name, after))
}

/// Finds a sign in a text; returns the values of its names.
pub(super) fn find<'a>(sign: &'static str, text: &'a str) -> Option<Names<'a>> {
    if let Some(line) = sign.strip_prefix('^') {
        return (text.trim() == line).then(Vec::new);
    }
    let parts = parts(sign);
    let Some(Part::Text(first)) = parts.first() else {
        return None;
    };
    text.match_indices(first).find_map(|(at, _)| {
        let before = text[..at].chars().next_back();
        if is_word(before) && is_word(first.chars().next()) {
            return None;
        }
        let mut names = Names::new();
        follows(&parts, text, at, &mut names).then_some(names)
    })
}

/// Returns whether the parts follow each other in a text from a position.
fn follows<'a>(parts: &[Part], text: &'a str, at: usize, names: &mut Names<'a>) -> bool {
    let Some((part, rest)) = parts.split_first() else {
        let end = text[..at].chars().next_back();
        return !(is_word(end) && is_word(text[at..].chars().next()));
    };
    match part {
        Part::Text(expected) => {
            text[at..].starts_with(expected) && follows(rest, text, at + expected.len(), names)
        }
        Part::Gap => match rest.first() {
            Some(Part::Text(next)) => text[at..]
                .match_indices(next)
                .any(|(offset, _)| follows(rest, text, at + offset, names)),
            _ => false,
        },
        Part::Name(name) => {
            let from = &text[at..];
            let longest = from
                .char_indices()
                .find(|(index, c)| *index > LONGEST_VALUE || is_quote(*c))
                .map_or(from.len(), |(index, _)| index);
            let Some(Part::Text(next)) = rest.first() else {
                let end = from.find(|c: char| c.is_whitespace() || is_quote(c));
                let value = from[..end.unwrap_or(from.len()).min(longest)]
                    .trim_end_matches(['.', ',', ';', ':', ')', ']']);
                names.push((name, value));
                return !value.is_empty();
            };
            from.match_indices(next)
                .take_while(|(index, _)| *index <= longest)
                .filter(|(index, _)| *index > 0)
                .any(|(index, _)| {
                    names.push((name, &from[..index]));
                    let found = follows(rest, text, at + index, names);
                    if !found {
                        names.retain(|(known, _)| known != name);
                    }
                    found
                })
        }
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '\'' | '"' | '`' | '\n')
}

/// Returns whether a character belongs to a word.
fn is_word(c: Option<char>) -> bool {
    c.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_message_quotes() {
        let found = |sign, text| find(sign, text);
        assert_eq!(
            found("No module named '{module}'", "Error: No module named 'a.b'"),
            Some(vec![("module", "a.b")])
        );
        assert_eq!(
            found("named '{module}.{rest}'", "named 'a' and 'b.c'"),
            None
        );
        assert_eq!(
            found("limit '{limit}' is", "limit 'ml.m5 for training' is 0"),
            Some(vec![("limit", "ml.m5 for training")])
        );
        assert_eq!(
            found("bucket {bucket}", "the bucket small-data, which"),
            Some(vec![("bucket", "small-data")])
        );
        assert_eq!(found("bucket {bucket}", "bucket "), None);
    }

    #[test]
    fn signs_end_at_words() {
        assert!(find("exit code: 137", "x, exit code: 137").is_some());
        assert!(find("exit code: 13", "x, exit code: 137").is_none());
        assert!(find("MemoryError", "ArrayMemoryError").is_none());
        assert!(find("KeyError:", "MyKeyError: 1").is_none());
        assert!(find("KeyError:", "KeyError: 1").is_some());
        assert!(find("failed:…denied", "failed:x\ny denied)").is_some());
        assert!(find("failed:…denied", "denied failed:").is_none());
        assert!(find("^Killed", " Killed\n").is_some());
        assert!(find("^Killed", "Killed 3").is_none());
    }
}
