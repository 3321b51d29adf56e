//! JSON paths into events, as far as EventBridge has them: names after dots, names in brackets, positions and `*`.

use serde_json::Value;

/// A parsed path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Item(usize),
    All,
}

impl Path {
    /// Parses a path that begins with `$`; `None` for other syntax.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = if let Some(inner) = rest.strip_prefix('[') {
                let (inner, after) = inner.split_once(']')?;
                (Self::bracket(inner)?, after)
            } else {
                let inner = rest.strip_prefix('.')?;
                let end = inner.find(['.', '[']).unwrap_or(inner.len());
                (Self::name(&inner[..end])?, &inner[end..])
            };
            steps.push(step);
            rest = after;
        }
        Some(Self(steps))
    }

    fn bracket(inner: &str) -> Option<Step> {
        let quoted = |quote: char| inner.strip_prefix(quote)?.strip_suffix(quote);
        match quoted('\'').or_else(|| quoted('"')) {
            Some(name) => Some(Step::Member(name.to_owned())),
            None if inner == "*" => Some(Step::All),
            None => inner.parse().ok().map(Step::Item),
        }
    }

    fn name(name: &str) -> Option<Step> {
        let allowed = |c: char| c.is_alphanumeric() || "-_/:@$ ".contains(c);
        match name {
            "*" => Some(Step::All),
            "" => None,
            name => name
                .chars()
                .all(allowed)
                .then(|| Step::Member(name.to_owned())),
        }
    }

    /// The value at this path; a list of values if the path has a `*`.
    pub(super) fn find(&self, value: &Value) -> Option<Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found
                .into_iter()
                .flat_map(|value| match (step, value) {
                    (Step::Member(name), value) => value.get(name).into_iter().collect(),
                    (Step::Item(index), value) => value.get(*index).into_iter().collect(),
                    (Step::All, Value::Array(items)) => items.iter().collect(),
                    (Step::All, Value::Object(members)) => members.values().collect::<Vec<_>>(),
                    (Step::All, _) => Vec::new(),
                })
                .collect();
        }
        if self.0.contains(&Step::All) {
            return Some(found.into_iter().cloned().collect());
        }
        found.into_iter().next().cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_into_events() {
        let event = json!({"detail-type": "t", "resources": ["a", "b"],
            "detail": {"x": [{"y": 1}, {"y": 2}], "a.b": {"c d": null}}});
        for (path, expected) in [
            ("$", Some(event.clone())),
            ("$.detail-type", Some(json!("t"))),
            ("$.resources[1]", Some(json!("b"))),
            ("$.resources[2]", None),
            ("$.resources", Some(json!(["a", "b"]))),
            ("$.resources[*]", Some(json!(["a", "b"]))),
            ("$.detail.x[0].y", Some(json!(1))),
            ("$.detail.x[*].y", Some(json!([1, 2]))),
            ("$.detail['a.b'][\"c d\"]", Some(json!(null))),
            ("$.detail.none.y", None),
        ] {
            let parsed = Path::parse(path).expect(path);
            assert_eq!(parsed.find(&event), expected, "{path}");
        }
        for wrong in [
            "",
            "detail",
            "$detail",
            "$.",
            "$..a",
            "$.a[",
            "$.a[x]",
            "$.a[?(@.b)]",
            "$.a(b)",
        ] {
            assert_eq!(Path::parse(wrong), None, "{wrong}");
        }
    }
}
