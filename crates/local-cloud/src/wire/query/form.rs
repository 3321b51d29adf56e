//! Converts forms to JSON: `A.member.1.B=x` (EC2: `A.1.B=x`) becomes `{"A": [{"B": "x"}]}`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::api::{ApiError, ApiResult};
use crate::limits::{MAX_DEPTH, MAX_FORM_MEMBERS, MAX_FORM_NODES, too_deep};

/// Decodes a form into operation and input.
pub(crate) fn decode(body: &[u8]) -> ApiResult<(String, Value)> {
    let mut root = Node::default();
    let mut left = MAX_FORM_NODES;
    let mut action = None;
    for (count, (name, value)) in url::form_urlencoded::parse(body).enumerate() {
        if count >= MAX_FORM_MEMBERS {
            return Err(malformed(format!(
                "the form has more than {MAX_FORM_MEMBERS} members"
            )));
        }
        match name.as_ref() {
            "Action" if action.is_some() => {
                return Err(malformed("the form has two Action members".to_owned()));
            }
            "Action" => action = Some(value.into_owned()),
            "Version" => {}
            path => root.insert(path, value.into_owned(), &mut left)?,
        }
    }
    let action = action.ok_or_else(|| ApiError::new("MissingAction", "the form has no Action"))?;
    let input = match root.into_value() {
        Value::Object(input) => Value::Object(input),
        _ => Value::Object(Map::new()),
    };
    Ok((action, input))
}

/// The API version that a form names.
pub(crate) fn version(body: &[u8]) -> Option<String> {
    url::form_urlencoded::parse(body)
        .take(MAX_FORM_MEMBERS)
        .find(|(name, _)| name == "Version")
        .map(|(_, version)| version.into_owned())
}

fn malformed(message: String) -> ApiError {
    ApiError::new("MalformedQueryString", message)
}

#[derive(Debug, Clone, Default)]
struct Node {
    text: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    /// Adds a member. `left` is the number of nodes that may still be created.
    fn insert(&mut self, path: &str, value: String, left: &mut usize) -> ApiResult<()> {
        let shown = || path.chars().take(100).collect::<String>();
        let both = || malformed(format!("the member {} has a value and members", shown()));
        let mut node = self;
        for (depth, part) in path.split('.').enumerate() {
            if node.text.as_ref().is_some_and(|text| !text.is_empty()) {
                return Err(both());
            }
            if depth >= MAX_DEPTH {
                return Err(malformed(format!(
                    "the member {}… is {}",
                    shown(),
                    too_deep(MAX_DEPTH)
                )));
            }
            if !node.children.contains_key(part) {
                *left = left.checked_sub(1).ok_or_else(|| {
                    malformed(format!("the form has more than {MAX_FORM_NODES} nodes"))
                })?;
            }
            node = node.children.entry(part.to_owned()).or_default();
        }
        if !node.children.is_empty() && !value.is_empty() {
            return Err(both());
        }
        if node.text.replace(value).is_some() {
            return Err(malformed(format!("the member {} occurs twice", shown())));
        }
        Ok(())
    }

    /// The key and the value of an entry of a map; their names differ from service to service.
    fn map_entry(&self) -> Option<(&Node, &Node)> {
        let pair = [("key", "value"), ("Name", "Value")]
            .into_iter()
            .find_map(|(key, value)| Some((self.children.get(key)?, self.children.get(value)?)));
        pair.filter(|(key, _)| self.children.len() == 2 && key.text.is_some())
    }

    /// True for the entries of a map: `A.entry.1.key=x&A.entry.1.value=y`.
    fn has_map_entries(&self) -> bool {
        let is_entry = |(number, entry): (&String, &Node)| {
            number.parse::<u32>().is_ok() && entry.map_entry().is_some()
        };
        !self.children.is_empty() && self.children.iter().all(is_entry)
    }

    /// A map as an object. The last of several values of a key wins.
    fn map(&self) -> Value {
        let entries = self.children.values().filter_map(Self::map_entry);
        let members = entries.map(|(key, value)| {
            let key = key.text.clone().unwrap_or_default();
            (key, value.clone().into_value())
        });
        Value::Object(members.collect())
    }

