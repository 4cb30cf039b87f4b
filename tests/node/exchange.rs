//! Two processes and a node between them: what one puts, the other gets, or is told why not.

use std::time::Duration;

use cascade_client::{Committed, Deadline, Lineage, Lookup, Reason, Refusal, Reserved, Share, Stored};
use support::wait::PATIENCE;
use support::{Node, Setup, content, until};

fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

#[test]
fn what_one_process_puts_another_gets_verified() {
    let node = Node::start("exchange");
    let (mut writer, mut reader) = (node.actor(), node.actor());
    for n in 0..2 * content::CHAIN {
        reader.expect(&format!("get {n}"), "miss Absent");
        writer.expect(&format!("put_wait {n}"), "fresh");
        reader.expect(&format!("get {n}"), "hit");
        reader.expect(&format!("put_wait {n}"), "present");
    }
    reader.expect(&format!("match {}", content::CHAIN - 1), &content::CHAIN.to_string());
    reader.expect("pin 3", "hit");
    reader.expect("views", "right");
    assert_eq!(reader.ask("segment"), writer.ask("segment"));
}

#[test]
fn the_node_tells_what_its_clients_counted_also_of_those_that_are_gone() {
    let node = Node::start("tallies");
    let (mut leaver, stayer) = (node.actor(), node.client());
    leaver.expect("put_wait 1", "fresh");
    for _ in 0..3 {
        leaver.expect("get 1", "hit");
    }
    leaver.expect("get 2", "miss Absent");
    let mut target = vec![0; content::LEN_MAX_BYTES];
    assert!(stayer.get_into(&content::piece(1), &mut target).unwrap().is_hit());
    let of_both = serde_json::json!({
        "hits": 4, "puts": 1, "misses_absent": 1, "bytes_out": 4 * content::bytes(1).len(),
    });
    let tells = |traffic: &serde_json::Value| {
        of_both.as_object().unwrap().iter().all(|(name, count)| traffic[name] == *count)
    };
    assert!(tells(&node.status()["traffic"]), "{}", node.status()["traffic"]);
    leaver.kill();
    until("the node buries it", || (node.counter("deaths") == 1).then_some(()));
    assert!(tells(&node.status()["traffic"]), "{}", node.status()["traffic"]);
    assert_eq!(stayer.stats().hits, 1, "its own count is its own");
}

#[test]
fn a_client_reads_its_own_write_before_the_node_has_seen_it() {
    let node = Node::start("own-write");
    let client = node.client();
    // The first put makes the node hand out slots; then it is frozen, so that nothing more is published.
    assert_eq!(
        client.put_wait(&content::piece(0), content::lineage(0), &content::bytes(0), soon()).unwrap(),
        Committed::Fresh
    );
    let twin = content::twins(0, 1).next().unwrap();
    node.freeze();
    let put =
        client.put(&content::piece(twin), content::lineage(twin), &content::bytes(twin), soon()).unwrap();
    assert_eq!(put, Stored::Posted);
    let mut target = vec![0; content::LEN_MAX_BYTES];
    let Lookup::Hit(len) = client.get_into(&content::piece(twin), &mut target).unwrap() else {
        panic!("a client reads what it wrote")
    };
    assert!(content::is_right(twin, &target[..len]));
    node.thaw();
    client.flush(soon()).unwrap();
    node.actor().expect(&format!("get {twin}"), "hit");
}

#[test]
fn the_first_bytes_under_a_key_stay_and_others_are_counted() {
    let node = Node::start("first-wins");
    let (first, second) = (node.client(), node.client());
    let id = content::piece(7);
    // Both reserve before either commits: what lies in the index already is not even copied.
    let reserve = |client: &cascade_client::Client| match client.reserve(4096, soon()).unwrap() {
        Reserved::Fill(fill) => fill,
        Reserved::Refused(why) => panic!("{why:?}"),
    };
    let (mut one, mut same, mut other) = (reserve(&first), reserve(&second), reserve(&second));
    one.bytes_mut().unwrap().fill(1);
    same.bytes_mut().unwrap().fill(1);
    other.bytes_mut().unwrap().fill(2);
    assert_eq!(one.commit_wait(&id, Lineage::FIRST, soon()).unwrap(), Committed::Fresh);
    assert_eq!(same.commit_wait(&id, Lineage::FIRST, soon()).unwrap(), Committed::AlreadyPresent);
    assert_eq!(node.counter("put_conflicts"), 0);
    assert_eq!(other.commit_wait(&id, Lineage::FIRST, soon()).unwrap(), Committed::AlreadyPresent);
    assert_eq!(node.counter("put_conflicts"), 1);
    assert_eq!(node.counter("puts_duplicate"), 2);
    let mut target = [0; 4096];
    assert_eq!(second.get_into(&id, &mut target).unwrap(), Lookup::Hit(4096));
    assert!(target.iter().all(|&byte| byte == 1));
}

