//! A slot that a tier was writing into when its node was killed: the transfer may still land for a while, so the next node
//! gives the slot other pages before anybody gets it.

use std::io::{PipeReader, Read};
use std::os::fd::AsFd;

use cascade_core::slot::{Snapshot, State};
use cascade_core::sync::{AtomicU64, Ordering};
use cascade_core::view::WORD_BYTES;

use rustix::pipe::{IoSliceRaw, SpliceFlags, vmsplice};
use support::flips::Flipper;
use support::{Setup, content};

const CAPACITY_BYTES: u64 = 8 << 20;
const PAGE: usize = 4096;

/// The line of a piece, by its key.
fn line_of(meta: &Flipper, n: u64) -> &AtomicU64 {
    let key = content::key(n).to_words();
    let is_it =
        |words: &[AtomicU64]| words.iter().zip(key).all(|(word, key)| word.load(Ordering::Relaxed) == key);
    let at = meta.words().windows(4).position(is_it).expect("the piece has a line");
    &meta.words()[at - 1]
}

fn snapshot(word: &AtomicU64) -> Snapshot {
    Snapshot::unpack(word.load(Ordering::Relaxed)).expect("a state")
}

/// Where the bytes of a piece begin.
fn bytes_of(arena: &Flipper, n: u64) -> &[AtomicU64] {
    let first = u64::from_le_bytes(*content::bytes(n).first_chunk().unwrap());
    let at = arena.words().iter().position(|word| word.load(Ordering::Relaxed) == first);
    &arena.words()[at.expect("the piece is there")..][..PAGE / WORD_BYTES]
}

/// Has the kernel refer to the page itself, wherever the file goes on, as a transfer does.
fn refer_to(page: &[AtomicU64]) -> PipeReader {
    let (reader, writer) = std::io::pipe().unwrap();
    let range = IoSliceRaw::from_slice(
        // SAFETY: the words are mapped; the kernel takes the page they lie in, and nobody reads them through this slice.
        unsafe { std::slice::from_raw_parts(page.as_ptr().cast::<u8>(), PAGE) },
    );
    // SAFETY: not a gift: the page stays as it is.
    let spliced = unsafe { vmsplice(writer.as_fd(), &[range], SpliceFlags::empty()) };
    assert_eq!(spliced, Ok(PAGE));
    reader
}

#[test]
fn a_slot_under_transfer_gets_new_pages_and_is_used_again() {
    let mut node = Setup::new("loading").set(&format!("segment.capacity={CAPACITY_BYTES}")).start();
    let mut client = node.actor();
    for n in 0..content::CHAIN {
        client.expect(&format!("put_wait {n}"), "fresh");
    }
    client.kill();
    node.kill();
    let tail = content::CHAIN - 1;
    let [meta, arena] = ["meta", "arena-0"].map(|name| Flipper::open(&node.directory().join(name)));
    let (line, bytes) = (line_of(&meta, tail), bytes_of(&arena, tail));
    let before = snapshot(line);
    line.store(Snapshot { state: State::Loading, ..before }.pack(), Ordering::Relaxed);
    let mut transfer = refer_to(bytes);

    node.restart();
    assert!(node.log().contains("loading=1"), "{}", node.log());
    assert!(bytes.iter().all(|word| word.load(Ordering::Relaxed) == 0), "the slot has other pages");
    let mut landed = [0; PAGE];
    transfer.read_exact(&mut landed).unwrap();
    assert_eq!(landed[..], content::bytes(tail)[..PAGE], "the old page was let go, not emptied");
    let after = snapshot(line);
    assert_eq!((after.state, after.generation), (State::Free, before.generation + 1));

    let mut client = node.actor();
    client.expect(&format!("get {tail}"), "miss Absent");
    client.expect(&format!("get {}", tail - 1), "hit");
    // Free slots are taken from the top of a pile: who keeps them all gets this one, too.
    let used = content::twins(tail, 1000).take(CAPACITY_BYTES as usize / content::len_bytes(tail)).any(|n| {
        client.expect(&format!("reserve {n}"), "half filled");
        snapshot(line).state == State::Granted
    });
    assert!(used, "the slot is in use again");
    assert_eq!(node.counter("damaged_slots"), 0);
}
