//! A segment from its making to its end, within one process. What needs several is in `death.rs`.

mod support;

use cascade_tier::capability::feature;
use cascade_tier::{Action, CloseMode, MemoryRange, Status};
use serde_json::json;
use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use support::*;

#[test]
fn a_new_segment_is_private_sparse_and_readable_by_its_exports() {
    let scratch = Scratch::new();
    let tier = open(&config(&scratch.segment()));
    assert_eq!(fs::metadata(scratch.segment()).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["meta", "pages", "arena-0", "owner"] {
        let file = fs::metadata(scratch.segment().join(name)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
        assert!(name == "owner" || file.blocks() == 0, "{name} has pages that nobody asked for");
    }
    let names: Vec<_> = tier.exports().unwrap().iter().map(|memory| memory.name().to_owned()).collect();
    assert_eq!(names, ["meta", "pages", "arena-0"]);
    assert!(!tier.capabilities().unwrap().has(feature::ADOPTED));
}

#[test]
fn allocated_memory_is_there_and_released_memory_is_gone_and_zero() {
    let scratch = Scratch::new();
    let mut tier = open(&config(&scratch.segment()));
    let completion = allocate(&mut tier, 2, MIB, 4 * MIB);
    assert_eq!((completion.status, completion.bytes), (Status::OK, 4 * MIB));
    let arena = scratch.segment().join("arena-0");
    assert_eq!(fs::metadata(&arena).unwrap().blocks() * 512, 4 * MIB);
    write(&tier, "arena-0", 2 * MIB, b"kept");
    write(&tier, "arena-0", 4 * MIB, b"gone");
    let range = MemoryRange::new(2, 4 * MIB, MIB);
    assert_eq!(perform(&mut tier, Action::Release { range }).status, Status::OK);
    assert_eq!(fs::metadata(&arena).unwrap().blocks() * 512, 3 * MIB);
    assert_eq!(read(&tier, "arena-0", 2 * MIB, 4), b"kept");
    assert_eq!(read(&tier, "arena-0", 4 * MIB, 4), [0; 4]);
}

#[test]
fn allocating_what_is_allocated_keeps_its_bytes() {
    let scratch = Scratch::new();
    let mut tier = open(&config(&scratch.segment()));
    allocate(&mut tier, 2, 0, MIB);
    write(&tier, "arena-0", 0, b"kept");
    assert_eq!(allocate(&mut tier, 2, 0, 2 * MIB).status, Status::OK);
    assert_eq!(read(&tier, "arena-0", 0, 4), b"kept");
}

#[test]
fn what_was_left_is_adopted_with_its_bytes_and_its_sizes() {
    let scratch = Scratch::new();
    let mut tier = open(&config(&scratch.segment()));
    allocate(&mut tier, 2, 0, MIB);
    write(&tier, "arena-0", 100, b"hot set");
    tier.close(CloseMode::Leave).unwrap();

    let mut larger = config(&scratch.segment());
    larger["regions"][2]["bytes"] = json!(64 * MIB);
    let tier = open(&larger);
    assert!(tier.capabilities().unwrap().has(feature::ADOPTED));
    assert_eq!(stats(&tier)["adopted"], true);
    assert_eq!(export(&tier, "arena-0").length_bytes, 8 * MIB);
    assert_eq!(read(&tier, "arena-0", 100, 7), b"hot set");
}

#[test]
fn an_arena_that_is_no_longer_configured_is_adopted_too() {
    let scratch = Scratch::new();
    let mut two = config(&scratch.segment());
    two["regions"].as_array_mut().unwrap().push(json!({"name": "arena-1", "bytes": MIB}));
    open(&two).close(CloseMode::Leave).unwrap();
    let tier = open(&config(&scratch.segment()));
    assert_eq!(stats(&tier)["adopted"], true);
    assert_eq!(export(&tier, "arena-1").id, 3);
}

#[test]
fn a_segment_of_another_boot_or_without_a_region_or_unasked_for_is_replaced() {
    type Spoil = fn(&Path);
    let spoil: [(&str, Spoil); 4] = [
        ("another boot", |folder| {
            let mut owner: serde_json::Value =
                serde_json::from_slice(&fs::read(folder.join("owner")).unwrap()).unwrap();
            owner["boot_id"] = json!("another");
            fs::write(folder.join("owner"), owner.to_string()).unwrap();
        }),
        ("never finished", |folder| {
            let owner = fs::read_to_string(folder.join("owner")).unwrap();
            fs::write(folder.join("owner"), owner.replace("\"ready\":true", "\"ready\":false")).unwrap();
        }),
        ("meta", |folder| fs::remove_file(folder.join("meta")).unwrap()),
        ("there was none", |folder| fs::write(folder.join("owner"), "{").unwrap()),
    ];
    for (reason, spoil) in spoil {
        let scratch = Scratch::new();
        let mut tier = open(&config(&scratch.segment()));
        allocate(&mut tier, 2, 0, MIB);
        write(&tier, "arena-0", 0, b"stale");
        tier.close(CloseMode::Leave).unwrap();
        spoil(&scratch.segment());
        let tier = open(&config(&scratch.segment()));
        assert_eq!(stats(&tier)["adopted"], false);
        assert!(stats(&tier)["origin"].as_str().unwrap().contains(reason), "{}", stats(&tier));
        assert_eq!(read(&tier, "arena-0", 0, 5), [0; 5]);
    }
    let scratch = Scratch::new();
    open(&config(&scratch.segment())).close(CloseMode::Leave).unwrap();
    let mut create = config(&scratch.segment());
    create["mode"] = json!("create");
    assert_eq!(stats(&open(&create))["adopted"], false);
}

#[test]
fn who_maps_a_replaced_segment_keeps_its_bytes() {
    let scratch = Scratch::new();
    let mut tier = open(&config(&scratch.segment()));
    allocate(&mut tier, 2, 0, MIB);
    write(&tier, "arena-0", 0, b"old");
    let old = fs::File::open(scratch.segment().join("arena-0")).unwrap();
    tier.close(CloseMode::Discard).unwrap();
    let tier = open(&config(&scratch.segment()));
    assert_eq!(stats(&tier)["adopted"], false);
    let mut bytes = [0; 3];
    std::os::unix::fs::FileExt::read_exact_at(&old, &mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"old");
}

#[test]
fn unlink_leaves_nothing() {
    let scratch = Scratch::new();
    let tier = open(&config(&scratch.segment()));
    fs::write(scratch.segment().join("socket"), "").unwrap();
    tier.close(CloseMode::Unlink).unwrap();
    assert!(!scratch.segment().exists());
}

#[test]
fn a_living_owner_is_named_and_kept() {
    let scratch = Scratch::new();
    let _tier = open(&config(&scratch.segment()));
    let error = try_open(&config(&scratch.segment())).unwrap_err();
    assert_eq!(error.status, Status::OWNED);
    let me = format!("pid {} on here", std::process::id());
    assert!(error.message.contains(&me) && error.message.contains("since"), "{error}");
}

#[test]
fn a_folder_that_is_a_link_or_that_others_may_enter_is_refused() {
    let scratch = Scratch::new();
    let elsewhere = scratch.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&elsewhere, scratch.segment()).unwrap();
    let error = try_open(&config(&scratch.segment())).unwrap_err();
    assert_eq!(error.status, Status::INVALID);
    assert!(error.message.contains("a symbolic link"), "{error}");

    let open_to_all = scratch.path().join("open");
    fs::create_dir(&open_to_all).unwrap();
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o755)).unwrap();
    let error = try_open(&config(&open_to_all)).unwrap_err();
    assert!(error.message.contains("chmod 700"), "{error}");

    let writable_parent = scratch.path().join("parent");
    fs::create_dir(&writable_parent).unwrap();
    fs::set_permissions(&writable_parent, fs::Permissions::from_mode(0o777)).unwrap();
    let error = try_open(&config(&writable_parent.join("segment"))).unwrap_err();
    assert!(error.message.contains("others may replace"), "{error}");
}

