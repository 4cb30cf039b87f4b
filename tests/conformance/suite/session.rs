//! An open tier under test, and the host's duties: it numbers requests, keeps buffers alive, and sees to it that each request
//! completes exactly once.

use crate::reference::Random;
use crate::subjects::Subject;
use cascade_tier::capability::operation;
use cascade_tier::{
    Action, Capabilities, CloseMode, Completion, Extent, Memory, MemoryId, MemoryRange, OpenTier, Operation,
    Status, TierError,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How much of the exported memory the suite uses, all of it allocated.
pub(crate) const USED_BYTES: u64 = 1 << 20;

/// A folder that goes with the test. On shared memory, which every machine that runs Cascade has.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/dev/shm/cascade-conformance-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A tier that is open, and what its host keeps.
pub(crate) struct Session {
    // Closed before the buffers go.
    pub(crate) tier: OpenTier,
    hosts: HashMap<MemoryId, Box<[u8]>>,
    next_request_id: u64,
    under_way: HashSet<u64>,
    finished: HashMap<u64, Completion>,
    /// Where pieces went that were stored by number.
    pub(super) kept: HashMap<u64, Extent>,
    random: Random,
}

impl Session {
    /// Opens the subject in a folder, with [`USED_BYTES`] of its memory allocated.
    pub(crate) fn open<S: Subject>(scratch: &Scratch) -> Session {
        let tier = S::library().open(&S::config(scratch.path())).unwrap();
        let mut session = Session {
            tier,
            hosts: HashMap::new(),
            next_request_id: 1,
            under_way: HashSet::new(),
            finished: HashMap::new(),
            kept: HashMap::new(),
            random: Random::new(7),
        };
        if session.can(operation::ALLOCATE) {
            let range = session.exported(0, USED_BYTES);
            assert_eq!(session.perform(Action::Allocate { range }).status, Status::OK);
        }
        session
    }

    pub(crate) fn close(self, mode: CloseMode) -> Result<(), TierError> {
        self.tier.close(mode)
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.tier.capabilities().unwrap()
    }

    pub(crate) fn can(&self, operations: u64) -> bool {
        self.capabilities().can(operations)
    }

    /// A range of the tier's first memory.
    pub(crate) fn exported(&self, offset: u64, length: u64) -> MemoryRange {
        let memory = self.tier.exports().unwrap()[0];
        assert!(offset + length <= memory.length_bytes, "the suite needs a larger memory than {memory:?}");
        MemoryRange::new(memory.id, offset, length)
    }

    /// Registers a buffer of the host; all of it.
    pub(crate) fn host(&mut self, length: u64) -> MemoryRange {
        let mut buffer = vec![0xee_u8; length as usize].into_boxed_slice();
        let memory = Memory::new("host", length).at(buffer.as_mut_ptr());
        // SAFETY: the session keeps the buffer until the tier is closed, and only touches it while nothing is under way.
        let id = unsafe { self.tier.register_memory(&memory) }.unwrap();
        self.hosts.insert(id, buffer);
        MemoryRange::new(id, 0, length)
    }

    /// Registers a buffer with random bytes in it; and the bytes.
    pub(crate) fn host_with_bytes(&mut self, length: u64) -> (MemoryRange, Vec<u8>) {
        let range = self.host(length);
        let bytes: Vec<u8> = (0..length).map(|_| self.random.below(256) as u8).collect();
        self.fill(range, &bytes);
        (range, bytes)
    }

    pub(crate) fn fill(&mut self, range: MemoryRange, bytes: &[u8]) {
        assert!(self.under_way.is_empty(), "buffers are the tier's while requests are under way");
        let start = range.offset as usize;
        self.hosts.get_mut(&range.memory).unwrap()[start..start + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn bytes(&self, range: MemoryRange) -> &[u8] {
        assert!(self.under_way.is_empty(), "buffers are the tier's while requests are under way");
        &self.hosts[&range.memory][range.offset as usize..(range.offset + range.length) as usize]
    }

    /// The bytes of a range of the host's, if it is one.
    pub(super) fn peek(&self, range: MemoryRange) -> Option<&[u8]> {
        let end = range.offset.checked_add(range.length)?;
        self.hosts.get(&range.memory)?.get(range.offset as usize..end as usize)
    }

    /// Copies a range of the tier's memory to the host and gives the bytes.
    pub(crate) fn read_back(&mut self, source: MemoryRange) -> Vec<u8> {
        let target = self.host(source.length);
        let completion = self.perform(Action::Copy { source, target });
        assert_eq!((completion.status, completion.bytes), (Status::OK, source.length));
        self.bytes(target).to_vec()
    }

    pub(crate) fn random(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    pub(crate) fn operation(&mut self, action: Action) -> Operation {
        self.next_request_id += 1;
        Operation::new(self.next_request_id, action)
    }

    /// Offers operations once, and says how many were taken.
    pub(crate) fn offer(&mut self, operations: &[Operation]) -> usize {
        let taken = self.tier.submit(operations).unwrap();
        self.under_way.extend(operations[..taken].iter().map(|operation| operation.request_id));
        taken
    }

    /// Takes up to `limit` completions, each of a request that is under way.
    pub(crate) fn poll(&mut self, limit: usize) -> usize {
        let mut completions = Vec::new();
        let count = self.tier.poll_up_to(limit, &mut completions).unwrap();
        assert_eq!(count, completions.len());
        for completion in completions {
            let request_id = completion.request_id;
            assert!(
                self.under_way.remove(&request_id),
                "request {request_id} completed twice, or was never accepted"
            );
            self.finished.insert(request_id, completion);
        }
        count
    }

    pub(crate) fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Submits all, as far as the tier takes them, and waits until all are done. Completions come in the operations' order.
    pub(crate) fn run(&mut self, operations: &[Operation]) -> Vec<Completion> {
        let mut rest = operations;
        while !rest.is_empty() {
            let taken = self.offer(rest);
            rest = &rest[taken..];
            if taken == 0 {
                self.wait();
            }
        }
        self.wait_for_all();
        operations.iter().map(|operation| self.finished[&operation.request_id]).collect()
    }

    pub(crate) fn perform(&mut self, action: Action) -> Completion {
        let operation = self.operation(action);
        self.run(&[operation])[0]
    }

    pub(crate) fn wait_for_all(&mut self) {
        while self.is_under_way() {
            self.wait();
        }
    }

    pub(crate) fn finished(&self, operation: &Operation) -> Completion {
        self.finished[&operation.request_id]
    }

    /// Waits for one completion at least. A tier that owes it for a minute will not give it.
    fn wait(&mut self) {
        let patience = Instant::now() + Duration::from_secs(60);
        while self.poll(usize::MAX) == 0 {
            assert!(Instant::now() < patience, "the tier owes the completions of {:?}", self.under_way);
            match self.tier.event_fd().unwrap() {
                // It must not be the event alone that gets a host on.
                Some(event) => {
                    let look_again = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
                    poll(&mut [PollFd::new(&event, PollFlags::IN)], Some(&look_again)).unwrap();
                }
                None => std::thread::yield_now(),
            }
        }
    }
}
