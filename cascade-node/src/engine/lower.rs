//! The lower tier and the flow to and from it: what the pump turns to beside its clients.
//!
//! A turn takes up what ended and what is new, writes, brings, and looks for what hangs. Invariants: a turn does a bounded
//! amount of each and waits for nothing; news are taken up before anything is written, so what is below is not written twice.

use std::collections::HashSet;

use cascade_core::flow::NowNs;
use cascade_core::governor::Urgency;
use cascade_core::key::BlockKey;
use cascade_core::piece::PieceId;
use cascade_core::residency::Residency;
use cascade_core::stored::{Copy, StoredId};
use cascade_tier::{Action, Extent, Library, Memory, NO_DEADLINE, News, NewsKind, TierError};
use serde_json::{Value, json};

use super::below::{Below, Direction, Ended};
use super::demote::{Demotions, Written};
use super::promote::{Answered, Promotions, Provide, Wish};
use super::store::Store;
use crate::config::{Admission, Config, Flow, FlowMode};

/// News that one turn takes up: well under a millisecond.
const TURN_NEWS: usize = 512;
/// Copies that one turn has removed.
const TURN_REMOVALS: usize = 64;
/// When what is read ahead of need comes too late.
const READ_ON_NS: u64 = 5_000_000_000;

/// The lower tier, and what goes there and comes from there.
#[derive(Debug)]
pub struct Lower {
    pub(super) below: Below,
    pub(super) demotions: Demotions,
    pub(super) promotions: Promotions,
    flow: Flow,
    news: Box<[News]>,
    /// Wishes of nobody: what is read on.
    reading_on: Option<u64>,
    /// Removals under way.
    removing: HashSet<u64>,
    /// What ended that jobs may have asked for: writes, and requests of other kinds.
    ended: (Vec<Written>, Vec<Ended>),
    growth_bytes: u64,
}

impl Lower {
    /// Opens the tier of a library over these arenas.
    ///
    /// # Safety
    /// The memories stay where they are until this is closed or dropped, and are accessed as the protocol of slots allows.
    ///
    /// # Errors
    /// What the tier answers.
    pub unsafe fn open(
        library: &Library,
        configuration: &str,
        arenas: &[(u8, Memory)],
        flow: &Flow,
    ) -> Result<Self, TierError> {
        Ok(Self {
            // SAFETY: the caller's promise.
            below: unsafe { Below::open(library, configuration, arenas, flow) }?,
            demotions: Demotions::new(flow),
            promotions: Promotions::default(),
            flow: flow.clone(),
            news: vec![News::default(); TURN_NEWS].into_boxed_slice(),
            reading_on: None,
            removing: HashSet::new(),
            ended: Default::default(),
            growth_bytes: 0,
        })
    }

    /// Tells a store that there is a tier below it.
    pub fn attach(&self, store: &mut Store) {
        store.spares.cost = true;
        store.spares.reused_only = self.flow.admission == Admission::Reused;
        store.fresh = (self.flow.mode == FlowMode::WriteThrough).then(Vec::new);
    }

    /// Takes up what ended and what is new, writes and brings; which wishes are over, and whether there was anything to do.
    /// `growth_bytes` is memory that comes without an eviction; `provide` has slots made free.
    pub fn turn(
        &mut self,
        store: &mut Store,
        now: NowNs,
        growth_bytes: u64,
        provide: &mut Provide<'_>,
    ) -> (Vec<Answered>, bool) {
        self.growth_bytes = growth_bytes;
        let mut is_busy = self.take_up_ended(store, now);
        is_busy |= self.take_up_news(store, now);
        self.below.look(now);
        store.spares.go_first = self.below.answers(Direction::Write) && self.below.has_room();
        self.remove_dropped(store, now);
        is_busy |= self.demotions.turn(store, &mut self.below, now, growth_bytes);
        let loading_bytes_max = (store.backed_bytes() as f64 * self.flow.loading_share) as u64;
        self.read_on(store);
        let mut answered = self.promotions.turn(store, &mut self.below, now, loading_bytes_max, provide);
        answered.retain(|answered| {
            let is_ours = Some(answered.wish) == self.reading_on;
            if is_ours {
                self.reading_on = None;
                store.counters.read_on_pieces += answered.pieces;
            }
            !is_ours
        });
        self.below.post(now);
        (answered, is_busy)
    }

    /// Whether something is on its way or waits to be: then the next turn is not to be long in coming.
    pub fn is_busy(&self) -> bool {
        !self.below.is_listed() || self.demotions.is_busy() || self.promotions.is_busy()
    }

    /// Closes the tier; what it stored stays, and what was under way counts as not done.
    ///
    /// # Errors
    /// What the tier answers.
    pub fn close(self, store: &mut Store) -> Result<(), TierError> {
        let closed = self.below.close();
        self.demotions.abandon(store);
        self.promotions.abandon(store);
        (store.spares.cost, store.spares.go_first) = (false, false);
        closed
    }

    /// Wishes for pieces in memory, in the order of their chain; the number by which [`Lower::turn`] tells the end.
    pub fn wish(&mut self, wish: Wish) -> u64 {
        self.promotions.wish(wish)
    }

    /// Takes what ended that jobs may have asked for.
    pub(super) fn take_ended(&mut self) -> (Vec<Written>, Vec<Ended>) {
        std::mem::take(&mut self.ended)
    }

