//! Processes resources of a stack concurrently: each starts when its dependencies are complete.

use std::collections::BTreeSet;

use futures::stream::{FuturesUnordered, StreamExt};

/// Maximum number of resources in progress. AWS's limit is not documented.
const LIMIT: usize = 16;

/// How processing continues after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterFailure {
    /// No further item starts.
    Stop,
    /// All items start, except those that depend on the failed one.
    SkipDependents,
}

/// Processes every item, by index; `waits_for` lists the dependencies of each. Independent items start in
/// list order. Returns the failures in the order in which they happened, when nothing is in progress.
pub(super) async fn run<E, F: Future<Output = Result<(), E>>>(
    waits_for: &[BTreeSet<usize>],
    after_failure: AfterFailure,
    work: impl Fn(usize) -> F,
) -> Vec<E> {
    let mut waiting: BTreeSet<usize> = (0..waits_for.len()).collect();
    let mut done = BTreeSet::new();
    let mut in_progress = FuturesUnordered::new();
    let mut failures = Vec::new();
    loop {
        while in_progress.len() < LIMIT
            && (failures.is_empty() || after_failure == AfterFailure::SkipDependents)
        {
            let is_ready = |index: &&usize| waits_for[**index].is_subset(&done);
            let Some(next) = waiting.iter().find(is_ready).copied() else {
                break;
            };
            waiting.remove(&next);
            let step = work(next);
            in_progress.push(async move { (next, step.await) });
        }
        match in_progress.next().await {
            None => return failures,
            Some((index, Ok(()))) => {
                done.insert(index);
            }
            Some((_, Err(failure))) => failures.push(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Barrier;

    use super::*;

    fn waits(lists: &[&[usize]]) -> Vec<BTreeSet<usize>> {
        lists
            .iter()
            .map(|list| list.iter().copied().collect())
            .collect()
    }

    #[tokio::test]
    async fn independent_items_are_worked_on_at_once() {
        let (barrier, log) = (Barrier::new(2), Mutex::new(Vec::new()));
        let graph = waits(&[&[], &[], &[0, 1]]);
        let failures = run(&graph, AfterFailure::Stop, |index| {
            let (barrier, log) = (&barrier, &log);
            async move {
                if index < 2 {
                    barrier.wait().await;
                }
                log.lock().unwrap().push(index);
                Ok::<_, ()>(())
            }
        });
        assert_eq!(failures.await, []);
        assert_eq!(log.into_inner().unwrap().pop(), Some(2));
    }

    #[tokio::test]
    async fn a_failure_stops_everything_or_its_dependents() {
        for (after, wanted) in [
            (AfterFailure::Stop, vec![0, 1]),
            (AfterFailure::SkipDependents, vec![0, 1, 3, 4]),
        ] {
            let log = Mutex::new(Vec::new());
            // 1 fails; 2 waits for it, 3 for nothing that failed, and 4 for 3.
            let graph = waits(&[&[], &[0], &[1], &[0], &[3]]);
            let failures = run(&graph, after, |index| {
                log.lock().unwrap().push(index);
                let result = if index == 1 { Err(index) } else { Ok(()) };
                async move {
                    if index == 3 {
                        tokio::task::yield_now().await;
                    }
                    result
                }
            });
            assert_eq!(failures.await, [1]);
            let log = log.into_inner().unwrap();
            let begun: Vec<_> = log
                .into_iter()
                .filter(|index| *index != 3 || after != AfterFailure::Stop)
                .collect();
            assert_eq!(begun, wanted);
        }
    }

    #[tokio::test]
    async fn the_number_of_items_in_progress_is_limited() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let graph = vec![BTreeSet::new(); 40];
        let failures = run(&graph, AfterFailure::Stop, |_| async {
            let current = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(current, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        });
        assert_eq!(failures.await, []);
        assert_eq!(most.into_inner(), LIMIT);
    }
}
