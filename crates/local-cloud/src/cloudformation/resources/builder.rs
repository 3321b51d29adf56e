//! Short spellings for tables.

use serde_json::{Map, Value};

use super::hooks::{Hooks, TableOnly};
use super::table::{
    Argument, Call, Elements, Find, Form, List, Member, Naming, Place, Read, Search, Setting,
    Source, Spelling, State, Tags, Type, When,
};
use crate::api::ApiResult;

/// The builder of tables: each method sets the field of its name.
impl Type {
    pub(super) const fn new(name: &'static str, service: &'static str) -> Self {
        Self {
            name,
            service,
            naming: None,
            create: None,
            id: Source::Name,
            attributes: &[],
            described: None,
            settings: &[],
            lists: &[],
            tags: None,
            find: Find::Nothing(""),
            api_id: None,
            stable: None,
            delete: None,
            deleted_already: &[],
            deleting: None,
            live: &[],
            hook_properties: "",
            hooks: &TableOnly,
        }
    }

    pub(super) const fn named(mut self, property: &'static str, longest: usize) -> Self {
        self.naming = Some(Naming {
            property,
            longest,
            lower: false,
            prefix: None,
            suffix: None,
        });
        self
    }

    pub(super) const fn named_lower(mut self, property: &'static str, longest: usize) -> Self {
        self.naming = Some(Naming {
            property,
            longest,
            lower: true,
            prefix: None,
            suffix: None,
        });
        self
    }

    /// Generated names begin with `prefix`, and not with the stack's name.
    pub(super) const fn prefixed(mut self, prefix: &'static str) -> Self {
        if let Some(mut naming) = self.naming {
            naming.prefix = Some(prefix);
            self.naming = Some(naming);
        }
        self
    }

    /// Generated names end with `suffix` if this boolean property is true.
    pub(super) const fn suffixed(mut self, property: &'static str, suffix: &'static str) -> Self {
        if let Some(mut naming) = self.naming {
            naming.suffix = Some((property, suffix));
            self.naming = Some(naming);
        }
        self
    }

    pub(super) const fn create(
        mut self,
        operation: &'static str,
        arguments: &'static [Argument],
    ) -> Self {
        self.create = Some(call(operation, arguments));
        self
    }

    pub(super) const fn id(mut self, id: Source) -> Self {
        self.id = id;
        self
    }

    pub(super) const fn attributes(
        mut self,
        attributes: &'static [(&'static str, Source)],
    ) -> Self {
        self.attributes = attributes;
        self
    }

    pub(super) const fn described(
        mut self,
        call: Call,
        attributes: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.described = Some((call, attributes));
        self
    }

    pub(super) const fn settings(mut self, settings: &'static [Setting]) -> Self {
        self.settings = settings;
        self
    }

    pub(super) const fn lists(mut self, lists: &'static [List]) -> Self {
        self.lists = lists;
        self
    }

    pub(super) const fn tags(mut self, tags: Tags) -> Self {
        self.tags = Some(tags);
        self
    }

    pub(super) const fn find(mut self, search: Search) -> Self {
        self.find = Find::By(search);
        self
    }

    /// Found by a call whose response is the resource, with its id at this pointer.
    pub(super) const fn found_by(
        self,
        operation: &'static str,
        arguments: &'static [Argument],
        id: &'static str,
    ) -> Self {
        self.find(search(call(operation, arguments), "", id))
    }

    /// The hooks find a resource whose create call was cut off.
    pub(super) const fn find_by_code(mut self) -> Self {
        self.find = Find::Code;
        self
    }

    /// The create call creates nothing in a service.
    pub(super) const fn creates_nothing(mut self, reason: &'static str) -> Self {
        self.find = Find::Nothing(reason);
        self
    }

    pub(super) const fn api_id(mut self, search: Search) -> Self {
        self.api_id = Some(search);
        self
    }

    pub(super) const fn stable(mut self, state: State) -> Self {
        self.stable = Some(state);
        self
    }

    pub(super) const fn delete(
        mut self,
        operation: &'static str,
        arguments: &'static [Argument],
    ) -> Self {
        self.delete = Some(call(operation, arguments));
        self
    }

    pub(super) const fn deleted_already(mut self, codes: &'static [&'static str]) -> Self {
        self.deleted_already = codes;
        self
    }

    pub(super) const fn deleting(mut self, state: State) -> Self {
        self.deleting = Some(state);
        self
    }

    pub(super) const fn live(mut self, live: &'static [Read]) -> Self {
        self.live = live;
        self
    }

    pub(super) const fn hooks(
        mut self,
        hooks: &'static dyn Hooks,
        properties: &'static str,
    ) -> Self {
        self.hooks = hooks;
        self.hook_properties = properties;
        self
    }
}

