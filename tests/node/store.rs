//! A node over the file-system tier: more than memory holds, nodes that are killed and restarted with empty memory, clean
//! stops, and file systems that hang, fail and fill up.
//!
//! `CASCTEST_KILLS` sets how often a node is killed, `CASCTEST_SEED` when.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use support::node::{pause, remove_segment};
use support::seed::number;
use support::{Actor, Node, Scratch, Seed, Setup, content, until};

/// A node with little memory over a store in `folder`.
fn setup(name: &str, folder: &Scratch) -> Setup {
    Setup::new(name)
        .set("segment.capacity=8MiB")
        .set("lustre.capacity=512MiB")
        .set("lustre.container=8MiB")
        .set("lustre.refresh_ms=100")
        .set("flow.pause_ms=100")
        .env("CASCADE_DIR", folder.path().join("store"))
}

/// Starts a node and waits until it knows what its store holds.
fn start(setup: Setup) -> Node {
    let node = setup.start();
    wait_until_listed(&node);
    node
}

fn wait_until_listed(node: &Node) {
    until("the store is listed", || (tier(node)["listed"] == true).then_some(()));
}

fn tier(node: &Node) -> Value {
    node.status()["tiers"]["lustre"].clone()
}

/// Has the node do something, and waits for the end of it.
fn job(node: &Node, order: &str) -> Value {
    let number = node.ask(order)["job"].as_u64().expect("a job");
    until("the job is done", || {
        Some(node.ask(&format!("job {number}"))).filter(|job| job["finished"] == true)
    })
}

fn put(client: &mut Actor, pieces: impl IntoIterator<Item = u64>) {
    for n in pieces {
        let said = client.ask(&format!("put_wait {n}"));
        assert!(["fresh", "present"].contains(&said.as_str()), "piece {n}: {said}");
    }
}

#[test]
fn a_working_set_larger_than_memory_is_served_with_every_byte() {
    let folder = Scratch::new();
    let node = start(setup("larger", &folder));
    let mut client = node.actor();
    // 1,200 pieces of 25 KiB on the average: four times the memory.
    for n in 0..1200 {
        put(&mut client, [n]);
    }
    let below = (0..1200).filter(|n| client.ask(&format!("get {n}")) != "hit").count();
    assert!(below > 600, "{below} pieces are not in memory");
    let mut misses = Vec::new();
    for n in 0..1200 {
        match client.ask(&format!("get_within {n}")).as_str() {
            "hit" => {}
            "miss Absent" => misses.push(n),
            said => panic!("piece {n}: {said}"),
        }
    }
    // A disk slower than the puts costs what had to leave before it was written, and that is counted.
    let lost = node.counter("evicted_undemoted_blocks");
    assert!(misses.len() as u64 <= lost, "{} misses, {lost} blocks lost", misses.len());
    assert!(node.counter("promoted_pieces") > 0 && node.counter("demoted_pieces") > 0);
    let tier = tier(&node);
    assert_eq!(tier["state"], "working", "{tier}");
}

#[test]
fn a_chain_below_memory_is_located_promoted_and_held() {
    let folder = Scratch::new();
    let node = start(setup("chains", &folder));
    let mut client = node.actor();
    let chains = 0..20 * content::CHAIN;
    put(&mut client, chains.clone());
    job(&node, "persist");
    put(&mut client, 1000..1600);
    for first in chains.step_by(content::CHAIN as usize) {
        let tail = first + content::CHAIN - 1;
        let located = client.ask(&format!("locate {tail}"));
        assert!(located.starts_with(&format!("{} in memory", content::CHAIN)), "chain {first}: {located}");
        client.expect(&format!("promote {tail}"), &content::CHAIN.to_string());
        client.expect(&format!("hold {tail}"), "hit");
        for n in first..=tail {
            client.expect(&format!("get {n}"), "hit");
        }
        client.expect("drop", "ok");
    }
}

#[test]
fn a_block_is_told_with_all_its_copies() {
    let folder = Scratch::new();
    let mut node = start(setup("stat", &folder));
    let mut client = node.actor();
    let copies = |node: &Node| {
        let piece = node.ask(&format!("stat {}", content::key(2)))["pieces"][0].clone();
        [&piece["memory"], &piece["stored"]].map(|copy| {
            assert!(
                copy.is_null() || copy["len_bytes"] == content::len_bytes(2) && copy["depth"] == 2,
                "{copy}"
            );
            copy.is_object()
        })
    };
    put(&mut client, 0..3);
    job(&node, "persist");
    assert_eq!(copies(&node), [true, true]);
    node.stop();
    node.restart();
    wait_until_listed(&node);
    assert_eq!(copies(&node), [false, true]);
    node.actor().expect("get_within 2", "hit");
    assert_eq!(copies(&node), [true, true]);
}

