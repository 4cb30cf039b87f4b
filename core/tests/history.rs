//! Histories of a whole segment in one process, against a plain map.
//!
//! Pretend clients and a pretend node work over the real structures in ordinary memory: grants, rings, index, hazards,
//! holds, catalog, arena. A history is a list of steps drawn by proptest; killing a client or the node is a step like
//! any other. After every step: what is resident is exactly what the reference says, with exactly its bytes; what is
//! pinned or held stands where it stood. At the end everybody dies and nothing is left over.
#![cfg(not(loom))]

#[path = "histories/client.rs"]
mod client;
#[path = "histories/node.rs"]
mod node;
#[path = "histories/world.rs"]
mod world;

use client::Client;
use node::Node;
use proptest::prelude::*;
use world::{CLIENTS, KEYS, Memory, bytes_of};

use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Grant { client: usize, key: usize },
    Put { client: usize, key: usize, version: u64 },
    Forget { client: usize, key: usize },
    Abort { client: usize, key: usize },
    Pump { client: usize },
    Get { client: usize, key: usize, keep: bool },
    Hold { client: usize, key: usize },
    Release { client: usize },
    Evict { pick: usize },
    Reclaim,
    KillClient { client: usize },
    KillNode,
}

fn steps() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let key = 0..KEYS;
    let both = (client.clone(), key.clone());
    prop_oneof![
        4 => both.clone().prop_map(|(client, key)| Step::Grant { client, key }),
        6 => (both.clone(), 0u64..4).prop_map(|((client, key), version)| Step::Put { client, key, version }),
        1 => both.clone().prop_map(|(client, key)| Step::Forget { client, key }),
        1 => both.clone().prop_map(|(client, key)| Step::Abort { client, key }),
        6 => client.clone().prop_map(|client| Step::Pump { client }),
        6 => (both.clone(), any::<bool>()).prop_map(|((client, key), keep)| Step::Get { client, key, keep }),
        2 => both.prop_map(|(client, key)| Step::Hold { client, key }),
        2 => client.clone().prop_map(|client| Step::Release { client }),
        4 => any::<usize>().prop_map(|pick| Step::Evict { pick }),
        1 => Just(Step::Reclaim),
        1 => client.prop_map(|client| Step::KillClient { client }),
        1 => Just(Step::KillNode),
    ]
}

/// What ought to be resident: key → the version whose commit came first.
type Reference = BTreeMap<usize, u64>;

/// Commits that were posted and not yet seen by the node, in the order of each client's ring.
type Posted = [Vec<(usize, u64)>; CLIENTS];

fn publish(reference: &mut Reference, posted: &mut Vec<(usize, u64)>) {
    for (key, version) in posted.drain(..) {
        reference.entry(key).or_insert(version);
    }
}

fn check(node: &Node<'_>, clients: &[Client<'_>], reference: &Reference) {
    assert_eq!(node.resident(), reference.keys().copied().collect::<Vec<_>>());
    for (key, version) in reference {
        assert_eq!(node.bytes(*key).as_deref(), Some(&bytes_of(*key, *version)[..]), "wrong bytes of {key}");
    }
    clients.iter().for_each(Client::check_claims);
    node.check_books();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn no_history_serves_wrong_bytes_recycles_a_pinned_slot_or_leaks(
        history in prop::collection::vec(steps(), 1..160),
    ) {
        let memory = Memory::new();
        let mut node = Node::start(memory.segment());
        let mut clients: Vec<Client<'_>> = (0..CLIENTS).map(|i| Client::attach(memory.segment(), i)).collect();
        let mut reference = Reference::new();
        let mut posted = Posted::default();
        for step in history {
            match step {
                Step::Grant { client, key } => node.grant(client, key),
                Step::Put { client, key, version } => {
                    if clients[client].put(key, version) {
                        posted[client].push((key, version));
                    }
                }
                Step::Forget { client, key } => clients[client].take_and_forget(key),
                Step::Abort { client, key } => clients[client].take_and_abort(key),
                Step::Pump { client } => {
                    node.pump(client);
                    publish(&mut reference, &mut posted[client]);
                }
                Step::Get { client, key, keep } => {
                    let got = clients[client].get(key, keep);
                    prop_assert_eq!(got, reference.get(&key).map(|&version| bytes_of(key, version)));
                }
                Step::Hold { client, key } => {
                    prop_assert_eq!(clients[client].hold(key), reference.contains_key(&key));
                }
                Step::Release { client } => clients[client].release_oldest(),
                Step::Evict { pick } => {
                    if let Some(key) = node.evict(pick) {
                        prop_assert!(!clients.iter().any(|client| client.claims(key)), "evicted under a claim");
                        reference.remove(&key);
                    }
                }
                Step::Reclaim => node.reclaim_revoked(),
                Step::KillClient { client } => {
                    // Its complete commits are published; everything else of it comes back.
                    node.bury(client);
                    publish(&mut reference, &mut posted[client]);
                    clients[client] = Client::attach(memory.segment(), client);
                }
                Step::KillNode => node = Node::start(memory.segment()),
            }
            check(&node, &clients, &reference);
        }
        drop(clients);
        for (client, posted) in posted.iter_mut().enumerate() {
            node.bury(client);
            publish(&mut reference, posted);
        }
        check(&node, &[], &reference);
        node.reclaim_revoked();
        while node.evict(0).is_some() {}
        node.check_empty();
    }
}
