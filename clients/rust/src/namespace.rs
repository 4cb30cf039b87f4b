//! Opening a namespace: its description, put once by whoever puts under it first.

use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::outcome::{Lineage, Stored};
use cascade_core::key::Namespace;
use cascade_core::piece::PieceId;

impl Client {
    /// Puts what a namespace says of itself under its root, unless it is there. Call it before the first put under the namespace:
    /// people and `forget` find by it whose blocks are whose, and chains hang below it ([`Lineage::in_chain`]), so it is evicted
    /// after them.
    ///
    /// # Errors
    /// As for [`Client::put`].
    pub fn describe(&self, namespace: &Namespace, deadline: Deadline) -> Result<Stored, Error> {
        let description = PieceId::description(namespace.root());
        self.put(&description, Lineage::FIRST, namespace.description().as_bytes(), deadline)
    }
}
