//! Histories of stores, loads, removals, syncs and restarts, against a plain model of what must be there.

mod support;

use cascade_tier::{CloseMode, Record, Status};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use std::collections::HashMap;
use support::{Host, KIB, Piece, Scratch, config, piece, with};

/// What is done.
#[derive(Clone, Debug)]
enum Step {
    Store(Vec<u64>),
    Load(Vec<Index>),
    Remove(Index),
    Sync,
    Restart { engine: &'static str },
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        1..200_u64,
        Just(4096),
        30 * KIB..34 * KIB,
        (1..5_u64).prop_map(|blocks| 32 * KIB + blocks * 4096),
        100 * KIB..300 * KIB,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let engine = prop_oneof![Just("auto"), Just("pread"), Just("buffered")];
    prop_oneof![
        6 => prop::collection::vec(length(), 1..40).prop_map(Step::Store),
        6 => prop::collection::vec(any::<Index>(), 1..40).prop_map(Step::Load),
        2 => any::<Index>().prop_map(Step::Remove),
        1 => Just(Step::Sync),
        1 => engine.prop_map(|engine| Step::Restart { engine }),
    ]
}

/// What must be there: pieces by number, with what names them.
#[derive(Default)]
struct Model {
    stored: Vec<(Piece, Record)>,
    removed: Vec<Record>,
    next: u64,
}

impl Model {
    fn play(&mut self, host: &mut Host, steps: &[Step], scratch: &Scratch) {
        for step in steps {
            match step {
                Step::Store(lengths) => {
                    let pieces: Vec<Piece> = lengths
                        .iter()
                        .zip(self.next..)
                        .map(|(&length, number)| piece(number, length))
                        .collect();
                    self.next += pieces.len() as u64;
                    host.store_all(&pieces);
                    let named = pieces.into_iter().map(|piece| (host.known[&piece.id], piece));
                    self.stored.extend(named.map(|(record, piece)| (piece, record)));
                }
                Step::Load(indices) if !self.stored.is_empty() => {
                    let chosen: Vec<&(Piece, Record)> =
                        indices.iter().map(|index| index.get(&self.stored)).collect();
                    let records: Vec<Record> = chosen.iter().map(|(_, record)| *record).collect();
                    for ((piece, _), loaded) in chosen.iter().zip(host.load(&records)) {
                        assert!(loaded.as_ref() == Ok(&piece.bytes), "{:?}: {:?}", piece.id, loaded.err());
                    }
                }
                Step::Remove(index) if !self.stored.is_empty() => {
                    let (_, record) = self.stored.swap_remove(index.index(self.stored.len()));
                    assert_eq!(host.remove(&record), Status::OK);
                    self.removed.push(record);
                }
                Step::Load(_) | Step::Remove(_) => {}
                Step::Sync => assert_eq!(host.sync(), Status::OK),
                Step::Restart { engine } => {
                    let next = open(scratch, engine);
                    std::mem::replace(host, next).close(CloseMode::Leave).unwrap();
                    // One that was opened before the other was closed hears of the rest as news.
                    self.hears(host);
                }
            }
            for record in &self.removed {
                assert_eq!(host.load(&[*record]), [Err(Status::NOT_FOUND)]);
            }
        }
    }

    /// That the host hears of exactly what is there.
    fn hears(&self, host: &mut Host) {
        let there: HashMap<_, _> =
            self.stored.iter().map(|(piece, record)| (piece.id, record.extent)).collect();
        host.listen_until("it knows of what is there, and of nothing else", |host| {
            host.is_listed
                && host.known.iter().map(|(id, record)| (*id, record.extent)).collect::<HashMap<_, _>>()
                    == there
        });
    }
}

fn open(scratch: &Scratch, engine: &str) -> Host {
    Host::open(&with(config(&scratch.store()), json!({"engine": engine})))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_what_was_stored_and_not_what_was_removed(steps in prop::collection::vec(step(), 1..25)) {
        let scratch = Scratch::new();
        let mut model = Model::default();
        let mut host = open(&scratch, "auto");
        model.play(&mut host, &steps, &scratch);
        host.close(CloseMode::Leave).unwrap();
        let mut next = open(&scratch, "auto");
        model.hears(&mut next);
        let pieces: Vec<Piece> = model.stored.iter().map(|(piece, _)| piece.clone()).collect();
        next.has_all(&pieces);
    }
}
