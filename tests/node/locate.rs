//! Questions about chains, by a client made by hand: how its keys are taken up, and what the node keeps.

use cascade_client::{BlockKey, Share};
use cascade_core::chain::Located;
use cascade_core::key::block_key;
use cascade_core::page::CHAIN_KEYS;
use cascade_core::request::{Question, Request, Ticket, Verdict};
use support::{Actor, Node, RawClient, Setup, content, until};

const CAPACITY_BYTES: u64 = 8 << 20;
const TAIL: u64 = content::CHAIN - 1;
const ALL: usize = content::CHAIN as usize;

/// A node that holds the chain of piece 0, and a client made by hand.
fn node(name: &str) -> (Node, RawClient) {
    // The plainest policy: what is matched often may go like all else.
    let setup = Setup::new(name).set(&format!("segment.capacity={CAPACITY_BYTES}")).set("policy.name=lru");
    let node = setup.start();
    let mut client = node.actor();
    for n in 0..content::CHAIN {
        client.expect(&format!("put_wait {n}"), "fresh");
    }
    let raw = RawClient::attach(node.socket());
    (node, raw)
}

/// Posts requests and waits until the node has come to all of them.
fn post(client: &RawClient, requests: &[Request]) {
    let ring = client.page().ring();
    for request in requests {
        let position = ring.push(&request.encode()).expect("the ring has room");
        client.ring_bell();
        until("the node has come to it", || (ring.processed() > position).then_some(()));
    }
}

/// Hands a chain over, in batches as large as they may be.
fn hand_over(client: &RawClient, keys: &[BlockKey], shares: &[Share]) {
    for (batch, at) in keys.chunks(CHAIN_KEYS).zip((0..).step_by(CHAIN_KEYS)) {
        client.page().chain().lay_keys(batch);
        post(client, &[Request::Keys { first: at, count: batch.len() as u32 }]);
    }
    client.page().chain().lay_shares(shares);
}

fn question(keys: &[BlockKey], ticket: Ticket) -> Question {
    Question { blocks: keys.len() as u32, shares: 1, deadline_ns: u64::MAX, ticket }
}

/// The answer that comes to a ticket.
fn answer(client: &RawClient, ticket: Ticket) -> (Verdict, Located) {
    let entry = client.page().completion(ticket).expect("there is such an entry");
    until("the node answers", || entry.poll(ticket).map(|verdict| (verdict, entry.located())))
}

fn ask(
    client: &RawClient,
    keys: &[BlockKey],
    kind: fn(Question) -> Request,
    ticket: Ticket,
) -> (Verdict, Located) {
    hand_over(client, keys, &[Share::default()]);
    post(client, &[kind(question(keys, ticket))]);
    answer(client, ticket)
}

#[test]
fn a_chain_is_located_as_far_as_it_is_there() {
    let (node, client) = node("located");
    let mut keys = content::chain_to(TAIL);
    let all = Located::in_memory(ALL);
    assert_eq!(ask(&client, &keys, Request::Locate, Ticket::new(1, 0)), (Verdict::Located, all));
    let other = block_key(&BlockKey::ROOT, &[7]);
    keys.push(other);
    assert_eq!(ask(&client, &keys, Request::Locate, Ticket::new(2, 0)), (Verdict::Located, all));
    keys.insert(3, other);
    let part = Located::in_memory(3);
    assert_eq!(ask(&client, &keys, Request::Locate, Ticket::new(3, 1)), (Verdict::Located, part));
    assert_eq!(ask(&client, &[], Request::Locate, Ticket::new(4, 1)), (Verdict::Located, Located::default()));
    assert_eq!(node.counter("located_chains"), 4);
    assert_eq!(node.counter("touched_blocks"), 2 * content::CHAIN + 3, "a question is a match");
}

#[test]
fn a_long_chain_comes_batch_by_batch_and_is_looked_for_over_many_turns() {
    let (_node, client) = node("long");
    // As long as may be; each block of it is looked at, since it is the same one.
    let keys = vec![content::piece(0).key; cascade_core::chain::CHAIN_BLOCKS_MAX];
    let all = Located::in_memory(keys.len());
    assert_eq!(ask(&client, &keys, Request::Locate, Ticket::new(1, 5)), (Verdict::Located, all));
    assert_eq!(ask(&client, &keys[..1000], Request::Promote, Ticket::new(2, 5)).1, Located::in_memory(1000));
}

