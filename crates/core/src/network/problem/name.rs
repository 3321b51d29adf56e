//! Formats a certificate's distinguished name for an error.
//!
//! Implemented here because nothing else of X.509 is needed, and the usual parsers add a dozen
//! crates. The encoding is DER (X.690): a name is a sequence of sets of pairs of attribute type and
//! text.

/// The attributes to print, by the last byte of their type under 2.5.4 (X.520).
const ATTRIBUTES: &[(u8, &str)] = &[(3, "CN"), (6, "C"), (10, "O"), (11, "OU")];

/// Formats the content of a name, such as `CN=Corp Root, O=Corp`; empty if it cannot be parsed.
pub(super) fn shown(content: &[u8]) -> String {
    let mut parts = Vec::new();
    for set in values(content, 0x31) {
        for pair in values(set, 0x30) {
            let Some((0x06, kind, rest)) = value(pair) else {
                continue;
            };
            let attribute = ATTRIBUTES
                .iter()
                .find(|(last, _)| kind == [0x55, 0x04, *last]);
            if let (Some((_, attribute)), Some((_, text, _))) = (attribute, value(rest)) {
                parts.push(format!("{attribute}={}", String::from_utf8_lossy(text)));
            }
        }
    }
    parts.join(", ")
}

/// Returns the values of a sequence with a given tag.
fn values(mut content: &[u8], wanted: u8) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((tag, inner, rest)) = value(content) {
        if tag == wanted {
            found.push(inner);
        }
        content = rest;
    }
    found
}

/// Returns the first value: its tag, its content, and the remaining bytes.
fn value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 | 0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let mut bytes = match length {
            0..=0x7f => vec![tag, u8::try_from(length).unwrap()],
            _ => vec![
                tag,
                0x82,
                u8::try_from(length >> 8).unwrap(),
                u8::try_from(length & 0xff).unwrap(),
            ],
        };
        bytes.extend(content);
        bytes
    }

    fn attribute(last: u8, text: &str) -> Vec<u8> {
        let pair = [der(0x06, &[0x55, 4, last]), der(0x0c, text.as_bytes())].concat();
        der(0x31, &der(0x30, &pair))
    }

    #[test]
    fn the_usual_attributes_are_shown() {
        let long = "x".repeat(300);
        let name = [
            attribute(10, "Corp"),
            attribute(5, "1"),
            attribute(3, &long),
        ]
        .concat();
        assert_eq!(shown(&name), format!("O=Corp, CN={long}"));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let name = [attribute(10, "Corp"), attribute(3, "Root")].concat();
        for at in 0..name.len() {
            shown(&name[..at]);
            for byte in [0, 0x7f, 0x80, 0x82, 0x84, 0xff] {
                let mut bytes = name.clone();
                bytes[at] = byte;
                shown(&bytes);
            }
        }
    }
}