#[test]
fn the_read_only_descriptor_cannot_write() {
    let scratch = Scratch::new();
    let tier = open(&config(&scratch.segment()));
    let arena = export(&tier, "arena-0");
    // SAFETY: the tier is open, so its descriptors are.
    let readonly = unsafe { BorrowedFd::borrow_raw(arena.fd_readonly) };
    assert_eq!(rustix::io::pwrite(readonly, b"x", 0), Err(rustix::io::Errno::BADF));
}

#[test]
fn allocation_leaves_the_reserve_to_others_and_takes_nothing() {
    let scratch = Scratch::new();
    let mut greedy = config(&scratch.segment());
    greedy["reserve_bytes"] = json!(1_u64 << 60);
    let mut tier = open(&greedy);
    let completion = allocate(&mut tier, 2, 0, MIB);
    assert_eq!((completion.status, completion.bytes), (Status::NO_SPACE, 0));
    assert_eq!(fs::metadata(scratch.segment().join("arena-0")).unwrap().blocks(), 0);
    assert_eq!(stats(&tier)["counts"]["refused_for_space"], 1);
}

#[test]
fn a_full_region_can_be_allocated_again_where_there_is_no_room_left() {
    let scratch = Scratch::new();
    let mut tier = open(&config(&scratch.segment()));
    allocate(&mut tier, 2, 0, 8 * MIB);
    tier.close(CloseMode::Leave).unwrap();
    let mut greedy = config(&scratch.segment());
    greedy["reserve_bytes"] = json!(1_u64 << 60);
    let mut tier = open(&greedy);
    assert_eq!(allocate(&mut tier, 2, 0, 8 * MIB).status, Status::OK);
}

