//! Dropping a piece that is of no use.

use crate::client::Client;
use crate::error::Error;
use cascade_core::piece::PieceId;
use cascade_core::request::Request;

impl Client {
    /// Says that a piece is of no use to anybody, such as one of a length that no engine can load: as long as it is there,
    /// puts of its name answer `AlreadyPresent` and every load of it fails.
    ///
    /// `true` if this client reads the piece now and the node was told; `false` if there is none. The node drops it when it
    /// comes to the request, in the order of what this client posts: from then on it is a miss, and a put of its name is
    /// fresh. Views of it stay valid. What was put below it in its chain stays, for what takes the name. Does not wait;
    /// [`Client::flush`] does. If another piece takes the name meanwhile, that one stays.
    ///
    /// # Errors
    /// [`Error::Forked`].
    #[doc(alias = "remove")]
    #[doc(alias = "invalidate")]
    pub fn discard(&self, id: &PieceId) -> Result<bool, Error> {
        let attachment = self.current()?;
        let Some(claim) = attachment.claim(id) else { return Ok(false) };
        // Before the node is told: our own claim would make it wait for the slot.
        attachment.release(&claim);
        attachment.post_surely(Request::Discard { slot: claim.slot });
        Ok(true)
    }
}