#[test]
fn what_persist_acknowledged_outlives_every_kill_and_the_memory_with_it() {
    let seed = &mut Seed::of_environment(3);
    let folder = Scratch::new();
    // Nothing has to leave memory before it is written: that would be capacity's doing, not the kill's.
    let mut node = start(setup("killed", &folder).set("segment.capacity=128MiB"));
    let mut load = Actor::start();
    load.attach(node.socket());
    // Pieces of its own, far from ours, that keep the tier busy.
    load.expect(&format!("load_copies {} 2000", seed.next_u64()), "ok");
    let mut acknowledged = BTreeSet::new();
    let mut next = 1 << 32;
    for _ in 0..number("CASCTEST_KILLS", 40) {
        let mut client = node.actor();
        let new = next..next + 1 + seed.below(30);
        put(&mut client, new.clone());
        next = new.end;
        let persist = node.ask("persist")["job"].as_u64().expect("a job");
        // At any instant: before it has begun, in the middle, after its end.
        for _ in 0..seed.below(30) {
            pause(seed.below(10));
            let job = node.ask(&format!("job {persist}"));
            if job["finished"] == true && job["error"].is_null() {
                acknowledged.extend(new.clone());
                break;
            }
        }
        node.kill();
        remove_segment(node.setup());
        node.restart();
        wait_until_listed(&node);
        assert_eq!(node.status()["adopted"], false);
        let mut reader = node.actor();
        let sample: Vec<u64> = acknowledged.iter().copied().filter(|_| seed.below(8) == 0).collect();
        for n in sample {
            reader.expect(&format!("get_within {n}"), "hit");
        }
    }
    let mut reader = node.actor();
    for &n in &acknowledged {
        reader.expect(&format!("get_within {n}"), "hit");
    }
    let tally: Value = serde_json::from_str(&load.ask("halt")).unwrap();
    println!("{} acknowledged of {}; load: {tally}", acknowledged.len(), next - (1 << 32));
    assert!(!acknowledged.is_empty());
    assert_eq!((&tally["wrong"], &tally["wrong_views"]), (&json!(0), &json!(0)));
}

#[test]
fn after_a_clean_stop_a_new_node_with_empty_memory_serves_what_the_first_one_had() {
    let folder = Scratch::new();
    let mut node = start(setup("stopped", &folder));
    let mut client = node.actor();
    put(&mut client, 0..200);
    drop(client);
    assert!(node.stop().success());
    assert!(!node.directory().exists(), "the segment goes with the node");
    let next = start(setup("next", &folder));
    let mut client = next.actor();
    for n in 0..200 {
        client.expect(&format!("get_within {n}"), "hit");
    }
    assert!(next.counter("found_pieces") >= 200);
}

#[test]
fn a_node_that_was_killed_has_what_it_persisted_and_its_memory_is_not_written_again() {
    let folder = Scratch::new();
    let mut node = start(setup("adopted", &folder));
    let mut client = node.actor();
    put(&mut client, 0..200);
    job(&node, "persist");
    node.kill();
    node.restart();
    wait_until_listed(&node);
    assert_eq!(node.status()["adopted"], true);
    let report = job(&node, "persist");
    assert_eq!(report["bytes"], 0, "all of it is below already: {report}");
    assert_eq!(node.counter("demoted_pieces"), 0);
}

#[test]
fn a_required_tier_without_a_folder_refuses_the_start_and_an_optional_one_is_done_without() {
    let refused = Setup::new("required")
        .set("plugins.required=shm,lustre")
        .set("plugins.optional=")
        .try_start()
        .expect_err("there is no folder");
    assert!(refused.said.contains("CASCADE_DIR"), "{}", refused.said);
    let node = Setup::new("optional").start();
    assert!(node.status()["tiers"]["lustre"].is_null());
    let refused = node.try_ask("persist").expect_err("there is nothing to persist to");
    assert!(refused.contains("no lower tier"), "{refused}");
}