#[test]
fn pages_go_where_they_were_asked_for_or_a_warning_says_why_not() {
    let scratch = Scratch::new();
    let mut placed = config(&scratch.segment());
    placed["regions"][2]["numa"] = json!({"bind": 1023});
    placed["regions"][2]["huge_pages"] = json!("advise");
    placed["regions"][2]["prefault"] = json!(true);
    let mut tier = open(&placed);
    let warnings = stats(&tier)["warnings"].to_string();
    assert!(warnings.contains("arena-0: not placed"), "no machine here has a domain 1023: {warnings}");
    assert_eq!(allocate(&mut tier, 2, 0, 2 * MIB).status, Status::OK);
}

#[test]
fn probe_says_what_there_is_and_what_bounds_it() {
    let report: serde_json::Value = serde_json::from_str(&library().probe("{}").unwrap()).unwrap();
    let available = report["available_bytes"].as_u64().unwrap();
    assert!(available > 0);
    assert!(available <= report["file_system_free_bytes"].as_u64().unwrap());
    assert!(available <= report["machine_available_bytes"].as_u64().unwrap());
    assert_eq!(report["is_tmpfs"], true);
    let scratch = Scratch::new();
    library().probe(&config(&scratch.segment()).to_string()).unwrap();
    assert!(!scratch.segment().exists(), "a probe opens nothing");
}

#[test]
fn mappings_do_not_reach_forks_and_descriptors_do_not_reach_programs() {
    let scratch = Scratch::new();
    let tier = open(&config(&scratch.segment()));
    let arena = scratch.segment().join("arena-0");
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut mapping = smaps.lines().skip_while(|line| !line.ends_with(arena.to_str().unwrap()));
    let flags = mapping.find(|line| line.starts_with("VmFlags:")).unwrap();
    assert!(flags.split(' ').any(|flag| flag == "dc"), "it would be copied by fork: {flags}");
    let arena = export(&tier, "arena-0");
    let event = tier.event_fd().unwrap().unwrap();
    for fd in [arena.fd, arena.fd_readonly, std::os::fd::AsRawFd::as_raw_fd(&event)] {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let close_on_exec = 0o2_000_000;
        assert_ne!(u32::from_str_radix(flags, 8).unwrap() & close_on_exec, 0, "{fd}: {flags}");
    }
}

#[test]
fn memory_that_is_read_only_is_copied_from_but_not_to() {
    let scratch = Scratch::new();
    let mut tier = open(&config(&scratch.segment()));
    allocate(&mut tier, 2, 0, MIB);
    let text = *b"do not touch";
    let mut memory = cascade_tier::Memory::new("text", 12).at(text.as_ptr().cast_mut());
    memory.flags |= cascade_tier::memory::flag::READ_ONLY;
    // SAFETY: the text lives as long as the tier, and nobody writes it.
    let id = unsafe { tier.register_memory(&memory) }.unwrap();
    let (text_range, there) = (MemoryRange::new(id, 0, 12), MemoryRange::new(2, 0, 12));
    assert_eq!(perform(&mut tier, Action::Copy { source: text_range, target: there }).status, Status::OK);
    assert_eq!(read(&tier, "arena-0", 0, 12), text);
    assert_eq!(
        perform(&mut tier, Action::Copy { source: there, target: text_range }).status,
        Status::INVALID
    );
}

#[test]
fn memory_without_an_address_is_not_registered() {
    let scratch = Scratch::new();
    let mut tier = open(&config(&scratch.segment()));
    let memory = cascade_tier::Memory::new("device", 4096);
    // SAFETY: there is nothing behind it to be touched.
    let error = unsafe { tier.import_memory(&memory) }.unwrap_err();
    assert_eq!(error.status, Status::INVALID);
    assert!(error.message.contains("device"), "{error}");
}
