//! A brake on rules that cause their own events, such as one on a pipeline's events that starts the pipeline: what
//! exceeds the rate of a target waits for its next minutes. Nothing is lost, and the server's log names the rule.
//!
//! AWS has no such brake. Its quotas of invocations and of each service's requests slow such a rule down, too.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::kinds;
use super::target::Target;
use crate::{Cloud, log};

/// Maximum number of targets with a count: more than a bus can have at a time.
const MAX_WINDOWS: usize = 3000;

/// A minute of a target, and the deliveries in it.
#[derive(Debug, Clone, Copy)]
struct Window {
    begins: Timestamp,
    used: u32,
}

/// The last minutes of targets, by rule and id. A restart begins anew.
#[derive(Debug, Default)]
struct Windows(Mutex<HashMap<(String, String), Window>>);

fn minute_after(time: Timestamp) -> Timestamp {
    let minute = SignedDuration::from_mins(1);
    time.checked_add(minute).unwrap_or(Timestamp::MAX)
}

impl Window {
    /// Counts a delivery; true for the first one that has to wait.
    fn count(&mut self, limit: u32, now: Timestamp) -> bool {
        if now >= minute_after(self.begins) {
            (self.begins, self.used) = (now, 0);
        }
        let is_full = self.used >= limit;
        let was_waiting = self.begins > now;
        if is_full {
            (self.begins, self.used) = (minute_after(self.begins), 0);
        }
        self.used += 1;
        is_full && !was_waiting
    }
}

/// When a new delivery is due.
pub(super) fn due(cloud: &Cloud, rule: &str, target: &Target, now: Timestamp) -> Timestamp {
    let limit = kinds::per_minute(&target.arn);
    let windows = &cloud.state::<Windows>().0;
    let mut windows = windows.lock().unwrap_or_else(PoisonError::into_inner);
    if windows.len() >= MAX_WINDOWS {
        windows.clear();
    }
    let key = (rule.to_owned(), target.id.clone());
    let window = windows.entry(key).or_insert(Window {
        begins: now,
        used: 0,
    });
    if window.count(limit, now) {
        let arn = &target.arn;
        log::write_line(&format!(
            "the rule {rule} has more than {limit} events in a minute for {arn}; further ones wait. Does it \
             cause its own events?"
        ));
    }
    window.begins.max(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_rate_waits() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let mut window = Window {
            begins: at(0),
            used: 0,
        };
        let mut count = |now: i64| {
            let is_first = window.count(2, at(now));
            (window.begins.as_second(), is_first)
        };
        let counted: Vec<_> = [0, 1, 1, 1, 1, 59, 61].map(&mut count).into();
        let expected = [
            (0, false),
            (0, false),
            (60, true),
            (60, false),
            (120, false),
            (120, false),
            (180, false),
        ];
        assert_eq!(counted, expected);
        // A quiet minute ends it.
        assert_eq!(count(300), (300, false));
    }
}
