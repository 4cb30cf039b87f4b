//! Which pieces were loaded lately, in bounded memory: what is still worth keeping when its container goes.

use crate::format::{ContainerId, Location};
use std::collections::HashSet;

/// So many pieces make a generation; two generations are remembered.
const GENERATION: usize = 32_768;

/// The pieces that were loaded lately.
#[derive(Debug, Default)]
pub(crate) struct Heat {
    young: HashSet<(ContainerId, u64)>,
    old: HashSet<(ContainerId, u64)>,
}

impl Heat {
    /// A piece was loaded.
    pub(crate) fn note(&mut self, location: Location) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert((location.container, location.offset));
    }
    /// Where the pieces lie that were among the last tens of thousands to be loaded, of a container.
    pub(crate) fn offsets(&self, container: ContainerId) -> HashSet<u64> {
        let all = self.young.iter().chain(&self.old);
        all.filter(|(of, _)| *of == container).map(|&(_, offset)| offset).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_long_ago_is_forgotten_and_what_is_loaded_again_is_not() {
        let container = ContainerId { writer: 1, sequence: 1 };
        let at = |number: usize| Location::checked(container, 64 * number as u64, 64).unwrap();
        let mut heat = Heat::default();
        for number in 0..3 * GENERATION {
            heat.note(at(number));
            heat.note(at(0));
        }
        let hot = heat.offsets(container);
        let is_hot = |number: usize| hot.contains(&at(number).offset);
        assert!(is_hot(0) && is_hot(3 * GENERATION - 1) && !is_hot(1));
        assert!(heat.offsets(ContainerId { writer: 2, ..container }).is_empty());
        assert!(heat.young.len() + heat.old.len() <= 2 * GENERATION);
    }
}
