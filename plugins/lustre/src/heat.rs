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

    #[allow(dead_code, reason = "the collector asks for it")]
    /// Whether it was loaded among the last tens of thousands.
    pub(crate) fn is_hot(&self, location: Location) -> bool {
        let name = (location.container, location.offset);
        self.young.contains(&name) || self.old.contains(&name)
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
        assert!(heat.is_hot(at(0)));
        assert!(heat.is_hot(at(3 * GENERATION - 1)));
        assert!(!heat.is_hot(at(1)));
        assert!(heat.young.len() + heat.old.len() <= 2 * GENERATION);
    }
}
