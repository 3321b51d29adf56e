//! The dependency graph of steps.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::definition::{Definition, Step, StepType};
use super::expression::{Call, Reference, call};
use super::problem::Problem;

/// A step in the graph, including steps in branches of a Condition step.
#[derive(Debug, Clone)]
pub struct Node {
    /// The step.
    pub step: Step,
    /// Its location in the definition, as a JSON path.
    pub path: String,
    /// The enclosing Condition step, and the outcome for which this step runs.
    pub parent: Option<(String, bool)>,
    /// The steps that must succeed before it starts: `DependsOn`, steps that its expressions read, and
    /// the enclosing Condition step.
    pub needs: BTreeSet<String>,
}

/// All steps of a definition.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The steps in topological order.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// Builds the graph of a definition. The error names a branch that cannot be parsed, or the steps
    /// of a cycle.
    pub fn new(definition: &Definition) -> Result<Self, Problem> {
        let mut nodes = Vec::new();
        collect(&definition.steps, "$.Steps", None, &mut nodes)?;
        Self::sort(nodes)
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.step.name == name)
    }

    fn sort(mut nodes: Vec<Node>) -> Result<Self, Problem> {
        let known: BTreeSet<String> = nodes.iter().map(|node| node.step.name.clone()).collect();
        let mut placed: BTreeSet<String> = BTreeSet::new();
        let mut sorted = Vec::with_capacity(nodes.len());
        while !nodes.is_empty() {
            let ready = nodes.iter().position(|node| {
                node.needs
                    .iter()
                    .all(|need| placed.contains(need) || !known.contains(need))
            });
            let Some(index) = ready else {
                let path = nodes[0].path.clone();
                let names = cycle(&nodes);
                return Err(Problem::new(
                    path,
                    format!("these steps wait for each other: {}", names.join(" -> ")),
                ));
            };
            let node = nodes.remove(index);
            placed.insert(node.step.name.clone());
            sorted.push(node);
        }
        Ok(Self { nodes: sorted })
    }
}

/// Returns one cycle among nodes that each depend on another one.
fn cycle(nodes: &[Node]) -> Vec<String> {
    let by_name: BTreeMap<&str, &Node> = nodes
        .iter()
        .map(|node| (node.step.name.as_str(), node))
        .collect();
    let mut seen: Vec<&str> = Vec::new();
    let mut name = nodes[0].step.name.as_str();
    loop {
        if let Some(start) = seen.iter().position(|earlier| *earlier == name) {
            let mut names: Vec<String> =
                seen[start..].iter().map(|&name| name.to_owned()).collect();
            names.push(name.to_owned());
            return names;
        }
        seen.push(name);
        let next = by_name.get(name).and_then(|node| {
            node.needs
                .iter()
                .find(|need| by_name.contains_key(need.as_str()))
        });
        match next {
            Some(next) => name = next,
            None => return seen.iter().map(|&name| name.to_owned()).collect(),
        }
    }
}

/// Adds steps and the steps of their branches to `nodes`.
pub(super) fn collect(
    steps: &[Step],
    path: &str,
    parent: Option<&(String, bool)>,
    nodes: &mut Vec<Node>,
) -> Result<(), Problem> {
    for (index, step) in steps.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let mut needs: BTreeSet<String> = step.depends_on.iter().cloned().collect();
        for (_, value) in own_arguments(step) {
            references(value, &mut needs);
        }
        for value in step.rest.values() {
            references(value, &mut needs);
        }
        needs.extend(parent.map(|(name, _)| name.clone()));
        nodes.push(Node {
            step: step.clone(),
            path: path.clone(),
            parent: parent.cloned(),
            needs,
        });
        for (member, outcome) in [("IfSteps", true), ("ElseSteps", false)] {
            let place = format!("{path}.Arguments.{member}");
            let inner = step
                .branch(member)
                .map_err(|error| Problem::new(place.clone(), error.to_string()))?;
            collect(&inner, &place, Some(&(step.name.clone(), outcome)), nodes)?;
        }
    }
    Ok(())
}

/// A step's arguments without the branches of a Condition step.
pub(super) fn own_arguments(step: &Step) -> Vec<(&str, &Value)> {
    let condition = step.kind == StepType::Condition;
    match &step.arguments {
        Value::Object(members) => members
            .iter()
            .filter(|(key, _)| !(condition && matches!(key.as_str(), "IfSteps" | "ElseSteps")))
            .map(|(key, value)| (key.as_str(), value))
            .collect(),
        _ => Vec::new(),
    }
}

/// The steps that an expression reads.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(members) => {
            if let Some(Call::Get(Value::String(text))) = call(members) {
                if let Ok(Reference::Step { step, .. } | Reference::PropertyFile { step, .. }) =
                    Reference::parse(text)
                {
                    found.insert(step);
                }
            } else {
                members.values().for_each(|item| references(item, found));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "json!() is passed")]
    fn graph(steps: Value) -> Result<Graph, Problem> {
        let definition =
            serde_json::from_value(json!({"Version": "2020-12-01", "Steps": steps})).unwrap();
        Graph::new(&definition)
    }

    #[test]
    fn references_determine_the_order() {
        let graph = graph(json!([
            {"Name": "Gate", "Type": "Condition", "Arguments": {
                "Conditions": [{"Type": "Equals", "LeftValue": {"Std:JsonGet": {
                    "PropertyFile": {"Get": "Steps.Train.PropertyFiles.E"}, "Path": "x"}},
                    "RightValue": 1}],
                "IfSteps": [{"Name": "Yes", "Type": "Model",
                    "Arguments": {"X": {"Get": "Steps.Prep.A"}}}],
                "ElseSteps": [{"Name": "No", "Type": "Fail", "Arguments": {"ErrorMessage": "x"}}]}},
            {"Name": "Train", "Type": "Training", "Arguments": {"A": [{"Get": "Steps.Prep.B['c'].d"}]}},
            {"Name": "Prep", "Type": "Processing", "Arguments": {}}
        ]))
        .unwrap();
        let names: Vec<&str> = graph.nodes.iter().map(|n| n.step.name.as_str()).collect();
        assert_eq!(names, ["Prep", "Train", "Gate", "Yes", "No"]);
        let yes = graph.node("Yes").unwrap();
        assert_eq!(yes.parent, Some(("Gate".to_owned(), true)));
        assert_eq!(yes.path, "$.Steps[0].Arguments.IfSteps[0]");
        let needs: Vec<&String> = yes.needs.iter().collect();
        assert_eq!(needs, ["Gate", "Prep"]);
        let gate: Vec<&String> = graph.node("Gate").unwrap().needs.iter().collect();
        assert_eq!(gate, ["Train"]);
    }

    #[test]
    fn a_cycle_is_named() {
        let error = graph(json!([
            {"Name": "A", "Type": "Training", "Arguments": {"X": {"Get": "Steps.B.Y"}}},
            {"Name": "B", "Type": "Training", "DependsOn": ["C"]},
            {"Name": "C", "Type": "Training", "DependsOn": ["B"]}
        ]))
        .unwrap_err();
        assert!(error.message.contains("B -> C -> B"), "{error}");
    }
}
