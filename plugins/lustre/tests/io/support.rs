//! What the tests of engines and directories need: folders that go by themselves, memory as pieces have it, and an end to wait for.

use cascade_tier_lustre::io::{ALIGNMENT_BYTES, Access, Caching, Done, Engine, Part, PosixDirectory};
use memmap2::{MmapOptions, MmapRaw};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

const PAGE: usize = ALIGNMENT_BYTES as usize;

/// A directory of its own for a test.
pub(crate) struct Folder {
    pub(crate) directory: PosixDirectory,
}

impl Folder {
    /// On the file system that the build is on.
    pub(crate) fn on_disk(name: &str, caching: Caching) -> Folder {
        Folder::below(Path::new(env!("CARGO_TARGET_TMPDIR")), name, caching)
    }

    /// In shared memory, where there is no disk and in older kernels no direct I/O.
    pub(crate) fn in_memory(name: &str, caching: Caching) -> Folder {
        Folder::below(Path::new("/dev/shm"), name, caching)
    }

    fn below(root: &Path, name: &str, caching: Caching) -> Folder {
        let path = root.join(format!("cascade-lustre-io-{}-{name}", std::process::id()));
        let directory = PosixDirectory::open(&path, Access::ReadWrite, caching).expect("the directory opens");
        Folder { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The same directory, as another process has it.
    pub(crate) fn again(&self) -> PosixDirectory {
        PosixDirectory::open(self.path(), Access::ReadWrite, Caching::Used).expect("the directory opens")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.path());
    }
}

/// Pages of memory, each with bytes of its own.
pub(crate) struct Memory {
    map: MmapRaw,
}

impl Memory {
    pub(crate) fn patterned(pages: usize, seed: u64) -> Memory {
        let map: MmapRaw = MmapOptions::new().len(pages * PAGE).map_anon().expect("memory").into();
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for index in 0..pages * PAGE / 8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // SAFETY: within the map, which nobody else has; a page is aligned to words.
            unsafe { map.as_mut_ptr().cast::<u64>().add(index).write(state) };
        }
        Memory { map }
    }

    pub(crate) fn length(&self) -> u64 {
        self.map.len() as u64
    }

    pub(crate) fn part(&self, first: usize, pages: usize) -> Part {
        assert!((first + pages) * PAGE <= self.map.len());
        Part { pointer: self.map.as_mut_ptr().wrapping_add(first * PAGE), length: pages * PAGE }
    }

    /// Consecutive parts from the start, of so many pages each.
    pub(crate) fn parts(&self, pages: &[usize]) -> Vec<Part> {
        let mut first = 0;
        pages
            .iter()
            .map(|&pages| {
                first += pages;
                self.part(first - pages, pages)
            })
            .collect()
    }

    pub(crate) fn pages(&self, first: usize, pages: usize) -> &[u8] {
        let part = self.part(first, pages);
        // SAFETY: within the map; the tests look when nothing is under way.
        unsafe { std::slice::from_raw_parts(part.pointer, part.length) }
    }

    pub(crate) fn fill(&self, byte: u8) {
        // SAFETY: as above.
        unsafe { self.map.as_mut_ptr().write_bytes(byte, self.map.len()) };
    }
}

/// Waits until everything is done.
pub(crate) fn finish_all(engine: &mut dyn Engine) -> Vec<Done> {
    let mut done = Vec::new();
    engine.reap(&mut done);
    while engine.under_way() > 0 {
        wait(engine, &mut done);
    }
    done
}

/// Waits for something to be done, for a while, as an owner with other things to see to does.
pub(crate) fn wait(engine: &mut dyn Engine, done: &mut Vec<Done>) {
    let mut fds = [PollFd::from_borrowed_fd(engine.event_fd(), PollFlags::IN)];
    let limit = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    poll(&mut fds, Some(&limit)).expect("the descriptor can be waited for");
    engine.reap(done);
}

/// Waits for the one transfer that is under way.
pub(crate) fn finish(engine: &mut dyn Engine, token: u64) -> std::io::Result<u64> {
    let done = finish_all(engine);
    assert_eq!(done.len(), 1);
    let done = done.into_iter().next().expect("one");
    assert_eq!(done.token, token);
    done.result
}

/// What keeps a read from returning. Dropping it lets it return.
pub(crate) struct Hang {
    _writer: OwnedFd,
}

/// A file whose reads hang: a pipe that nobody writes to.
pub(crate) fn hang() -> (Arc<OwnedFd>, Hang) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    (Arc::new(reader), Hang { _writer: writer })
}
