//! The MD5 digests with which clients verify messages.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::message::{Attribute, Content, Message};

/// The digest of a text.
pub(super) fn of_text(text: &str) -> String {
    hex::encode(Md5::digest(text))
}

/// The digest of attributes; `None` without any. For each attribute in the order of the names: name, data type, one
/// byte for the kind of value, and value, each with its length before it (developer guide, "Calculating the MD5 message
/// digest for message attributes").
pub(super) fn of_attributes(attributes: &BTreeMap<String, Attribute>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    let mut add = |kind: &[u8], bytes: &[u8]| {
        digest.update(kind);
        // Messages are far smaller than 4 GiB.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        digest.update(length.to_be_bytes());
        digest.update(bytes);
    };
    for (name, attribute) in attributes {
        add(&[], name.as_bytes());
        add(&[], attribute.kind.as_bytes());
        match &attribute.content {
            Content::Text(text) => add(&[1], text.as_bytes()),
            Content::Bytes(bytes) => add(&[2], bytes),
        }
    }
    Some(hex::encode(digest.finalize()))
}

/// The members of a response that describe a message.
pub(super) fn of_message(message: &Message) -> Value {
    json!({
        "MD5OfMessageBody": of_text(&message.body),
        "MD5OfMessageAttributes": of_attributes(&message.attributes),
        "MD5OfMessageSystemAttributes": of_attributes(&message.system),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digests computed from the description by another program (Python's hashlib).
    #[test]
    fn digests_are_those_of_the_documentation() {
        assert_eq!(of_text("hello"), "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(of_attributes(&BTreeMap::new()), None);
        let text = Attribute {
            kind: "String".to_owned(),
            content: Content::Text("v".to_owned()),
        };
        let bytes = Attribute {
            kind: "Binary.gif".to_owned(),
            content: Content::Bytes(vec![0, 255]),
        };
        let both = BTreeMap::from([("b".to_owned(), bytes), ("a".to_owned(), text)]);
        assert_eq!(
            of_attributes(&both).as_deref(),
            Some("2d8ca896ed9bd45bf7ca7ff4d9a46121")
        );
    }
}
