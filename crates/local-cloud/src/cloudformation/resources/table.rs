//! Definition of a resource type: a table over the provider's schema.
//!
//! A table names the calls that create, change and delete a resource, and for each argument the property
//! or other source of its value. The properties that a type supports are those that its arguments use.

use serde_json::{Map, Value};

use super::hooks::Hooks;
use super::schema::Schema;
use crate::api::ApiResult;

/// A resource type.
#[derive(Clone, Copy)]
pub(crate) struct Type {
    /// `AWS::SERVICE::NAME`.
    pub(crate) name: &'static str,
    /// The service of all calls, as named in [`crate::Cloud::call`].
    pub(super) service: &'static str,
    /// How the resource is named, for types whose resources have names.
    pub(crate) naming: Option<Naming>,
    /// The call that creates the resource.
    pub(super) create: Option<Call>,
    /// The physical id, from the response of `create`.
    pub(super) id: Source,
    /// The values of `Fn::GetAtt`, from the response of `create`.
    pub(super) attributes: &'static [(&'static str, Source)],
    /// A call whose response has further attributes, which can change with an update.
    pub(super) described: Option<(Call, &'static [(&'static str, &'static str)])>,
    /// Properties that are set by separate calls, in this order.
    pub(super) settings: &'static [Setting],
    /// Lists whose elements are added and removed by separate calls, in this order.
    pub(super) lists: &'static [List],
    /// How tags are written.
    pub(super) tags: Option<Tags>,
    /// How to find a resource whose create call was interrupted.
    pub(super) find: Find,
    /// Finds the id for the calls that tag and delete a resource, where it is not the physical id.
    pub(super) api_id: Option<Search>,
    /// The state in which the resource is ready.
    pub(super) stable: Option<State>,
    /// The call that deletes the resource.
    pub(super) delete: Option<Call>,
    /// Error codes of `delete` that mean that there is nothing left to delete, in addition to "not found".
    pub(super) deleted_already: &'static [&'static str],
    /// The states during and after an asynchronous deletion.
    pub(super) deleting: Option<State>,
    /// Calls whose responses have the live properties; empty if drift is not detected. The first one shows
    /// whether the resource exists.
    pub(super) live: &'static [Read],
    /// Properties that only the hooks read, separated by spaces.
    pub(super) hook_properties: &'static str,
    /// Code for what a table cannot express.
    pub(super) hooks: &'static dyn Hooks,
}

/// How a resource is named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Naming {
    /// The property that holds the name.
    pub(crate) property: &'static str,
    /// Maximum length of the name in bytes.
    pub(crate) longest: usize,
    /// True if the service refuses upper-case letters.
    pub(crate) lower: bool,
    /// The prefix of generated names, if not the stack's name.
    pub(crate) prefix: Option<&'static str>,
    /// A boolean property, and how generated names end if it is true.
    pub(crate) suffix: Option<(&'static str, &'static str)>,
}

/// A call of the type's service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) arguments: &'static [Argument],
}

/// An argument of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Argument {
    /// The member of the request. `A.B` is member `B` of object `A`; `A[]` is a list of this one value;
    /// an empty name adds the members of the value, which is an object.
    pub(super) member: &'static str,
    pub(super) source: Source,
    /// Converts the value to the form of the API.
    pub(super) form: Option<Form>,
    /// JSON text of the value for an absent property.
    pub(super) default: Option<&'static str>,
    /// True for an argument that is only sent if its property has changed.
    pub(super) only_changed: bool,
    /// True for an argument that identifies the resource: a change of it does not cause the call.
    pub(super) is_key: bool,
}

/// Converts a property's value to the form of the API; the map holds all properties.
pub(super) type Form = fn(&Value, &Map<String, Value>) -> ApiResult<Value>;