#[test]
fn warm_brings_what_was_stored_last_into_empty_memory() {
    let folder = Scratch::new();
    let mut node = start(setup("cold", &folder));
    let mut client = node.actor();
    put(&mut client, 0..100);
    drop(client);
    assert!(node.stop().success());
    let next = start(setup("warm", &folder));
    let report = job(&next, "warm 4194304");
    assert!(report["bytes"].as_u64().unwrap() > 1 << 20, "{report}");
    let mut client = next.actor();
    let hits = (0..100).filter(|n| client.ask(&format!("get {n}")) == "hit").count();
    assert_eq!(hits as u64, report["done"].as_u64().unwrap());
}

/// What the node says of a drain by itself: everything that it has is below, and nothing new is admitted.
fn drained(node: &Node, client: &mut Actor) {
    until("the node drains", || (node.status()["draining"] == true).then_some(()));
    until("all is written", || (node.counter("demoted_pieces") == 100).then_some(()));
    client.expect("patience 1000", "ok");
    // What was granted before may still come; then there is no more.
    let refused = (9000..9100).find(|n| client.ask(&format!("put_wait {n}")).starts_with("refused"));
    assert!(refused.is_some() && node.counter("refused_draining") > 0);
    client.expect("get 7", "hit");
}

#[test]
fn a_signal_begins_a_drain_and_the_node_serves_on() {
    let folder = Scratch::new();
    let node = start(setup("signal", &folder));
    let mut client = node.actor();
    put(&mut client, 0..100);
    kill_process(node.pid(), Signal::USR1).expect("one's own child can be signalled");
    drained(&node, &mut client);
}

#[test]
fn a_drain_begins_by_itself_before_the_end_of_the_job() {
    let folder = Scratch::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    // Ten seconds before the last five of the job: six from now.
    let setup = setup("job-end", &folder).set("flow.drain_before_end_s=10");
    let node = start(setup.env("SLURM_JOB_END_TIME", (now + 21).to_string()));
    let mut client = node.actor();
    put(&mut client, 0..100);
    drained(&node, &mut client);
}

#[test]
fn a_drain_waits_until_the_end_of_the_job_is_near() {
    let folder = Scratch::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let node = start(setup("job-begin", &folder).env("SLURM_JOB_END_TIME", (now + 3600).to_string()));
    let mut client = node.actor();
    put(&mut client, 0..10);
    pause(500);
    assert_eq!(node.status()["draining"], false);
}

/// Faults of a node's file system, by the control file that the tier looks at.
struct Faults {
    file: PathBuf,
    folder: Scratch,
}

impl Faults {
    fn new() -> Self {
        let folder = Scratch::new();
        Self { file: folder.path().join("faults"), folder }
    }

    /// A node whose tier was built for tests: it lies beside the test's own program.
    fn setup(&self, name: &str) -> Setup {
        let beside = std::env::current_exe().expect("a test knows its own program");
        let beside = beside.parent().expect("a program lies in a folder").display().to_string();
        setup(name, &self.folder)
            .set(&format!("plugins.search={beside}"))
            .set("lustre.engine=pread")
            .set("flow.hang_ms=200")
            .env("CASCADE_FAULTS", &self.file)
    }

    fn are(&self, rules: &Value) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, rules.to_string()).expect("a file for the test");
        std::fs::rename(&new, &self.file).expect("a file for the test");
        // The tier looks every few milliseconds.
        pause(50);
    }

    fn end(&self) {
        self.are(&json!([]));
    }
}

/// Pieces that take half of the memory.
const FIRST: std::ops::Range<u64> = 0..150;

/// A piece that is not in memory.
fn one_below(client: &mut Actor) -> u64 {
    FIRST.into_iter().find(|n| client.ask(&format!("get {n}")) != "hit").expect("more than memory holds")
}

/// Puts until some of the first pieces are below only; the node and its client.
fn filled(setup: Setup) -> (Node, Actor) {
    let node = start(setup);
    let mut client = node.actor();
    // The first fit into memory with room to spare, so none has to leave before it is written.
    put(&mut client, FIRST);
    job(&node, "persist");
    put(&mut client, 1000..1300);
    job(&node, "persist");
    (node, client)
}

fn assert_it_works_again(node: &Node, client: &mut Actor, below: u64) {
    client.expect("patience 60000", "ok");
    until("the tier is back", || (client.ask(&format!("get_within {below}")) == "hit").then_some(()));
    put(client, 5000..5010);
    let report = job(node, "persist");
    assert_eq!(report["error"], Value::Null, "{report}");
    // Nobody may have read since all that hung came back: then the next who does finds out.
    until("all that hung is back", || {
        ["working", "on_trial"].contains(&tier(node)["state"].as_str()?).then_some(())
    });
}

