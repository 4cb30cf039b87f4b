//! The segment's memory: opened or adopted through the shm tier, grown in the background, given back at the end.
//!
//! The tier owns the files; this module knows which regions a geometry needs and what to ask of the tier. Invariant:
//! the views of the segment are used only while the tier is open.

use std::os::fd::{BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use cascade_core::segment::{ARENAS_MAX, LayoutError, Segment};
use cascade_core::slot::SlotRef;
use cascade_core::view::Region;
use cascade_tier::capability::feature;
use cascade_tier::{
    Action, CloseMode, Completion, Library, Memory, MemoryRange, OpenTier, Operation, Status, TierError,
};
use serde_json::{Value, json};

use super::plan::Plan;
use super::{EngineError, random_word};

/// Memory ids, in the order in which the regions are configured.
const META: u16 = 0;
const PAGES: u16 = 1;
const FIRST_ARENA: u16 = 2;
/// Set in the ids of requests that are waited for; the others are growth and carry (arena, chunk).
const WAITED: u64 = 1 << 63;
/// How long a request that is waited for may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// The segment and the tier that owns its files.
#[derive(Debug)]
pub(super) struct SegmentMemory {
    tier: OpenTier,
    exports: Vec<Memory>,
    segment: Segment<'static>,
    adopted: bool,
    directory: PathBuf,
    requests: Requests,
}

/// How a chunk's growth ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    /// The arena.
    pub(super) arena: u8,
    /// The chunk.
    pub(super) chunk: u32,
    /// `OK`, or why there is no memory.
    pub(super) status: Status,
}

impl SegmentMemory {
    /// Opens the segment that `plan` describes, adopting what a dead owner left if its layout is ours.
    ///
    /// # Errors
    /// Another node owns it; the directory cannot be used; there is no room for the metadata.
    pub(super) fn open(library: &Library, plan: &Plan) -> Result<Self, EngineError> {
        let tier = library.open(&configuration(plan, "adopt_or_create"))?;
        if !tier.capabilities()?.has(feature::ADOPTED) {
            return Self::create(tier, plan);
        }
        match Self::adopt(tier, plan) {
            Err(EngineError::Layout(error)) => {
                tracing::warn!(%error, "what a former node left here cannot be adopted; starting afresh");
                Self::create(library.open(&configuration(plan, "create"))?, plan)
            }
            other => other,
        }
    }

    fn create(tier: OpenTier, plan: &Plan) -> Result<Self, EngineError> {
        let exports = tier.exports()?;
        let mut requests = Requests::default();
        let mut tier = tier;
        // All metadata has memory before anybody maps it: a full /dev/shm is an error now, never a SIGBUS later.
        for (region, bytes) in [(META, plan.geometry.meta_bytes()), (PAGES, plan.geometry.pages_bytes())] {
            let range = MemoryRange::new(region, 0, pages_of(bytes));
            requests.wait_for(&mut tier, Action::Allocate { range })?;
        }
        Segment::create(&plan.geometry, region(&exports, META)?, random_word())?;
        Self::over(tier, exports, plan, false, requests)
    }

    fn adopt(tier: OpenTier, plan: &Plan) -> Result<Self, EngineError> {
        let exports = tier.exports()?;
        Self::over(tier, exports, plan, true, Requests::default())
    }

    fn over(
        tier: OpenTier,
        exports: Vec<Memory>,
        plan: &Plan,
        adopted: bool,
        requests: Requests,
    ) -> Result<Self, EngineError> {
        let geometry = Segment::geometry_of(region(&exports, META)?)?;
        let mut arenas = [None; ARENAS_MAX];
        for arena in geometry.arenas() {
            arenas[usize::from(arena)] = Some(region(&exports, FIRST_ARENA + u16::from(arena))?);
        }
        let segment = Segment::open(region(&exports, META)?, region(&exports, PAGES)?, arenas)?;
        let directory = used_directory(&tier).unwrap_or_else(|| plan.directory.clone());
        Ok(Self { tier, exports, segment, adopted, directory, requests })
    }

