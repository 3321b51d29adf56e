//! Patterns of paths: `*`, `?` and `[…]` within a name, `**` for any number of directories. Pure; the time to match a
//! path is proportional to its length and that of the pattern.

use std::collections::BTreeSet;
use std::path::Path;

use crate::api::{ApiError, ApiResult};

/// How far patterns have matched a path: the number of each pattern with the number of its parts that have.
pub(super) type Progress = BTreeSet<(usize, usize)>;

/// True for a text that can match several paths.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// A text that matches only itself.
pub(super) fn escaped(text: &str) -> String {
    glob::Pattern::escape(text)
}

/// A part of a name.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Is(char),
    Any,
    /// Any number of characters.
    Many,
    OneOf {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Token {
    fn fits(&self, sign: char) -> bool {
        match self {
            Self::Is(own) => *own == sign,
            Self::Any => true,
            Self::Many => false,
            Self::OneOf { is_negated, ranges } => {
                let mut ranges = ranges.iter();
                ranges.any(|(first, last)| (*first..=*last).contains(&sign)) != *is_negated
            }
        }
    }
}

/// A part of a path.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any number of directories.
    Directories,
    Name(Vec<Token>),
}

/// A pattern of paths.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Part>);

impl Pattern {
    pub(super) fn new(text: &str) -> ApiResult<Self> {
        let mut parts = Vec::new();
        for name in text.split('/').filter(|name| !matches!(*name, "" | ".")) {
            let part = if name == "**" {
                Part::Directories
            } else {
                let wrong =
                    |error: glob::PatternError| ApiError::validation(format!("{text}: {error}"));
                // Of what is valid, `tokens` reads everything.
                glob::Pattern::new(name).map_err(wrong)?;
                Part::Name(tokens(name))
            };
            // `**/**` is `**`.
            if part != Part::Directories || parts.last() != Some(&Part::Directories) {
                parts.push(part);
            }
        }
        if parts.last() == Some(&Part::Directories) {
            // `a/**` is everything below `a`.
            parts.push(Part::Name(vec![Token::Many]));
        }
        Ok(Self(parts))
    }

    /// True for a pattern that matches one path only, and is this path.
    pub(super) fn is_name(&self) -> bool {
        let is_plain = |token: &Token| matches!(token, Token::Is(_));
        self.0.iter().all(|part| match part {
            Part::Directories => false,
            Part::Name(tokens) => tokens.iter().all(is_plain),
        })
    }

    /// Adds what matches before the first name of a path.
    pub(super) fn begin(&self, number: usize, progress: &mut Progress) {
        self.reach(number, 0, progress);
    }

    /// Adds that this many parts have matched.
    fn reach(&self, number: usize, position: usize, progress: &mut Progress) {
        progress.insert((number, position));
        if self.0.get(position) == Some(&Part::Directories) {
            progress.insert((number, position + 1));
        }
    }

    /// Adds what matches after the next name of the path, if `position` parts match before it.
    pub(super) fn advance(
        &self,
        number: usize,
        position: usize,
        name: &str,
        progress: &mut Progress,
    ) {
        match self.0.get(position) {
            Some(Part::Directories) => self.reach(number, position, progress),
            Some(Part::Name(tokens)) if fits(tokens, name) => {
                self.reach(number, position + 1, progress);
            }
            _ => {}
        }
    }

    /// True if the path matches when this many parts have matched.
    pub(super) fn ends(&self, position: usize) -> bool {
        position == self.0.len()
    }

    /// True if the path matches.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let mut progress = Progress::default();
        self.begin(0, &mut progress);
        for name in path {
            let name = name.to_string_lossy();
            let mut after = Progress::default();
            for (_, position) in progress {
                self.advance(0, position, &name, &mut after);
            }
            progress = after;
        }
        progress.iter().any(|(_, position)| self.ends(*position))
    }
}

/// The tokens of a name that is a valid pattern.
fn tokens(name: &str) -> Vec<Token> {
    let signs: Vec<char> = name.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&sign) = signs.get(at) {
        at += 1;
        let token = match sign {
            '*' => Token::Many,
            '?' => Token::Any,
            '[' => {
                let is_negated = signs.get(at) == Some(&'!');
                let first = at + usize::from(is_negated);
                // The first sign is a part of the class, also `]`.
                let rest = signs.get(first + 1..).unwrap_or_default();
                let length = rest.iter().position(|sign| *sign == ']').unwrap_or(0);
                let class = signs.get(first..=first + length).unwrap_or_default();
                at = first + length + 2;
                Token::OneOf {
                    is_negated,
                    ranges: ranges(class),
                }
            }
            sign => Token::Is(sign),
        };
        if token != Token::Many || tokens.last() != Some(&Token::Many) {
            tokens.push(token);
        }
    }
    tokens
}

/// The ranges of a class: `a-z0`.
fn ranges(class: &[char]) -> Vec<(char, char)> {
    let mut ranges = Vec::new();
    let mut rest = class;
    while let [first, more @ ..] = rest {
        if let ['-', last, more @ ..] = more {
            ranges.push((*first, *last));
            rest = more;
        } else {
            ranges.push((*first, *first));
            rest = more;
        }
    }
    ranges
}

/// True if a name matches. Only the last `*` is tried at another place, so this takes at most the product of both
/// lengths.
fn fits(tokens: &[Token], name: &str) -> bool {
    let signs: Vec<char> = name.chars().collect();
    let (mut token, mut sign) = (0, 0);
    // The token after the last `*`, and the first sign that the `*` has not yet covered.
    let mut back: Option<(usize, usize)> = None;
    loop {
        match tokens.get(token) {
            Some(Token::Many) => {
                token += 1;
                back = Some((token, sign));
                continue;
            }
            Some(found) if signs.get(sign).is_some_and(|sign| found.fits(*sign)) => {
                token += 1;
                sign += 1;
                continue;
            }
            None if sign == signs.len() => return true,
            _ => {}
        }
        match back {
            Some((after, covered)) if covered < signs.len() => {
                back = Some((after, covered + 1));
                (token, sign) = (after, covered + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(Path::new(path))
    }

    #[test]
    fn patterns_match_paths() {
        for (pattern, path) in [
            ("a/b", "a/b"),
            ("*", "a"),
            ("*", ".a"),
            ("a*b?", "axxbc"),
            ("a*b?", "ab b!"),
            ("**/*", "a"),
            ("**/*", "a/b/c"),
            ("a/**", "a/b/c"),
            ("a/**/c", "a/c"),
            ("a/**/c", "a/b/b/c"),
            ("**/b/**", "a/b/c"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[]]", "]"),
            ("[a-]", "-"),
            ("x[0-9][0-9]", "x42"),
            ("./a//b/", "a/b"),
            ("é?", "éü"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("a", "a/b"),
            ("a/b", "a"),
            ("*", "a/b"),
            ("a*b?", "ab"),
            ("a/**", "a"),
            ("**/b", "a/b/c"),
            ("[a-c]x", "dx"),
            ("[!a-c]x", "bx"),
            ("?", ""),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
        for wrong in ["[a", "a**", "***"] {
            assert!(Pattern::new(wrong).is_err(), "{wrong}");
        }
        let name = escaped("a[1]*");
        assert!(matches(&name, "a[1]*") && !matches(&name, "a1x"));
    }

    #[test]
    fn no_pattern_takes_long() {
        let pattern = "*a".repeat(2000) + "b";
        assert!(!matches(&pattern, &"a".repeat(4000)));
        let pattern = "**/a*/".repeat(500) + "b";
        assert!(!matches(&pattern, &"aa/".repeat(1000)));
    }
}
