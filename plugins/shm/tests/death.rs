//! What happens when processes die, freeze, or live elsewhere: with real ones.

#[path = "support/child.rs"]
mod child;
mod support;

use cascade_tier::capability::feature;
use cascade_tier::{Action, CloseMode, MemoryRange, Status};
use child::{ARGUMENT, Actor, ROLE, ready_until_killed};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use support::*;

/// The roles of child processes; as a test of its own, that there is no such role unless one is asked for.
#[test]
fn roles() {
    let Ok(role) = std::env::var(ROLE) else { return assert!(std::env::var(ARGUMENT).is_err()) };
    let argument = std::env::var(ARGUMENT).unwrap();
    match role.as_str() {
        "own" => own(Path::new(&argument), false),
        "own and pass the lock on" => own(Path::new(&argument), true),
        "collect" => ready_until_killed(&collect(Path::new(&argument), false).to_string()),
        "be a client" => {
            let pages = fs::File::options().read(true).write(true).open(&argument).unwrap();
            lock_a_page(&pages);
            ready_until_killed("")
        }
        "outgrow a control group" => outgrow(Path::new(&argument)),
        "grow on an old kernel" => grow_unprefaulted(Path::new(&argument)),
        "fill a small file system" => fill(Path::new(&argument)),
        other => panic!("no role {other:?}"),
    }
}

#[expect(clippy::zombie_processes, reason = "the grandchild outlives its parent: that is what is tested")]
/// Owns a segment with `hot set` in it. With `pass_on` a grandchild, whose pid it tells, gets the lock as well.
fn own(directory: &Path, pass_on: bool) -> ! {
    let mut tier = open(&config(directory));
    assert_eq!(allocate(&mut tier, 2, 0, MIB).status, Status::OK);
    write(&tier, "arena-0", 100, b"hot set");
    if !pass_on {
        ready_until_killed("");
    }
    for entry in fs::read_dir("/proc/self/fd").unwrap().map_while(Result::ok) {
        if fs::read_link(entry.path()).is_ok_and(|target| target == directory.join("owner")) {
            let number = entry.file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: the tier holds it open.
            fcntl_setfd(unsafe { BorrowedFd::borrow_raw(number) }, FdFlags::empty()).unwrap();
        }
    }
    // Its output goes nowhere, so that nobody who reads ours waits for it.
    let grandchild =
        Command::new("sleep").arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    ready_until_killed(&grandchild.id().to_string())
}

fn lock_a_page(pages: &fs::File) {
    lock(pages, 4096, 4096);
}

/// Takes the lock on a range of a file; a length of 0 is to the end.
fn lock(file: &fs::File, start: i64, length: i64) {
    let range = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    // SAFETY: the file is open, and the command reads one `flock`.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) }, 0);
}

/// Grows where `madvise` knows no MADV_POPULATE_WRITE, as before Linux 5.14, and writes into what it got.
fn grow_unprefaulted(root: &Path) -> ! {
    if let Err(error) = forget_how_to_prefault() {
        ready_until_killed(&format!("without a filter: {error}"));
    }
    let mut patient = config(&root.join("segment"));
    patient["regions"][2]["prefault"] = json!(true);
    let mut tier = open(&patient);
    for offset in [0, MIB] {
        assert_eq!(allocate(&mut tier, 2, offset, MIB).status, Status::OK);
    }
    write(&tier, "arena-0", MIB + 100, b"hot set");
    assert_eq!(read(&tier, "arena-0", MIB + 100, 7), b"hot set");
    let warnings = stats(&tier)["warnings"].to_string();
    tier.close(CloseMode::Unlink).unwrap();
    ready_until_killed(&warnings)
}

