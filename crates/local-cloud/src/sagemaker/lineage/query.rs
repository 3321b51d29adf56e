//! `QueryLineage`: walks over the graph of associations.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::requests::{PageRequest, TimeBounds};
use super::graph::{self, Edge, Entity, LineageType};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// The deepest walk (service model: `QueryLineageMaxDepth`).
const MAX_DEPTH: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum Direction {
    #[default]
    Both,
    Ascendants,
    Descendants,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueryLineage {
    #[serde(default)]
    start_arns: Vec<String>,
    #[serde(default)]
    direction: Direction,
    #[serde(default = "yes")]
    include_edges: bool,
    #[serde(default)]
    filters: QueryFilters,
    #[serde(default = "deepest")]
    max_depth: usize,
    #[serde(flatten)]
    page: PageRequest,
}

/// `Filters`. An empty list is no filter.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct QueryFilters {
    types: Vec<String>,
    lineage_types: Vec<LineageType>,
    properties: BTreeMap<String, String>,
    #[serde(flatten)]
    times: TimeBounds,
}

fn yes() -> bool {
    true
}

fn deepest() -> usize {
    MAX_DEPTH
}

pub(super) async fn query(cloud: &Cloud, request: QueryLineage) -> ApiResult<Value> {
    if request.start_arns.len() > 1 {
        return Err(ApiError::validation(
            "1 validation error detected: Value at 'startArns' failed to satisfy constraint: \
             Member must have length less than or equal to 1",
        ));
    }
    if request.max_depth > MAX_DEPTH {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{}' at 'maxDepth' failed to satisfy constraint: \
             Member must have value less than or equal to {MAX_DEPTH}",
            request.max_depth
        )));
    }
    let Some(start) = request.start_arns.first() else {
        return Err(ApiError::validation("StartArns is empty"));
    };
    graph::get(cloud, start)?;

    let edges = graph::edges(cloud)?;
    let reached = walk(start, &edges, request.direction, request.max_depth);
    let mut known: HashMap<String, Entity> = HashMap::new();
    for arn in &reached.order {
        if let Some(entity) = graph::find(cloud, arn)? {
            known.insert(arn.clone(), entity);
        }
    }
    let matching: HashSet<&str> = known
        .values()
        .filter(|entity| matches(entity, &request.filters))
        .map(|entity| entity.arn.as_str())
        .collect();
    // With edges, the entities on the path to a match are included, as the service model describes.
    let wanted: HashSet<&str> = if request.include_edges {
        reached.paths_to(&matching)
    } else {
        matching
    };
    let vertices: Vec<Value> = reached
        .order
        .iter()
        .filter(|arn| wanted.contains(arn.as_str()))
        .filter_map(|arn| known.get(arn))
        .map(|entity| {
            json!({
                "Arn": entity.arn,
                "Type": entity.type_name,
                "LineageType": entity.kind.word(),
            })
        })
        .collect();
    let (page, token) = request.page.cut(vertices, 50, 50)?;
    let shown: HashSet<&str> = page
        .iter()
        .filter_map(|vertex| vertex["Arn"].as_str())
        .collect();
    let edges: Vec<Value> = reached
        .edges
        .iter()
        .filter(|edge| {
            request.include_edges
                && wanted.contains(edge.source.as_str())
                && wanted.contains(edge.destination.as_str())
                && (shown.contains(edge.source.as_str())
                    || shown.contains(edge.destination.as_str()))
        })
        .map(|edge| {
            json!({
                "SourceArn": edge.source,
                "DestinationArn": edge.destination,
                "AssociationType": edge.association,
            })
        })
        .collect();
    Ok(json!({"Vertices": page, "Edges": edges, "NextToken": token}))
}

/// The result of a walk: the entities, nearest first, and the edges that it followed.
#[derive(Debug, Default)]
struct Reached {
    order: Vec<String>,
    edges: Vec<Edge>,
    /// The predecessors of each entity on the walk.
    back: HashMap<String, Vec<String>>,
}

impl Reached {
    /// The matches and every entity on a path from the start to one of them.
    fn paths_to<'a>(&'a self, matching: &HashSet<&'a str>) -> HashSet<&'a str> {
        let mut found: HashSet<&str> = HashSet::new();
        let mut queue: Vec<&str> = matching.iter().copied().collect();
        while let Some(arn) = queue.pop() {
            if found.insert(arn)
                && let Some(before) = self.back.get(arn)
            {
                queue.extend(before.iter().map(String::as_str));
            }
        }
        found
    }
}

