//! Grants: a slot goes to its taker or back to the node, and a killed client's slots all come back.
#![cfg(loom)]

mod models;

use cascade_core::grant::{LANE_WORDS, Lane};
use cascade_core::slot::{Event, State};
use cascade_core::sync::{AtomicU64, zeroed_words};
use loom::sync::Arc;
use loom::thread;
use models::{Slot, explore, let_the_others_run};

const CLIENT: u16 = 4;

struct World {
    lane: Vec<AtomicU64>,
    slots: [Slot; 2],
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self { lane: zeroed_words(LANE_WORDS), slots: [Slot::new(0), Slot::new(1)] })
    }

    fn lane(&self) -> Lane<'_> {
        Lane::new(&self.lane)
    }

    fn hand_out(&self, slot: &Slot) {
        slot.line().step(Event::Grant { client: CLIENT }).unwrap();
        assert!(self.lane().hand_out(slot.at(1)));
    }
}

#[test]
fn a_grant_goes_to_a_taker_or_to_the_revoker_never_to_two() {
    explore(|| {
        let world = World::new();
        world.hand_out(&world.slots[0]);
        let taker = || {
            let world = world.clone();
            thread::spawn(move || world.lane().take().is_some())
        };
        let takers = [taker(), taker()];
        let_the_others_run();
        let revoked = world.lane().revoke().count();
        let taken: usize = takers.into_iter().map(|taker| usize::from(taker.join().unwrap())).sum();
        assert_eq!(taken + revoked, 1);
    });
}

#[test]
fn a_slot_that_is_taken_is_granted_and_nobody_elses() {
    explore(|| {
        let world = World::new();
        let shared = world.clone();
        let client = thread::spawn(move || {
            let Some(taken) = shared.lane().take() else { return };
            let slot = &shared.slots[taken.slot as usize];
            let found = slot.line().snapshot().unwrap();
            assert_eq!(
                (found.state, found.client, found.generation),
                (State::Granted, CLIENT, taken.generation)
            );
            slot.fill(1);
        });
        let_the_others_run();
        // The last use of the slot.
        world.slots[0].fill(7);
        world.hand_out(&world.slots[0]);
        client.join().unwrap();
    });
}

#[test]
fn a_cell_filled_again_while_it_is_taken_loses_no_slot() {
    explore(|| {
        let world = World::new();
        world.hand_out(&world.slots[0]);
        let shared = world.clone();
        let client = thread::spawn(move || shared.lane().take());
        let_the_others_run();
        let mut back: Vec<u32> = world.lane().revoke().map(|slot| slot.slot).collect();
        world.hand_out(&world.slots[1]);
        back.extend(client.join().unwrap().map(|slot| slot.slot));
        back.extend(world.lane().revoke().map(|slot| slot.slot));
        back.sort_unstable();
        assert_eq!(back, [0, 1]);
    });
}

#[test]
fn the_slots_of_a_killed_client_all_come_back() {
    explore(|| {
        let world = World::new();
        world.slots.iter().for_each(|slot| world.hand_out(slot));
        let shared = world.clone();
        // It takes a slot, perhaps fills it, and is killed: what it had is told by nobody.
        let client = thread::spawn(move || {
            if let Some(taken) = shared.lane().take() {
                shared.slots[taken.slot as usize].fill(1);
            }
        });
        let_the_others_run();
        // Meanwhile the node takes back what it can: memory is short.
        for slot in world.lane().revoke() {
            world.slots[slot.slot as usize].line().step(Event::Revoke).unwrap();
        }
        client.join().unwrap();
        // The rest is told by the state words.
        for slot in &world.slots {
            if slot.line().snapshot().unwrap().state == State::Granted {
                slot.line().step(Event::Revoke).unwrap();
            }
            slot.line().step(Event::Reclaim).unwrap();
            slot.fill(7);
        }
        assert_eq!(world.lane().outstanding(), 0);
    });
}