#[test]
fn a_file_system_that_hangs_costs_hits_and_nothing_else_and_comes_back() {
    let faults = Faults::new();
    let (node, mut client) = filled(faults.setup("hangs"));
    let below = one_below(&mut client);
    let hot =
        (1000..1300).find(|n| client.ask(&format!("get {n}")) == "hit").expect("something is in memory");
    faults.are(&json!([{"fault": "hang"}]));
    client.expect("patience 500", "ok");
    let said = client.ask(&format!("get_within {below}"));
    assert!(["miss Expired", "miss Fenced"].contains(&said.as_str()), "at its deadline: {said}");
    until("the tier is given up", || (tier(&node)["state"] == "fenced").then_some(()));
    client.expect(&format!("get_within {below}"), "miss Fenced");
    client.expect(&format!("get {hot}"), "hit");
    // Puts go on until memory is full of what cannot be written, and then evict.
    client.expect("patience 60000", "ok");
    put(&mut client, 10_000..10_600);
    client.expect("get 10599", "hit");
    assert!(node.counter("evicted_undemoted_blocks") > 0);
    faults.end();
    assert_it_works_again(&node, &mut client, below);
}

#[test]
fn a_node_that_is_killed_while_its_file_system_hangs_does_not_block_the_next() {
    let faults = Faults::new();
    let (mut node, mut client) = filled(faults.setup("stuck"));
    let below = one_below(&mut client);
    faults.are(&json!([{"fault": "hang"}]));
    client.expect("patience 300", "ok");
    client.ask(&format!("get_within {below}"));
    node.kill();
    node.restart();
    let mut next = node.actor();
    next.expect("put_wait 20000", "fresh");
    faults.end();
    wait_until_listed(&node);
    next.expect(&format!("get_within {below}"), "hit");
}

#[test]
fn a_file_system_that_fails_is_left_alone_and_used_again() {
    let faults = Faults::new();
    let (node, mut client) = filled(faults.setup("fails"));
    let below = one_below(&mut client);
    faults.are(&json!([{"on": ["read", "write", "write_at"], "fault": {"error": "EIO"}}]));
    client.expect("patience 2000", "ok");
    let said = client.ask(&format!("get_within {below}"));
    assert!(said.starts_with("miss"), "{said}");
    put(&mut client, 10_000..10_100);
    faults.end();
    client.expect("patience 60000", "ok");
    // The tier may have given the piece up for damaged: then it is a miss, and put anew.
    put(&mut client, [below]);
    put(&mut client, 5000..5010);
    until("writes are back", || job(&node, "persist")["error"].is_null().then_some(()));
    assert_eq!(tier(&node)["state"], "working");
}

#[test]
fn a_full_disk_turns_the_tier_read_only_until_there_is_room() {
    let faults = Faults::new();
    let (node, mut client) = filled(faults.setup("full"));
    let below = one_below(&mut client);
    faults.are(&json!([{"on": ["write", "write_at", "create"], "fault": {"error": "ENOSPC"}}]));
    put(&mut client, 10_000..10_600);
    let state = tier(&node);
    assert_eq!(state["state"], "read_only", "{state}");
    assert!(node.counter("evicted_undemoted_blocks") > 0, "puts go on");
    let said = client.ask(&format!("get_within {below}"));
    assert_eq!(said, "hit", "reads go on");
    faults.end();
    until("there is room again", || job(&node, "persist")["error"].is_null().then_some(()));
    assert_eq!(tier(&node)["state"], "working");
}

#[test]
fn a_slow_store_declines_what_would_come_too_late_and_brings_what_comes_in_time() {
    let faults = Faults::new();
    // Slow is not hung.
    let (node, mut client) = filled(faults.setup("slow").set("flow.hang_ms=60000"));
    let below: Vec<u64> = FIRST.filter(|n| client.ask(&format!("get {n}")) != "hit").collect();
    faults.are(&json!([{"on": ["read"], "fault": {"bytes_per_s": 200_000}}]));
    // Two are waited for, so the node knows how slow it is.
    client.expect("patience 60000", "ok");
    client.expect(&format!("get_within {}", below[0]), "hit");
    client.expect(&format!("get_within {}", below[1]), "hit");
    client.expect("patience 5", "ok");
    let said: BTreeSet<String> = below[2..].iter().map(|n| client.ask(&format!("get_within {n}"))).collect();
    assert!(said.contains("miss Declined"), "{said:?}");
    assert!(node.counter("declined_chains") > 0);
    faults.end();
}
