//! Where the requests of an endpoint go: what an invocation reads, in memory.
//!
//! ```text
//! fleets ── split by the share of the new one ── Traffic (immutable) ── choose ── target ── instance
//! ```
//!
//! A change replaces the whole value, so no request sees a part of it. A request holds the value that it was
//! routed by until it ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::capacity::remaining;
use super::capture::Capture;
use super::fleet::{self, Fleet};
use super::metrics::Series;
use super::server::Server;
use crate::Cloud;

/// The routes of an endpoint in service.
#[derive(Debug)]
pub(super) struct Traffic {
    targets: Vec<Target>,
    turn: AtomicU64,
}

/// The instances of a variant in one fleet.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) series: Arc<Series>,
    pub(super) capture: Option<Arc<Capture>>,
    servers: Vec<Arc<Server>>,
    /// The part of the endpoint's requests that it receives.
    weight: f64,
    /// The part of the variant's requests that its fleet receives.
    share: f64,
    turn: AtomicU64,
}

/// Steps of a counter by this constant are evenly distributed over all 64-bit numbers (the golden ratio), so
/// shares hold for few requests, too.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl Traffic {
    /// Splits the traffic of an endpoint: `active` instances of each variant of the new fleet have replaced
    /// instances of the old one. Variants that only one of the fleets has get that fleet's total share.
    pub(super) fn split(endpoint: &str, old: Option<&Fleet>, new: &Fleet, active: &[u32]) -> Self {
        let new_spec = new.spec();
        let counts = new_spec.counts();
        let part = |active: u32, count: u32| f64::from(active) / f64::from(count.max(1));
        let total = part(active.iter().sum(), counts.iter().sum());
        let progress = |name: &str| {
            let found = new_spec.variants.iter().position(|new| new.name == name);
            found.map(|index| (active[index], counts[index]))
        };
        let mut targets = Vec::new();
        let old_spec = old.map(Fleet::spec);
        if let (Some(old), Some(spec)) = (old, &old_spec) {
            targets.extend(fleet_targets(endpoint, old, |name| match progress(name) {
                Some((active, count)) => {
                    let own = spec.variants.iter().find(|variant| variant.name == name);
                    let own = own.map_or(0, |variant| variant.count);
                    let left = remaining(own, active, count);
                    (1.0 - part(active, count), left)
                }
                None => (1.0 - total, u32::MAX),
            }));
        }
        let is_known = |name: &str| {
            let spec = old_spec.as_ref();
            spec.is_none_or(|spec| spec.variants.iter().any(|old| old.name == name))
        };
        targets.extend(fleet_targets(endpoint, new, |name| {
            let (active, count) = progress(name).unwrap_or_default();
            let share = if is_known(name) {
                part(active, count)
            } else {
                total
            };
            (share, active)
        }));
        Self {
            targets,
            turn: AtomicU64::new(0),
        }
    }

    /// The target of the next request: of the variant that it names, or of one that is selected by weight.
    pub(super) fn choose(&self, variant: Option<&str>) -> Option<&Target> {
        let turn = self
            .turn
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(GOLDEN);
        #[expect(clippy::cast_precision_loss, reason = "53 bits, which fit")]
        let point = (turn >> 11) as f64 / (1_u64 << 53) as f64;
        let weighted = self.targets.iter().filter_map(|target| match variant {
            Some(wanted) if *wanted != *target.series.variant => None,
            Some(_) => Some((target, target.share)),
            None => Some((target, target.weight)),
        });
        pick(weighted, point)
    }
}

/// Selects by weight; `point` is from 0 to 1.
fn pick<T>(weighted: impl Iterator<Item = (T, f64)> + Clone, point: f64) -> Option<T> {
    let total: f64 = weighted.clone().map(|(_, weight)| weight).sum();
    let mut left = point * total;
    let mut last = None;
    for (target, weight) in weighted {
        if weight <= 0.0 {
            continue;
        }
        last = Some(target);
        if left < weight {
            break;
        }
        left -= weight;
    }
    last
}

