//! Forgetting: pieces of a namespace, of a tenant, or of a certain age go from memory and from below.
//!
//! Prompts can be read out of KV, so what cannot be told apart goes too: a block whose chain leads to no root that is known may
//! be of the namespace, and is of no use to anybody. Invariants: what is forgotten is out of index and catalog at once, whoever
//! claims it; the job is done when the tier has removed its copies and synced. Other nodes keep what they have in their own
//! memory: they have to be told as well.

use std::collections::{HashMap, HashSet};

use cascade_core::chain::CHAIN_BLOCKS_MAX;
use cascade_core::flow::NowNs;
use cascade_core::governor::Urgency;
use cascade_core::key::BlockKey;
use cascade_core::piece::PieceId;
use cascade_core::policy::BlockId;
use cascade_core::residency::Residency;
use cascade_tier::{Action, NO_DEADLINE};
use serde_json::Value;

use super::super::lower::Lower;
use super::super::promote::Wish;
use super::super::store::Store;
use super::{Heard, Progress};

/// Handles that one step looks at.
const STEP_HANDLES: u32 = 1024;
/// Rank and group of the piece that describes a namespace, under the namespace's own key.
const DESCRIPTION: (u16, u16) = (u16::MAX, u16::MAX);
/// The longest description that is read.
const DESCRIPTION_MAX_BYTES: u64 = 1 << 20;
/// How long descriptions may take to come.
const WISH_NS: u64 = 30_000_000_000;
/// How often pieces that were on their way are looked at again.
const PASSES_MAX: u32 = 1000;

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// All chains under this root.
    Namespace(BlockKey),
    /// All namespaces whose description names this tenant.
    Tenant(String),
    /// What was stored so many seconds ago, or before.
    OlderThan {
        /// Seconds.
        age_s: u32,
    },
}

/// The state of a forgetting.
#[derive(Debug)]
pub(super) struct Forget {
    what: What,
    step: Step,
    roots: HashSet<BlockKey>,
    /// Whether the chain of a block that was looked at leads to one of the roots, or nowhere.
    leads_there: HashMap<BlockId, bool>,
    descriptions: Vec<PieceId>,
    passes: u32,
    left: u64,
    done: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Which pieces describe namespaces?
    Find(u32),
    /// Those that are below are on their way.
    Fetch(u64),
    Remove(u32),
    /// The tier removes.
    Settle,
    Sync(u64),
}

impl Forget {
    pub(super) fn new(what: What) -> Self {
        let mut roots = HashSet::new();
        let step = match &what {
            What::Namespace(root) => {
                roots.insert(*root);
                Step::Remove(0)
            }
            What::Tenant(_) => Step::Find(0),
            What::OlderThan { .. } => Step::Remove(0),
        };
        Self {
            what,
            step,
            roots,
            leads_there: HashMap::new(),
            descriptions: Vec::new(),
            passes: 0,
            left: 0,
            done: 0,
            bytes: 0,
        }
    }

    pub(super) fn advance(
        &mut self,
        store: &mut Store,
        lower: Option<&mut Lower>,
        heard: Heard<'_>,
        now: NowNs,
    ) -> Progress {
        let mut progress = Progress { moved: true, ..Progress::default() };
        if lower.as_ref().is_some_and(|lower| !lower.below.is_listed()) {
            // What is not known yet cannot be forgotten.
            progress.moved = false;
            return progress;
        }
        match self.step {
            Step::Find(next) => self.find(store, lower, next, now),
            Step::Fetch(wish) if heard.granted(wish).is_some() => {
                self.read_descriptions(store);
            }
            Step::Fetch(_) => progress.moved = false,
            Step::Remove(next) => self.remove_some(store, next),
            Step::Settle | Step::Sync(_) => {
                let before = self.step;
                progress.end = self.settle(store, lower, heard, now);
                progress.moved = before != self.step;
            }
        }
        (progress.done, progress.bytes) = (self.done, self.bytes);
        progress.total = self.done + self.left;
        progress
    }

    /// Collects the pieces that describe namespaces, and has those brought that are below.
    fn find(&mut self, store: &Store, lower: Option<&mut Lower>, next: u32, now: NowNs) {
        let handles = store.catalog.handles();
        let end = next.saturating_add(STEP_HANDLES).min(handles);
        for handle in next..end {
            let copies = store.catalog.copies(BlockId(handle)).map(|(id, _)| id);
            self.descriptions.extend(copies.filter(|id| (id.rank, id.group) == DESCRIPTION));
        }
        if end < handles {
            self.step = Step::Find(end);
            return;
        }
        let is_below = |id: &&PieceId| store.catalog.slot(id).is_none();
        let pieces: Vec<PieceId> = self.descriptions.iter().filter(is_below).copied().collect();
        match lower.filter(|_| !pieces.is_empty()) {
            Some(lower) => {
                let wish = Wish { pieces, deadline_ns: now + WISH_NS, urgency: Urgency::Waited, near: None };
                self.step = Step::Fetch(lower.wish(wish));
            }
            None => self.read_descriptions(store),
        }
    }

