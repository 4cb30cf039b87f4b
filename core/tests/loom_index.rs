//! Lookups against the node's publishing and evicting: the piece, or a miss, never another piece.
#![cfg(loom)]

mod models;

use cascade_core::hazard::release;
use cascade_core::index::{BUCKET_WORDS, Index, Location};
use cascade_core::sync::{AtomicU64, zeroed_words};
use loom::sync::Arc;
use loom::thread;
use models::{Slot, explore, id, let_the_others_run};

const HERE: Location = Location { arena: 0, slot: 0 };

struct World {
    index: Vec<AtomicU64>,
    slot: Slot,
    cell: Vec<AtomicU64>,
}

impl World {
    fn new(slot: Slot) -> Arc<Self> {
        Arc::new(Self { index: zeroed_words(2 * BUCKET_WORDS), slot, cell: zeroed_words(1) })
    }

    fn index(&self) -> Index<'_> {
        Index::new(&self.index)
    }

    /// The client's way of a lookup. Whether it was a hit; the bytes of a hit are looked at.
    fn get(&self, name: u64) -> bool {
        self.index().candidates(id(name).hash(0)).any(|found| {
            assert_eq!(found, HERE, "an entry that nobody wrote");
            let hit = self.slot.pin(&self.cell[0], name);
            if hit {
                assert_eq!(self.slot.bytes(), name);
                release(&self.cell[0]);
            }
            hit
        })
    }
}

#[test]
fn an_entry_that_is_seen_leads_to_its_piece() {
    explore(|| {
        let world = World::new(Slot::new(0));
        let shared = world.clone();
        let node = thread::spawn(move || {
            shared.slot.publish(1);
            shared.index().insert(id(1).hash(0), HERE).unwrap();
        });
        let_the_others_run();
        let seen = world.index().candidates(id(1).hash(0)).next().is_some();
        assert!(!seen || world.get(1), "the entry was there and its piece was not");
        node.join().unwrap();
        assert!(world.get(1));
    });
}

#[test]
fn a_lookup_during_an_eviction_never_finds_another_piece() {
    explore(|| {
        let world = World::new(Slot::holding(0, 1));
        world.index().insert(id(1).hash(0), HERE).unwrap();
        let shared = world.clone();
        let node = thread::spawn(move || {
            if shared.slot.evict(|| vec![&shared.cell]) {
                assert!(shared.index().remove(id(1).hash(0), HERE));
                shared.slot.publish(2);
                shared.index().insert(id(2).hash(0), HERE).unwrap();
            }
        });
        let_the_others_run();
        world.get(1);
        world.get(2);
        node.join().unwrap();
        assert!(world.get(1) != world.get(2));
    });
}

#[test]
fn an_entry_left_behind_by_a_killed_node_is_a_miss() {
    // Killed between the reclaim and the removal: the entry stays until adoption, the slot line says no.
    explore(|| {
        let world = World::new(Slot::holding(0, 1));
        world.index().insert(id(1).hash(0), HERE).unwrap();
        let shared = world.clone();
        let node = thread::spawn(move || {
            if shared.slot.evict(|| vec![&shared.cell]) {
                shared.slot.publish(2);
            }
        });
        let_the_others_run();
        world.get(1);
        node.join().unwrap();
        assert!(!world.get(2), "found without an entry");
    });
}