/// The targets in a fleet. `part` returns a variant's share of its traffic, and how many instances serve.
fn fleet_targets(endpoint: &str, fleet: &Fleet, part: impl Fn(&str) -> (f64, u32)) -> Vec<Target> {
    let spec = fleet.spec();
    let total: f64 = spec.variants.iter().map(|variant| variant.weight).sum();
    let variants = spec.variants.iter().zip(fleet.servers());
    let targets = variants.filter_map(|(variant, mut servers)| {
        let (share, count) = part(&variant.name);
        servers.truncate(count as usize);
        if share <= 0.0 || servers.is_empty() {
            return None;
        }
        let weight = if total > 0.0 {
            variant.weight / total
        } else {
            0.0
        };
        Some(Target {
            series: Arc::new(Series {
                endpoint: endpoint.to_owned(),
                variant: variant.name.clone(),
                config: spec.config.clone(),
            }),
            capture: fleet.capture().cloned(),
            servers,
            weight: weight * share,
            share,
            turn: AtomicU64::new(0),
        })
    });
    targets.collect()
}

impl Target {
    /// The next instance, round-robin. Instances that are restarting are skipped while others serve.
    pub(super) fn next(&self) -> Option<&Server> {
        let count = self.servers.len() as u64;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let at = |offset: u64| {
            let index = usize::try_from(turn.wrapping_add(offset) % count.max(1));
            index.ok().and_then(|index| self.servers.get(index))
        };
        let mut in_order = (0..count).filter_map(at);
        let ready = in_order.find(|server| server.port().is_some());
        ready.or_else(|| at(0)).map(|server| &**server)
    }
}

/// The routes of the endpoints in service.
#[derive(Debug, Default)]
struct Routes(RwLock<HashMap<String, Arc<Traffic>>>);

/// The routes of an endpoint; `None` if it is not in service.
pub(super) fn of(cloud: &Cloud, endpoint: &str) -> Option<Arc<Traffic>> {
    let routes = &cloud.state::<Routes>().0;
    let routes = routes.read().unwrap_or_else(PoisonError::into_inner);
    routes.get(endpoint).cloned()
}

/// Replaces the routes of an endpoint.
pub(super) fn route(cloud: &Cloud, endpoint: &str, traffic: Option<Traffic>) {
    let routes = &cloud.state::<Routes>().0;
    let mut routes = routes.write().unwrap_or_else(PoisonError::into_inner);
    match traffic {
        Some(traffic) => routes.insert(endpoint.to_owned(), Arc::new(traffic)),
        None => routes.remove(endpoint),
    };
}

/// Routes all traffic of an endpoint to a fleet.
pub(super) fn route_all(cloud: &Cloud, endpoint: &str, fleet: &Fleet) {
    let counts = fleet.spec().counts();
    let traffic = Traffic::split(endpoint, None, fleet, &counts);
    route(cloud, endpoint, Some(traffic));
}

/// Stops the traffic of an endpoint, and ends its fleets after their requests in progress.
pub(super) async fn end(cloud: &Cloud, endpoint: &str) {
    route(cloud, endpoint, None);
    fleet::end_endpoint(cloud, endpoint).await;
}

/// Ends every process before the server ends.
pub(in super::super) async fn shut_down(cloud: &Cloud) {
    fleet::end_everything(cloud).await;
    let routes = &cloud.state::<Routes>().0;
    let mut routes = routes.write().unwrap_or_else(PoisonError::into_inner);
    routes.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_selected_by_weight() {
        let targets = [("a", 1.0), ("off", 0.0), ("b", 3.0)];
        let share = |wanted: &str| {
            let points = (0..1000).map(|point| f64::from(point) / 1000.0);
            points
                .filter(|point| pick(targets.into_iter(), *point) == Some(wanted))
                .count()
        };
        assert_eq!((share("a"), share("off"), share("b")), (250, 0, 750));
        assert_eq!(pick(std::iter::empty::<(&str, f64)>(), 0.5), None);
        assert_eq!(pick([("off", 0.0)].into_iter(), 0.5), None);
        assert_eq!(pick(targets.into_iter(), 1.0), Some("b"));
    }

    #[test]
    fn shares_hold_for_few_requests() {
        let mut below = 0;
        for turn in 0..20_u64 {
            #[expect(clippy::cast_precision_loss, reason = "53 bits, which fit")]
            let point = (turn.wrapping_mul(GOLDEN) >> 11) as f64 / (1_u64 << 53) as f64;
            below += usize::from(point < 0.5);
        }
        assert!((9..=11).contains(&below), "{below}");
    }
}
