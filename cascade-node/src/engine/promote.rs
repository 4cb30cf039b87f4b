//! Promotion: pieces that lower tiers have are brought into memory.
//!
//! A wish is a row of pieces in the order of their chain, wanted by a deadline. Each takes a free slot, is loaded and verified
//! by its tier, and is published once no block above it is still on its way. Invariants: a slot is the tier's until the
//! load's one completion, whatever the deadline says; a bounded share of memory waits for loads at once, so a tier that hangs
//! keeps no more than that; a wish ends at its deadline at the latest, and what is on its way for it then comes all the
//! same; what the tier has not, or not as it should be, is withdrawn.

use std::collections::HashMap;

use cascade_core::flow::NowNs;
use cascade_core::governor::Urgency;
use cascade_core::piece::PieceId;
use cascade_core::residency::Residency;
use cascade_tier::{Action, Extent, Status};

use super::below::{Below, Direction, Ended};
use super::copies::{Arrived, Arriving};
use super::store::Store;

/// How often a piece of a wish is asked for again that its tier did not get to in time.
const TRIES_MAX: u8 = 3;
/// Slots that are made free at once for a wish.
const ROOM_AHEAD_SLOTS: u64 = 16;

/// Who has free slots made: for a size, so many of them, and whether others may be evicted for that.
pub type Provide<'a> = dyn FnMut(&mut Store, u64, u64, bool) + 'a;

/// Pieces that somebody wants in memory.
#[derive(Debug)]
pub struct Wish {
    /// In the order of their chain.
    pub pieces: Vec<PieceId>,
    /// When it comes too late.
    pub deadline_ns: NowNs,
    /// What for. What is done ahead of need takes only what is free.
    pub urgency: Urgency,
    /// The arena whose memory is near whoever wants them.
    pub near: Option<u8>,
}

/// How a wish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// All of it is in memory, or was.
    All,
    /// Some of it is gone below, or damaged there.
    Part,
    /// The deadline came first.
    Late,
    /// The tier is given up for now.
    Fenced,
}

/// A wish that ended.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// The number that [`Lower::wish`](super::Lower::wish) gave.
    pub wish: u64,
    /// How.
    pub granted: Granted,
    /// Pieces that were brought for it.
    pub pieces: u64,
    /// Bytes of these.
    pub bytes: u64,
}

#[derive(Debug)]
struct Open {
    wish: Wish,
    /// Pieces up to here were asked for, or were in memory.
    asked: usize,
    /// Pieces up to here are in memory.
    done: usize,
    tries: u8,
    brought: u64,
    brought_bytes: u64,
}

/// What is being brought, and for whom.
#[derive(Debug, Default)]
pub(super) struct Promotions {
    wishes: HashMap<u64, Open>,
    /// The numbers of the open wishes, oldest first, those that somebody waits for before the others.
    order: Vec<u64>,
    loads: HashMap<u64, Arriving>,
    /// Loaded, and waiting for a block above.
    landed: Vec<Arriving>,
    next_wish: u64,
}

impl Promotions {
    /// Takes a wish up; its end comes from [`Promotions::turn`].
    pub(super) fn wish(&mut self, wish: Wish) -> u64 {
        self.next_wish += 1;
        let number = self.next_wish;
        let at = self.order.partition_point(|other| self.wishes[other].wish.urgency <= wish.urgency);
        self.order.insert(at, number);
        let open = Open { wish, asked: 0, done: 0, tries: 0, brought: 0, brought_bytes: 0 };
        self.wishes.insert(number, open);
        number
    }

    /// Nobody waits for this wish any more. What is on its way comes all the same.
    pub(super) fn forget(&mut self, wish: u64) {
        self.wishes.remove(&wish);
        self.order.retain(|&other| other != wish);
    }

    /// The tier is closed: nothing comes any more, and where something may still land nobody else writes.
    pub(super) fn abandon(self, store: &mut Store) {
        for arriving in self.loads.values().chain(&self.landed) {
            store.abandon_promotion(arriving);
        }
    }

    /// The last piece of a wish's beginning that is in memory by now.
    pub(super) fn reached(&self, wish: u64) -> Option<PieceId> {
        let open = self.wishes.get(&wish)?;
        open.wish.pieces.get(open.done.checked_sub(1)?).copied()
    }

    /// Whether wishes are open.
    pub(super) fn is_busy(&self) -> bool {
        !self.wishes.is_empty() || !self.loads.is_empty()
    }

    /// When the next wish comes too late.
    pub(super) fn next_deadline_ns(&self) -> Option<NowNs> {
        self.wishes.values().map(|open| open.wish.deadline_ns).min()
    }

    /// Whether somebody waits.
    pub(super) fn is_waited_for(&self) -> bool {
        self.order.first().is_some_and(|wish| self.wishes[wish].wish.urgency == Urgency::Waited)
    }

    /// Pieces on their way.
    pub(super) fn under_way(&self) -> usize {
        self.loads.len()
    }

    /// A request ended; `false` if it was not ours.
    pub(super) fn ended(&mut self, store: &mut Store, ended: &Ended) -> bool {
        let Some(arriving) = self.loads.remove(&ended.request) else { return false };
        match ended.status {
            Status::OK => {
                self.landed.push(arriving);
                return true;
            }
            // The tier ended with it, and may write for ever.
            Status::PANICKED => store.abandon_promotion(&arriving),
            _ => store.fail_promotion(&arriving),
        }
        store.counters.failed_promotions += 1;
        if matches!(ended.status, Status::NOT_FOUND | Status::CORRUPT) {
            store.counters.corrupt_below += u64::from(ended.status == Status::CORRUPT);
            // Unless another place was told meanwhile: then that one is tried.
            store.lost(&arriving.id, &arriving.copy.extent);
        }
        true
    }

