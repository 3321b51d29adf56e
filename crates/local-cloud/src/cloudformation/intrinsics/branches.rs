//! The selected branches of `Fn::If`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Scope, function};

impl Scope {
    /// A value in which each `Fn::If` is replaced by the branch that its condition selects. One
    /// whose condition is undeclared is kept: `resolve` refuses it.
    pub(crate) fn chosen(&self, value: &Value) -> Value {
        if let Some(("Fn::If", Value::Array(parts))) = function(value)
            && let [Value::String(condition), yes, no] = parts.as_slice()
            && let Some(holds) = self.conditions.get(condition)
        {
            return self.chosen(if *holds { yes } else { no });
        }
        match value {
            Value::Array(items) => items.iter().map(|item| self.chosen(item)).collect(),
            Value::Object(members) => {
                let members = members.iter();
                let chosen: Map<String, Value> = members
                    .map(|(name, member)| (name.clone(), self.chosen(member)))
                    .collect();
                Value::Object(chosen)
            }
            scalar => scalar.clone(),
        }
    }

    /// The exports that a value imports, in the selected branches.
    pub(crate) fn imports(&self, value: &Value, found: &mut BTreeSet<String>) {
        match (function(value), value) {
            (Some(("Fn::ImportValue", argument)), _) => {
                found.extend(self.text(argument, "Fn::ImportValue"));
            }
            (Some(("Fn::If", Value::Array(parts))), _) => {
                if let [Value::String(condition), yes, no] = parts.as_slice() {
                    let holds = self.conditions.get(condition).copied().unwrap_or_default();
                    self.imports(if holds { yes } else { no }, found);
                }
            }
            (_, Value::Array(items)) => items.iter().for_each(|item| self.imports(item, found)),
            (_, Value::Object(object)) => {
                object
                    .values()
                    .for_each(|member| self.imports(member, found));
            }
            _ => {}
        }
    }
}
