//! `ls`, `du`, `verify`, `forget` and `gc` on real stores, without a node: whole, empty, missing, damaged, of another version,
//! closed to us.
//!
//! The tier's library must lie beside the program, where `cargo build --workspace` puts it.

mod depot;

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};

use cascade_core::checksum::Crc32c;
use cascade_core::key::BlockKey;
use depot::{PIECE_BYTES, Store, Stored, bytes, chain, root, single, stderr, stdout, until};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn ls_lists_every_piece_with_where_it_stands() {
    let Some(store) = Store::new("ls_lists_every_piece_with_where_it_stands") else { return };
    let mut pieces = chain("alice", 12);
    pieces.push(single("loose"));
    store.fill(&pieces);
    let output = store.run(&["ls", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    assert_eq!(lines.len(), pieces.len());
    for Stored { id, parent, depth, bytes } in &pieces {
        let line = lines.iter().find(|line| line["key"] == id.key.to_string()).expect("the piece is listed");
        assert_eq!((&line["rank"], &line["group"]), (&id.rank.into(), &id.group.into()));
        assert_eq!((&line["bytes"], &line["depth"]), (&bytes.len().into(), &(*depth).into()));
        let named = (*parent != BlockKey::ROOT).then(|| parent.to_string());
        assert_eq!(line["parent"], serde_json::json!(named));
        assert!(line["age_s"].as_u64().expect("an age") < 3600, "{line}");
    }
    let table = stdout(&store.run(&["ls"]));
    assert!(table.starts_with("KEY "), "{table}");
    assert_eq!(table.lines().count(), pieces.len() + 1);
    assert_eq!(stdout(&store.run(&["ls", "--limit", "4"])).lines().count(), 4 + 1);
}

#[test]
fn ls_and_du_tell_namespaces_apart() {
    let Some(store) = Store::new("ls_and_du_tell_namespaces_apart") else { return };
    let (alice, bob) = (chain("alice", 5), chain("bob", 3));
    let orphan =
        Stored { id: single("lost").id, parent: root("collected long ago"), depth: 7, bytes: bytes(1) };
    store.fill(&alice);
    // Another writer, later.
    store.fill(&bob.into_iter().chain([single("loose"), orphan]).collect::<Vec<_>>());

    let of_alice = stdout(&store.run(&["ls", "--json", "--namespace", "@alice"]));
    assert_eq!(of_alice.lines().count(), alice.len());
    assert!(alice.iter().all(|piece| of_alice.contains(&piece.id.key.to_string())));
    let nobody = store.run(&["ls", "--namespace", "@carol"]);
    assert_eq!((nobody.status.code(), stdout(&nobody).as_str()), (Some(3), ""));

    let report = store.json(&["du", "--json"], 0);
    let namespaces = report["namespaces"].as_array().expect("a list");
    let tenants: Vec<&str> =
        namespaces.iter().map(|line| line["description"]["tenant"].as_str().unwrap()).collect();
    assert_eq!(tenants, ["alice", "bob"], "the largest first");
    assert_eq!(namespaces[0]["root"], root("alice").to_string());
    assert_eq!((&namespaces[0]["blocks"], &namespaces[1]["pieces"]), (&6.into(), &4.into()));
    let described = alice[0].bytes.len() as u64;
    assert_eq!(namespaces[0]["bytes"], 5 * PIECE_BYTES as u64 + described);
    assert_eq!(report["without_namespace"]["pieces"], 1);
    assert_eq!(report["beginning_elsewhere"]["pieces"], 1);
    assert_eq!(report["total"]["pieces"], 6 + 4 + 2);
    let page = stdout(&store.run(&["du"]));
    assert!(page.contains(&format!("{} org/model, bfloat16, tenant alice", root("alice"))), "{page}");
    assert!(page.contains("no namespace") && page.contains("in all; 2 containers"), "{page}");
}

#[test]
fn verify_finds_a_sound_store_sound_and_writes_nothing_there() {
    let Some(store) = Store::new("verify_finds_a_sound_store_sound_and_writes_nothing_there") else { return };
    let pieces = chain("alice", 30);
    store.fill(&pieces);
    let before = store.content();
    let report = store.json(&["verify", "--json"], 0);
    assert_eq!((&report["pieces"], &report["good"]), (&31.into(), &31.into()));
    assert_eq!(
        (&report["corrupt"], &report["missing"], &report["damaged_lines"]),
        (&0.into(), &0.into(), &0.into())
    );
    let sum: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
    assert_eq!(report["bytes"], sum);
    let page = stdout(&store.run(&["verify"]));
    assert!(page.starts_with("31 pieces, ") && page.contains("31 good, 0 corrupt, 0 missing"), "{page}");
    for command in ["ls", "du"] {
        assert_eq!(store.run(&[command]).status.code(), Some(0));
    }
    assert!(store.content() == before, "looking changes nothing");
}

#[test]
fn verify_names_what_is_damaged_and_counts_the_rest_as_good() {
    let Some(store) = Store::new("verify_names_what_is_damaged_and_counts_the_rest_as_good") else { return };
    let pieces = chain("alice", 30);
    store.fill(&pieces);
    let containers = store.containers();
    assert!(containers.len() >= 3, "several containers: {containers:?}");
    // One bit in the bytes of a piece, and one container gone.
    let flipped = &pieces[2].bytes[5000..5064];
    let hit = containers.iter().find_map(|path| {
        let content = fs::read(path).unwrap();
        let at = content.windows(flipped.len()).position(|window| window == flipped)?;
        Some((path.clone(), at as u64, content[at]))
    });
    let (path, at, byte) = hit.expect("the piece lies in one of them");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_at(&[byte ^ 0x10], at).unwrap();
    let gone = containers.iter().find(|other| **other != path).unwrap();
    fs::remove_file(gone).unwrap();

    let report = store.json(&["verify", "--json"], 1);
    let count = |name: &str| report[name].as_u64().expect("a count");
    assert_eq!(count("corrupt"), 1, "{report}");
    assert!(count("missing") >= 5, "{report}");
    assert_eq!(count("good") + count("corrupt") + count("missing"), 31);
    let named = report["damaged"].as_array().expect("a list");
    assert_eq!(named.len() as u64, count("corrupt") + count("missing"));
    let corrupt = named.iter().find(|piece| piece["status"] == "corrupt").expect("it is named");
    assert_eq!(corrupt["key"], pieces[2].id.key.to_string());
    let page = store.run(&["verify"]);
    assert_eq!(page.status.code(), Some(1));
    assert!(stdout(&page).contains(&format!("corrupt: {}", pieces[2].id.key)), "{}", stdout(&page));
}

#[test]
fn damaged_lines_of_manifests_are_told_and_cost_no_other_piece() {
    let Some(store) = Store::new("damaged_lines_of_manifests_are_told_and_cost_no_other_piece") else {
        return;
    };
    store.fill(&chain("alice", 6));
    let manifest = store.files("manifest").pop().expect("a manifest");
    let length = manifest.metadata().unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&manifest).unwrap();
    // Somewhere in the middle, so in the line of a piece.
    file.write_at(&[0x5a; 8], length / 2).unwrap();
    let report = store.json(&["verify", "--json"], 1);
    assert_eq!((&report["good"], &report["damaged_lines"]), (&6.into(), &1.into()), "{report}");
}

#[test]
fn a_store_without_pieces_is_empty_and_no_error() {
    let Some(store) = Store::new("a_store_without_pieces_is_empty_and_no_error") else { return };
    store.fill(&[]);
    // Nobody wrote: the folder was only looked at, and made a store.
    assert!(store.directory().join("cascade.store").exists());
    let output = store.run(&["ls"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(3), ""));
    assert!(stderr(&output).contains("nothing is in"), "{}", stderr(&output));
    assert_eq!(store.json(&["du", "--json"], 0)["total"]["pieces"], 0);
    assert_eq!(store.json(&["verify", "--json"], 0)["pieces"], 0);
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_is() {
    let Some(store) = Store::new("what_is_no_store_is_refused_and_left_as_it_is") else { return };
    fs::write(store.directory().join("notes.txt"), "mine").unwrap();
    let missing = store.folder.join("nowhere");
    for command in ["ls", "du", "verify"] {
        let output = store.run(&[command]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("it is no store"), "{}", stderr(&output));
        let output = store.run(&[command, "--store", missing.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        for words in ["nowhere: No such file", "--store DIR"] {
            assert!(stderr(&output).contains(words), "{}", stderr(&output));
        }
    }
    assert_eq!(store.content().len(), 1);
    assert!(!missing.exists());
}

#[test]
fn no_store_at_all_is_wrong_usage_with_what_to_do() {
    let Some(store) = Store::new("no_store_at_all_is_wrong_usage_with_what_to_do") else { return };
    for command in ["ls", "du", "verify"] {
        let output =
            store.command(&[command]).env_remove("CASCADE_DIR").output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("--store DIR"), "{}", stderr(&output));
    }
}

#[test]
fn a_store_of_another_version_is_refused_with_both_versions() {
    let Some(store) = Store::new("a_store_of_another_version_is_refused_with_both_versions") else { return };
    store.fill(&chain("alice", 2));
    let marker = store.directory().join("cascade.store");
    let mut line = fs::read(&marker).unwrap();
    relabel(&mut line, 9999);
    fs::write(&marker, &line).unwrap();
    let before = store.content();
    for command in ["ls", "du", "verify"] {
        let output = store.run(&[command]);
        assert_eq!(output.status.code(), Some(1));
        for words in ["version 9999", "this program reads version 1"] {
            assert!(stderr(&output).contains(words), "{}", stderr(&output));
        }
    }
    assert!(store.content() == before);
}

#[test]
fn a_folder_that_others_may_enter_is_refused_with_the_remedy() {
    let Some(store) = Store::new("a_folder_that_others_may_enter_is_refused_with_the_remedy") else { return };
    store.fill(&chain("alice", 1));
    store.open_to(0o755);
    let output = store.run(&["du"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("chmod 700"), "{}", stderr(&output));
}

#[test]
fn a_reader_that_goes_away_ends_ls_quietly() {
    let Some(store) = Store::new("a_reader_that_goes_away_ends_ls_quietly") else { return };
    store.fill(&chain("alice", 3));
    let mut child = store
        .command(&["ls"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_store_that_hangs_is_waited_for_and_ctrl_c_ends_the_waiting() {
    let Some(store) = Store::new("a_store_that_hangs_is_waited_for_and_ctrl_c_ends_the_waiting") else {
        return;
    };
    store.fill(&chain("alice", 1));
    // Whoever opens this waits for somebody at its other end.
    let pipe = store.directory().join("0123456789abcdef.manifest");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    for command in ["ls", "du", "verify"] {
        let mut child = store.command(&[command]).stderr(Stdio::piped()).spawn().expect("the program starts");
        let pid = Pid::from_child(&child);
        until("it watches for signals", || has_blocked_interrupts(&child).then_some(()));
        assert!(child.try_wait().unwrap().is_none(), "{command} waits");
        kill_process(pid, Signal::INT).unwrap();
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{command}: {}", stderr(&output));
    }
}

#[test]
fn forget_removes_a_namespace_and_no_other_bytes_and_all() {
    let Some(store) = Store::new("forget_removes_a_namespace_and_no_other_bytes_and_all") else { return };
    let (alice, bob, loose) = (chain("alice", 20), chain("bob", 20), single("loose"));
    store.fill(&alice);
    store.fill(&bob);
    store.fill(std::slice::from_ref(&loose));
    let forgotten = store.json(&["forget", "--namespace", "@alice", "--yes", "--json"], 0);
    assert_eq!((&forgotten["pieces"], &forgotten["failed"]), (&21.into(), &0.into()), "{forgotten}");
    let left = stdout(&store.run(&["ls"]));
    assert!(alice.iter().all(|piece| !left.contains(&piece.id.key.to_string())), "{left}");
    assert!(bob.iter().chain([&loose]).all(|piece| left.contains(&piece.id.key.to_string())), "{left}");
    // Prompts can be read out of what is left of the bytes.
    let content = store.content();
    let is_there = |bytes: &[u8]| {
        content.iter().any(|(_, content)| content.windows(64).any(|window| window == &bytes[5000..5064]))
    };
    assert!(alice[1..].iter().all(|piece| !is_there(&piece.bytes)));
    assert!(bob[1..].iter().all(|piece| is_there(&piece.bytes)));
    assert_eq!(store.json(&["verify", "--json"], 0)["good"], 22);
    // Once more, and there is nothing to do.
    assert_eq!(store.json(&["forget", "--namespace", "@alice", "--yes", "--json"], 0)["pieces"], 0);
}

#[test]
fn forget_takes_a_tenant_s_namespaces_and_what_may_be_of_them() {
    let Some(store) = Store::new("forget_takes_a_tenant_s_namespaces_and_what_may_be_of_them") else {
        return;
    };
    let (alice, bob, loose) = (chain("alice", 4), chain("bob", 3), single("loose"));
    let hangs_nowhere =
        Stored { id: single("lost").id, parent: root("collected"), depth: 7, bytes: bytes(1) };
    store.fill(&alice.into_iter().chain(bob).chain([loose, hangs_nowhere]).collect::<Vec<_>>());
    let forgotten = store.json(&["forget", "--tenant", "alice", "--yes", "--json"], 0);
    assert_eq!(forgotten["pieces"], 5 + 1, "{forgotten}");
    let report = store.json(&["du", "--json"], 0);
    assert_eq!(report["namespaces"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&report["namespaces"][0]["pieces"], &report["without_namespace"]["pieces"]),
        (&4.into(), &1.into())
    );
}

#[test]
fn forget_by_age_spares_what_is_younger() {
    let Some(store) = Store::new("forget_by_age_spares_what_is_younger") else { return };
    store.fill(&chain("alice", 4));
    assert_eq!(store.json(&["forget", "--older-than", "1h", "--yes", "--json"], 0)["pieces"], 0);
    assert_eq!(store.json(&["forget", "--older-than", "0s", "--yes", "--json"], 0)["pieces"], 5);
    assert_eq!(store.run(&["ls"]).status.code(), Some(3));
}

#[test]
fn forget_asks_somebody_or_does_nothing() {
    let Some(store) = Store::new("forget_asks_somebody_or_does_nothing") else { return };
    store.fill(&chain("alice", 2));
    let output = store.run(&["forget", "--tenant", "alice"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--yes"), "{}", stderr(&output));
    for wrong in [
        &["forget", "--yes"][..],
        &["forget", "--tenant", "a", "--older-than", "1h"],
        &["forget", "--older-than", "7"],
    ] {
        assert_eq!(store.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(store.json(&["verify", "--json"], 0)["good"], 3);
}

#[test]
fn gc_folds_what_the_dead_left_and_keeps_every_piece() {
    let Some(store) = Store::new("gc_folds_what_the_dead_left_and_keeps_every_piece") else { return };
    let pieces = chain("alice", 12);
    // Each of these is another writer, that has ended.
    pieces.iter().for_each(|piece| store.fill(std::slice::from_ref(piece)));
    let directory = store.directory();
    let arguments = ["gc", "--json", "--store", directory.to_str().unwrap()];
    let before = store.content();
    let looked = store.json(&[&arguments[..], &["--dry-run"]].concat(), 0);
    assert_eq!(looked["stores"][0]["dead_manifests"], pieces.len(), "{looked}");
    assert!(store.content() == before, "a dry run changes nothing");
    let done = store.json(&arguments, 0);
    assert!(done["stores"][0]["folded_manifests"].as_u64() >= Some(8), "{done}");
    assert!(done.get("removed").is_none(), "no segment was looked at: {done}");
    assert_eq!(store.json(&["verify", "--json"], 0)["good"], pieces.len());
    let page = stdout(&store.run(&["gc", "--store", directory.to_str().unwrap()]));
    assert!(page.contains("in use"), "{page}");
}

fn has_blocked_interrupts(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    let blocked = blocked.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    blocked & 1 << (Signal::INT.as_raw() - 1) != 0
}

/// Gives a line another version, and the checksum that goes with it (core/docs/layout.md).
fn relabel(line: &mut [u8], version: u16) {
    line[6..8].copy_from_slice(&version.to_le_bytes());
    let sum = Crc32c::EMPTY.update(&line[4..]).value();
    line[..4].copy_from_slice(&sum.to_le_bytes());
}
