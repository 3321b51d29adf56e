//! Reads the live properties of a resource through its own service, for the detection of drift.

use serde_json::{Map, Value, json};

use super::errors::existing;
use super::table::{Member, Place, Read};
use super::target::Target;
use super::wire::items;
use crate::api::ApiResult;
use crate::cloudformation::template::text_of;
use crate::system_tags;

impl Target<'_> {
    /// The live values of the properties that the template sets and the type's table reads; `None` if the
    /// resource does not exist. A property without a value is absent.
    pub(super) async fn live(&self) -> ApiResult<Option<Map<String, Value>>> {
        let mut found = Map::new();
        for (number, read) in self.kind.live.iter().enumerate() {
            let of = read.members.iter().flat_map(Member::names);
            if number > 0
                && !of
                    .map(Member::outer)
                    .any(|name| self.properties.contains_key(name))
            {
                continue;
            }
            let answer = existing(self.call(&read.call, &Value::Null).await)?;
            let answer = answer.unwrap_or_default();
            let item = self.item(read, &answer)?;
            let is_deleted = self.kind.deleting.is_some_and(|state| state.holds(&answer));
            if number == 0 && (item.is_none() || is_deleted) {
                return Ok(None);
            }
            let Some(item) = item else { continue };
            for member in read.members {
                for name in member.names() {
                    let sets = self.properties.contains_key(Member::outer(name));
                    if let Some(value) = member.value(name, item).filter(|_| sets) {
                        insert(&mut found, name, value);
                    }
                }
            }
        }
        if let Some(tags) = found.get_mut("Tags") {
            *tags = self.kind.tag_property(user_tags(tags));
        }
        Ok(Some(found))
    }

    fn item<'v>(&self, read: &Read, answer: &'v Value) -> ApiResult<Option<&'v Value>> {
        if answer.is_null() {
            return Ok(None);
        }
        for item in items(answer, read.item) {
            let mut matches = true;
            for (pointer, wanted) in read.equal {
                let wanted = self.value(*wanted, item)?.as_ref().map(text_of);
                matches &= item.pointer(pointer).map(text_of) == wanted;
            }
            if matches {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }
}

impl Member {
    fn value(&self, name: &str, item: &Value) -> Option<Value> {
        let last = name.rsplit('/').next().unwrap_or(name);
        match self.place {
            Place::Same => item.get(last).filter(|value| !value.is_null()).cloned(),
            Place::Camel => {
                let found = item.get(with_first(last, str::to_lowercase));
                found.filter(|value| !value.is_null()).map(raised)
            }
            Place::At(path) if path.contains('*') => {
                Some(items(item, path).into_iter().cloned().collect())
            }
            Place::At(path) => item.pointer(path).filter(|value| !value.is_null()).cloned(),
            Place::Encoded(pointer) => decoded(item.pointer(pointer)?),
        }
    }
}

/// Percent-encoded JSON as a value.
pub(super) fn decoded(text: &Value) -> Option<Value> {
    let text = percent_encoding::percent_decode_str(text.as_str()?);
    serde_json::from_str(&text.decode_utf8().ok()?).ok()
}

fn with_first(name: &str, change: impl Fn(&str) -> String) -> String {
    match name.get(..1) {
        Some(first) => change(first) + &name[1..],
        None => String::new(),
    }
}

/// A value whose members have names in upper case.
fn raised(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(raised).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (with_first(name, str::to_uppercase), raised(value)))
            .collect(),
        scalar => scalar.clone(),
    }
}

/// Puts a value at the path of a property.
fn insert(found: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('/') {
        None => {
            found.insert(path.to_owned(), value);
        }
        Some((outer, inner)) => {
            let outer = found.entry(outer).or_insert_with(|| json!({}));
            if let Value::Object(outer) = outer {
                insert(outer, inner, value);
            }
        }
    }
}

/// The tags of the user as a list of `Key` and `Value`, from any spelling of a service.
fn user_tags(tags: &Value) -> Vec<Value> {
    let pair = |key: &str, value: &Value| json!({"Key": key, "Value": value});
    let all: Vec<Value> = match tags {
        Value::Object(tags) => tags.iter().map(|(key, value)| pair(key, value)).collect(),
        tags => {
            let tags = tags.as_array().into_iter().flatten();
            tags.map(|tag| {
                let of =
                    |names: [&str; 3]| names.into_iter().find_map(|name| tag.get(name)).cloned();
                let key = of(["Key", "TagKey", "key"]).unwrap_or_default();
                let value = of(["Value", "TagValue", "value"]).unwrap_or_default();
                pair(key.as_str().unwrap_or_default(), &value)
            })
            .collect()
        }
    };
    let is_user = |tag: &Value| !tag["Key"].as_str().is_some_and(system_tags::is_reserved);
    all.into_iter().filter(is_user).collect()
}
