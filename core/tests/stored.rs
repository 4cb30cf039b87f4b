//! The book of stored copies against a plain one: a map of numbers to what was told last.
#![cfg(not(loom))]

use cascade_core::key::BlockKey;
use cascade_core::policy::BlockId;
use cascade_core::stored::{Book, Copy, StoredId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn key(i: u8) -> BlockKey {
    BlockKey::from_bytes([i; 32])
}

fn copy(number: u64, parent: u8) -> Copy {
    Copy {
        extent: [number, 1, 2, 3],
        parent: key(parent),
        len_bytes: number % 1000,
        checksum: number as u32,
        depth: u32::from(parent),
        stored_unix_s: number as u32,
    }
}

#[test]
fn the_extent_told_last_is_the_one_that_counts() {
    let mut book = Book::new();
    let id = book.insert(BlockId(7), copy(1, 1));
    assert_eq!(book.replace(id, copy(2, 3)), copy(1, 1));
    assert_eq!((book.get(id), book.block(id)), (copy(2, 3), BlockId(7)));
    assert_eq!(book.children(&key(1)).count(), 0);
    assert_eq!(book.children(&key(3)).collect::<Vec<_>>(), [id]);
    assert_eq!(book.remove(id), copy(2, 3));
    assert!(book.is_empty());
    assert_eq!((book.bytes(), book.children(&key(3)).count()), (0, 0));
}

#[test]
fn a_million_copies_take_about_a_hundred_bytes_each() {
    let mut book = Book::new();
    book.reserve(1 << 20);
    let mut parent = BlockKey::ROOT;
    for number in 0..1u32 << 20 {
        let key = cascade_core::key::block_key(&BlockKey::ROOT, &[number]);
        book.insert(BlockId(number), Copy { parent, ..copy(u64::from(number), 0) });
        parent = key;
    }
    let each = book.memory_bytes() as f64 / f64::from(1 << 20);
    assert!(each <= 108.0, "{each} bytes");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert,
    Replace,
    Remove,
}

proptest! {
    #[test]
    fn the_book_agrees_with_a_plain_one(
        steps in prop::collection::vec(
            (prop_oneof![4 => Just(Step::Insert), 2 => Just(Step::Replace), 3 => Just(Step::Remove)], 0u8..6, any::<prop::sample::Index>()),
            1..300,
        )
    ) {
        let mut book = Book::new();
        let mut model: BTreeMap<StoredId, (BlockId, Copy)> = BTreeMap::new();
        for (number, (step, parent, pick)) in steps.into_iter().enumerate() {
            let number = number as u64;
            let known: Vec<StoredId> = model.keys().copied().collect();
            match step {
                Step::Insert => {
                    let block = BlockId(number as u32);
                    let id = book.insert(block, copy(number, parent));
                    prop_assert!(model.insert(id, (block, copy(number, parent))).is_none(), "{:?} was in use", id);
                }
                _ if known.is_empty() => {}
                Step::Replace => {
                    let entry = model.get_mut(&known[pick.index(known.len())]).unwrap();
                    let id = known[pick.index(known.len())];
                    prop_assert_eq!(book.replace(id, copy(number, parent)), entry.1);
                    entry.1 = copy(number, parent);
                }
                Step::Remove => {
                    let id = known[pick.index(known.len())];
                    prop_assert_eq!(Some(book.remove(id)), model.remove(&id).map(|(_, copy)| copy));
                }
            }
            prop_assert_eq!(book.len(), model.len());
            prop_assert_eq!(book.bytes(), model.values().map(|(_, copy)| copy.len_bytes).sum::<u64>());
            for (id, (block, copy)) in &model {
                prop_assert_eq!((book.get(*id), book.block(*id)), (*copy, *block));
            }
            for parent in 0..6 {
                let found: Vec<StoredId> = book.children(&key(parent)).collect();
                let distinct: BTreeSet<StoredId> = found.iter().copied().collect();
                prop_assert_eq!(found.len(), distinct.len());
                let meant: BTreeSet<StoredId> =
                    model.iter().filter(|(_, (_, copy))| copy.parent == key(parent)).map(|(id, _)| *id).collect();
                prop_assert_eq!(distinct, meant);
            }
        }
    }
}
