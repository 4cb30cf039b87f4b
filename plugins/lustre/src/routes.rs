//! In which store a writer's containers lie, where it is a further one.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// Stores by their writers.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    stores: RwLock<HashMap<u64, usize>>,
}

impl Routes {
    pub(crate) fn learn(&self, writer: u64, store: usize) {
        self.stores.write().unwrap_or_else(PoisonError::into_inner).insert(writer, store);
    }

    pub(crate) fn find(&self, writer: u64) -> Option<usize> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner).get(&writer).copied()
    }
}
