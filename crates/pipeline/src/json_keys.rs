//! Detects duplicate keys in JSON objects. Decoders silently keep the last value, and RFC 8259
//! calls the result unpredictable, so requests and documents with duplicates are rejected.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Maximum length of a key in a message, in characters.
const SHOWN: usize = 100;

/// A key that occurs twice in one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The object, as a JSON path (`$.Steps[2].Arguments`).
    pub path: String,
    /// The key, truncated if it is long.
    pub key: String,
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key '{}' occurs twice in {}", self.key, self.path)
    }
}

/// Returns the first duplicate key of a JSON text. Returns `None` for text that is not JSON,
/// because the decoder rejects it. Keys are compared after decoding: `"\u0061"` equals `"a"`. Runs
/// in time linear in the text's length, and stores only the keys of the enclosing objects.
pub fn duplicate(bytes: &[u8]) -> Option<Duplicate> {
    let mut found = Found::default();
    let mut decoder = serde_json::Deserializer::from_slice(bytes);
    // An error without a duplicate key comes from the decoder.
    let _ = Keys(&mut found).deserialize(&mut decoder);
    let key = found.key?;
    let path = found.path.iter().rev().fold("$".to_owned(), |path, part| {
        path + &match part {
            Part::Member(name) => format!(".{name}"),
            Part::Item(index) => format!("[{index}]"),
        }
    });
    Some(Duplicate { path, key })
}

/// The duplicate key, and the path to its object, innermost part first.
#[derive(Debug, Default)]
struct Found {
    key: Option<String>,
    path: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Member(String),
    Item(usize),
}

fn shortened(key: &str) -> String {
    match key.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    }
}

/// Compares the keys of each object in a value.
struct Keys<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            match items.next_element_seed(Keys(self.0)) {
                Ok(Some(())) => index += 1,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.0.path.push(Part::Item(index));
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = members.next_key_seed(Key)? {
            if seen.contains(&key) {
                self.0.key = Some(shortened(&key));
                return Err(A::Error::custom("duplicate key"));
            }
            if let Err(error) = members.next_value_seed(Keys(self.0)) {
                self.0.path.push(Part::Member(shortened(&key)));
                return Err(error);
            }
            seen.insert(key);
        }
        Ok(())
    }
}

/// Decodes a key; borrows it if it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<Self::Value, D::Error> {
        decoder.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(String, String)> {
        duplicate(text.as_bytes()).map(|found| (found.path, found.key))
    }

    #[test]
    fn a_duplicate_key_is_found_at_any_position() {
        for (text, path, key) in [
            (r#"{"a": 1, "a": 1}"#, "$", "a"),
            (r#"{"a": 1, "b": {"c": []}, "\u0061": 2}"#, "$", "a"),
            (r#"{"": null, "": null}"#, "$", ""),
            (
                r#"[[], {"x": [{"y": {}, "z": 0, "y": 1}]}]"#,
                "$[1].x[0]",
                "y",
            ),
            (
                r#"{"S": [{"A": {"k": "", "\"": 1, "\u0022": 2}}]}"#,
                "$.S[0].A",
                "\"",
            ),
            // Also in an incomplete object.
            (r#"{"a": 1, "a""#, "$", "a"),
        ] {
            assert_eq!(
                found(text),
                Some((path.to_owned(), key.to_owned())),
                "{text}"
            );
        }
        let long = "k".repeat(10_000);
        let (_, key) = found(&format!(r#"{{"{long}": 1, "{long}": 1}}"#)).unwrap();
        assert_eq!(key.chars().count(), SHOWN + 1);
        for text in [
            r#"{"a": {"a": [{"a": 1}, {"a": 1}]}, "A": 2, "a ": 3}"#,
            r#"{"a": "\"a\": 1, \"a\": 2"}"#,
            "1e5",
            // Text that is not JSON is left to the decoder.
            r#"{"a": 1, a: 2}"#,
            r#"{"\ud800": 1, "\ud800": 2}"#,
            "",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