    /// Looks into the descriptions for the tenant. One that did not come, or cannot be read, is nobody's.
    fn read_descriptions(&mut self, store: &Store) {
        let What::Tenant(tenant) = &self.what else { return };
        for id in &self.descriptions {
            let is_his = description(store, id).is_some_and(|text| {
                let parsed: Option<Value> = serde_json::from_slice(&text).ok();
                parsed.and_then(|value| Some(value.get("tenant")?.as_str()? == tenant)).unwrap_or(false)
            });
            if is_his {
                self.roots.insert(id.key);
            }
        }
        self.step = Step::Remove(0);
    }

    fn remove_some(&mut self, store: &mut Store, next: u32) {
        let handles = store.catalog.handles();
        let end = next.saturating_add(STEP_HANDLES).min(handles);
        let now_s = super::super::unix_s();
        for handle in next..end {
            let block = BlockId(handle);
            let copies: Vec<(PieceId, Residency)> = store.catalog.copies(block).collect();
            if copies.is_empty() {
                continue;
            }
            let is_meant = match &self.what {
                What::OlderThan { age_s } => {
                    let is_old = |(_, residency): &(PieceId, Residency)| {
                        let stored = residency.stored().map(|stored| store.stored.get(stored).stored_unix_s);
                        stored.is_some_and(|stored| stored.saturating_add(*age_s) <= now_s)
                    };
                    copies.iter().any(is_old)
                }
                What::Namespace(_) | What::Tenant(_) => self.leads_there(store, block),
            };
            if is_meant {
                for (id, _) in copies {
                    match store.forget_everywhere(&id) {
                        Some(bytes) => (self.done, self.bytes) = (self.done + 1, self.bytes + bytes),
                        None => self.left += 1,
                    }
                }
            }
        }
        store.settle();
        if end < handles {
            self.step = Step::Remove(end);
        } else if self.left > 0 && self.passes < PASSES_MAX {
            // Some were on their way into memory: they are there by and by.
            (self.passes, self.left, self.step) = (self.passes + 1, 0, Step::Remove(0));
            self.leads_there.clear();
        } else {
            self.step = Step::Settle;
        }
    }

    /// Whether the chain of a block leads to one of the roots, or to nothing that is known.
    fn leads_there(&mut self, store: &Store, block: BlockId) -> bool {
        if self.roots.is_empty() {
            return false;
        }
        let mut path = vec![block];
        let verdict = loop {
            let at = *path.last().expect("it begins with the block");
            if let Some(&known) = self.leads_there.get(&at) {
                break known;
            }
            if self.roots.contains(&store.catalog.key(at)) {
                break true;
            }
            let Some((parent, depth)) = store.place_of(at) else { break true };
            if self.roots.contains(&parent) {
                break true;
            }
            if parent == BlockKey::ROOT || depth == 0 {
                break false;
            }
            match store.catalog.known(&parent) {
                // What is longer goes in a ring.
                Some(parent) if path.len() < CHAIN_BLOCKS_MAX => {
                    path.push(parent);
                }
                _ => break true,
            }
        };
        self.leads_there.extend(path.into_iter().map(|block| (block, verdict)));
        verdict
    }

    fn settle(
        &mut self,
        store: &Store,
        lower: Option<&mut Lower>,
        heard: Heard<'_>,
        now: NowNs,
    ) -> Option<Result<(), String>> {
        let Some(lower) = lower else { return Some(Ok(())) };
        if !store.removals.is_empty() || lower.is_removing() {
            return None;
        }
        match self.step {
            Step::Sync(request) => heard.synced(request),
            _ => {
                self.step = Step::Sync(lower.below.ask(now, Action::Sync, NO_DEADLINE));
                None
            }
        }
    }
}

/// The bytes of a description that is in memory, verified.
fn description(store: &Store, id: &PieceId) -> Option<Vec<u8>> {
    let slot = store.catalog.slot(id)?;
    let meta = store.line(slot.arena, slot.slot).meta();
    if meta.len_bytes > DESCRIPTION_MAX_BYTES || !store.verify(slot, &meta) {
        return None;
    }
    let bytes = store.segment().bytes(slot, meta.len_bytes)?;
    // SAFETY: `Segment::bytes` has checked the range against its mapping, which lives as long as the node; nobody writes a
    // Ready slot.
    Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr(), meta.len_bytes as usize) }.to_vec())
}
