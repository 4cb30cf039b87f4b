//! The client's verbs over chains: match, hold, touch; over all tiers: locate, promote.

use crate::client::Client;
use crate::detach::walking;
use crate::hold::Hold;
use crate::names::{Key, Keys, Required, deadline, piece, shares};
use crate::outcome::{Found, Located};
use crate::pending::Pending;
use crate::promotion::Promotion;
use cascade_client::Lookup;
use pyo3::prelude::*;

#[pymethods]
impl Client {
    /// Leading blocks of which every share (rank, group) is there. Claims nothing.
    #[pyo3(signature = (keys, shares=None))]
    fn match_chain(&self, py: Python<'_>, keys: Keys, shares: Option<Vec<Required>>) -> PyResult<usize> {
        let (handle, shares) = (self.handle()?, self::shares(shares));
        let pieces = keys.0.len() * shares.len();
        handle.answer(walking(py, pieces, || handle.client.match_chain(&keys.0, &shares)))
    }

    /// Claims the leading blocks of which every share is published; `Miss("absent")` if there is none.
    #[pyo3(signature = (keys, shares=None))]
    fn hold(&self, py: Python<'_>, keys: Keys, shares: Option<Vec<Required>>) -> PyResult<Found<Hold>> {
        let (handle, shares) = (self.handle()?, self::shares(shares));
        let pieces = keys.0.len() * shares.len();
        let found = handle.answer(walking(py, pieces, || handle.client.hold(&keys.0, &shares)))?;
        Ok(match found {
            Lookup::Hit(hold) => Found::Hit(hold.into()),
            Lookup::Miss(reason) => Found::Miss(reason.into()),
        })
    }

    /// Leading blocks that can be used, wherever they lie. Asks the node, which waits for no tier.
    #[pyo3(signature = (keys, shares=None, *, timeout_s=1.0))]
    fn locate(
        &self,
        py: Python<'_>,
        keys: Keys,
        shares: Option<Vec<Required>>,
        timeout_s: f64,
    ) -> PyResult<Located> {
        let (handle, shares, deadline) = (self.handle()?, self::shares(shares), deadline(timeout_s)?);
        let located = py.detach(|| handle.client.locate(&keys.0, &shares, deadline));
        handle.answer(located).map(Located::from)
    }

    /// `locate`, to poll.
    #[pyo3(signature = (keys, shares=None, *, timeout_s=1.0))]
    fn locate_async(&self, keys: Keys, shares: Option<Vec<Required>>, timeout_s: f64) -> PyResult<Pending> {
        let handle = self.handle()?;
        let locating = handle.client.start_locate(&keys.0, &self::shares(shares), deadline(timeout_s)?);
        let locating = handle.answer(locating)?;
        Ok(Pending::locating(handle, locating))
    }

    /// Brings into memory what can be used of a chain and lies in lower tiers; answers when that is done, or at the timeout
    /// with what is there.
    #[pyo3(signature = (keys, shares=None, *, timeout_s=1.0))]
    fn promote(
        &self,
        py: Python<'_>,
        keys: Keys,
        shares: Option<Vec<Required>>,
        timeout_s: f64,
    ) -> PyResult<Promotion> {
        let (handle, shares, deadline) = (self.handle()?, self::shares(shares), deadline(timeout_s)?);
        let promotion = handle.answer(py.detach(|| handle.client.promote(&keys.0, &shares, deadline)))?;
        Ok(Promotion::new(handle, promotion))
    }

    /// `promote`, to poll.
    #[pyo3(signature = (keys, shares=None, *, timeout_s=1.0))]
    fn promote_async(&self, keys: Keys, shares: Option<Vec<Required>>, timeout_s: f64) -> PyResult<Pending> {
        let handle = self.handle()?;
        let promoting = handle.client.start_promote(&keys.0, &self::shares(shares), deadline(timeout_s)?);
        let promoting = handle.answer(promoting)?;
        Ok(Pending::promoting(handle, promoting))
    }

    /// Says that the `blocks` blocks of the chain that ends in `tail` are in use. May be lost; false if `tail` is not there.
    #[pyo3(signature = (tail, blocks, *, rank=0, group=0))]
    fn touch(&self, tail: Key, blocks: u32, rank: u16, group: u16) -> PyResult<bool> {
        let handle = self.handle()?;
        handle.answer(handle.client.touch(&piece(tail.0, rank, group), blocks))
    }
}
