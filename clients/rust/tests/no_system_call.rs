//! The promise in the crate's first line: the kernel kills whoever breaks it.

mod support;

use cascade_client::{BlockKey, Client, Lineage, Lookup, Share};
use support::{Node, bytes, id, key, soon};

/// Lets the process leave and nothing else: every other system call kills it.
fn forbid_system_calls() -> bool {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut program = [
        // The number of the system call is the first word of `seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: libc::SYS_exit_group as u32,
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: both calls read what they are given, which lives until they return.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    }
}

fn hits(client: &Client, rounds: usize) -> bool {
    let mut got = [0; 4096];
    let keys = [key(1), key(2)];
    (0..rounds).all(|_| {
        client.get_into(&id(1), &mut got).is_ok_and(|answer| answer == Lookup::Hit(4096))
            && client.pin(&id(2)).is_ok_and(|answer| answer.is_hit())
            && client.match_chain(&keys, &[Share::default()]).is_ok_and(|blocks| blocks == 2)
            && client.contains(&id(1)).is_ok_and(|there| there)
            && client.touch(&id(2), 2).is_ok_and(|noted| noted)
    })
}

/// Runs in a child, which connects for itself; the status that it exits with, or the signal that killed it.
fn status_of(child: impl FnOnce() -> i32) -> (Option<i32>, Option<i32>) {
    // SAFETY: the child uses nothing of the parent's but its memory, and ends with `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let status = child();
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; `status` is written to.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    let exited = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    (exited, libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)))
}

#[test]
fn a_hit_makes_no_system_call() {
    let node = Node::start(1);
    let writer = node.connect();
    for i in 1..=2 {
        let lineage = Lineage::in_chain(BlockKey::ROOT, &[key(1), key(2)], usize::from(i) - 1);
        let _ = writer.put_wait(&id(i), lineage, &bytes(i, 4096), soon()).unwrap();
    }
    let with_hits = status_of(|| {
        // Leaving takes system calls; the child just ends.
        let client = std::mem::ManuallyDrop::new(node.connect());
        // The first hit of a thread may allocate.
        if !hits(&client, 1) {
            return 2;
        }
        if !forbid_system_calls() {
            return 3;
        }
        if hits(&client, 1_000) { 0 } else { 4 }
    });
    assert_eq!(with_hits, (Some(0), None), "2, 4: no hit; 3: no filter; SIGSYS: a system call");

    // The filter bites.
    let with_a_call = status_of(|| {
        if !forbid_system_calls() {
            return 3;
        }
        // SAFETY: a harmless system call.
        unsafe { libc::syscall(libc::SYS_getpid) };
        0
    });
    assert_eq!(with_a_call, (None, Some(libc::SIGSYS)));
}