/// A call.
pub(super) const fn call(operation: &'static str, arguments: &'static [Argument]) -> Call {
    Call {
        operation,
        arguments,
    }
}

/// An argument with the value of `source`.
pub(super) const fn argument(member: &'static str, source: Source) -> Argument {
    Argument {
        member,
        source,
        form: None,
        default: None,
        only_changed: false,
        is_key: false,
    }
}

/// Properties, separated by spaces, that the operation accepts under the same names.
pub(super) const fn same(properties: &'static str) -> Argument {
    argument("", Source::Same(properties))
}

/// A property that the operation accepts under another name, or `PROPERTY/MEMBER` of it.
pub(super) const fn from(member: &'static str, property: &'static str) -> Argument {
    argument(member, Source::Property(property))
}

/// A property that identifies the resource.
pub(super) const fn key(member: &'static str, property: &'static str) -> Argument {
    let mut key = from(member, property);
    key.is_key = true;
    key
}

/// A property with a document in it, which the operation accepts as JSON text.
pub(super) const fn document(member: &'static str, property: &'static str) -> Argument {
    from(member, property).form(json_text)
}

/// A property that is only sent if it has changed; includes the value (JSON text) for an absent property.
pub(super) const fn changed(property: &'static str, default: &'static str) -> Argument {
    let mut changed = from(property, property).or(default);
    changed.only_changed = true;
    changed
}

/// The resource's name.
pub(super) const fn name(member: &'static str) -> Argument {
    argument(member, Source::Name)
}

/// The resource's physical id.
pub(super) const fn physical(member: &'static str) -> Argument {
    argument(member, Source::Physical)
}

/// An element of a list.
pub(super) const fn element(member: &'static str) -> Argument {
    argument(member, Source::Part(""))
}

/// A part of an element of a list.
pub(super) const fn element_of(member: &'static str, pointer: &'static str) -> Argument {
    argument(member, Source::Part(pointer))
}

/// Text with placeholders.
pub(super) const fn text(member: &'static str, text: &'static str) -> Argument {
    argument(member, Source::Text(text))
}

/// A value, as JSON text with placeholders.
pub(super) const fn json(member: &'static str, text: &'static str) -> Argument {
    argument(member, Source::Json(text))
}

impl Argument {
    /// With a conversion.
    pub(super) const fn form(mut self, form: Form) -> Self {
        self.form = Some(form);
        self
    }

    /// With a value for an absent property, as JSON text.
    pub(super) const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Sent only if the property has changed.
    pub(super) const fn only_changed(mut self) -> Self {
        self.only_changed = true;
        self
    }
}

/// A setting with one call.
pub(super) const fn set(operation: &'static str, arguments: &'static [Argument]) -> Setting {
    Setting {
        set: call(operation, arguments),
        clear: None,
        switch: None,
        when: When::Always,
        done_already: &[],
    }
}

