//! Faults around real engines and directories, switched on and off by their control file.

use crate::support::{Folder, Memory, finish, wait};
use cascade_tier_lustre::io::faulty::{Call, Fault, Faults, FaultyDirectory, FaultyEngine, Rule};
use cascade_tier_lustre::io::{Caching, Depth, Direction, Directory, Done, Engine, FileKind, Pool, Transfer};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const PAGES: usize = 8;
const BYTES: u64 = PAGES as u64 * 4096;

/// A faulty file system of a test.
struct Faulty {
    folder: Folder,
    faults: Arc<Faults>,
    engine: FaultyEngine,
    file: Arc<OwnedFd>,
    memory: Memory,
}

impl Faulty {
    fn new(test: &str) -> Faulty {
        let folder = Folder::on_disk(&format!("faulty-{test}"), Caching::Avoided);
        let faults = Faults::new(folder.path().join("faults.json"));
        let pool = Pool::new("pread", Depth::default()).unwrap();
        let engine = FaultyEngine::new(Box::new(pool), faults.clone()).unwrap();
        let file = folder.directory.create("pieces", FileKind::Container).unwrap();
        let memory = Memory::patterned(PAGES, 5);
        let mut faulty = Faulty { folder, faults, engine, file, memory };
        assert_eq!(faulty.transfer(Direction::Write).unwrap(), BYTES);
        faulty
    }

    fn set(&self, rules: &[Rule]) {
        let path = self.folder.path().join("faults.json");
        fs::write(path.with_extension("new"), serde_json::to_string(rules).unwrap()).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
        // The file is looked at every few milliseconds.
        thread::sleep(Duration::from_millis(20));
    }

    fn submit(&mut self, token: u64, direction: Direction) {
        let (file, parts) = (self.file.clone(), self.memory.parts(&[1, PAGES - 1]));
        let transfer = Transfer { token, file, offset: 0, direction, parts };
        // SAFETY: the memory outlives the engine, which every test finishes.
        unsafe { self.engine.submit(transfer) }.unwrap();
    }

    fn transfer(&mut self, direction: Direction) -> io::Result<u64> {
        self.submit(1, direction);
        finish(&mut self.engine, 1)
    }

    fn directory(&self) -> FaultyDirectory {
        FaultyDirectory::new(Arc::new(self.folder.again()), self.faults.clone())
    }
}

fn rule(on: &[Call], fault: Fault) -> Rule {
    Rule { on: on.to_vec(), file: None, one_in: None, fault }
}

fn error(name: &str) -> Fault {
    Fault::Error(name.to_owned())
}

#[test]
fn errors_meet_the_calls_that_they_are_for_and_end_with_their_rule() {
    let mut faulty = Faulty::new("errors");
    for (name, code) in [
        ("EIO", libc::EIO),
        ("ESTALE", libc::ESTALE),
        ("ESHUTDOWN", libc::ESHUTDOWN),
        ("ENOSPC", libc::ENOSPC),
        ("EDQUOT", libc::EDQUOT),
    ] {
        faulty.set(&[rule(&[Call::Write], error(name))]);
        assert_eq!(faulty.transfer(Direction::Write).unwrap_err().raw_os_error(), Some(code));
        assert_eq!(faulty.transfer(Direction::Read).unwrap(), BYTES);
    }
    faulty.set(&[]);
    assert_eq!(faulty.transfer(Direction::Write).unwrap(), BYTES);
}

#[test]
fn a_rule_can_be_for_every_third_call_and_for_some_files() {
    let mut faulty = Faulty::new("third");
    let every_third = Rule { one_in: Some(3), ..rule(&[Call::Read], error("EIO")) };
    faulty.set(&[every_third]);
    let failed: Vec<bool> = (0..6).map(|_| faulty.transfer(Direction::Read).is_err()).collect();
    assert_eq!(failed, [false, false, true, false, false, true]);

    faulty.set(&[Rule { file: Some("manifest".to_owned()), ..rule(&[], error("EIO")) }]);
    assert_eq!(faulty.transfer(Direction::Read).unwrap(), BYTES);
    let directory = faulty.directory();
    let other = directory.create("a.manifest", FileKind::Records).unwrap_err();
    assert_eq!(other.raw_os_error(), Some(libc::EIO));
    directory.create("a.pieces", FileKind::Records).unwrap();
}

