//! Patterns of policies: texts with wildcards and policy variables.

use super::context::Lookup;

/// A text in which `*` is any text, `?` any character, and `${KEY}` the value of a condition key.
/// Wildcards in the value of a key match only themselves.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(Box<str>),
    Any,
    One,
    /// A key in lower case, and the value if the request does not have it.
    Variable(Box<str>, Option<Box<str>>),
}

/// Which parts of a text have a meaning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syntax {
    /// `*` and `?`.
    pub(super) wildcards: bool,
    /// `${…}`, with version 2012-10-17.
    pub(super) variables: bool,
}

impl Pattern {
    pub(super) fn parse(text: &str, syntax: Syntax) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if syntax.variables
                && let Some((name, after)) = rest
                    .strip_prefix("${")
                    .and_then(|variable| variable.split_once('}'))
            {
                rest = after;
                match name {
                    "*" | "?" | "$" => literal.push_str(name),
                    _ => {
                        flush(&mut literal, &mut pieces);
                        pieces.push(variable(name));
                    }
                }
                continue;
            }
            rest = &rest[next.len_utf8()..];
            match next {
                '*' | '?' if syntax.wildcards => {
                    flush(&mut literal, &mut pieces);
                    pieces.push(if next == '*' { Piece::Any } else { Piece::One });
                }
                _ => literal.push(next),
            }
        }
        flush(&mut literal, &mut pieces);
        Self(pieces)
    }

    /// True if the text matches; `None` if a variable has no value.
    pub(super) fn matches(&self, text: &str, lookup: &Lookup<'_>) -> Option<bool> {
        match self.0.as_slice() {
            [] => return Some(text.is_empty()),
            [Piece::Any] => return Some(true),
            [Piece::Text(own)] => return Some(**own == *text),
            [Piece::Text(start), ..] if !text.starts_with(&**start) && self.is_fixed() => {
                return Some(false);
            }
            _ => {}
        }
        let pieces: Option<Vec<_>> = self
            .0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => Some(Resolved::Text(text)),
                Piece::Any => Some(Resolved::Any),
                Piece::One => Some(Resolved::One),
                Piece::Variable(key, default) => {
                    let value = lookup.value(key).filter(|value| !value.is_empty());
                    value.or(default.as_deref()).map(Resolved::Text)
                }
            })
            .collect();
        Some(glob(&pieces?, text))
    }

    /// True if the text matches; of a pattern without variables.
    pub(super) fn is_literally(&self, text: &str) -> bool {
        let pieces = self.0.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(Resolved::Text(text)),
            Piece::Any => Some(Resolved::Any),
            Piece::One => Some(Resolved::One),
            Piece::Variable(..) => None,
        });
        match self.0.as_slice() {
            [Piece::Text(own)] => **own == *text,
            [Piece::Text(start), ..] if !text.starts_with(&**start) => false,
            _ => glob(&pieces.collect::<Vec<_>>(), text),
        }
    }

    /// Adds the keys of its variables.
    pub(super) fn keys(&self, keys: &mut Vec<String>) {
        for piece in &self.0 {
            if let Piece::Variable(key, _) = piece {
                keys.push(key.to_string());
            }
        }
    }

    /// The text with the values of its variables; `None` if one has no value.
    pub(super) fn resolve(&self, lookup: &Lookup<'_>) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(own) => text.push_str(own),
                Piece::Any => text.push('*'),
                Piece::One => text.push('?'),
                Piece::Variable(key, default) => {
                    text.push_str(lookup.value(key).or(default.as_deref())?);
                }
            }
        }
        Some(text)
    }

    /// True if it has no variables.
    fn is_fixed(&self) -> bool {
        !self.0.iter().any(|it| matches!(it, Piece::Variable(..)))
    }
}

fn flush(literal: &mut String, pieces: &mut Vec<Piece>) {
    if !literal.is_empty() {
        pieces.push(Piece::Text(std::mem::take(literal).into()));
    }
}

/// `KEY` or `KEY, 'DEFAULT'`.
fn variable(name: &str) -> Piece {
    let (key, default) = match name.split_once(',') {
        None => (name, None),
        Some((key, default)) => {
            let default = default.trim().strip_prefix('\'');
            (key, default.and_then(|text| text.strip_suffix('\'')))
        }
    };
    let key = key.trim().to_ascii_lowercase().into();
    Piece::Variable(key, default.map(Into::into))
}

enum Resolved<'a> {
    Text(&'a str),
    Any,
    One,
}

fn glob(pieces: &[Resolved<'_>], text: &str) -> bool {
    let (mut at, mut rest) = (0, text);
    // Where to continue after the last `*` if the rest does not match.
    let mut back: Option<(usize, &str)> = None;
    loop {
        let matched = match pieces.get(at) {
            None if rest.is_empty() => return true,
            None => None,
            Some(Resolved::Any) => {
                back = Some((at + 1, rest));
                Some(rest)
            }
            Some(Resolved::One) => after_first(rest),
            Some(Resolved::Text(text)) => rest.strip_prefix(text),
        };
        if let Some(matched) = matched {
            rest = matched;
            at += 1;
            continue;
        }
        let Some((piece, shorter)) =
            back.and_then(|(piece, from)| Some((piece, after_first(from)?)))
        else {
            return false;
        };
        back = Some((piece, shorter));
        (at, rest) = (piece, shorter);
    }
}

/// The text after its first character.
fn after_first(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    characters.next().map(|_| characters.as_str())
}

/// A pattern for ARNs: wildcards do not match beyond a colon, except in the resource. Variables have
/// a meaning only in the resource (user guide, "Where you can use policy variables").
#[derive(Debug, Clone)]
pub(super) struct ArnPattern(Vec<Pattern>);

/// The number of parts of an ARN.
const PARTS: usize = 6;

impl ArnPattern {
    /// `None` if the text is not an ARN.
    pub(super) fn parse(text: &str, variables: bool) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(PARTS, ':').collect();
        if parts[0] != "arn" {
            return None;
        }
        let patterns = parts.iter().enumerate().map(|(index, part)| {
            let syntax = Syntax {
                wildcards: true,
                variables: variables && index == PARTS - 1,
            };
            Pattern::parse(part, syntax)
        });
        Some(Self(patterns.collect()))
    }

    /// Adds the keys of its variables.
    pub(super) fn keys(&self, keys: &mut Vec<String>) {
        self.0.iter().for_each(|pattern| pattern.keys(keys));
    }

    /// Completes an ARN with too few parts: `arn:aws:s3*` is any resource of S3.
    pub(super) fn padded(mut self) -> Self {
        self.0.resize(PARTS, Pattern(vec![Piece::Any]));
        self
    }

    /// True if the ARN matches; `None` if a variable has no value.
    pub(super) fn matches(&self, arn: &str, lookup: &Lookup<'_>) -> Option<bool> {
        let mut parts = arn.splitn(PARTS, ':');
        for pattern in &self.0 {
            let Some(part) = parts.next() else {
                return Some(false);
            };
            if !pattern.matches(part, lookup)? {
                return Some(false);
            }
        }
        Some(parts.next().is_none())
    }
}
