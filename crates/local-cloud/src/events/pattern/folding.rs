//! Comparisons that ignore case, character by character as event-ruler does them: a character of the pattern
//! matches its lower-case and its upper-case form.

/// The text after a beginning.
pub(super) fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let mut rest = text;
    for character in prefix.chars() {
        let [longer, shorter] = forms(character);
        rest = rest
            .strip_prefix(longer.as_str())
            .or_else(|| rest.strip_prefix(shorter.as_str()))?;
    }
    Some(rest)
}

/// The text before an end.
pub(super) fn strip_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let mut rest = text;
    for character in suffix.chars().rev() {
        let [longer, shorter] = forms(character);
        rest = rest
            .strip_suffix(longer.as_str())
            .or_else(|| rest.strip_suffix(shorter.as_str()))?;
    }
    Some(rest)
}

/// Both forms of a character, the longer one first.
fn forms(character: char) -> [String; 2] {
    let lower: String = character.to_lowercase().collect();
    let upper: String = character.to_uppercase().collect();
    if lower.len() >= upper.len() {
        [lower, upper]
    } else {
        [upper, lower]
    }
}
