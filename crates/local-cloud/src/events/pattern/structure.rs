//! Matches the structure of an event: nesting, and arrays.
//!
//! If several fields of a pattern are in one array of objects, the same element has to match all of them (array
//! consistency). event-ruler compares the fields in the order of their paths: a field that must not exist is absent
//! from the whole array, unless a field before it has chosen an element.

use std::sync::Arc;

use serde_json::Value;

use super::value::Field;
use super::{Fields, Steps, TooManySteps};

/// No field of the pattern has been found in the event.
const NOTHING: usize = usize::MAX;

/// A field of a sub-rule, and the fields below it.
#[derive(Debug)]
pub(super) struct Node {
    /// What the values at this place match, and the position of this field in the order of paths.
    field: Option<(usize, Arc<Field>)>,
    /// The names below, in the order of the paths.
    children: Vec<(Box<str>, Node)>,
    /// The lowest position below of a field that must exist.
    required: usize,
    /// True if a field below can be absent.
    has_absent: bool,
}

/// What a value is for a node.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// `None` if the value does not match; otherwise the lowest possible position of a field that a value matches, or
    /// [`NOTHING`] if all are absent.
    first: Option<usize>,
    /// The lowest position of a field that can be absent, but is not; [`NOTHING`] if there is none.
    present: usize,
}

impl Found {
    const NOTHING: Self = Self {
        first: Some(NOTHING),
        present: NOTHING,
    };

    /// Both have to match.
    fn and(self, other: Self) -> Self {
        let both = self.first.zip(other.first);
        Self {
            first: both.map(|(one, two)| one.min(two)),
            present: self.present.min(other.present),
        }
    }
}

impl Node {
    pub(super) fn new(fields: Fields) -> Self {
        let mut root = Self::empty();
        for (position, (path, field)) in fields.into_iter().enumerate() {
            let mut node = &mut root;
            for name in path.split('.') {
                if field.absent {
                    node.has_absent = true;
                } else {
                    node.required = node.required.min(position);
                }
                node = node.child(name);
            }
            node.field = Some((position, field));
        }
        root
    }

    fn empty() -> Self {
        Self {
            field: None,
            children: Vec::new(),
            required: NOTHING,
            has_absent: false,
        }
    }

    /// The child of this name, which is added if it is missing.
    fn child(&mut self, name: &str) -> &mut Self {
        let found = self.children.iter().position(|(own, _)| &**own == name);
        let at = found.unwrap_or_else(|| {
            self.children.push((name.into(), Self::empty()));
            self.children.len() - 1
        });
        &mut self.children[at].1
    }

    pub(super) fn matches(&self, event: &Value, steps: &Steps) -> Result<bool, TooManySteps> {
        Ok(self.below(Some(event), steps)?.first.is_some())
    }

    /// The only values of a field; `None` if others match.
    pub(super) fn exact(&self, name: &str) -> Option<Vec<&str>> {
        let mut children = self.children.iter();
        let (_, child) = children.find(|(own, _)| &**own == name)?;
        child.field.as_ref()?.1.exact()
    }

    /// Matches this node with a value. Each value of an event is visited once for each node with its path.
    fn of(&self, value: Option<&Value>, steps: &Steps) -> Result<Found, TooManySteps> {
        let own = match &self.field {
            Some((position, field)) => own(*position, field, value, steps)?,
            None => Found::NOTHING,
        };
        if self.children.is_empty() || (own.first.is_none() && !self.has_absent) {
            return Ok(own);
        }
        Ok(own.and(self.below(value, steps)?))
    }

    /// [`Node::of`] without the field of the node itself.
    fn below(&self, value: Option<&Value>, steps: &Steps) -> Result<Found, TooManySteps> {
        steps.take(1)?;
        if self.children.is_empty() {
            return Ok(Found::NOTHING);
        }
        let mut all = Found::NOTHING;
        let Some(Value::Array(items)) = value else {
            for (name, child) in &self.children {
                let member = value.and_then(|value| value.get(&**name));
                all = all.and(child.of(member, steps)?);
                if all.first.is_none() && !self.has_absent {
                    break;
                }
            }
            return Ok(all);
        };
        let mut firsts = Vec::new();
        for item in items {
            let found = self.below(Some(item), steps)?;
            all.present = all.present.min(found.present);
            firsts.extend(found.first.filter(|first| *first != NOTHING));
        }
        // One element matches all fields, except those before the first that is found.
        let limit = self.required.min(all.present);
        let chosen = firsts.into_iter().filter(|first| *first <= limit).min();
        all.first = chosen.or((limit == NOTHING).then_some(NOTHING));
        Ok(all)
    }
}

/// Matches a field with the values at its place.
fn own(
    position: usize,
    field: &Field,
    value: Option<&Value>,
    steps: &Steps,
) -> Result<Found, TooManySteps> {
    let mut leaves = Leaves::default();
    if let Some(value) = value {
        leaves.visit(value, field, steps)?;
    }
    let is_absent = field.absent && !leaves.any;
    let matched = leaves.matching.then_some(position);
    Ok(Found {
        first: matched.or(is_absent.then_some(NOTHING)),
        present: if field.absent && leaves.any {
            position
        } else {
            NOTHING
        },
    })
}

/// The values at the place of a field that are no objects, also inside arrays.
#[derive(Debug, Default)]
struct Leaves {
    any: bool,
    matching: bool,
}

impl Leaves {
    fn visit(&mut self, value: &Value, field: &Field, steps: &Steps) -> Result<(), TooManySteps> {
        steps.take(1)?;
        match value {
            Value::Array(items) => {
                for item in items {
                    self.visit(item, field, steps)?;
                    if self.matching {
                        break;
                    }
                }
            }
            Value::Object(_) => {}
            leaf => {
                let text = leaf.as_str().map_or(0, str::len);
                steps.compare(text, field.size())?;
                self.any = true;
                self.matching = field.matches(leaf);
            }
        }
        Ok(())
    }
}
