//! Reading one piece wherever it lies, within a deadline.

use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::outcome::{Lookup, Reason};
use cascade_core::piece::PieceId;
use cascade_core::rule::{Rule, Share};
use std::io::IoSliceMut;

impl Client {
    /// [`Client::get_into`], and where that finds nothing in memory, the same once more after the node has brought the piece from
    /// where it lies. Never waits beyond `deadline`, and not at all for what is in memory.
    ///
    /// A miss tells why the piece did not come: [`Reason::Absent`] (no tier has it), [`Reason::Expired`] (not in time, or the
    /// node does not answer), [`Reason::Declined`], [`Reason::Fenced`], and those of [`Client::get_into`]. Bytes that do not
    /// match their checksum are dropped by the node, and looked for below.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::NodeLost`].
    pub fn get_within(
        &self,
        id: &PieceId,
        target: &mut [u8],
        deadline: Deadline,
    ) -> Result<Lookup<usize>, Error> {
        self.get_within_vectored(id, &mut [IoSliceMut::new(target)], deadline)
    }

    /// [`Client::get_within`] over fragments, as [`Client::get_into_vectored`].
    ///
    /// # Errors
    /// As for [`Client::get_within`].
    pub fn get_within_vectored(
        &self,
        id: &PieceId,
        targets: &mut [IoSliceMut<'_>],
        deadline: Deadline,
    ) -> Result<Lookup<usize>, Error> {
        let first = self.get_into_vectored(id, targets)?;
        let in_vain = match first {
            Lookup::Miss(why @ (Reason::Absent | Reason::Corrupt)) if !deadline.has_passed() => why,
            answer => return Ok(answer),
        };
        // Of one block, its last one is all that is needed.
        let share = Share::new(id.rank, id.group).under(Rule::LastState);
        let promotion = match self.promote(&[id.key], &[share], deadline) {
            Err(Error::Deadline) => {
                self.current()?.tally_miss(Reason::Expired);
                return Ok(Lookup::Miss(Reason::Expired));
            }
            promotion => promotion?,
        };
        match (promotion.blocks(), promotion.reason()) {
            (0, why) => Ok(Lookup::Miss(why.unwrap_or(in_vain))),
            // Kept there while it is read.
            _ => self.get_into_vectored(id, targets),
        }
    }
}
