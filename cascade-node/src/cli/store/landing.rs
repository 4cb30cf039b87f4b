//! Memory of our own that pieces are loaded into, to be verified or read: slots of one size, each for one load.
//!
//! Invariants: a slot is the tier's from the submission of its load to the completion; nothing is unmapped before the tier
//! is closed or has forgotten it. The one `unsafe` of commands that open a tier is here.

use std::collections::{HashMap, VecDeque};

use cascade_tier::{
    Action, Completion, Memory, MemoryId, MemoryRange, OpenTier, Operation, Record, Status, TierError,
};
use memmap2::MmapMut;

/// How much memory is used where no piece is larger.
const MEMORY_BYTES: u64 = 64 << 20;
/// So many loads are under way at most.
const SLOTS_MAX: u64 = 256;
/// What direct I/O takes is a multiple of this.
const PAGE_BYTES: u64 = 4096;

/// The slots, and which load has which.
#[derive(Debug)]
pub(super) struct Landing {
    memory: MmapMut,
    id: MemoryId,
    slot_bytes: u64,
    free: Vec<u64>,
    under_way: HashMap<u64, (u64, Record)>,
    next_request: u64,
}

impl Landing {
    /// Slots for pieces of so many bytes, made known to the tier. It has to be closed before this is dropped.
    ///
    /// # Errors
    /// There is no such memory, or the tier cannot reach it.
    pub(super) fn new(tier: &mut OpenTier, piece_bytes: u64) -> Result<Self, TierError> {
        let no_memory = |what: &str| {
            TierError::new(Status::NO_SPACE, format!("no memory for a piece of {piece_bytes} bytes: {what}"))
        };
        let slot_bytes =
            piece_bytes.max(1).checked_next_multiple_of(PAGE_BYTES).ok_or_else(|| no_memory("too long"))?;
        let slots = (MEMORY_BYTES / slot_bytes).clamp(1, SLOTS_MAX);
        let length = usize::try_from(slots * slot_bytes).map_err(|_| no_memory("too long"))?;
        let mut memory = MmapMut::map_anon(length).map_err(|error| no_memory(&error.to_string()))?;
        let described = Memory::new("landing", length as u64).at(memory.as_mut_ptr());
        // SAFETY: the mapping lives as long as this does, which is longer than the tier is open; a slot is not looked at
        // while a load has it.
        let id = unsafe { tier.register_memory(&described) }?;
        let free = (0..slots).rev().collect();
        Ok(Self { memory, id, slot_bytes, free, under_way: HashMap::new(), next_request: 0 })
    }

    /// Whether a piece of so many bytes fits.
    pub(super) fn fits(&self, piece_bytes: u64) -> bool {
        piece_bytes <= self.slot_bytes
    }

    /// Loads under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// The tier's name for it.
    pub(super) fn id(&self) -> MemoryId {
        self.id
    }

    /// Has the first of these loaded, as many as there are slots and the tier takes, until one does not fit.
    pub(super) fn load(
        &mut self,
        tier: &mut OpenTier,
        pieces: &mut VecDeque<Record>,
    ) -> Result<(), TierError> {
        let mut operations = Vec::new();
        while self.free.len() > operations.len()
            && let Some(record) = pieces.get(operations.len()).filter(|record| self.fits(record.length_bytes))
        {
            let slot = self.free[self.free.len() - 1 - operations.len()];
            let &Record { extent, piece, checksum, length_bytes, .. } = record;
            let target = MemoryRange::new(self.id, slot * self.slot_bytes, length_bytes);
            let request = self.next_request + operations.len() as u64;
            operations.push(Operation::new(request, Action::Load { extent, piece, checksum, target }));
        }
        let taken = tier.submit(&operations)?;
        for (operation, record) in operations.iter().zip(pieces.drain(..taken)) {
            let slot = self.free.pop().expect("as many as were counted");
            self.under_way.insert(operation.request_id, (slot, record));
        }
        self.next_request += taken as u64;
        Ok(())
    }

    /// Shows what a load brought, and has its slot free again.
    pub(super) fn land(&mut self, completion: &Completion, mut take: impl FnMut(&Record, Status, &[u8])) {
        let Some((slot, record)) = self.under_way.remove(&completion.request_id) else { return };
        let start = (slot * self.slot_bytes) as usize;
        let bytes = if completion.status.is_ok() { record.length_bytes as usize } else { 0 };
        take(&record, completion.status, &self.memory[start..start + bytes]);
        self.free.push(slot);
    }
}