/// Walks from `start`, breadth first. `Both` is the union of the two directed walks.
fn walk(start: &str, edges: &[Edge], direction: Direction, max_depth: usize) -> Reached {
    let mut reached = Reached {
        order: vec![start.to_owned()],
        ..Reached::default()
    };
    for up in [true, false] {
        match direction {
            Direction::Ascendants if !up => continue,
            Direction::Descendants if up => continue,
            _ => {}
        }
        let mut next: HashMap<&str, Vec<&Edge>> = HashMap::new();
        for edge in edges {
            let from = if up { &edge.destination } else { &edge.source };
            next.entry(from).or_default().push(edge);
        }
        let mut seen = HashSet::from([start]);
        let mut queue = VecDeque::from([(start, 0)]);
        while let Some((arn, depth)) = queue.pop_front() {
            if depth == max_depth {
                continue;
            }
            for edge in next.get(arn).into_iter().flatten() {
                let to = if up { &edge.source } else { &edge.destination };
                if !reached.edges.contains(edge) {
                    reached.edges.push((*edge).clone());
                }
                reached
                    .back
                    .entry(to.clone())
                    .or_default()
                    .push(arn.to_owned());
                if seen.insert(to) {
                    if !reached.order.contains(to) {
                        reached.order.push(to.clone());
                    }
                    queue.push_back((to, depth + 1));
                }
            }
        }
    }
    reached
}

/// True if every filter matches; of several types or properties one is enough.
fn matches(entity: &Entity, filters: &QueryFilters) -> bool {
    let QueryFilters {
        types,
        lineage_types,
        properties,
        times,
    } = filters;
    let dates = json!({"CreationTime": entity.created, "LastModifiedTime": entity.modified});
    (types.is_empty() || types.contains(&entity.type_name))
        && (lineage_types.is_empty() || lineage_types.contains(&entity.kind))
        && (properties.is_empty()
            || properties
                .iter()
                .any(|(key, value)| entity.properties.get(key) == Some(value)))
        && times.include(&dates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(pairs: &[(&str, &str)]) -> Vec<Edge> {
        pairs
            .iter()
            .map(|(source, destination)| Edge {
                source: (*source).to_owned(),
                destination: (*destination).to_owned(),
                association: None,
                created: 0.0,
            })
            .collect()
    }

    fn chain() -> Vec<Edge> {
        edges(&[
            ("data", "job"),
            ("image", "job"),
            ("job", "model"),
            ("job", "report"),
            ("model", "package"),
            ("package", "endpoint"),
        ])
    }

    #[test]
    fn ascendants_and_descendants_follow_the_direction_of_edges() {
        let up = walk("model", &chain(), Direction::Ascendants, 10);
        assert_eq!(up.order, ["model", "job", "data", "image"]);
        let down = walk("model", &chain(), Direction::Descendants, 10);
        assert_eq!(down.order, ["model", "package", "endpoint"]);
        let both = walk("model", &chain(), Direction::Both, 10);
        assert_eq!(both.order.len(), 6, "{:?}", both.order);
        assert!(
            !both.order.contains(&"report".to_owned()),
            "a sibling is neither"
        );
    }

    #[test]
    fn the_walk_ends_at_the_maximum_depth() {
        let near = walk("endpoint", &chain(), Direction::Ascendants, 2);
        assert_eq!(near.order, ["endpoint", "package", "model"]);
        assert_eq!(
            walk("endpoint", &chain(), Direction::Ascendants, 0).order,
            ["endpoint"]
        );
    }

    #[test]
    fn circles_end() {
        let circle = edges(&[("a", "b"), ("b", "a")]);
        let reached = walk("a", &circle, Direction::Both, 10);
        assert_eq!(reached.order, ["a", "b"]);
        assert_eq!(reached.edges.len(), 2);
    }

    #[test]
    fn only_the_path_to_a_match_is_kept() {
        let reached = walk("endpoint", &chain(), Direction::Ascendants, 10);
        let mut found: Vec<&str> = reached
            .paths_to(&HashSet::from(["data"]))
            .into_iter()
            .collect();
        found.sort_unstable();
        assert_eq!(found, ["data", "endpoint", "job", "model", "package"]);
    }
}
