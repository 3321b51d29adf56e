//! Whether what a request was made from is still true.
//!
//! A request is made from the newest release and from what the endpoint serves, and may then wait for an answer
//! at the prompt, or for its turn at the stack. Both are read again before anything is restored, and once more
//! when the stack is reserved. If another client changed them, the request is refused: its number, its
//! comparison with the live release, and what it would record about the release before it are out of date.

use anyhow::Result;

use super::manifest::Sealed;
use super::proof;
use super::store::{History, Outcome, Release, Store};
use crate::aws::Clients;
use crate::aws::hosting::{self, Endpoint};

/// The newest release and the endpoint at one time.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The newest number; 0 if there are no releases.
    number: u32,
    /// The newest release; none if there are none, or if it cannot be used.
    newest: Option<Release>,
    /// The endpoint.
    pub(super) endpoint: Option<Endpoint>,
}

impl Seen {
    /// What was read before.
    pub(super) fn of(history: &History, endpoint: Option<&Endpoint>) -> Self {
        let number = history.next_number() - 1;
        Self {
            number,
            newest: history.release(number).cloned(),
            endpoint: endpoint.cloned(),
        }
    }

    /// Reads it again.
    pub(super) async fn now(clients: &Clients, store: &Store, endpoint: &str) -> Result<Self> {
        let (history, endpoint) = futures::try_join!(
            store.history(clients, 1),
            hosting::endpoint(clients, endpoint)
        )?;
        Ok(Self::of(&history, endpoint.as_ref()))
    }

    /// Returns the release that a client left without an outcome.
    pub(super) fn left(&self) -> Option<&Release> {
        self.newest
            .as_ref()
            .filter(|newest| newest.events.is_empty())
    }

    /// Returns whether a request that was made from `before` may continue. One that completes a release
    /// (`adopted`) may find that its deployment ended in the meantime.
    pub(super) fn still_is(&self, before: &Self, adopted: Option<&Sealed>) -> bool {
        let same_newest = match (&before.newest, &self.newest) {
            (None, None) => true,
            (Some(before), Some(now)) => {
                let is_adopted = adopted.is_some_and(|own| own.sha256 == now.sealed.sha256);
                let is_completed = is_adopted && now.outcome() == Some(Outcome::Live);
                before.sealed.sha256 == now.sealed.sha256
                    && (before.events == now.events || is_completed)
            }
            _ => false,
        };
        let (was, is) = (configuration(before), configuration(self));
        let deployed = |name: &str| adopted.is_some_and(|own| proof::is_of(name, own));
        before.number == self.number && same_newest && (was == is || is.is_some_and(deployed))
    }
}

fn configuration(seen: &Seen) -> Option<&str> {
    seen.endpoint.as_ref()?.configuration.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::state::EndpointState;
    use crate::releases::store::Damaged;
    use crate::releases::store::tests::release;

    fn seen(newest: (u32, &[Outcome]), configuration: &str) -> Seen {
        let history = History {
            releases: vec![release(newest.0, 1, newest.1)],
            damaged: Vec::new(),
        };
        let endpoint = Endpoint {
            name: "flights".to_owned(),
            status: EndpointState::named("InService"),
            configuration: Some(configuration.to_owned()),
            failure: None,
            model_package: None,
        };
        Seen::of(&history, Some(&endpoint))
    }

    #[test]
    fn a_request_that_another_client_overtook_is_refused() {
        use Outcome::{Live, RolledBack};
        let before = seen((3, &[]), "old");
        assert_eq!(before.left().map(Release::number), Some(3));
        assert!(before.still_is(&before, None));
        for (now, what) in [
            (seen((3, &[Live]), "old"), "it was completed"),
            (seen((3, &[]), "new"), "the endpoint changed"),
            (seen((4, &[]), "old"), "there is a newer one"),
        ] {
            assert!(!now.still_is(&before, None), "{what}");
        }
        let mut damaged = History::default();
        damaged.damaged.push(Damaged {
            release: 3,
            problem: "x".to_owned(),
        });
        let damaged = Seen::of(&damaged, None);
        assert!(!damaged.still_is(&before, None) && damaged.left().is_none());
        assert!(!seen((3, &[RolledBack]), "old").still_is(&before, None));
        let first = Seen::of(&History::default(), None);
        assert!(first.still_is(&first, None));
    }

    #[test]
    fn a_release_that_is_completed_may_have_ended_in_the_meantime() {
        use Outcome::{Live, RolledBack};
        let before = seen((3, &[]), "old");
        let own = release(3, 1, &[]).sealed;
        let new = own.configuration();
        for now in [seen((3, &[]), &new), seen((3, &[Live]), &new)] {
            assert!(now.still_is(&before, Some(&own)));
            assert!(!now.still_is(&before, None));
        }
        for now in [
            seen((3, &[RolledBack]), "old"),
            seen((3, &[]), "other"),
            seen((4, &[]), &new),
        ] {
            assert!(!now.still_is(&before, Some(&own)));
        }
    }
}