    /// The shared words.
    pub(super) fn segment(&self) -> Segment<'static> {
        self.segment
    }

    /// Whether a dead owner left the content.
    pub(super) fn adopted(&self) -> bool {
        self.adopted
    }

    /// Where the files are: the planned directory, or one beside it while a dying owner keeps that.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Readable when growth has news.
    pub(super) fn event_fd(&self) -> Option<RawFd> {
        use std::os::fd::AsRawFd;
        self.tier.event_fd().ok().flatten().map(|fd| fd.as_raw_fd())
    }

    /// The memory of each arena, for another tier to import. It stays where it is until [`SegmentMemory::close`].
    pub(super) fn arenas(&self) -> Vec<(u8, Memory)> {
        let memory = |arena: u8| self.exports.get(usize::from(FIRST_ARENA + u16::from(arena)));
        self.segment.geometry().arenas().filter_map(|arena| Some((arena, *memory(arena)?))).collect()
    }

    /// Asks for memory behind these chunks; [`SegmentMemory::grown`] tells how it went. Returns how many were accepted.
    pub(super) fn grow(&mut self, chunks: &[(u8, u32)]) -> Result<usize, EngineError> {
        let operations: Vec<Operation> = chunks
            .iter()
            .map(|&(arena, chunk)| {
                let range = self.chunk_range(arena, chunk);
                Operation::new(u64::from(arena) << 32 | u64::from(chunk), Action::Allocate { range })
            })
            .collect();
        Ok(self.tier.submit(&operations)?)
    }

    /// Gives the memory of a chunk back to the machine; nobody may use it any more.
    ///
    /// # Errors
    /// The tier cannot.
    pub(super) fn release(&mut self, arena: u8, chunk: u32) -> Result<(), EngineError> {
        let range = self.chunk_range(arena, chunk);
        self.wait_for(Action::Release { range }).map(drop)
    }

    /// Gives a slot new pages, so that a transfer that a dead owner began, and that may still be landing, lands in pages
    /// that are nobody's.
    ///
    /// # Errors
    /// The tier cannot, or the old pages stay: a huge page that the slot shares and that is in use cannot be split. The
    /// slot must not be used.
    pub(super) fn renew(&mut self, slot: SlotRef) -> Result<(), EngineError> {
        let extent = self.segment.extent(slot.arena, slot.slot);
        let (offset, slot_bytes) = extent.ok_or(EngineError::Layout(LayoutError::Size))?;
        let range = MemoryRange::new(FIRST_ARENA + u16::from(slot.arena), offset, slot_bytes);
        let released_bytes = self.wait_for(Action::Release { range })?;
        if released_bytes < slot_bytes {
            let message =
                format!("shm: {} of {slot_bytes} bytes keep their pages", slot_bytes - released_bytes);
            return Err(TierError::new(Status::IO, message).into());
        }
        self.wait_for(Action::Allocate { range }).map(drop)
    }

    /// Bytes that could still be taken on this machine, as far as the tier can tell.
    pub(super) fn available_bytes(&self) -> Option<u64> {
        let request = json!({ "directory": self.directory }).to_string();
        let probe: Value = serde_json::from_str(&self.tier.library().probe(&request).ok()?).ok()?;
        probe.get("available_bytes")?.as_u64()
    }

    fn chunk_range(&self, arena: u8, chunk: u32) -> MemoryRange {
        let chunk_bytes = self.segment.geometry().chunk_bytes;
        MemoryRange::new(FIRST_ARENA + u16::from(arena), u64::from(chunk) * chunk_bytes, chunk_bytes)
    }

    /// Growth that ended since the last look.
    pub(super) fn grown(&mut self) -> Result<Vec<Growth>, EngineError> {
        self.tier.poll(&mut self.requests.early)?;
        let growth = |completion: Completion| Growth {
            arena: (completion.request_id >> 32) as u8,
            chunk: completion.request_id as u32,
            status: completion.status,
        };
        Ok(self.requests.early.drain(..).filter(|c| c.request_id & WAITED == 0).map(growth).collect())
    }

    fn wait_for(&mut self, action: Action) -> Result<u64, EngineError> {
        Ok(self.requests.wait_for(&mut self.tier, action)?)
    }

    /// The descriptors for a client, in the order of the attach answer: pages, metadata (read-only), arenas; and a bit
    /// for each arena.
    pub(super) fn descriptors(&self) -> Result<(Vec<BorrowedFd<'_>>, u8), EngineError> {
        let fd = |id: u16, raw: fn(&Memory) -> RawFd| {
            let raw = self.exports.get(usize::from(id)).map_or(-1, raw);
            // SAFETY: the tier keeps the descriptor open until it is closed, and `self` is borrowed until then.
            (raw >= 0)
                .then(|| unsafe { BorrowedFd::borrow_raw(raw) })
                .ok_or(EngineError::Layout(LayoutError::Size))
        };
        let mut descriptors = vec![fd(PAGES, |memory| memory.fd)?, fd(META, |memory| memory.fd_readonly)?];
        let mut arenas = 0;
        for arena in self.segment.geometry().arenas() {
            descriptors.push(fd(FIRST_ARENA + u16::from(arena), |memory| memory.fd)?);
            arenas |= 1 << arena;
        }
        Ok((descriptors, arenas))
    }

    /// The descriptor of the pages file, to look at clients' locks.
    pub(super) fn pages_fd(&self) -> RawFd {
        self.exports.get(usize::from(PAGES)).map_or(-1, |memory| memory.fd)
    }

    /// What the tier says of itself, as JSON.
    pub(super) fn stats(&self) -> Value {
        self.tier.stats().ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null)
    }

    /// Closes the segment for good: files and directory go. Clients that still map it keep their views.
    ///
    /// # Errors
    /// What could not be removed; `gc` takes it later.
    pub(super) fn close(self) -> Result<(), EngineError> {
        self.segment.close();
        Ok(self.tier.close(CloseMode::Unlink)?)
    }
}