#[test]
fn a_piece_larger_than_the_largest_class_is_refused() {
    let node = Setup::new("too-large").set("segment.chunk=1MiB").start();
    let client = node.client();
    let id = content::piece(0);
    let mebibyte = vec![5; 1 << 20];
    let put = |bytes: &[u8]| client.put_wait(&id, Lineage::FIRST, bytes, soon()).unwrap();
    assert_eq!(put(&[&mebibyte[..], &[5]].concat()), Committed::Refused(Refusal::TooLarge));
    assert_eq!(put(&mebibyte), Committed::Fresh);
}

#[test]
fn a_target_that_is_too_short_says_how_long_it_must_be() {
    let node = Node::start("too-short");
    let client = node.client();
    let id = content::piece(0);
    let bytes = content::bytes(0);
    assert_eq!(client.put_wait(&id, Lineage::FIRST, &bytes, soon()).unwrap(), Committed::Fresh);
    let mut short = vec![0; bytes.len() - 1];
    let len_bytes = bytes.len() as u64;
    assert_eq!(client.get_into(&id, &mut short).unwrap(), Lookup::Miss(Reason::TooShort { len_bytes }));
    let mut long = vec![0; bytes.len() + 1];
    assert_eq!(client.get_into(&id, &mut long).unwrap(), Lookup::Hit(bytes.len()));
}

#[test]
fn an_empty_piece_is_a_piece() {
    let node = Node::start("empty");
    let client = node.client();
    let id = content::piece(0);
    assert_eq!(client.put_wait(&id, Lineage::FIRST, &[], soon()).unwrap(), Committed::Fresh);
    assert_eq!(client.get_into(&id, &mut []).unwrap(), Lookup::Hit(0));
}

#[test]
fn a_full_cache_evicts_what_nobody_claims_and_never_says_no() {
    let node = Setup::new("evict").set("segment.capacity=8MiB").start();
    let (mut writer, mut holder) = (node.actor(), node.actor());
    for n in 0..content::CHAIN {
        writer.expect(&format!("put_wait {n}"), "fresh");
    }
    holder.expect(&format!("hold {}", content::CHAIN - 1), "hit");
    // Three times what fits.
    let pieces = 3 * (8 << 20) / (24 << 10);
    for n in content::CHAIN..pieces {
        let said = writer.ask(&format!("put_wait {n}"));
        assert_eq!(said, "fresh", "piece {n}");
    }
    assert!(node.counter("evicted_blocks") > 0);
    writer.expect(&format!("match {}", content::CHAIN - 1), &content::CHAIN.to_string());
    for n in 0..content::CHAIN {
        writer.expect(&format!("get {n}"), "hit");
    }
}

#[test]
fn the_status_tells_clients_pieces_and_memory() {
    let node = Node::start("status");
    let client = node.client();
    assert_eq!(
        client.put_wait(&content::piece(0), Lineage::FIRST, &content::bytes(0), soon()).unwrap(),
        Committed::Fresh
    );
    assert_eq!(client.match_chain(&content::chain_to(0), &[Share::default()]).unwrap(), 1);
    let status = until("the touch is counted", || {
        let status = node.status();
        (status["counters"]["touched_blocks"] == 1).then_some(status)
    });
    assert_eq!(status["instance"], node.setup().instance());
    assert_eq!(status["pid"], node.pid().as_raw_nonzero().get());
    assert_eq!(status["adopted"], false);
    assert_eq!(status["pieces"], 1);
    assert_eq!(status["capacity_bytes"], 64 << 20);
    assert_eq!(status["counters"]["put_bytes"], content::len_bytes(0));
    assert_eq!(status["clients"][0]["pid"], std::process::id());
    assert_eq!(status["segment_id"], format!("{:016x}", client.segment_id().unwrap()));
    let asked: serde_json::Value = serde_json::from_str(&client.status(soon()).unwrap()).unwrap();
    assert_eq!(asked["pid"], status["pid"]);
    assert!(client.query("no such question", Deadline::after(Duration::from_secs(60))).is_err());
}