    /// Publishes what has landed, asks for what comes next, and tells which wishes are over.
    pub(super) fn turn(
        &mut self,
        store: &mut Store,
        below: &mut Below,
        now: NowNs,
        loading_bytes_max: u64,
        provide: &mut Provide<'_>,
    ) -> Vec<Answered> {
        self.publish(store);
        let mut answered = Vec::new();
        for number in self.order.clone() {
            let Some(mut open) = self.wishes.remove(&number) else { continue };
            match self.go_on(&mut open, store, below, now, loading_bytes_max, provide) {
                Some(granted) => {
                    let (pieces, bytes) = (open.brought, open.brought_bytes);
                    answered.push(Answered { wish: number, granted, pieces, bytes });
                }
                None => drop(self.wishes.insert(number, open)),
            }
        }
        self.order.retain(|number| self.wishes.contains_key(number));
        answered
    }

    /// Publishes the pieces that have landed and above which nothing is on its way, parents before children.
    fn publish(&mut self, store: &mut Store) {
        if self.landed.is_empty() {
            return;
        }
        self.landed.sort_unstable_by_key(|arriving| arriving.copy.depth);
        let mut waiting = Vec::new();
        for arriving in std::mem::take(&mut self.landed) {
            let parent = store.catalog.known(&arriving.copy.parent);
            let is_coming = |(_, residency)| matches!(residency, Residency::Promoting { .. });
            if parent.is_some_and(|parent| store.catalog.copies(parent).any(is_coming)) {
                waiting.push(arriving);
                continue;
            }
            match store.end_promotion(&arriving) {
                Arrived::Published | Arrived::Overtaken => {}
                Arrived::NoPlace => store.counters.failed_promotions += 1,
            }
        }
        self.landed = waiting;
    }

    /// Brings a wish a step further; how it ended, if it did.
    fn go_on(
        &mut self,
        open: &mut Open,
        store: &mut Store,
        below: &mut Below,
        now: NowNs,
        loading_bytes_max: u64,
        provide: &mut Provide<'_>,
    ) -> Option<Granted> {
        while let Some(id) = open.wish.pieces.get(open.done) {
            match store.catalog.residency(id) {
                found if found.slot().is_some() => open.done += 1,
                Residency::Below { .. } if open.done < open.asked => {
                    // It was asked for, and did not come.
                    open.tries += 1;
                    if open.tries >= TRIES_MAX {
                        return Some(Granted::Part);
                    }
                    open.asked = open.done;
                }
                Residency::Below { .. } | Residency::Promoting { .. } => break,
                _ => return Some(Granted::Part),
            }
        }
        if open.done == open.wish.pieces.len() {
            return Some(Granted::All);
        }
        if now >= open.wish.deadline_ns {
            return Some(Granted::Late);
        }
        if below.is_given_up(now, Direction::Read) {
            return Some(Granted::Fenced);
        }
        self.ask(open, store, below, now, loading_bytes_max, provide);
        None
    }

    /// Asks for what comes next, as far as memory, tier and governor let it.
    fn ask(
        &mut self,
        open: &mut Open,
        store: &mut Store,
        below: &mut Below,
        now: NowNs,
        loading_bytes_max: u64,
        provide: &mut Provide<'_>,
    ) {
        let Wish { deadline_ns, urgency, near, .. } = open.wish;
        open.asked = open.asked.max(open.done);
        while let Some(id) = open.wish.pieces.get(open.asked) {
            let stored = match store.catalog.residency(id) {
                Residency::Below { stored } => stored,
                // Gone, and what comes behind it is of no use without it.
                Residency::Absent => return,
                // There, or on its way for somebody else.
                _ => {
                    open.asked += 1;
                    continue;
                }
            };
            let len_bytes = store.stored.get(stored).len_bytes;
            let Some(slot_bytes) = store.segment().geometry().slot_bytes(len_bytes) else {
                // Longer than any slot here; the one who looks at the wish next sees it.
                open.asked += 1;
                continue;
            };
            // One piece may come alone, however large it is.
            if store.arriving_bytes > 0 && store.arriving_bytes + slot_bytes > loading_bytes_max {
                return;
            }
            if store.free_slots(slot_bytes) == 0 {
                let ahead = (open.wish.pieces.len() - open.asked) as u64;
                provide(store, slot_bytes, ahead.min(ROOM_AHEAD_SLOTS), urgency == Urgency::Waited);
                if store.free_slots(slot_bytes) == 0 {
                    return;
                }
            }
            if !below.may_ask(now, Direction::Read, urgency, len_bytes) {
                return;
            }
            let Some(arriving) = store.begin_promotion(id, near) else { return };
            let Arriving { slot, copy, .. } = arriving;
            let place = store.segment().extent(slot.arena, slot.slot);
            let target = place.and_then(|(offset, _)| below.range(slot.arena, offset, copy.len_bytes));
            let Some(target) = target else {
                store.fail_promotion(&arriving);
                return;
            };
            let extent = Extent { words: copy.extent };
            let action = Action::Load { extent, piece: (*id).into(), checksum: copy.checksum, target };
            self.loads.insert(below.ask(now, action, deadline_ns), arriving);
            open.asked += 1;
            open.brought += 1;
            open.brought_bytes += copy.len_bytes;
        }
    }
}
