//! Tags of requests, in every form in which AWS's services write them.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;

/// The tags of a request, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tags(Vec<Tag>);

/// A tag of a request.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Tag {
    /// The key.
    #[serde(rename = "Key", alias = "TagKey", alias = "key")]
    pub(crate) key: String,
    /// The value; some operations allow a key alone.
    #[serde(rename = "Value", alias = "TagValue", alias = "value", default)]
    pub(crate) value: Option<String>,
}

impl<'de> Deserialize<'de> for Tags {
    /// Reads `[{"Key", "Value"}]`, `[{"TagKey", "TagValue"}]` or `{KEY: VALUE}`. Forms write no tags as
    /// empty text.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::default()),
            Value::String(text) if text.is_empty() => Ok(Self::default()),
            value @ Value::Object(_) => {
                let map: BTreeMap<String, String> =
                    serde_json::from_value(value).map_err(Error::custom)?;
                let tags = map.into_iter().map(|(key, value)| Tag {
                    key,
                    value: Some(value),
                });
                Ok(Self(tags.collect()))
            }
            list => serde_json::from_value(list)
                .map(Self)
                .map_err(Error::custom),
        }
    }
}

impl IntoIterator for Tags {
    type Item = Tag;
    type IntoIter = std::vec::IntoIter<Tag>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Tags {
    /// The number of tags.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no tag.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tags in order.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Tag> {
        self.0.iter()
    }

    /// The tags by key. A key without a value has an empty one; the last of several values wins.
    pub(crate) fn into_map(self) -> BTreeMap<String, String> {
        self.0
            .into_iter()
            .map(|tag| (tag.key, tag.value.unwrap_or_default()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_tags_is_read() {
        let read = |value: Value| serde_json::from_value::<Tags>(value);
        let expected = read(json!({"team": "ml"})).unwrap();
        assert_eq!(expected.clone().into_map()["team"], "ml");
        for form in [
            json!([{"Key": "team", "Value": "ml"}]),
            json!([{"TagKey": "team", "TagValue": "ml"}]),
            json!([{"key": "team", "value": "ml"}]),
        ] {
            assert_eq!(read(form).unwrap(), expected);
        }
        for none in [json!(null), json!(""), json!([]), json!({})] {
            assert!(read(none).unwrap().is_empty());
        }
        let key = read(json!([{"Key": "team"}])).unwrap();
        assert_eq!(key.iter().next().unwrap().value, None);
        for wrong in [
            json!("team"),
            json!([{"Value": "ml"}]),
            json!([{"Key": 1}]),
            json!({"team": null}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