/// The source of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// These properties, separated by spaces, under their own names.
    Same(&'static str),
    /// A property, or `PROPERTY/MEMBER` of it.
    Property(&'static str),
    /// The value that a property had before the update.
    Previous(&'static str),
    /// The elements that an update adds to a list property.
    Added(&'static str),
    /// The elements that an update removes from a list property.
    Removed(&'static str),
    /// `true` if an update removes the property.
    Dropped(&'static str),
    /// An object of these properties, separated by spaces.
    Object(&'static str),
    /// The resource's name.
    Name,
    /// The resource's physical id.
    Physical,
    /// A random token.
    Token,
    /// A part, by JSON pointer, of the value at hand: a call's response, an element of a list.
    Part(&'static str),
    /// Text with placeholders: see [`super::target::Target::fill`].
    Text(&'static str),
    /// JSON text with the same placeholders.
    Json(&'static str),
}

/// When a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    OnCreate,
    OnUpdate,
}

/// Properties that a separate call sets, after the creation and when one of them changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) set: Call,
    /// The call if no property of `set` has a value.
    pub(super) clear: Option<Call>,
    /// For a boolean property that chooses between `set` and `clear`: its name and its default.
    pub(super) switch: Option<(&'static str, bool)>,
    pub(super) when: When,
    /// Error codes which mean that the calls have nothing to do. The roll-back of an update that failed
    /// halfway also reverts what was never done.
    pub(super) done_already: &'static [&'static str],
}

/// A list whose elements are added and removed one by one.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    pub(super) elements: Elements,
    /// Called for each new or changed element.
    pub(super) add: Call,
    /// Called for each removed element: no new element has the same arguments for this call.
    pub(super) remove: Call,
    /// True if elements must be removed before others are added.
    pub(super) removes_first: bool,
    /// True if elements must be removed before the resource is deleted.
    pub(super) empties: bool,
}

/// The elements of a list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Elements {
    /// The elements of a property.
    Of(&'static str),
    /// The elements that a function derives from a property.
    By(&'static str, fn(&Map<String, Value>) -> Vec<Value>),
}

/// How a service writes tags.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tags {
    /// The argument of the create call.
    pub(super) create: &'static str,
    pub(super) spelling: Spelling,
    /// Operations that set and remove tags.
    pub(super) set: &'static str,
    pub(super) remove: &'static str,
    /// The argument that identifies the resource.
    pub(super) resource: Argument,
    /// The arguments that hold tags and keys.
    pub(super) list: &'static str,
    pub(super) keys: &'static str,
}

/// How a list of tags is spelled in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// `[{"Key": …, "Value": …}]`
    Pairs,
    /// `[{"key": …, "value": …}]`
    LowerPairs,
    /// `[{"TagKey": …, "TagValue": …}]`
    TagPairs,
    /// `{KEY: VALUE}`
    Object,
    /// As `Pairs`, in the create call inside a `TagSpecification` of this kind; keys as `[{"Key": …}]`.
    Specification(&'static str),
}

/// How to find a resource that a create call may have created before the server died.
#[derive(Debug, Clone, Copy)]
pub(super) enum Find {
    /// By a search.
    By(Search),
    /// By [`Hooks::find`].
    Code,
    /// Not at all: the create call creates nothing in a service; the text is the reason.
    Nothing(#[cfg_attr(not(test), expect(dead_code, reason = "for readers"))] &'static str),
}

/// A search for resources of a type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    pub(super) call: Call,
    /// Path of the items in the response; `*` is each element of a list or each member of an object. Empty
    /// if the response is the item.
    pub(super) items: &'static str,
    /// The id of an item.
    pub(super) id: Source,
    /// Members of an item, by JSON pointer, and the values that they must have.
    pub(super) equal: &'static [(&'static str, Source)],
    /// True if an item must have the tags that `CloudFormation` adds, in `tagSet`.
    pub(super) is_tagged: bool,
}

/// A call whose response has live properties.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) call: Call,
    /// Path of the resource in the response; `*` is each element of a list.
    pub(super) item: &'static str,
    /// Members of the resource, by JSON pointer, and the values that they must have.
    pub(super) equal: &'static [(&'static str, Source)],
    pub(super) members: &'static [Member],
}

/// Properties in a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// Properties, separated by spaces. `A/B` is member `B` of property `A`.
    pub(super) properties: &'static str,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// Under their own names.
    Same,
    /// Under their own names, at every depth with a first letter in lower case.
    Camel,
    /// At a path, in which `*` makes a list of the elements.
    At(&'static str),
    /// As percent-encoded JSON at a pointer.
    Encoded(&'static str),
}

/// The states of a resource.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) call: Call,
    /// JSON pointers to a state and to the reason for it, in the response.
    pub(super) states: &'static [(&'static str, &'static str)],
    /// The states in which the wait ends. All others, except `failed`, are transitional.
    pub(super) wanted: &'static [&'static str],
    /// The states in which the wait fails.
    pub(super) failed: &'static [&'static str],
    /// The error's message, with `{physical}`, `{state}` and `{reason}`.
    pub(super) message: &'static str,
}

impl State {
    /// True if an answer of the call shows a state in which the wait ends.
    pub(super) fn holds(&self, answer: &Value) -> bool {
        let mut states = self
            .states
            .iter()
            .map(|(pointer, _)| answer.pointer(pointer));
        states.all(|state| {
            let state = state.and_then(Value::as_str);
            state.is_some_and(|state| self.wanted.contains(&state))
        })
    }
}

impl std::fmt::Debug for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Argument {
    /// The properties that the value depends on.
    pub(super) fn properties(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.source.properties()
    }
}

impl Source {
    /// The properties that the value depends on.
    pub(super) fn properties(self) -> impl Iterator<Item = &'static str> + use<> {
        let names = match self {
            Self::Same(names) | Self::Object(names) => names,
            Self::Property(name)
            | Self::Previous(name)
            | Self::Added(name)
            | Self::Removed(name)
            | Self::Dropped(name) => name.split('/').next().unwrap_or_default(),
            _ => "",
        };
        names.split_ascii_whitespace()
    }
}

impl Call {
    /// The properties that the call's arguments use.
    pub(super) fn properties(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.arguments.iter().flat_map(Argument::properties)
    }
}