/// Requests that are waited for, beside those of growth.
#[derive(Debug, Default)]
struct Requests {
    // Completions of growth that arrived while another request was waited for.
    early: Vec<Completion>,
    waited: u64,
}

impl Requests {
    /// Has the tier do something, and returns how many bytes of it were done.
    fn wait_for(&mut self, tier: &mut OpenTier, action: Action) -> Result<u64, TierError> {
        self.waited += 1;
        let request_id = WAITED | self.waited;
        let deadline = Instant::now() + REQUEST_DEADLINE;
        let mut submitted = false;
        loop {
            submitted = submitted || tier.submit(&[Operation::new(request_id, action)])? > 0;
            tier.poll(&mut self.early)?;
            if let Some(at) = self.early.iter().position(|c| c.request_id == request_id) {
                return match self.early.swap_remove(at) {
                    Completion { status: Status::OK, bytes, .. } => Ok(bytes),
                    Completion { status, .. } => {
                        Err(TierError::new(status, format!("shm: {action:?} ended with {status}")))
                    }
                };
            }
            if Instant::now() > deadline {
                return Err(TierError::new(Status::EXPIRED, format!("shm: {action:?} takes too long")));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

fn region(exports: &[Memory], id: u16) -> Result<Region<'static>, EngineError> {
    let memory = exports.get(usize::from(id)).ok_or(EngineError::Layout(LayoutError::Size))?;
    let base = memory.cpu_address().and_then(NonNull::new).ok_or(EngineError::Layout(LayoutError::Size))?;
    // SAFETY: the tier keeps its mapping until it is closed, which `SegmentMemory` does last of all; everybody else
    // reaches the memory through regions as well.
    Ok(unsafe { Region::new(base, memory.length_bytes as usize) })
}

fn used_directory(tier: &OpenTier) -> Option<PathBuf> {
    let stats: Value = serde_json::from_str(&tier.stats().ok()?).ok()?;
    Some(PathBuf::from(stats.get("directory")?.as_str()?))
}

/// The tier allocates whole memory pages; 64 KiB is a multiple of every architecture's.
fn pages_of(bytes: u64) -> u64 {
    bytes.next_multiple_of(1 << 16)
}

fn configuration(plan: &Plan, mode: &str) -> String {
    let mut regions = vec![
        json!({ "name": "meta", "bytes": pages_of(plan.geometry.meta_bytes()) }),
        json!({ "name": "pages", "bytes": pages_of(plan.geometry.pages_bytes()) }),
    ];
    for (arena, domain) in plan.geometry.arenas().zip(&plan.domains) {
        let numa = match domain {
            Some(node) => json!({ "bind": node }),
            None if plan.interleave => json!("interleave"),
            None => Value::Null,
        };
        regions.push(json!({
            "name": format!("arena-{arena}"),
            "bytes": plan.geometry.arena_bytes(arena),
            "numa": numa,
            "huge_pages": if plan.huge_pages { "advise" } else { "never" },
            // Zeroing pages is the greater part of a first write; the tier's thread does it, not somebody's put.
            "prefault": true,
        }));
    }
    json!({
        "directory": plan.directory,
        "mode": mode,
        "regions": regions,
        "owner": { "instance": plan.instance, "host": host_name() },
        "reserve_bytes": plan.reserve_bytes,
    })
    .to_string()
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
