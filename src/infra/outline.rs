//! The outline of this program's templates: they are indented by two spaces, and every resource has a
//! `Type` line. A test checks this for every template.

use std::collections::BTreeMap;

use super::part::{PARTS, Part};

/// A resource of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared<'a> {
    /// Its logical id.
    pub(super) name: &'a str,
    /// Its type.
    pub(super) kind: &'a str,
    /// The condition under which it exists.
    pub(super) condition: Option<&'a str>,
}

/// Returns the resources that a template declares.
pub(super) fn resources(template: &str) -> Vec<Declared<'_>> {
    let mut found: Vec<Declared<'_>> = Vec::new();
    let mut inside = false;
    for line in template.lines() {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match indent {
            0 => inside = text == "Resources:",
            2 if inside => found.push(Declared {
                name: text.trim_end_matches(':'),
                kind: "",
                condition: None,
            }),
            4 if inside => {
                let Some(last) = found.last_mut() else {
                    continue;
                };
                if let Some(kind) = text.strip_prefix("Type: ") {
                    last.kind = kind;
                } else if let Some(condition) = text.strip_prefix("Condition: ") {
                    last.condition = Some(condition);
                }
            }
            _ => {}
        }
    }
    found
}

/// Returns the conditions that parameters decide: `NAME: !Equals [!Ref PARAMETER, VALUE]` and its negation
/// `!Not [!Equals […]]`. Others are left out.
pub(super) fn conditions<'a>(
    template: &'a str,
    parameters: &[(&'static str, String)],
) -> BTreeMap<&'a str, bool> {
    let mut inside = false;
    let mut found = BTreeMap::new();
    for line in template.lines() {
        if !line.starts_with(' ') && !line.trim().is_empty() {
            inside = line.trim() == "Conditions:";
        } else if inside && let Some((name, text)) = line.trim().split_once(": ") {
            let (text, wanted) = match text.strip_prefix("!Not [") {
                Some(inner) => (inner.strip_suffix(']').unwrap_or(inner), false),
                None => (text, true),
            };
            let pair = text.strip_prefix("!Equals [!Ref ");
            let pair = pair.and_then(|text| text.strip_suffix(']')?.split_once(", "));
            let Some((parameter, value)) = pair else {
                continue;
            };
            let actual = parameters.iter().find(|(known, _)| *known == parameter);
            if let Some((_, actual)) = actual {
                found.insert(name, (actual == value) == wanted);
            }
        }
    }
    found
}

/// Returns the parts and outputs that a template imports.
pub(super) fn imports(template: &str) -> impl Iterator<Item = (Part, &str)> {
    template.lines().filter_map(|line| {
        let (_, rest) = line.split_once("Fn::Sub: \"${ProjectName}-")?;
        let (part, output) = rest.split_once('-')?;
        let part = PARTS.into_iter().find(|known| known.as_str() == part)?;
        Some((part, output.split('"').next()?))
    })
}

/// Returns the names of a template's parameters, in its order.
pub(super) fn parameters(template: &'static str) -> impl Iterator<Item = &'static str> {
    template
        .lines()
        .skip_while(|line| *line != "Parameters:")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .filter_map(|line| {
            let name = line.strip_prefix("  ")?.strip_suffix(':')?;
            (!name.starts_with(' ')).then_some(name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_conditions_are_decided_by_the_parameters() {
        let template = "Conditions:\n  A: !Equals [!Ref P, x]\n  B: !Not [!Equals [!Ref P, x]]\n  \
                        C: !And [!Condition A, !Condition B]\n  D: !Equals [!Ref Q, x]\nResources:\n";
        let decided = conditions(template, &[("P", "x".to_owned())]);
        assert_eq!(decided, BTreeMap::from([("A", true), ("B", false)]));
    }

    #[test]
    fn a_template_is_outlined() {
        let template = "Parameters:\n  Other:\n    Type: String\nResources:\n  # One\n  A:\n    Type: T::A\n    \
                        Condition: C\n    Properties:\n      Type: x\n  B:\n    Type: T::B\nOutputs:\n  \
                        C:\n    Value: !ImportValue {Fn::Sub: \"${ProjectName}-data-KeyArn\"}\n";
        let a = Declared {
            name: "A",
            kind: "T::A",
            condition: Some("C"),
        };
        let b = Declared {
            name: "B",
            kind: "T::B",
            condition: None,
        };
        assert_eq!(resources(template), [a, b]);
        let imported: Vec<_> = imports(template).collect();
        assert_eq!(imported, [(Part::Data, "KeyArn")]);
    }
}
