//! A sandbox that forbids rings, as containers do: made by the kernel, for one thread and those that it starts.

use crate::support::{Folder, Memory, finish};
use cascade_tier_lustre::io::{
    Caching, Depth, Direction, Directory, FileKind, Method, Surroundings, Transfer,
};

/// Makes `io_uring_setup` fail with EPERM from here on, for this thread.
fn forbid_rings() {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut program = [
        // The number of the call is the first word of what a filter is given.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: libc::SYS_io_uring_setup as u32,
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the first call changes a flag of this thread; the second reads the program and its four statements.
    let made = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) == 0
    };
    assert!(made, "a filter can be had: {}", std::io::Error::last_os_error());
}

#[test]
fn where_rings_are_forbidden_threads_move_the_bytes_and_say_why() {
    forbid_rings();
    let folder = Folder::on_disk("sandbox", Caching::Avoided);
    for method in [Method::Auto, Method::IoUring] {
        let mut chosen = method.start(Depth::default()).unwrap();
        let reason = chosen.no_ring.expect("it was no ring that started");
        assert!(reason.contains("Operation not permitted"), "{reason}");
        let file = folder.directory.create(chosen.engine.name(), FileKind::Container).unwrap();
        let memory = Memory::patterned(8, 1);
        let (direction, parts) = (Direction::Write, memory.parts(&[8]));
        let transfer = Transfer { token: 1, file, offset: 0, direction, parts };
        // SAFETY: the memory outlives the transfer, which is finished below.
        unsafe { chosen.engine.submit(transfer) }.unwrap();
        assert_eq!(finish(chosen.engine.as_mut(), 1).unwrap(), memory.length());
        folder.directory.remove("pread").unwrap();
    }
    let found = Surroundings::of(folder.path()).unwrap().io_uring;
    assert!(!found.works && found.why_not.is_some_and(|reason| reason.contains("not permitted")));
}
