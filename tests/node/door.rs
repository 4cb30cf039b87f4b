//! Who knocks at the door: nonsense on the socket, nonsense in the rings, and other users. The node lives on, and whoever
//! keeps to the protocol is served all along.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use cascade_core::page::{PAGE_WORDS, RING_ENTRIES};
use cascade_core::request::{REQUEST_WORDS, Request};
use cascade_core::slot::SlotRef;
use cascade_core::sync::Ordering;
use cascade_core::wire::{BODY_MAX_BYTES, Frame, HEADER_BYTES};
use support::raw::receive;
use support::sandbox::skip;
use support::{Actor, Node, RawClient, Scratch, Seed, Setup, content, until};

fn served(client: &mut Actor, n: u64) {
    client.expect(&format!("put_wait {n}"), "fresh");
    client.expect(&format!("get {n}"), "hit");
}

#[test]
fn bytes_that_are_no_frame_are_refused_with_a_reason() {
    let node = Node::start("frames");
    let mut client = node.actor();
    let seed = &mut Seed::of_environment(3);
    for n in 0..100 {
        let mut bytes: Vec<u8> =
            (0..HEADER_BYTES as u64 + seed.below(200)).map(|_| seed.next_u64() as u8).collect();
        // Half of them begin as a frame does.
        if n % 2 == 0 {
            bytes[..6].copy_from_slice(&Frame::Query(String::new()).encode()[..6]);
            // Never a length that is plausible: the node would rightly wait for the rest.
            bytes[11] |= 0x80;
        }
        let mut stream = UnixStream::connect(node.socket()).unwrap();
        stream.write_all(&bytes).unwrap();
        let (Frame::Refused(reason), _) = receive(&stream) else { panic!("not refused: {bytes:?}") };
        assert!(reason.contains("rame"), "{reason}");
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "the door is shut");
    }
    served(&mut client, 1);
}

#[test]
fn a_frame_cut_short_or_too_long_stops_nobody() {
    let node = Node::start("cut");
    let mut client = node.actor();
    let whole = Frame::Query("status".into()).encode();
    // Left open, half said: they wait for nobody but themselves.
    let half_said: Vec<UnixStream> = (0..whole.len())
        .map(|end| {
            let mut stream = UnixStream::connect(node.socket()).unwrap();
            stream.write_all(&whole[..end]).unwrap();
            stream
        })
        .collect();
    served(&mut client, 1);
    // One of them says the rest, and is answered.
    let mut stream = half_said.into_iter().nth(9).unwrap();
    stream.write_all(&whole[9..]).unwrap();
    assert!(matches!(receive(&stream).0, Frame::Answer(_)));

    let mut huge = whole.clone();
    huge[8..12].copy_from_slice(&(BODY_MAX_BYTES as u32 + 1).to_le_bytes());
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    stream.write_all(&huge).unwrap();
    assert!(matches!(receive(&stream).0, Frame::Refused(_)));
    served(&mut client, 2);
}

#[test]
fn frames_that_only_a_node_sends_are_refused() {
    let node = Node::start("roles");
    for frame in [Frame::Answer("{}".into()), Frame::Refused("no".into()), Frame::Query("who are you".into())]
    {
        let mut stream = UnixStream::connect(node.socket()).unwrap();
        stream.write_all(&frame.encode()).unwrap();
        assert!(matches!(receive(&stream).0, Frame::Refused(_)), "{frame:?}");
    }
    served(&mut node.actor(), 1);
}

#[test]
fn a_client_that_posts_nonsense_is_cut_off_and_counted() {
    // A page each: those cut off are buried soon, but not at once.
    let node = Setup::new("nonsense").set("segment.clients_max=64").start();
    let mut client = node.actor();
    let seed = &mut Seed::of_environment(4);
    for n in 0..24 {
        let raw = RawClient::attach(node.socket());
        let ring = raw.page().ring();
        if n % 3 == 0 {
            // A tail that cannot be.
            raw.words()[16].store(RING_ENTRIES as u64 + 1 + seed.below(1 << 40), Ordering::Release);
        } else {
            let mut entry = [0; REQUEST_WORDS].map(|_| seed.next_u64());
            if n % 3 == 1 {
                // A known code, with nonsense behind it.
                entry[0] = 7 + seed.below(1 << 15);
            }
            ring.push(&entry).unwrap();
        }
        raw.ring_bell();
        until("the client is cut off", || (node.counter("confused_clients") == n + 1).then_some(()));
        let page = raw.page_index();
        let status = node.status();
        let clients = status["clients"].as_array().unwrap();
        assert!(clients.iter().any(|client| client["page"] == page && client["fenced"] == true), "{status}");
        served(&mut client, n);
    }
    until("those cut off are gone", || {
        (node.status()["clients"].as_array().unwrap().len() == 1).then_some(())
    });
}

