//! EC2: lists of resources, without its SDK crate.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use quick_xml::Reader;
use quick_xml::events::Event;

use super::Clients;
use super::signed;

/// A resource in a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Item {
    /// The members that are text.
    pub(super) fields: BTreeMap<String, String>,
    /// The number of items of each member that is a list.
    pub(super) lists: BTreeMap<String, usize>,
}

impl Item {
    /// Returns a member that is text.
    pub(super) fn text(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// Calls an operation that lists resources, all of them in one response. `list` is the list in the
/// response, and each filter a name and a value.
pub(super) async fn list(
    clients: &Clients,
    operation: &str,
    list: &str,
    filters: &[(&str, &str)],
) -> Result<Vec<Item>> {
    let names: Vec<(String, String)> = (1..=filters.len())
        .map(|number| {
            (
                format!("Filter.{number}.Name"),
                format!("Filter.{number}.Value.1"),
            )
        })
        .collect();
    let mut parameters = vec![("Action", operation), ("Version", "2016-11-15")];
    for ((name_key, value_key), (name, value)) in names.iter().zip(filters) {
        parameters.extend([(name_key.as_str(), *name), (value_key.as_str(), *value)]);
    }
    let doing = format!("cannot call {operation}");
    let answer = signed::query(clients, "ec2", &doing, &parameters).await?;
    items(&answer, list).with_context(|| format!("{doing}: the response cannot be read"))
}

/// Reads the items of a list directly below the root.
fn items(xml: &[u8], list: &str) -> Result<Vec<Item>> {
    let mut reader = Reader::from_reader(xml);
    let mut path: Vec<String> = Vec::new();
    let mut found: Option<Vec<Item>> = None;
    loop {
        match reader.read_event()? {
            Event::Start(element) => {
                path.push(String::from_utf8_lossy(element.local_name().as_ref()).into_owned());
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                match (&names[..], &mut found) {
                    ([_, name], _) if *name == list => found = Some(Vec::new()),
                    ([_, name, "item"], Some(items)) if *name == list => {
                        items.push(Item::default());
                    }
                    ([_, name, "item", member, "item"], Some(items)) if *name == list => {
                        if let Some(item) = items.last_mut() {
                            *item.lists.entry((*member).to_owned()).or_default() += 1;
                        }
                    }
                    _ => {}
                }
            }
            Event::Empty(element) => {
                let name = element.local_name();
                if path.len() == 1 && name.as_ref() == list.as_bytes() {
                    found = Some(Vec::new());
                }
            }
            Event::Text(text) => {
                if let [_, name, item, member] = &path[..]
                    && name == list
                    && item == "item"
                    && let Some(item) = found.as_mut().and_then(|items| items.last_mut())
                {
                    let text = text.decode()?.trim().to_owned();
                    if !text.is_empty() {
                        item.fields.insert(member.clone(), text);
                    }
                }
            }
            Event::End(_) => {
                path.pop();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    found.with_context(|| format!("there is no {list}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_items_of_the_list_are_read() {
        let xml = b"<DescribeVpcEndpointsResponse xmlns=\"x\"><requestId>r</requestId>\
            <vpcEndpointSet><item><vpcEndpointId>a</vpcEndpointId>\
            <subnetIdSet><item>s1</item><item>s2</item></subnetIdSet>\
            <tagSet><item><key>k</key></item></tagSet></item>\
            <item><vpcEndpointId>b</vpcEndpointId></item></vpcEndpointSet>\
            </DescribeVpcEndpointsResponse>";
        let found = items(xml, "vpcEndpointSet").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].text("vpcEndpointId"), "a");
        assert_eq!(found[0].text("key"), "");
        assert_eq!(found[0].lists["subnetIdSet"], 2);
        assert_eq!(found[1].text("vpcEndpointId"), "b");
        assert!(items(xml, "vpcSet").is_err());
        let none = b"<DescribeAddressesResponse><addressesSet/></DescribeAddressesResponse>";
        assert!(items(none, "addressesSet").unwrap().is_empty());
        assert!(items(b"<a", "a").is_err());
    }
}