/// A boolean property with a call for each value; the call of the default is not needed after a creation.
pub(super) const fn switch(
    property: &'static str,
    default: bool,
    [on, off]: [&'static str; 2],
    arguments: &'static [Argument],
) -> Setting {
    Setting {
        set: call(on, arguments),
        clear: Some(call(off, arguments)),
        switch: Some((property, default)),
        when: When::Always,
        done_already: &[],
    }
}

impl Setting {
    /// With a call for an absent value.
    pub(super) const fn clear(
        mut self,
        operation: &'static str,
        arguments: &'static [Argument],
    ) -> Self {
        self.clear = Some(call(operation, arguments));
        self
    }

    /// These error codes mean that the calls have nothing to do.
    pub(super) const fn done_already(mut self, codes: &'static [&'static str]) -> Self {
        self.done_already = codes;
        self
    }

    /// Written only after the creation.
    pub(super) const fn on_create(mut self) -> Self {
        self.when = When::OnCreate;
        self
    }

    /// Written only when a property changes: the create call sets it, too.
    pub(super) const fn on_update(mut self) -> Self {
        self.when = When::OnUpdate;
        self
    }
}

/// A list property whose elements are added and removed by calls.
pub(super) const fn list(property: &'static str, add: Call, remove: Call) -> List {
    List {
        elements: Elements::Of(property),
        add,
        remove,
        removes_first: false,
        empties: true,
    }
}

/// The same for two operations with the same arguments.
pub(super) const fn attached(
    property: &'static str,
    [add, remove]: [&'static str; 2],
    arguments: &'static [Argument],
) -> List {
    list(property, call(add, arguments), call(remove, arguments))
}

/// Tags that these operations set and remove, in the members `Tags` and `TagKeys`.
pub(super) const fn tags_by(
    [set, remove]: [&'static str; 2],
    spelling: Spelling,
    resource: Argument,
) -> Tags {
    Tags {
        create: "Tags",
        spelling,
        set,
        remove,
        resource,
        list: "Tags",
        keys: "TagKeys",
    }
}

/// Tags that `TagResource` and `UntagResource` write, with members in lower case.
pub(super) const fn tags_of_arn(spelling: Spelling, arn: &'static str) -> Tags {
    Tags {
        create: "tags",
        list: "tags",
        keys: "tagKeys",
        ..tags_by(TAG_RESOURCE, spelling, text("resourceArn", arn))
    }
}

/// The operations that most services tag with.
pub(super) const TAG_RESOURCE: [&str; 2] = ["TagResource", "UntagResource"];

/// A search without conditions.
pub(super) const fn search(call: Call, items: &'static str, id: &'static str) -> Search {
    Search {
        call,
        items,
        id: Source::Part(id),
        equal: &[],
        is_tagged: false,
    }
}

impl Search {
    /// Only items with these values.
    pub(super) const fn equal(mut self, equal: &'static [(&'static str, Source)]) -> Self {
        self.equal = equal;
        self
    }

    /// With an id that is not a part of the item.
    pub(super) const fn id(mut self, id: Source) -> Self {
        self.id = id;
        self
    }

    /// Only items that `CloudFormation` has tagged as this resource.
    pub(super) const fn tagged(mut self) -> Self {
        self.is_tagged = true;
        self
    }
}

/// A call that returns the resource at a path.
pub(super) const fn read(call: Call, item: &'static str, members: &'static [Member]) -> Read {
    Read {
        call,
        item,
        equal: &[],
        members,
    }
}

/// Properties under their own names.
pub(super) const fn own(properties: &'static str) -> Member {
    let place = Place::Same;
    Member { properties, place }
}

/// Properties under their own names in camelCase.
pub(super) const fn camel(properties: &'static str) -> Member {
    let place = Place::Camel;
    Member { properties, place }
}

/// A property at a path.
pub(super) const fn at(properties: &'static str, path: &'static str) -> Member {
    let place = Place::At(path);
    Member { properties, place }
}

/// A property that is percent-encoded JSON.
pub(super) const fn encoded(properties: &'static str, pointer: &'static str) -> Member {
    let place = Place::Encoded(pointer);
    Member { properties, place }
}

impl Read {
    /// Only a resource with these values.
    pub(super) const fn equal(mut self, equal: &'static [(&'static str, Source)]) -> Self {
        self.equal = equal;
        self
    }
}

/// A policy or another document in the form of the API: JSON text.
#[expect(clippy::unnecessary_wraps, reason = "a form, of which others can fail")]
pub(super) fn json_text(value: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    Ok(match value {
        Value::String(_) => value.clone(),
        other => Value::String(other.to_string()),
    })
}