#[test]
fn requests_that_lie_are_refused_and_harm_nobody() {
    let node = Node::start("lies");
    let mut client = node.actor();
    for n in 0..16 {
        served(&mut client, n);
    }
    let seed = &mut Seed::of_environment(5);
    let raw = RawClient::attach(node.socket());
    let mut posted = 0;
    // Every slot of the others, aborted, suspected and committed as one's own; lengths and parents out of the air.
    for _ in 0..20_000 {
        let slot = SlotRef { arena: seed.below(3) as u8, slot: seed.below(4096) as u32, generation: 1 };
        let mut words = match seed.below(3) {
            0 => Request::Abort { slot }.encode(),
            1 => Request::Suspect { slot }.encode(),
            _ => {
                let mut words = [0; REQUEST_WORDS].map(|_| seed.next_u64());
                (words[0], words[1], words[2]) = (1, 0, slot.pack());
                words
            }
        };
        words[3] = [0, 1, u64::MAX, seed.next_u64()][seed.below(4) as usize];
        posted += u64::from(raw.page().ring().push(&words).is_some());
        raw.ring_bell();
    }
    assert!(posted > 0);
    until("the node has come to all of it", || (raw.page().ring().pending() == Ok(0)).then_some(()));
    for n in 0..16 {
        client.expect(&format!("get {n}"), "hit");
    }
    assert_eq!(node.status()["pieces"], 16);
    assert_eq!(node.counter("corrupt_pieces"), 0);
    assert!(node.counter("puts_refused") > 0);
    served(&mut client, 100);
}

#[test]
fn a_page_full_of_nonsense_is_fenced_and_buried() {
    let mut node = Node::start("garbage");
    let mut client = node.actor();
    let seed = &mut Seed::of_environment(6);
    for round in 0..8 {
        let raw = RawClient::attach(node.socket());
        for word in &raw.words()[..PAGE_WORDS] {
            word.store(seed.next_u64(), Ordering::Relaxed);
        }
        raw.ring_bell();
        for n in 0..60 {
            served(&mut client, 1000 * round + n);
        }
        if round % 2 == 1 {
            // Its successor reads the same nonsense first of all.
            node.kill();
            node.restart();
            served(&mut client, 1000 * round + 500);
        }
        drop(raw);
    }
    until("those cut off are gone", || {
        (node.status()["clients"].as_array().unwrap().len() == 1).then_some(())
    });
}

#[test]
fn another_user_is_refused() {
    let name = "another_user_is_refused";
    if !rustix::process::geteuid().is_root() {
        return skip(name, "only root can start a process of another user");
    }
    let scratch = Scratch::new();
    let socket = scratch.path().join("node.sock");
    let node = Setup::new("foreign").at_socket(&socket).start();
    let mut stranger = Actor::start();
    stranger.expect("become 65534", "ok");
    let path = socket.display();
    let said = stranger.ask(&format!("knock_raw {path}"));
    assert!(said.contains("ermission denied"), "{said}");
    // Even where the way is open: whoever connects is asked who he is.
    scratch.open_to(0o755);
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let said = stranger.ask(&format!("knock_raw {path}"));
    assert!(said.contains("serves its own user only"), "{said}");
    let said = stranger.ask(&format!("knock {path}"));
    assert!(said.contains("belongs to user 0"), "{said}");
    served(&mut node.actor(), 1);
    assert_eq!(node.counter("attachments"), 1);
}

#[test]
fn a_long_tmpdir_changes_nothing() {
    let scratch = Scratch::new();
    let long = scratch.path().join("x".repeat(200));
    std::fs::create_dir(&long).unwrap();
    let node = Setup::new("tmpdir").env("TMPDIR", &long).start();
    assert!(node.socket().as_os_str().len() <= cascade_core::place::SOCKET_PATH_MAX_BYTES);
    let mut client = Actor::start_in(&[("TMPDIR", long.to_str().unwrap())]);
    let said = client.ask(&format!("find {}", node.setup().instance()));
    assert!(said.starts_with("attached"), "{said}");
    served(&mut client, content::CHAIN);
}
