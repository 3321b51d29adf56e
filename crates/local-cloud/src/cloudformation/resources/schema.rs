//! AWS's provider schemas: the properties of a type, their types, which are required, which only
//! AWS sets, and which create a new resource when changed.
//!
//! `tools/resource_types.py` writes `schemas.json` and describes its format.

use std::sync::LazyLock;

use serde_json::Value;

static SCHEMAS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("schemas.json")).unwrap_or_default());

/// The schema of a resource type, or of a value within its properties.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema {
    /// The type's complete schema, which references point into.
    kind: &'static Value,
    node: &'static Value,
}

impl Schema {
    /// The schema of the type with this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let kind = SCHEMAS.get(name)?;
        Some(Self { kind, node: kind })
    }

    fn at(self, node: &'static Value) -> Self {
        let path = node["$ref"]
            .as_str()
            .and_then(|path| path.strip_prefix('#'));
        match path.and_then(|path| self.kind.pointer(path)) {
            Some(target) => self.at(target),
            None => Self { node, ..self },
        }
    }

    fn texts(self, member: &str) -> impl Iterator<Item = &'static str> + use<> {
        let texts = self.node[member].as_array().into_iter().flatten();
        texts.filter_map(Value::as_str)
    }

    /// The required properties.
    pub(super) fn required(self) -> impl Iterator<Item = &'static str> {
        self.texts("required")
    }

    /// The properties, or members `A/B`, whose change creates a new resource.
    pub(super) fn create_only(self) -> impl Iterator<Item = &'static str> {
        self.texts("create_only")
    }

    /// True for a property that only AWS sets.
    pub(super) fn is_read_only(self, name: &str) -> bool {
        self.texts("read_only").any(|path| path == name)
    }

    /// True if `CloudFormation` tags such resources with their stack and logical id.
    pub(super) fn has_system_tags(self) -> bool {
        self.node["system_tags"] == true
    }

    /// The allowed values; empty if every value is allowed.
    pub(super) fn choices(self) -> &'static [Value] {
        self.node["enum"].as_array().map_or(&[], Vec::as_slice)
    }

    /// True if the value can be of this JSON type; a schema without types allows every type.
    pub(super) fn allows(self, kind: &str) -> bool {
        match &self.node["type"] {
            Value::String(only) => only == kind,
            Value::Array(kinds) => kinds.iter().any(|one| one == kind),
            _ if self.has_members() => kind == "object",
            _ => true,
        }
    }

    /// True for an object whose members the schema lists.
    pub(super) fn has_members(self) -> bool {
        self.node["properties"].is_object()
    }

    /// True if members that the schema does not list are allowed.
    pub(super) fn is_open(self) -> bool {
        !self.has_members() || self.node["additionalProperties"].is_object()
    }

    /// True for a map: every name is allowed, and the schema describes the values.
    pub(super) fn is_map(self) -> bool {
        !self.has_members() && self.node["additionalProperties"].is_object()
    }

    /// True for an object that the schema says nothing about, such as a policy.
    pub(super) fn is_document(self) -> bool {
        !self.has_members() && !self.is_map()
    }

    /// The schema of a member of an object.
    pub(super) fn member(self, name: &str) -> Option<Self> {
        let of = |member: &str| self.node.get(member);
        of("properties")
            .and_then(|properties| properties.get(name))
            .or_else(|| of("additionalProperties"))
            .map(|node| self.at(node))
    }

    /// The schema of the elements of a list.
    pub(super) fn item(self) -> Option<Self> {
        Some(self.at(self.node.get("items")?))
    }
}