/// From here on the calls of this thread, and of those that it starts, that want to prefault fail with EINVAL.
fn forget_how_to_prefault() -> std::io::Result<()> {
    let load = |offset: u32| (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let unless = |value: u32, skip: u8| (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip, value);
    let end = |verdict: u32| (libc::BPF_RET | libc::BPF_K, 0, 0, verdict);
    // In `seccomp_data` the call's number comes first; the lower half of the third argument lies at 32.
    let program = [
        load(0),
        unless(libc::SYS_madvise as u32, 3),
        load(32),
        unless(libc::MADV_POPULATE_WRITE as u32, 1),
        end(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    let mut program = program.map(|(code, jt, jf, k)| libc::sock_filter { code: code as u16, jt, jf, k });
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the calls change only what this thread may do; the filter is read before the second one returns.
    let results = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter),
        ]
    };
    if results == [0, 0] { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Takes all there is of a file system of 16 MiB and asks for more. A SIGBUS would end it unready.
fn fill(root: &Path) -> ! {
    let mut large = config(&root.join("segment"));
    large["regions"][2]["bytes"] = json!(64 * MIB);
    let mut tier = open(&large);
    assert_eq!(allocate(&mut tier, 2, 0, 8 * MIB).status, Status::OK);
    assert_eq!(allocate(&mut tier, 2, 0, 64 * MIB).status, Status::NO_SPACE);
    // Copies to where there is no memory: by the kernel's hand through a descriptor, and through a mapping.
    let host = vec![7_u8; 32 * MIB as usize];
    let memory = cascade_tier::Memory::new("host", host.len() as u64).at(host.as_ptr().cast_mut());
    // SAFETY: `host` lives until the process ends, and nobody writes it.
    let host = unsafe { tier.register_memory(&memory) }.unwrap();
    let [head, tail] = [0, 32 * MIB].map(|offset| MemoryRange::new(2, offset, 32 * MIB));
    let source = MemoryRange::new(host, 0, 32 * MIB);
    assert_eq!(perform(&mut tier, Action::Copy { source, target: tail }).status, Status::NO_SPACE);
    assert_eq!(perform(&mut tier, Action::Copy { source: tail, target: head }).status, Status::NO_SPACE);
    tier.close(CloseMode::Unlink).unwrap();
    ready_until_killed("")
}

/// Asks for more than its control group has. The OOM killer would end it unready.
fn outgrow(root: &Path) -> ! {
    let mut large = config(&root.join("segment"));
    large["regions"][2]["bytes"] = json!(512 * MIB);
    large["reserve_bytes"] = json!(16 * MIB);
    let mut tier = open(&large);
    let completion = allocate(&mut tier, 2, 0, 512 * MIB);
    assert_eq!(completion.status, Status::NO_SPACE);
    assert!((64 * MIB..256 * MIB).contains(&completion.bytes), "{completion:?}");
    let probe: Value = serde_json::from_str(&library().probe("{}").unwrap()).unwrap();
    assert_eq!(probe["cgroup"]["limit_bytes"], json!(256 * MIB), "{probe}");
    tier.close(CloseMode::Unlink).unwrap();
    ready_until_killed("")
}

fn collect(root: &Path, dry_run: bool) -> Value {
    let report = library().collect_garbage(&json!({"root": root, "dry_run": dry_run}).to_string()).unwrap();
    serde_json::from_str(&report).unwrap()
}

#[test]
fn a_killed_owners_segment_is_adopted_with_its_bytes() {
    let scratch = Scratch::new();
    let (owner, _) = Actor::start("own", scratch.segment().to_str().unwrap());
    let error = try_open(&config(&scratch.segment())).unwrap_err();
    assert_eq!(error.status, Status::OWNED);
    assert!(error.message.contains(&format!("pid {} on here", owner.pid())), "{error}");
    owner.kill();
    let tier = open(&config(&scratch.segment()));
    assert!(tier.capabilities().unwrap().has(feature::ADOPTED));
    assert_eq!(read(&tier, "arena-0", 100, 7), b"hot set");
}

#[test]
fn a_frozen_owner_is_a_living_one() {
    let scratch = Scratch::new();
    let (owner, _) = Actor::start("own", scratch.segment().to_str().unwrap());
    owner.signal(Signal::STOP);
    assert_eq!(try_open(&config(&scratch.segment())).unwrap_err().status, Status::OWNED);
}

#[test]
fn a_dead_owner_whose_lock_lives_on_is_waited_for() {
    let scratch = Scratch::new();
    let (owner, heir) = Actor::start("own and pass the lock on", scratch.segment().to_str().unwrap());
    let heir = Heir::new(&heir);
    owner.kill();
    let mut patient = config(&scratch.segment());
    patient["owner_wait_ms"] = json!(60_000);
    let opening = std::thread::spawn(move || open(&patient));
    heir.kill();
    let tier = opening.join().unwrap();
    assert_eq!(stats(&tier)["directory"], json!(scratch.segment()));
    assert_eq!(read(&tier, "arena-0", 100, 7), b"hot set");
}

#[test]
fn an_owner_that_cannot_exit_is_left_behind_and_its_successor_is_the_one() {
    let scratch = Scratch::new();
    let (owner, heir) = Actor::start("own and pass the lock on", scratch.segment().to_str().unwrap());
    let heir = Heir::new(&heir);
    owner.kill();
    let tier = open(&config(&scratch.segment()));
    let beside = scratch.path().join("segment.2");
    assert_eq!(stats(&tier)["directory"], json!(beside));
    assert!(stats(&tier)["warnings"].to_string().contains("left to `gc`"), "{}", stats(&tier));
    assert_eq!(stats(&tier)["adopted"], false);

    // The old one is free again, but the instance has its node.
    heir.kill();
    let error = try_open(&config(&scratch.segment())).unwrap_err();
    assert_eq!(error.status, Status::OWNED);
    assert!(error.message.contains("segment.2"), "{error}");

    let report = collect(scratch.path(), false);
    assert_eq!(report["removed"][0]["directory"], json!(scratch.segment()));
    assert_eq!(report["kept"][0]["directory"], json!(beside));
}

/// The grandchild that a dead owner's lock went to. Killed with the test.
struct Heir(Pid);

impl Heir {
    fn new(pid: &str) -> Heir {
        Heir(Pid::from_raw(pid.parse().unwrap()).unwrap())
    }

    /// Kills it, and waits until its descriptors are gone: it is not our child to wait for.
    fn kill(self) {
        kill_process(self.0, Signal::KILL).unwrap();
        let descriptors = format!("/proc/{}/fd", self.0.as_raw_nonzero());
        while fs::read_dir(&descriptors).is_ok_and(|descriptors| descriptors.count() > 0) {
            std::thread::yield_now();
        }
        // Its number may be somebody else's by now.
        std::mem::forget(self);
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn gc_keeps_the_living_and_takes_the_dead() {
    let scratch = Scratch::new();
    let (owner, _) = Actor::start("own", scratch.segment().to_str().unwrap());
    let report = collect(scratch.path(), false);
    let reason = report["kept"][0]["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("pid {}", owner.pid())), "{report}");
    owner.kill();

    let report = collect(scratch.path(), true);
    assert!(report["removed"][0]["bytes"].as_u64().unwrap() >= MIB, "{report}");
    assert!(scratch.segment().exists(), "a dry run removes nothing");

    collect(scratch.path(), false);
    assert!(!scratch.segment().exists());
}

#[test]
fn gc_keeps_a_segment_that_a_client_reads() {
    let scratch = Scratch::new();
    let (owner, _) = Actor::start("own", scratch.segment().to_str().unwrap());
    let pages = scratch.segment().join("pages");
    let (client, _) = Actor::start("be a client", pages.to_str().unwrap());
    owner.kill();
    let report = collect(scratch.path(), false);
    assert!(report["kept"][0]["reason"].as_str().unwrap().contains("a client lives"), "{report}");
    client.kill();
    let report = collect(scratch.path(), false);
    assert_eq!(report["removed"][0]["directory"], json!(scratch.segment()));
}

#[test]
fn gc_from_another_pid_namespace_keeps_a_live_segment() {
    let scratch = Scratch::new();
    let (owner, _) = Actor::start("own", scratch.segment().to_str().unwrap());
    let elsewhere = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"];
    let Some((_collector, report)) =
        Actor::start_under(&elsewhere, "collect", scratch.path().to_str().unwrap())
    else {
        println!("SKIPPED: this machine lets nobody make a PID namespace");
        return;
    };
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["removed"], json!([]), "{report}");
    assert!(report["kept"][0]["reason"].as_str().unwrap().contains(&format!("pid {}", owner.pid())));
    assert!(scratch.segment().join("arena-0").exists());
}

#[test]
fn a_gc_that_cannot_be_told_from_an_owner_is_waited_for() {
    let scratch = Scratch::new();
    let (owner, _) = Actor::start("own", scratch.segment().to_str().unwrap());
    owner.kill();
    // As if the dead owner had lived in another PID namespace.
    let path = scratch.segment().join("owner");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["pid_namespace"] = json!("pid:[1]");
    fs::write(&path, record.to_string()).unwrap();

    let collector = fs::File::options().read(true).write(true).open(&path).unwrap();
    lock(&collector, 0, 0);
    let opening = std::thread::spawn({
        let config = config(&scratch.segment());
        move || try_open(&config).map(|tier| tier.capabilities().unwrap().has(feature::ADOPTED))
    });
    // Long enough for it to see the lock, most times; it must succeed whether it does or not.
    std::thread::sleep(std::time::Duration::from_millis(100));
    drop(collector);
    assert!(opening.join().unwrap().expect("it waits"), "the dead owner's segment is adopted");
}

#[test]
fn an_owner_out_of_sight_that_stays_is_a_living_one() {
    let scratch = Scratch::new();
    let (_owner, _) = Actor::start("own", scratch.segment().to_str().unwrap());
    let path = scratch.segment().join("owner");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["pid_namespace"] = json!("pid:[1]");
    fs::write(&path, record.to_string()).unwrap();
    assert_eq!(try_open(&config(&scratch.segment())).unwrap_err().status, Status::OWNED);
}

#[test]
fn a_kernel_that_cannot_prefault_grows_all_the_same_and_it_is_said() {
    let scratch = Scratch::new();
    let (_actor, said) = Actor::start("grow on an old kernel", scratch.path().to_str().unwrap());
    if let Some(why) = said.strip_prefix("without a filter: ") {
        println!(
            "SKIPPED death::a_kernel_that_cannot_prefault: this machine lets nobody filter system calls: {why}"
        );
        return;
    }
    assert_eq!(said.matches("does not prefault").count(), 1, "{said}");
}

#[test]
fn gc_touches_nothing_that_is_no_segment_and_needs_no_root() {
    let scratch = Scratch::new();
    let notes = scratch.path().join("notes");
    fs::create_dir(&notes).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&notes, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(notes.join("todo"), "keep").unwrap();
    std::os::unix::fs::symlink(&notes, scratch.path().join("link")).unwrap();
    let report = collect(scratch.path(), false);
    assert_eq!(report["removed"], json!([]), "{report}");
    assert!(notes.join("todo").exists());
    assert_eq!(collect(&scratch.path().join("missing"), false)["kept"], json!([]));
}

#[test]
fn a_full_file_system_is_an_answer_and_never_a_signal() {
    let scratch = Scratch::new();
    let mounting =
        format!("mount -t tmpfs -o size=16m,mode=700 none {} && exec \"$@\"", scratch.path().display());
    let small = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &mounting, "sh"];
    let can_mount =
        Command::new(small[0]).args(&small[1..]).arg("true").status().is_ok_and(|status| status.success());
    if !can_mount {
        println!("SKIPPED: this machine lets nobody mount a small file system");
        return;
    }
    let filled = Actor::start_under(&small, "fill a small file system", scratch.path().to_str().unwrap());
    assert!(filled.is_some(), "it died before it was done");
}

#[test]
fn the_limit_of_a_control_group_is_an_answer_and_nobody_is_killed() {
    let scratch = Scratch::new();
    let name = format!("cascade-test-{}", std::process::id());
    let version_1 = (Path::new("/sys/fs/cgroup/memory").join(&name), "memory.limit_in_bytes");
    let version_2 = (Path::new("/sys/fs/cgroup").join(&name), "memory.max");
    let (group, limit_file) = if version_1.0.parent().unwrap().exists() { version_1 } else { version_2 };
    let made =
        fs::create_dir(&group).and_then(|()| fs::write(group.join(limit_file), (256 * MIB).to_string()));
    if let Err(error) = made {
        let _ = fs::remove_dir(&group);
        println!("SKIPPED: this user makes no control groups ({error})");
        return;
    }
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.display());
    let root = scratch.path().to_str().unwrap();
    let grown = Actor::start_under(&["sh", "-c", &enter, "sh"], "outgrow a control group", root);
    let survived = grown.is_some();
    drop(grown);
    fs::remove_dir(&group).unwrap();
    assert!(survived, "it died before it was done");
}
