//! Wildcards: `*` matches any text; `\*` and `\\` are the characters themselves.

/// A pattern with wildcards.
#[derive(Debug)]
pub(super) struct Glob {
    /// The texts between the wildcards.
    parts: Vec<String>,
}

impl Glob {
    pub(super) fn parse(pattern: &str) -> Result<Self, String> {
        // event-ruler counts the quote before the text.
        let position = |at: usize| at + 1;
        let mut parts = vec![String::new()];
        let mut characters = pattern.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                '*' if characters.peek().is_some_and(|(_, next)| *next == '*') => {
                    return Err(format!(
                        "Consecutive wildcard characters at pos {}",
                        position(at)
                    ));
                }
                '*' => parts.push(String::new()),
                '\\' => match characters.next_if(|(_, next)| matches!(next, '*' | '\\')) {
                    Some((_, escaped)) => push(&mut parts, escaped),
                    None => {
                        return Err(format!("Invalid escape character at pos {}", position(at)));
                    }
                },
                other => push(&mut parts, other),
            }
        }
        Ok(Self { parts })
    }

    /// True if a text matches; in time linear in its length.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.parts.split_first() else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return text == first;
        };
        let Some(mut text) = text.strip_prefix(first.as_str()) else {
            return false;
        };
        for part in middle {
            // The earliest place leaves the most text for the others.
            let Some(at) = text.find(part.as_str()) else {
                return false;
            };
            text = &text[at + part.len()..];
        }
        text.ends_with(last.as_str())
    }

    /// The number of places in the pattern that one text can reach at the same time, at most: each wildcard, and in
    /// the text after it every beginning that is repeated.
    pub(super) fn complexity(&self) -> usize {
        let after = self.parts.iter().skip(1);
        after.map(|part| 1 + repeated(part.as_bytes())).sum()
    }
}

fn push(parts: &mut [String], character: char) {
    if let Some(last) = parts.last_mut() {
        last.push(character);
    }
}

/// The largest number of beginnings of a text with which one of its beginnings also ends.
fn repeated(text: &[u8]) -> usize {
    let (mut borders, mut depths) = (vec![0_usize; text.len()], vec![0_usize; text.len()]);
    let mut most = 0;
    for at in 1..text.len() {
        let mut border = borders[at - 1];
        while border > 0 && text[at] != text[border] {
            border = borders[border - 1];
        }
        if text[at] == text[border] {
            border += 1;
        }
        borders[at] = border;
        if border > 0 {
            depths[at] = depths[border - 1] + 1;
            most = most.max(depths[at]);
        }
    }
    most
}
