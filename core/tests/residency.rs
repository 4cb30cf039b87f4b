//! Where the copies of pieces lie: the whole table, and histories of puts, evictions, transfers and losses in a catalog
//! against a world that has the copies.
//!
//! The node's own way along these arrows, with a tier that hangs, fails and loses, is `cascade-node/tests/flow.rs`.
#![cfg(not(loom))]

use cascade_core::catalog::{Catalog, Evicted, Inserted};
use cascade_core::key::BlockKey;
use cascade_core::piece::PieceId;
use cascade_core::residency::{Event, Residency, StoredId, next};
use cascade_core::slot::SlotRef;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const fn slot(number: u32) -> SlotRef {
    SlotRef { arena: 0, slot: number, generation: 1 }
}

const STATES: [Residency; 6] = [
    Residency::Absent,
    Residency::Memory { slot: slot(1) },
    Residency::Demoting { slot: slot(1) },
    Residency::Both { slot: slot(1), stored: StoredId(2) },
    Residency::Below { stored: StoredId(2) },
    Residency::Promoting { stored: StoredId(2) },
];

const EVENTS: [Event; 9] = [
    Event::Publish { slot: slot(8) },
    Event::Evict,
    Event::Demote,
    Event::Demoted { stored: StoredId(9) },
    Event::NotDemoted,
    Event::Found { stored: StoredId(9) },
    Event::Promote,
    Event::NotPromoted,
    Event::Withdraw,
];

/// The heading of an event's column. Exhaustive on purpose: the compiler asks for the column of a new event.
fn heading(event: Event) -> String {
    match event {
        Event::Publish { slot } => format!("publish(#{})", slot.slot),
        Event::Evict => "evict".into(),
        Event::Demote => "demote".into(),
        Event::Demoted { stored } => format!("demoted(/{})", stored.0),
        Event::NotDemoted => "not demoted".into(),
        Event::Found { stored } => format!("found(/{})", stored.0),
        Event::Promote => "promote".into(),
        Event::NotPromoted => "not promoted".into(),
        Event::Withdraw => "withdraw".into(),
    }
}

/// A state with its slot (`#`) and its lower copy (`/`). Exhaustive, so that a new state asks for its row.
fn name(residency: Residency) -> String {
    match residency {
        Residency::Absent => "Absent".into(),
        Residency::Memory { slot } => format!("Memory#{}", slot.slot),
        Residency::Demoting { slot } => format!("Demoting#{}", slot.slot),
        Residency::Both { slot, stored } => format!("Both#{}/{}", slot.slot, stored.0),
        Residency::Below { stored } => format!("Below/{}", stored.0),
        Residency::Promoting { stored } => format!("Promoting/{}", stored.0),
    }
}

fn row(out: &mut String, cells: impl IntoIterator<Item = String>) {
    let line: String = cells.into_iter().map(|cell| format!("{cell:<14}")).collect();
    writeln!(out, "{}", line.trim_end()).expect("a string takes everything");
}

#[test]
fn a_residency_has_exactly_these_arrows() {
    let mut table = String::new();
    row(&mut table, std::iter::once("state".to_owned()).chain(EVENTS.map(heading)));
    for state in STATES {
        let results = EVENTS.map(|event| next(state, event).map_or("-".to_owned(), name));
        row(&mut table, std::iter::once(name(state)).chain(results));
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("residency_transitions", table);
    });
}

const BLOCKS: u8 = 8;
const RANKS: u16 = 2;

/// The copies that there really are of one piece, and those under way.
#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    memory: Option<SlotRef>,
    below: Option<StoredId>,
    /// A tier reads the slot.
    is_demoting: bool,
    /// A tier writes for this piece into a slot that is nobody else's.
    is_promoting: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Put,
    Evict,
    Demote,
    EndDemotion { well: bool },
    Find,
    Promote,
    EndPromotion { well: bool },
    Lose,
}

fn steps() -> impl Strategy<Value = Vec<(Step, u8, u16)>> {
    let step = prop_oneof![
        4 => Just(Step::Put),
        3 => Just(Step::Evict),
        3 => Just(Step::Demote),
        3 => any::<bool>().prop_map(|well| Step::EndDemotion { well }),
        1 => Just(Step::Find),
        3 => Just(Step::Promote),
        3 => any::<bool>().prop_map(|well| Step::EndPromotion { well }),
        1 => Just(Step::Lose),
    ];
    prop::collection::vec((step, 1..=BLOCKS, 0..RANKS), 1..300)
}

fn id(block: u8, rank: u16) -> PieceId {
    PieceId { key: BlockKey::from_bytes([block; 32]), rank, group: 0 }
}

/// A catalog, and the world that it is the book of. Block `k` comes after block `k / 2`.
#[derive(Default)]
struct World {
    catalog: Catalog,
    pieces: BTreeMap<(u8, u16), Copies>,
    numbers: u32,
}

impl World {
    fn copies(&mut self, block: u8, rank: u16) -> &mut Copies {
        self.pieces.entry((block, rank)).or_default()
    }

    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// A slot holds the piece, unless another does already.
    fn publish(&mut self, block: u8, rank: u16) {
        let at = slot(self.number());
        let parent = if block < 2 { BlockKey::ROOT } else { id(block / 2, 0).key };
        let inserted = self.catalog.insert(&id(block, rank), &parent, at);
        let copies = self.copies(block, rank);
        match copies.memory {
            Some(first) => assert_eq!(inserted, Inserted::AlreadyPresent(first)),
            None => {
                assert!(!matches!(inserted, Inserted::AlreadyPresent(_)));
                copies.memory = Some(at);
                // A commit that overtakes a promotion: who carries that out hears no more than that it is not needed.
                copies.is_promoting = false;
            }
        }
    }

