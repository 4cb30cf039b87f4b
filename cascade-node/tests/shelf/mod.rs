//! A tier for tests that keeps pieces on a shelf in this process, and does what it is told: hang, fail, be full, lose, damage,
//! tell of others' pieces.
//!
//! A shelf has a name and outlives its handles, as a store outlives its nodes. Invariants: an operation happens when its completion
//! is polled, and not before; while it hangs nothing completes; like every tier, it verifies what it loads.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cascade_core::copy::checksum_slice;
use cascade_core::piece::seal;
use cascade_tier::capability::{feature, operation};
use cascade_tier::{
    Action, Capabilities, CloseMode, Completion, Extent, Memory, MemoryId, MemoryRange, News, NewsKind,
    Operation, PieceId, Place, Record, Status, Tier, TierError,
};

/// One stored piece.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) piece: PieceId,
    pub(crate) checksum: u32,
    pub(crate) place: Place,
    pub(crate) bytes: Vec<u8>,
    pub(crate) stored_unix_s: u32,
}

/// What lies on a shelf, and how it behaves.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) stored: BTreeMap<u64, Stored>,
    last: u64,
    /// Nothing completes.
    pub(crate) hangs: bool,
    /// Everything ends like this.
    pub(crate) fails: Option<Status>,
    /// Stores find no room.
    pub(crate) is_full: bool,
    /// A handle that opens tells nothing of what is there, until this is taken back.
    pub(crate) is_silent: bool,
    /// How many operations were accepted.
    pub(crate) stores: u64,
    pub(crate) loads: u64,
    pub(crate) syncs: u64,
    news: Vec<News>,
}

/// The shelf of a name.
#[derive(Clone)]
pub(crate) struct Named(Arc<Mutex<Shelf>>);

/// A handle.
pub(crate) struct ShelfTier {
    shelf: Named,
    memories: Vec<Memory>,
    waiting: VecDeque<Operation>,
    to_tell: VecDeque<News>,
    has_listed: bool,
}

impl Named {
    pub(crate) fn of(name: &str) -> Named {
        static ALL: OnceLock<Mutex<HashMap<String, Named>>> = OnceLock::new();
        let all = ALL.get_or_init(Mutex::default);
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name.to_owned()).or_insert_with(|| Named(Arc::default())).clone()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// The pieces, in the order in which they were stored.
    pub(crate) fn pieces(&self) -> Vec<PieceId> {
        self.stored.values().map(|stored| stored.piece).collect()
    }

    /// Loses a piece, and tells so.
    pub(crate) fn lose(&mut self, piece: &PieceId) {
        let (number, stored) = self.number_of(piece);
        self.news.push(News { kind: NewsKind::LOST, record: record(number, &stored) });
        self.stored.remove(&number);
    }

    /// Loses a piece, and keeps it to itself.
    pub(crate) fn lose_quietly(&mut self, piece: &PieceId) {
        let (number, _) = self.number_of(piece);
        self.stored.remove(&number);
    }

    /// Changes a byte of a piece.
    pub(crate) fn damage(&mut self, piece: &PieceId) {
        let (number, _) = self.number_of(piece);
        self.stored.get_mut(&number).unwrap().bytes[0] ^= 1;
    }

    /// Another host stores what we have as well, and it is told.
    pub(crate) fn store_again(&mut self, piece: &PieceId) {
        let (_, stored) = self.number_of(piece);
        self.last += 1;
        self.news.push(News { kind: NewsKind::FOUND, record: record(self.last, &stored) });
        self.stored.insert(self.last, stored);
    }

    fn number_of(&self, piece: &PieceId) -> (u64, Stored) {
        let found = self.stored.iter().rev().find(|(_, stored)| stored.piece == *piece);
        found.map(|(&number, stored)| (number, stored.clone())).expect("it is on the shelf")
    }
}

fn record(number: u64, stored: &Stored) -> Record {
    Record {
        piece: stored.piece,
        checksum: stored.checksum,
        length_bytes: stored.bytes.len() as u64,
        place: stored.place,
        stored_unix_s: stored.stored_unix_s,
        extent: extent(number),
    }
}

fn extent(number: u64) -> Extent {
    Extent { words: [number, !number, 0, 7] }
}

impl ShelfTier {
    fn pointer(&self, range: MemoryRange) -> Option<*mut u8> {
        let memory = self.memories.get(usize::from(range.memory))?;
        range.end_within(memory.length_bytes)?;
        // SAFETY: the range lies within the memory, as was checked just now.
        Some(unsafe { memory.cpu_address()?.add(range.offset as usize) })
    }

