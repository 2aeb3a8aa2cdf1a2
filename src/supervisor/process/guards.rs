//! Which of this process's children are guards: whoever buries the dead or looks for strays leaves those alone.

use std::collections::BTreeMap;

/// The guards that somebody waits for.
#[derive(Debug)]
pub(super) struct Guards(BTreeMap<u32, Guard>);

#[derive(Debug)]
struct Guard {
    /// The mark of the tree below it, `hub/service/unit/number/`.
    mark: String,
    /// How many guards have this number: between the end of one and the note of it, another may get its number.
    count: u32,
}

impl Guards {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn born(&mut self, pid: u32, mark: &str) {
        let guard = self.0.entry(pid).or_insert_with(|| Guard {
            mark: String::new(),
            count: 0,
        });
        guard.count += 1;
        mark.clone_into(&mut guard.mark);
    }

    /// Its status was taken.
    pub(super) fn gone(&mut self, pid: u32) {
        if let Some(guard) = self.0.get_mut(&pid) {
            guard.count -= 1;
            if guard.count == 0 {
                self.0.remove(&pid);
            }
        }
    }

    pub(super) fn has(&self, pid: i32) -> bool {
        u32::try_from(pid).is_ok_and(|pid| self.0.contains_key(&pid))
    }

    /// Process number and mark of each.
    pub(super) fn all(&self) -> impl Iterator<Item = (i32, &str)> {
        let guards = self.0.iter();
        guards.filter_map(|(pid, guard)| Some((i32::try_from(*pid).ok()?, guard.mark.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_given_out_again_stays_known() {
        let mut guards = Guards::new();
        guards.born(7, "hub/a/legacy/0/");
        guards.born(7, "hub/b/legacy/1/");
        guards.gone(7);
        assert_eq!(guards.all().collect::<Vec<_>>(), [(7, "hub/b/legacy/1/")]);
        guards.gone(7);
        assert!(!guards.has(7));
        guards.gone(7);
    }
}
