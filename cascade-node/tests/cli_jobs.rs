//! `persist`, `warm`, `drain` and `forget` with a node: what they promise holds, and they tell how it went.
//!
//! The tiers' libraries must lie beside the program, where `cargo build --workspace` puts them.

mod depot;

use depot::{Store, chain, single, stderr, stdout};

#[test]
fn what_was_persisted_is_in_the_store_and_the_next_node_serves_it() {
    let Some(store) = Store::new("what_was_persisted_is_in_the_store_and_the_next_node_serves_it") else {
        return;
    };
    let pieces = chain("alice", 10);
    let node = store.node();
    pieces.iter().for_each(|piece| store.put(piece));
    let job = store.json(&["persist", "--json"], 0);
    assert_eq!(
        (&job["name"], &job["finished"], &job["error"]),
        (&"persist".into(), &true.into(), &().into())
    );
    // Whatever was written before by itself is not written again.
    assert_eq!(stdout(&store.run(&["ls"])).lines().count(), pieces.len() + 1);
    assert_eq!(store.json(&["verify", "--json"], 0)["good"], pieces.len());
    let again = store.run(&["persist"]);
    assert_eq!(again.status.code(), Some(0));
    assert!(stdout(&again).starts_with("persisted 0 pieces"), "{}", stdout(&again));
    let page = stdout(&store.run(&["top", "--once", "--interval", "0.1"]));
    assert!(page.contains("lustre") && page.contains("persist") && page.contains("done"), "{page}");
    node.stop();

    let _next = store.node();
    let warmed = store.json(&["warm", "--json"], 0);
    assert_eq!(warmed["done"], pieces.len(), "{warmed}");
    let status = store.json(&["status", "--json"], 0);
    assert_eq!(status["counters"]["promoted_pieces"], pieces.len());
    assert!(pieces.iter().all(|piece| store.has(piece)));
}

#[test]
fn warm_brings_no_more_than_it_was_asked_to() {
    let Some(store) = Store::new("warm_brings_no_more_than_it_was_asked_to") else { return };
    store.fill(&chain("alice", 20));
    let _node = store.node();
    let output = store.run(&["warm", "500KB"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let brought = store.json(&["status", "--json"], 0)["counters"]["promoted_bytes"].as_u64().unwrap();
    assert!(brought > 0 && brought <= 500_000, "{brought}");
    // What was not brought ahead comes when it is asked for.
    assert!(chain("alice", 20).iter().all(|piece| store.has(piece)));
}

#[test]
fn a_drained_node_has_saved_all_serves_it_and_takes_nothing_new() {
    let Some(store) = Store::new("a_drained_node_has_saved_all_serves_it_and_takes_nothing_new") else {
        return;
    };
    let pieces = chain("alice", 6);
    let _node = store.node();
    pieces.iter().for_each(|piece| store.put(piece));
    let output = store.run(&["drain", "1min"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("saved "), "{}", stdout(&output));
    assert_eq!(store.json(&["verify", "--json"], 0)["good"], pieces.len());
    assert!(pieces.iter().all(|piece| store.has(piece)));
    assert_eq!(store.json(&["status", "--json"], 0)["draining"], true);
    std::fs::write(store.folder.join("new"), vec![1; 3_000_000]).unwrap();
    assert_eq!(store.run(&["put", "@new", "new"]).status.code(), Some(1));
}

#[test]
fn a_node_forgets_in_memory_and_below_and_only_what_is_meant() {
    let Some(store) = Store::new("a_node_forgets_in_memory_and_below_and_only_what_is_meant") else { return };
    let (alice, bob, loose) = (chain("alice", 5), chain("bob", 4), single("loose"));
    let _node = store.node();
    alice.iter().chain(&bob).chain([&loose]).for_each(|piece| store.put(piece));
    assert_eq!(store.run(&["persist"]).status.code(), Some(0));
    let output = store.run(&["forget", "--tenant", "alice"]);
    assert_eq!(output.status.code(), Some(2), "nobody was asked: {}", stderr(&output));
    assert!(alice.iter().all(|piece| store.has(piece)));

    let forgot = store.json(&["forget", "--tenant", "alice", "--yes", "--json"], 0);
    assert_eq!(forgot["done"], alice.len(), "{forgot}");
    assert!(alice.iter().all(|piece| !store.has(piece)));
    assert!(bob.iter().chain([&loose]).all(|piece| store.has(piece)));
    let left = stdout(&store.run(&["ls"]));
    assert!(alice.iter().all(|piece| !left.contains(&piece.id.key.to_string())), "{left}");
    assert_eq!(left.lines().count(), bob.len() + 2);
}

#[test]
fn orders_without_a_node_or_without_a_store_say_what_to_do() {
    let Some(store) = Store::new("orders_without_a_node_or_without_a_store_say_what_to_do") else { return };
    for order in [&["persist"][..], &["drain", "1s"], &["warm", "1MiB"]] {
        let output = store.run(order);
        assert_eq!(output.status.code(), Some(4), "{order:?}: {}", stderr(&output));
    }
    for wrong in [&["drain", "soon"][..], &["warm", "much"], &["persist", "now"]] {
        assert_eq!(store.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    // Without a store there is nothing to forget in.
    let output =
        store.command(&["forget", "--older-than", "1h", "--yes"]).env_remove("CASCADE_DIR").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("which store?"), "{}", stderr(&output));
}