#[test]
fn a_question_about_keys_that_were_not_taken_up_is_a_miss() {
    let (node, client) = node("lost");
    let keys = content::chain_to(TAIL);
    let nothing = (Verdict::Located, Located::default());
    post(&client, &[Request::Locate(question(&keys, Ticket::new(1, 0)))]);
    assert_eq!(answer(&client, Ticket::new(1, 0)), nothing);
    hand_over(&client, &keys[..4], &[Share::default()]);
    post(&client, &[Request::Locate(question(&keys, Ticket::new(2, 0)))]);
    assert_eq!(answer(&client, Ticket::new(2, 0)), nothing);
    // The part of a chain is taken up once, and gone with its question.
    client.page().chain().lay_keys(&keys[4..]);
    post(
        &client,
        &[Request::Keys { first: 4, count: 4 }, Request::Locate(question(&keys, Ticket::new(3, 0)))],
    );
    assert_eq!(answer(&client, Ticket::new(3, 0)), nothing);
    assert_eq!(node.counter("confused_clients"), 0);
    assert_eq!(ask(&client, &keys, Request::Locate, Ticket::new(4, 0)).1, Located::in_memory(ALL));
}

#[test]
fn words_that_are_no_question_cut_their_client_off() {
    let (node, client) = node("nonsense");
    let mut words = Request::Locate(question(&[], Ticket::new(1, 0))).encode();
    words[3] = u64::MAX;
    client.page().ring().push(&words).expect("the ring has room");
    client.ring_bell();
    until("the node cuts it off", || (node.counter("confused_clients") == 1).then_some(()));
    node.actor().expect("get 0", "hit");
}

#[test]
fn what_was_promoted_is_kept_until_it_is_cancelled() {
    let (node, client) = node("kept");
    let keys = content::chain_to(TAIL);
    let (first, second) = (Ticket::new(1, 0), Ticket::new(2, 9));
    let all = (Verdict::Promoted, Located::in_memory(ALL));
    assert_eq!(ask(&client, &keys, Request::Promote, first), all);
    assert_eq!(ask(&client, &keys, Request::Promote, second), all);
    let mut other = node.actor();
    let mut starts = (1..).map(|round| round * 10_000);
    let mut flood =
        |other: &mut Actor| other.flood(TAIL, starts.next().expect("without end"), 2 * CAPACITY_BYTES);
    flood(&mut other);
    post(&client, &[Request::Cancel { ticket: first }]);
    flood(&mut other);
    other.expect(&format!("match {TAIL}"), &ALL.to_string());
    assert_eq!(node.status()["kept_chains"], 1);
    post(&client, &[Request::Cancel { ticket: second }]);
    assert_eq!(node.status()["kept_chains"], 0);
    until("the chain is evicted", || {
        flood(&mut other);
        (other.ask(&format!("match {TAIL}")) != ALL.to_string()).then_some(())
    });
}

#[test]
fn what_was_kept_for_a_client_goes_with_it_and_with_its_time() {
    let (node, client) = node("lapses");
    let keys = content::chain_to(TAIL);
    assert_eq!(ask(&client, &keys, Request::Promote, Ticket::new(1, 0)).0, Verdict::Promoted);
    drop(client);
    until("the client is buried", || (node.status()["kept_chains"] == 0).then_some(()));
    let client = RawClient::attach(node.socket());
    hand_over(&client, &keys, &[Share::default()]);
    let ticket = Ticket::new(2, 0);
    post(&client, &[Request::Promote(Question { deadline_ns: 0, ..question(&keys, ticket) })]);
    assert_eq!(answer(&client, ticket).1, Located::in_memory(ALL));
    until("its time is over", || (node.counter("lapsed_keeps") == 1).then_some(()));
    assert_eq!(node.status()["kept_chains"], 0);
}

#[test]
fn a_client_locates_promotes_and_reads_across_a_restart() {
    let (mut node, raw) = node("verbs");
    drop(raw);
    let mut client = node.actor();
    let all = format!("{ALL} in memory {ALL}");
    client.expect(&format!("locate {TAIL}"), &all);
    client.expect("locate 3", "4 in memory 4");
    client.expect(&format!("promote {TAIL}"), &ALL.to_string());
    client.expect("get_within 2", "hit");
    client.expect("get_within 1000", "miss Absent");
    node.kill();
    client.expect("patience 50", "ok");
    client.expect("get_within 3", "hit");
    client.expect("get_within 1000", "error NodeLost");
    client.expect("promote 1", "error NodeLost");
    node.restart();
    client.expect("patience 60000", "ok");
    client.expect(&format!("locate {TAIL}"), &all);
    client.expect("promote 1", "2");
    client.expect("drop", "ok");
    until("nothing is kept any more", || (node.status()["kept_chains"] == 0).then_some(()));
}

#[test]
fn a_frozen_node_costs_a_question_its_deadline_and_no_more() {
    let (node, raw) = node("frozen");
    drop(raw);
    let mut client = node.actor();
    client.expect("patience 50", "ok");
    node.freeze();
    client.expect("locate 1", "error Deadline");
    client.expect("promote 1", "error Deadline");
    client.expect("get_within 1", "hit");
    client.expect("get_within 1000", "miss Expired");
    node.thaw();
    client.expect("patience 60000", "ok");
    client.expect("promote 1", "2");
    client.expect("drop", "ok");
    until("nothing is kept any more", || (node.status()["kept_chains"] == 0).then_some(()));
}
