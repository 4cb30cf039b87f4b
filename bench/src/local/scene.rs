//! What the measurements of one node share: a client, names, and memory beyond any cache.

use super::Effort;
use crate::random::mix;
use cascade_client::{BlockKey, Client, Deadline, Lineage, Lookup, PieceId, Stored};
use memmap2::{MmapMut, MmapOptions};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::error::Error;
use std::time::Duration;

/// What no call may take longer than.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// What one method moves in one round, at least: short, so that few rounds are disturbed by others on the machine.
const ROUND_BYTES: usize = 8 << 20;
/// Pieces of a round at most: a client has so many pins.
const PINS_MAX: usize = 256;

/// A client and its memory.
pub(crate) struct Scene {
    instance: String,
    pub(crate) client: Client,
    pub(crate) effort: Effort,
    /// Where puts come from, and where gets go.
    pub(crate) near: Vec<u8>,
    /// Shared memory as the node's, for reference copies toward it.
    pub(crate) far: MmapMut,
    /// Names given so far; see [`fresh`].
    pub(crate) names: u64,
}

impl Scene {
    /// Attaches, and makes the memory present.
    ///
    /// # Errors
    /// There is no node, or no memory.
    pub(crate) fn new(instance: &str, effort: Effort) -> Result<Self, Box<dyn Error>> {
        let client = Client::connect_to_instance(instance, Deadline::after(PATIENCE))?;
        let file = memfd_create("cascade-bench", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, effort.memory_bytes as u64)?;
        // SAFETY: the file was made here, and no other process has it.
        let mut far = unsafe { MmapOptions::new().map_mut(&file) }?;
        far.fill(1);
        let near = (0..effort.memory_bytes).map(|i| ((i * 131) >> 3) as u8).collect();
        Ok(Self { instance: instance.to_owned(), client, effort, near, far, names: 0 })
    }

    /// Lets every slot that this size will use be seen once by this process, so that no page fault is measured. By a new
    /// client: slots of another size that the former one was handed would keep their chunks from being cut for this one.
    ///
    /// # Errors
    /// The node is gone, or does not take a piece.
    pub(crate) fn warm(&mut self, piece_bytes: usize) -> Result<(), Box<dyn Error>> {
        self.attach_anew()?;
        self.populate(piece_bytes, self.effort.capacity_bytes as usize * 5 / 4).map(drop)
    }

    /// Goes on as another client.
    ///
    /// # Errors
    /// The node is gone.
    pub(crate) fn attach_anew(&mut self) -> Result<(), Box<dyn Error>> {
        self.client = Client::connect_to_instance(&self.instance, Deadline::after(PATIENCE))?;
        Ok(())
    }

    /// Puts pieces of this size until they take `bytes`, and returns their names.
    ///
    /// # Errors
    /// The node takes one not.
    pub(crate) fn populate(
        &mut self,
        piece_bytes: usize,
        bytes: usize,
    ) -> Result<Vec<PieceId>, Box<dyn Error>> {
        let mut ids = Vec::new();
        for start in (0..(bytes / piece_bytes).max(1)).map(|i| i * piece_bytes) {
            let id = fresh(&mut self.names);
            let from = start % (self.near.len() - piece_bytes + 1);
            put(&self.client, &id, &self.near[from..from + piece_bytes])?;
            ids.push(id);
        }
        self.client.flush(Deadline::after(PATIENCE))?;
        Ok(ids)
    }

    /// Pieces of this size that one method moves in one round.
    pub(crate) fn pieces_per_round(piece_bytes: usize) -> usize {
        ROUND_BYTES.div_ceil(piece_bytes).min(PINS_MAX)
    }
}

/// A piece that was never put.
pub(crate) fn fresh(names: &mut u64) -> PieceId {
    *names += 1;
    piece(*names)
}

/// The piece with this number.
pub(crate) fn piece(number: u64) -> PieceId {
    PieceId::sole(BlockKey::from_words([mix(number), mix(!number), number, 7]))
}

/// A put that must succeed.
///
/// # Errors
/// The node refuses.
pub(crate) fn put(client: &Client, id: &PieceId, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    must_be_stored(client.put(id, Lineage::FIRST, bytes, Deadline::after(PATIENCE))?)
}

/// # Errors
/// The piece was refused: the measurement is void.
pub(crate) fn must_be_stored(stored: Stored) -> Result<(), Box<dyn Error>> {
    match stored {
        Stored::Posted | Stored::AlreadyPresent => Ok(()),
        Stored::Refused(refusal) => Err(format!("the node does not take a piece: {refusal}").into()),
    }
}

/// # Errors
/// It was a miss of what was put: the measurement is void.
pub(crate) fn must_hit<T>(lookup: Lookup<T>) -> Result<T, Box<dyn Error>> {
    match lookup {
        Lookup::Hit(found) => Ok(found),
        Lookup::Miss(reason) => Err(format!("a piece that was put is not there: {reason:?}").into()),
    }
}