impl Read {
    /// The properties that it reads.
    pub(super) fn properties(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.members
            .iter()
            .flat_map(Member::names)
            .map(Member::outer)
    }
}

impl Member {
    /// The properties.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.properties.split_ascii_whitespace()
    }

    /// The property that a path begins in.
    pub(super) fn outer(path: &str) -> &str {
        path.split('/').next().unwrap_or(path)
    }
}

impl Setting {
    /// The properties whose change causes the call.
    pub(super) fn causes(&self) -> impl Iterator<Item = &'static str> + use<> {
        let arguments = self.set.arguments.iter();
        let properties = arguments.filter(|argument| !argument.is_key);
        let switch = self.switch.map(|(property, _)| property);
        properties.flat_map(Argument::properties).chain(switch)
    }
}

impl Elements {
    fn property(self) -> &'static str {
        match self {
            Self::Of(property) | Self::By(property, _) => property,
        }
    }
}

impl Type {
    /// The properties that the local cloud supports.
    pub(super) fn properties(&self) -> impl Iterator<Item = &'static str> + use<'_> {
        let create = self.create.iter().flat_map(Call::properties);
        let naming = self.naming.map(|naming| naming.property);
        let tags = self.tags.map(|_| "Tags");
        let delete = self.delete.iter().flat_map(Call::properties);
        create
            .chain(naming)
            .chain(tags)
            .chain(delete)
            .chain(self.set_later())
    }

    /// The properties that are written by other calls than create and delete, or by the hooks.
    fn set_later(&self) -> impl Iterator<Item = &'static str> + use<'_> {
        let settings = self.settings.iter().flat_map(Setting::causes);
        let lists = self.lists.iter().flat_map(|list| {
            let calls = [list.add, list.remove];
            let arguments = calls.into_iter().flat_map(|call| call.properties());
            arguments.chain([list.elements.property()])
        });
        let hooks = self.hook_properties.split_ascii_whitespace();
        settings.chain(lists).chain(hooks)
    }

    /// True for a property that the local cloud supports.
    pub(super) fn supports(&self, property: &str) -> bool {
        self.properties().any(|supported| supported == property)
    }

    /// True if a change of the property is supported: by a call, by the hooks, or because only the
    /// deletion of the resource reads it.
    pub(super) fn can_change(&self, property: &str) -> bool {
        let has = |call: &Option<Call>| {
            let mut properties = call.iter().flat_map(Call::properties);
            properties.any(|found| found == property)
        };
        self.set_later().any(|found| found == property)
            || (property == "Tags" && self.tags.is_some())
            || (has(&self.delete) && !has(&self.create))
    }

    /// True for an attribute that `Fn::GetAtt` can return.
    pub(crate) fn has_attribute(&self, name: &str) -> bool {
        let described = self
            .described
            .iter()
            .flat_map(|(_, attributes)| *attributes);
        let mut described = described.map(|(attribute, _)| attribute);
        let mut attributes = self.attributes.iter().map(|(attribute, _)| attribute);
        attributes.any(|attribute| *attribute == name)
            || described.any(|attribute| *attribute == name)
    }

    /// True if drift is detected.
    pub(crate) fn detects_drift(&self) -> bool {
        !self.live.is_empty() || self.hooks.reads_live()
    }

    /// True for a property whose live value is read.
    pub(crate) fn reads_property(&self, property: &str) -> bool {
        let mut read = self.live.iter().flat_map(Read::properties);
        let by_hooks = self.hooks.reads_live() && self.hooks.reads_property(property);
        by_hooks || read.any(|name| name == property)
    }

    /// The steps on a resource of the type.
    pub(crate) fn steps(&self) -> &'static dyn Hooks {
        self.hooks
    }

    /// The service's name in messages: `S3` of `AWS::S3::Bucket`.
    pub(crate) fn display_service(&self) -> &'static str {
        self.name.split("::").nth(1).unwrap_or_default()
    }

    /// True if the properties can hold tags as a list of keys and values.
    pub(crate) fn is_taggable(&self) -> bool {
        self.supports("Tags")
    }

    /// Tags as the property `Tags` has them: a list of keys and values, or an object.
    pub(crate) fn tag_property(&self, tags: Vec<Value>) -> Value {
        let schema = Schema::of(self.name).and_then(|schema| schema.member("Tags"));
        if schema.is_none_or(|schema| schema.allows("array")) {
            return Value::Array(tags);
        }
        let pairs = tags.iter().filter_map(|tag| {
            let key = tag.get("Key")?.as_str()?;
            Some((key.to_owned(), tag.get("Value")?.clone()))
        });
        Value::Object(pairs.collect())
    }

    /// True if `CloudFormation` tags the resources with their stack and logical id
    /// (`tagging.cloudFormationSystemTags` of the provider schema).
    pub(super) fn has_system_tags(&self) -> bool {
        self.is_taggable() && Schema::of(self.name).is_some_and(Schema::has_system_tags)
    }
}

#[cfg(test)]
mod tests;
