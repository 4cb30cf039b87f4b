//! The client's verbs over chains: match, hold, touch.

use crate::client::Client;
use crate::detach::walking;
use crate::hold::Hold;
use crate::names::{Key, Keys, Required, piece, shares};
use crate::outcome::Found;
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

    /// Says that the `blocks` blocks of the chain that ends in `tail` are in use. May be lost; false if `tail` is not there.
    #[pyo3(signature = (tail, blocks, *, rank=0, group=0))]
    fn touch(&self, tail: Key, blocks: u32, rank: u16, group: u16) -> PyResult<bool> {
        let handle = self.handle()?;
        handle.answer(handle.client.touch(&piece(tail.0, rank, group), blocks))
    }
}