    fn perform(&self, operation: &Operation) -> Completion {
        let mut shelf = self.shelf.lock();
        let mut completion = Completion::new(operation.request_id, Status::OK, 0);
        if let Some(status) = shelf.fails {
            return Completion::new(operation.request_id, status, 0);
        }
        let outcome = match operation.action {
            Action::Store { .. } if shelf.is_full => Err(Status::NO_SPACE),
            Action::Store { source, piece, checksum, place } => {
                let from = self.pointer(source).expect("a range of the arena");
                let mut bytes = vec![0; source.length as usize];
                // SAFETY: the host lets nobody write what an operation reads.
                unsafe { bytes.as_mut_ptr().copy_from(from, bytes.len()) };
                shelf.last += 1;
                let number = shelf.last;
                let stored_unix_s = number as u32;
                shelf.stored.insert(number, Stored { piece, checksum, place, bytes, stored_unix_s });
                completion.extent = extent(number);
                Ok(())
            }
            Action::Load { extent: at, piece, checksum, target } => {
                match shelf.stored.get(&at.words[0]).filter(|_| at == extent(at.words[0])) {
                    None => Err(Status::NOT_FOUND),
                    Some(stored) => {
                        let length = stored.bytes.len() as u64;
                        let sum = checksum_slice(&stored.bytes, seal(&piece.into(), length)).value();
                        let is_meant = stored.piece == piece && length == target.length && sum == checksum;
                        let to = self.pointer(target).expect("a range of the arena");
                        // Half of it lands in any case: the target is unspecified after anything but OK.
                        let count = if is_meant { length } else { length.min(target.length) / 2 };
                        // SAFETY: the host lets nobody touch what an operation writes.
                        unsafe { to.copy_from(stored.bytes.as_ptr(), count as usize) };
                        if is_meant { Ok(()) } else { Err(Status::CORRUPT) }
                    }
                }
            }
            Action::Remove { extent } => {
                shelf.stored.remove(&extent.words[0]).map(drop).ok_or(Status::NOT_FOUND)
            }
            Action::Sync => Ok(()),
            _ => Err(Status::UNSUPPORTED),
        };
        completion.status = outcome.err().unwrap_or(Status::OK);
        completion
    }
}

impl Tier for ShelfTier {
    fn probe(_: &str) -> Result<String, TierError> {
        Ok("{}".to_owned())
    }

    fn open(config: &str) -> Result<ShelfTier, TierError> {
        let config: serde_json::Value =
            serde_json::from_str(config).map_err(|error| TierError::invalid(error.to_string()))?;
        let name = config["directory"].as_str().ok_or_else(|| TierError::invalid("directory: a name"))?;
        let shelf = Named::of(name);
        let found = |(&number, stored)| News { kind: NewsKind::FOUND, record: record(number, stored) };
        let mut inner = shelf.lock();
        inner.news.clear();
        let to_tell = inner.stored.iter().map(found).collect();
        drop(inner);
        Ok(ShelfTier { shelf, memories: Vec::new(), waiting: VecDeque::new(), to_tell, has_listed: false })
    }

    fn close(self, _: CloseMode) -> Result<(), TierError> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            operations: operation::STORE | operation::LOAD | operation::REMOVE | operation::SYNC,
            features: feature::IMPORT | feature::PERSISTENT | feature::NEWS,
            queue_depth: 16,
            alignment_bytes: 1,
            piece_bytes_max: 1 << 20,
        }
    }

    fn import_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        self.memories.push(*memory);
        Ok(self.memories.len() as MemoryId - 1)
    }

    fn submit(&mut self, operations: &[Operation]) -> Result<usize, TierError> {
        let taken = operations.len().min(16 - self.waiting.len());
        let mut shelf = self.shelf.lock();
        for operation in &operations[..taken] {
            match operation.action {
                Action::Store { .. } => shelf.stores += 1,
                Action::Load { .. } => shelf.loads += 1,
                Action::Sync => shelf.syncs += 1,
                _ => {}
            }
            self.waiting.push_back(*operation);
        }
        Ok(taken)
    }

    fn poll(&mut self, completions: &mut [Completion]) -> Result<usize, TierError> {
        if self.shelf.lock().hangs {
            return Ok(0);
        }
        let mut count = 0;
        while count < completions.len()
            && let Some(operation) = self.waiting.pop_front()
        {
            completions[count] = self.perform(&operation);
            count += 1;
        }
        // Done in order, told the other way round: completions come in any order.
        completions[..count].reverse();
        Ok(count)
    }

    fn news(&mut self, news: &mut [News]) -> Result<usize, TierError> {
        let mut shelf = self.shelf.lock();
        if shelf.is_silent {
            return Ok(0);
        }
        if self.to_tell.is_empty() && !std::mem::replace(&mut self.has_listed, true) {
            self.to_tell.push_back(News { kind: NewsKind::LISTED, ..News::default() });
        }
        self.to_tell.extend(shelf.news.drain(..));
        let count = news.len().min(self.to_tell.len());
        for (place, told) in news.iter_mut().zip(self.to_tell.drain(..count)) {
            *place = told;
        }
        Ok(count)
    }

    fn cancel(&mut self, request_id: u64) -> Result<(), TierError> {
        Err(TierError::new(Status::NOT_FOUND, format!("request {request_id} cannot be withdrawn")))
    }

    fn stats(&self) -> String {
        "{}".to_owned()
    }
}

cascade_tier::export_tier!(shelf, ShelfTier);