    fn into_value(mut self) -> Value {
        if self.children.is_empty() {
            return self
                .text
                .map_or_else(|| Value::Object(Map::new()), Value::String);
        }
        if self.children.len() == 1
            && let Some(member) = self.children.remove("member")
        {
            // An empty list is sent as `A=`; any other list as `A.member.N`.
            return member.into_value();
        }
        if self.children.len() == 1
            && let Some(entries) = self.children.get("entry")
            && entries.has_map_entries()
        {
            return entries.map();
        }
        if self.children.keys().all(|key| key.parse::<u32>().is_ok()) {
            let mut items: Vec<(u32, Node)> = self
                .children
                .into_iter()
                .filter_map(|(key, node)| Some((key.parse().ok()?, node)))
                .collect();
            items.sort_by_key(|(index, _)| *index);
            return Value::Array(
                items
                    .into_iter()
                    .map(|(_, node)| node.into_value())
                    .collect(),
            );
        }
        Value::Object(
            self.children
                .into_iter()
                .map(|(key, node)| (key, node.into_value()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forms_become_trees() {
        let (action, input) = decode(
            b"Action=CreateStack&Version=2010-05-15&StackName=s&Capabilities.member.1=CAPABILITY_IAM\
              &Parameters.member.2.ParameterKey=b&Parameters.member.1.ParameterKey=a&Tags.member=",
        )
        .unwrap();
        assert_eq!(action, "CreateStack");
        assert_eq!(
            input,
            json!({
                "StackName": "s",
                "Capabilities": ["CAPABILITY_IAM"],
                "Parameters": [{"ParameterKey": "a"}, {"ParameterKey": "b"}],
                "Tags": "",
            })
        );
        let (_, input) = decode(b"Action=X&Filter.1.Name=n&Filter.1.Value.1=v").unwrap();
        assert_eq!(input, json!({"Filter": [{"Name": "n", "Value": ["v"]}]}));
    }

    #[test]
    fn maps_become_objects() {
        let (_, input) = decode(
            b"Action=X&Attributes.entry.1.key=a&Attributes.entry.1.value=1&Attributes.entry.2.key=b\
              &Attributes.entry.2.value=&M.entry.1.Name=n&M.entry.1.Value.DataType=String&E.entry.1=x\
              &F.entry.1.key=a&F.entry.1.more=b",
        )
        .unwrap();
        assert_eq!(
            input,
            json!({
                "Attributes": {"a": "1", "b": ""},
                "M": {"n": {"DataType": "String"}},
                // Anything else stays as it is.
                "E": {"entry": ["x"]},
                "F": {"entry": [{"key": "a", "more": "b"}]},
            })
        );
    }

    #[test]
    fn issue_8_1_5_a_deep_form_is_refused() {
        let form = |levels: usize| format!("Action=X&A{}=x", ".1".repeat(levels - 1));
        assert!(decode(form(MAX_DEPTH).as_bytes()).is_ok());
        for levels in [MAX_DEPTH + 1, 1000, 100_000] {
            let error = decode(form(levels).as_bytes()).unwrap_err();
            assert_eq!(
                (error.code.as_str(), error.status),
                ("MalformedQueryString", 400)
            );
            assert!(
                error.message.ends_with("nested deeper than 64 levels"),
                "{error}"
            );
        }
    }

    #[test]
    fn issue_8_1_6_a_form_of_many_members_is_refused() {
        let form = |count: usize| {
            let members: Vec<String> = (0..count).map(|index| format!("A.{index}=")).collect();
            format!("Action=X&{}", members.join("&"))
        };
        assert!(decode(form(9_000).as_bytes()).is_ok());
        let error = decode(form(MAX_FORM_MEMBERS).as_bytes()).unwrap_err();
        assert!(error.message.contains("10000 members"), "{error}");
        let long: Vec<String> = (0..1000)
            .map(|index| format!("A{index}{}=", ".x".repeat(40)))
            .collect();
        let error = decode(format!("Action=X&{}", long.join("&")).as_bytes()).unwrap_err();
        assert!(error.message.contains("20000 nodes"), "{error}");
    }

    #[test]
    fn no_member_is_dropped() {
        let message = |form: &[u8]| decode(form).unwrap_err().message;
        assert_eq!(message(b"Action=X&A=1&A=2"), "the member A occurs twice");
        for form in [&b"Action=X&A=1&A.B=2"[..], b"Action=X&A.B=2&A=1"] {
            assert!(message(form).ends_with("has a value and members"));
        }
        // An empty list may be sent like this, also together with members.
        assert!(decode(b"Action=X&A=&A.member.1=x").is_ok());
    }
}