    fn take(&mut self, step: Step, block: u8, rank: u16) {
        let piece = id(block, rank);
        let found = *self.copies(block, rank);
        let number = self.number();
        match step {
            Step::Put => self.publish(block, rank),
            Step::EndPromotion { well: true } if found.is_promoting => self.publish(block, rank),
            Step::Evict => {
                let evicted = self.catalog.evict(&piece);
                let may_leave = found.memory.is_some() && !found.is_demoting;
                assert_eq!(!matches!(evicted, Evicted::Refused(_)), may_leave);
                if may_leave {
                    self.copies(block, rank).memory = None;
                }
            }
            Step::Demote => {
                let begun = self.catalog.step(&piece, Event::Demote).is_ok();
                // What is below already, or on its way, is not written again.
                assert_eq!(begun, found.memory.is_some() && found.below.is_none() && !found.is_demoting);
                self.copies(block, rank).is_demoting |= begun;
            }
            Step::EndDemotion { well } if found.is_demoting => {
                let stored = StoredId(number);
                let event = if well { Event::Demoted { stored } } else { Event::NotDemoted };
                self.catalog.step(&piece, event).expect("the end of a demotion has a place");
                let copies = self.copies(block, rank);
                (copies.is_demoting, copies.below) = (false, well.then_some(stored));
            }
            Step::Find => {
                let stored = StoredId(number);
                let taken_up = self.catalog.step(&piece, Event::Found { stored }).is_ok();
                assert_eq!(taken_up, found.below.is_none() && !found.is_demoting);
                if taken_up {
                    self.copies(block, rank).below = Some(stored);
                }
            }
            Step::Promote => {
                let begun = self.catalog.step(&piece, Event::Promote).is_ok();
                assert_eq!(begun, found.memory.is_none() && found.below.is_some() && !found.is_promoting);
                self.copies(block, rank).is_promoting |= begun;
            }
            Step::EndPromotion { well: false } if found.is_promoting => {
                self.catalog.step(&piece, Event::NotPromoted).expect("the end of a promotion has a place");
                self.copies(block, rank).is_promoting = false;
            }
            Step::Lose => {
                let lost = self.catalog.step(&piece, Event::Withdraw).is_ok();
                assert_eq!(lost, found.below.is_some() && !found.is_promoting);
                if lost {
                    self.copies(block, rank).below = None;
                }
            }
            Step::EndDemotion { .. } | Step::EndPromotion { .. } => {}
        }
    }

    /// The book says of every piece and every block what is so.
    fn check(&self) {
        let copies = |block: u8, rank: u16| self.pieces.get(&(block, rank)).copied().unwrap_or_default();
        let in_memory = |block: u8| -> Vec<SlotRef> {
            (0..RANKS).filter_map(|rank| copies(block, rank).memory).collect()
        };
        for block in 1..=BLOCKS {
            for rank in 0..RANKS {
                let there = copies(block, rank);
                let residency = self.catalog.residency(&id(block, rank));
                assert_eq!((residency.slot(), residency.stored()), (there.memory, there.below));
                assert_eq!(matches!(residency, Residency::Demoting { .. }), there.is_demoting);
                assert_eq!(matches!(residency, Residency::Promoting { .. }), there.is_promoting);
            }
            let found = self.catalog.block(&id(block, 0).key);
            assert_eq!(found.is_some(), !in_memory(block).is_empty());
            let Some(found) = found else { continue };
            let slots: BTreeSet<SlotRef> = self.catalog.pieces(found).map(|piece| piece.slot).collect();
            assert_eq!(slots, in_memory(block).into_iter().collect());
            assert_eq!(
                self.catalog.may_leave(found),
                (0..RANKS).all(|rank| !copies(block, rank).is_demoting)
            );
            let children = (1..=BLOCKS).filter(|child| child / 2 == block && !in_memory(*child).is_empty());
            assert_eq!(self.catalog.children(found).count(), children.count());
            let parent = (block > 1 && !in_memory(block / 2).is_empty()).then(|| id(block / 2, 0).key);
            assert_eq!(self.catalog.parent(found).map(|parent| self.catalog.key(parent)), parent);
        }
        assert_eq!(self.catalog.len(), (1..=BLOCKS).filter(|&block| !in_memory(block).is_empty()).count());
        assert_eq!(
            self.catalog.pieces_total(),
            (1..=BLOCKS).map(|block| in_memory(block).len()).sum::<usize>()
        );
    }
}

proptest! {
    #[test]
    fn the_book_agrees_with_the_copies_that_there_are(history in steps()) {
        let mut world = World::default();
        for (step, block, rank) in history {
            world.take(step, block, rank);
            world.check();
        }
        // All transfers end and all copies go.
        let ends = [Step::EndDemotion { well: true }, Step::EndPromotion { well: false }, Step::Evict, Step::Lose];
        for step in ends {
            for block in 1..=BLOCKS {
                (0..RANKS).for_each(|rank| world.take(step, block, rank));
            }
            world.check();
        }
        prop_assert!(world.pieces.values().all(|copies| copies.memory.is_none() && copies.below.is_none()));
    }
}
