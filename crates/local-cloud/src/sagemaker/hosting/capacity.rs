//! How many instances of an old fleet still serve while a new one replaces it.

/// How many of `old` instances still serve while `active` of `new` instances have replaced the others. At
/// least one does until all are replaced.
pub(super) fn remaining(old: u32, active: u32, new: u32) -> u32 {
    old - old * active.min(new) / new.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_instances_end_as_new_ones_replace_them() {
        for (old, active, new, wanted) in [
            (1, 0, 1, 1),
            (1, 1, 2, 1),
            (1, 2, 2, 0),
            (4, 1, 2, 2),
            (2, 1, 4, 2),
            (2, 3, 4, 1),
            (3, 3, 3, 0),
        ] {
            let found = remaining(old, active, new);
            assert_eq!(found, wanted, "{old} old, {active} of {new} new");
        }
    }
}
