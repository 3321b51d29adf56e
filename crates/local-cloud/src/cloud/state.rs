//! Values that services keep in memory while the cloud is open: one per type.

use std::any::Any;
use std::fmt;
use std::sync::OnceLock;

/// A list that only grows, so that references to its values stay valid while others are added. A
/// server has about ten.
#[derive(Default)]
pub(super) struct States(OnceLock<Box<Node>>);

struct Node {
    value: Box<dyn Any + Send + Sync>,
    next: States,
}

impl States {
    /// Returns the value of this type, which is created on first use.
    pub(super) fn get<T: Any + Send + Sync + Default>(&self) -> &T {
        let mut at = self;
        loop {
            let node = at.0.get_or_init(|| {
                Box::new(Node {
                    value: Box::<T>::default(),
                    next: States::default(),
                })
            });
            // Another thread may have added a value of another type here.
            match node.value.downcast_ref() {
                Some(value) => return value,
                None => at = &node.next,
            }
        }
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn each_type_has_one_value_for_all_threads() {
        let states = States::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    states.get::<Mutex<Vec<u8>>>().lock().unwrap().push(1);
                    states.get::<AtomicU64>().fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(states.get::<Mutex<Vec<u8>>>().lock().unwrap().len(), 8);
        assert_eq!(states.get::<AtomicU64>().load(Ordering::Relaxed), 8);
        assert_eq!(
            States::default().get::<AtomicU64>().load(Ordering::Relaxed),
            0
        );
    }
}