    /// Whether the tier is still removing something.
    pub(super) fn is_removing(&self) -> bool {
        !self.removing.is_empty()
    }

    /// Memory that comes without an eviction.
    pub(super) fn growth_bytes(&self) -> u64 {
        self.growth_bytes
    }

    /// How the tier is, and what the node does with it.
    pub fn report(&self, store: &Store, now: NowNs) -> Value {
        let mut report = self.below.report(now);
        report["pieces"] = json!(store.stored.len());
        report["bytes"] = json!(store.stored.bytes());
        report["book_bytes"] = json!(store.stored.memory_bytes());
        report["demoting"] = json!(self.demotions.under_way());
        report["promoting"] = json!(self.promotions.under_way());
        report
    }

    /// The same in numbers that go up and down.
    pub(super) fn gauges(&self, store: &Store) -> [(&'static str, u64); 6] {
        [
            ("up", u64::from(self.below.answers(Direction::Read) && self.below.answers(Direction::Write))),
            ("writable", u64::from(self.below.answers(Direction::Write) && self.below.has_room())),
            ("pieces", store.stored.len() as u64),
            ("bytes", store.stored.bytes()),
            ("demoting_pieces", self.demotions.under_way() as u64),
            ("promoting_pieces", self.promotions.under_way() as u64),
        ]
    }

    fn take_up_ended(&mut self, store: &mut Store, now: NowNs) -> bool {
        let ended = self.below.ended(now);
        for ended in &ended {
            if let Some(written) = self.demotions.ended(store, ended) {
                self.ended.0.push(written);
            } else if !self.promotions.ended(store, ended) && !self.removing.remove(&ended.request) {
                self.ended.1.push(*ended);
            }
        }
        !ended.is_empty()
    }

    fn take_up_news(&mut self, store: &mut Store, now: NowNs) -> bool {
        let count = self.below.news(now, &mut self.news);
        for News { kind, record } in &self.news[..count] {
            let id = PieceId::from(record.piece);
            match *kind {
                NewsKind::FOUND => {
                    let copy = Copy {
                        extent: record.extent.words,
                        parent: BlockKey::from_bytes(record.place.parent),
                        len_bytes: record.length_bytes,
                        checksum: record.checksum,
                        depth: record.place.depth,
                        stored_unix_s: record.stored_unix_s,
                    };
                    store.found(&id, copy);
                }
                NewsKind::LOST => store.lost(&id, &record.extent.words),
                NewsKind::LISTED => self.below.listed(),
                _ => {}
            }
        }
        count > 0
    }

    /// Has removed what was dropped; nobody waits for that.
    fn remove_dropped(&mut self, store: &mut Store, now: NowNs) {
        for _ in 0..TURN_REMOVALS {
            if store.removals.is_empty() || !self.below.may_ask(now, Direction::Write, Urgency::Background, 0)
            {
                return;
            }
            let Some(words) = store.removals.pop() else { return };
            let action = Action::Remove { extent: Extent { words } };
            self.removing.insert(self.below.ask(now, action, NO_DEADLINE));
            store.counters.removed_below += 1;
        }
    }

    /// Where a chain that was matched goes on below, some more of it comes, while nobody waits for the tier.
    fn read_on(&mut self, store: &mut Store) {
        let tails = std::mem::take(&mut store.matched_tails);
        if self.flow.read_on_blocks == 0 || self.reading_on.is_some() || self.promotions.is_waited_for() {
            return;
        }
        let Some(tail) = tails.last() else { return };
        let pieces = below_after(store, *tail, self.flow.read_on_blocks as usize);
        if !pieces.is_empty() {
            let deadline_ns = super::now_ns() + READ_ON_NS;
            let wish = Wish { pieces, deadline_ns, urgency: Urgency::Ahead, near: None };
            self.reading_on = Some(self.promotions.wish(wish));
        }
    }
}

/// The pieces below memory of the blocks that follow `tail`, up to `limit` blocks: where the chain branches, of the branch that
/// was stored last.
fn below_after(store: &Store, tail: BlockKey, limit: usize) -> Vec<PieceId> {
    let mut pieces = Vec::new();
    let mut parent = tail;
    for _ in 0..limit {
        let newest = |stored: &StoredId| store.stored.get(*stored).stored_unix_s;
        let Some(next) = store.stored.children(&parent).max_by_key(newest) else { break };
        let block = store.stored.block(next);
        let is_below = |residency: &Residency| matches!(residency, Residency::Below { .. });
        pieces.extend(
            store.catalog.copies(block).filter(|(_, residency)| is_below(residency)).map(|(id, _)| id),
        );
        parent = store.catalog.key(block);
    }
    pieces
}

/// What the tier is told, as JSON.
pub fn configuration(config: &Config) -> Option<Value> {
    let lustre = &config.lustre;
    let folder = lustre.folder()?;
    let mut told = json!({
        "directory": folder,
        "capacity_bytes": lustre.capacity.0,
        "inodes_max": lustre.inodes_max,
        "container_bytes": lustre.container.0,
        "durability": lustre.durability,
        "engine": lustre.engine,
        "queue_depth": lustre.queue_depth,
        "read_only": lustre.read_only,
        "refresh_ms": lustre.refresh_ms,
    });
    if lustre.stripe_count > 0 || lustre.stripe_size.0 > 0 {
        told["stripe"] = json!({ "count": lustre.stripe_count, "bytes": lustre.stripe_size.0 });
    }
    Some(told)
}