#[test]
fn short_transfers_move_about_half() {
    let mut faulty = Faulty::new("short");
    faulty.set(&[rule(&[Call::Read, Call::Write, Call::ReadAt, Call::WriteAt], Fault::Short)]);
    faulty.memory.fill(0);
    assert_eq!(faulty.transfer(Direction::Read).unwrap(), BYTES / 2);
    assert!(faulty.memory.pages(0, PAGES / 2).iter().any(|&byte| byte != 0));
    assert!(faulty.memory.pages(PAGES / 2, PAGES / 2).iter().all(|&byte| byte == 0), "nothing beyond");
    assert_eq!(faulty.transfer(Direction::Write).unwrap(), BYTES / 2);

    let directory = faulty.directory();
    let file = directory.create("a.manifest", FileKind::Records).unwrap();
    assert_eq!(directory.write_at(&file, &[7; 100], 0).unwrap_err().kind(), ErrorKind::WriteZero);
    assert_eq!(directory.look(&file).unwrap().length, 50);
    assert_eq!(directory.read_at(&file, &mut [0; 50], 0).unwrap(), 25);
}

#[test]
fn what_hangs_goes_on_when_the_rule_is_gone_and_holds_up_nothing_else() {
    let mut faulty = Faulty::new("hang");
    faulty.set(&[rule(&[Call::Read, Call::Open], Fault::Hang)]);
    faulty.submit(1, Direction::Read);
    faulty.submit(2, Direction::Write);
    let mut done: Vec<Done> = Vec::new();
    while done.is_empty() {
        wait(&mut faulty.engine, &mut done);
    }
    assert_eq!((done.len(), done[0].token, faulty.engine.under_way()), (1, 2, 1));

    let directory = faulty.directory();
    thread::scope(|scope| {
        let opener = scope.spawn(|| directory.open("pieces", FileKind::Records).map(drop));
        directory.list().expect("only opening hangs");
        assert!(!opener.is_finished());
        faulty.set(&[]);
        opener.join().unwrap().unwrap();
    });
    assert_eq!(finish(&mut faulty.engine, 1).unwrap(), BYTES);
}

#[test]
fn an_engine_is_dropped_with_what_hangs() {
    let mut faulty = Faulty::new("drop");
    faulty.set(&[rule(&[], Fault::Hang)]);
    faulty.submit(1, Direction::Read);
    drop(faulty.engine);
}

#[test]
fn latency_and_throttle_take_their_time() {
    let mut faulty = Faulty::new("slow");
    let took = |faulty: &mut Faulty| {
        let start = Instant::now();
        faulty.submit(1, Direction::Read);
        faulty.submit(2, Direction::Read);
        let mut done = Vec::new();
        while done.len() < 2 {
            wait(&mut faulty.engine, &mut done);
        }
        start.elapsed()
    };
    faulty.set(&[rule(&[Call::Read], Fault::LatencyMs(50))]);
    assert!(took(&mut faulty) >= Duration::from_millis(50));
    // Two transfers of 32 KiB at 1 MB/s, one after the other.
    faulty.set(&[rule(&[Call::Read], Fault::BytesPerS(1_000_000))]);
    assert!(took(&mut faulty) >= Duration::from_millis(65));
}

#[test]
fn a_file_can_vanish_before_it_is_opened() {
    let faulty = Faulty::new("vanish");
    faulty.set(&[rule(&[Call::Open], Fault::Vanish)]);
    let directory = faulty.directory();
    assert!(directory.list().unwrap().contains(&"pieces".to_owned()));
    assert_eq!(directory.open("pieces", FileKind::Container).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!directory.list().unwrap().contains(&"pieces".to_owned()));
}

#[test]
fn a_control_file_that_is_wrong_fails_everything() {
    let mut faulty = Faulty::new("wrong");
    faulty.set(&[rule(&[], error("ENONSENSE"))]);
    let said = faulty.transfer(Direction::Read).unwrap_err();
    assert_eq!(said.kind(), ErrorKind::InvalidData);
    assert!(said.to_string().contains("ENONSENSE"), "{said}");
}
