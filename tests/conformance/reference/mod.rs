//! The reference tier: everything that the ABI allows and a host may forget.
//!
//! Its memory cannot be dereferenced. Its operations happen late, some polls after they were submitted, in an order that a
//! seed shuffles; so a host that touches a buffer before the completion, or counts on an order, fails its own tests on it.
//! A cancelled request may be done all the same. It accepts few operations at a time.

mod device;
mod storage;

use cascade_tier::capability::{feature, operation};
use cascade_tier::{
    Action, Capabilities, CloseMode, Completion, Extent, Memory, MemoryId, MemoryRange, Operation, Status,
    Tier, TierError, monotonic_ns,
};
use device::{ALIGNMENT_BYTES, DEVICE, Device};
use rustix::event::{EventfdFlags, eventfd};
use serde_json::{Value, json};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use storage::Storage;

/// The reference tier. Its configuration: `{"seed", "delay_polls_max", "queue_depth", "device_bytes"}`.
#[derive(Debug)]
pub(crate) struct ReferenceTier {
    device: Device,
    storage: Storage,
    exports: [Memory; 1],
    waiting: Vec<Waiting>,
    event: OwnedFd,
    random: Random,
    delay_polls_max: u64,
    queue_depth: usize,
    polls: u64,
    done: u64,
}

/// An operation that was accepted.
#[derive(Debug)]
struct Waiting {
    operation: Operation,
    due_at_poll: u64,
    is_cancelled: bool,
}

/// Numbers that a seed decides (xorshift64; Marsaglia, 2003).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

impl ReferenceTier {
    fn perform(&mut self, operation: &Operation) -> Completion {
        let mut extent = Extent::default();
        let outcome = match operation.action {
            Action::Allocate { range } => self.device.allocate(range),
            Action::Release { range } => self.device.release(range),
            Action::Copy { source, target } => self.copy(source, target),
            Action::Store { source, piece, checksum, .. } => self.device.read(source).map(|bytes| {
                extent = self.storage.store(piece, checksum, bytes);
                source.length
            }),
            Action::Load { extent, piece, checksum, target } => self.device.check(target).and_then(|()| {
                let bytes = self.storage.load(extent, piece, checksum, target.length)?;
                self.device.write(target, bytes).map(|()| target.length)
            }),
            Action::Remove { extent } => self.storage.remove(extent),
            Action::Sync => Ok(0),
            Action::Unknown(_) => Err(Status::UNSUPPORTED),
        };
        let (status, bytes) = outcome.map_or_else(|status| (status, 0), |bytes| (Status::OK, bytes));
        Completion { extent, ..Completion::new(operation.request_id, status, bytes) }
    }

    fn copy(&self, source: MemoryRange, target: MemoryRange) -> Result<u64, Status> {
        self.device.check(target)?;
        let bytes = self.device.read(source)?;
        if source.length != target.length {
            return Err(Status::INVALID);
        }
        self.device.write(target, &bytes)?;
        Ok(source.length)
    }

    fn finish(&mut self, waiting: &Waiting) -> Completion {
        let request_id = waiting.operation.request_id;
        if waiting.operation.deadline_ns <= monotonic_ns() {
            return Completion::new(request_id, Status::EXPIRED, 0);
        }
        // A cancel may come too late.
        if waiting.is_cancelled && self.random.below(2) == 0 {
            return Completion::new(request_id, Status::CANCELLED, 0);
        }
        self.perform(&waiting.operation)
    }
}

impl Tier for ReferenceTier {
    fn probe(_: &str) -> Result<String, TierError> {
        Ok(json!({"devices": 1}).to_string())
    }

    fn open(config: &str) -> Result<ReferenceTier, TierError> {
        let config: Value =
            serde_json::from_str(config).map_err(|error| TierError::invalid(error.to_string()))?;
        let number = |name: &str| {
            config[name].as_u64().ok_or_else(|| TierError::invalid(format!("{name}: give a number")))
        };
        let failed = |error: rustix::io::Errno| TierError::new(Status::IO, error.to_string());
        let device = Device::new(number("device_bytes")?).map_err(failed)?;
        let mut export = Memory::new("device", device.length_bytes);
        export.id = DEVICE;
        Ok(ReferenceTier {
            device,
            storage: Storage::default(),
            exports: [export],
            waiting: Vec::new(),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?,
            random: Random::new(number("seed")?),
            delay_polls_max: number("delay_polls_max")?,
            queue_depth: number("queue_depth")? as usize,
            polls: 0,
            done: 0,
        })
    }

    fn close(self, _: CloseMode) -> Result<(), TierError> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            operations: operation::ALLOCATE
                | operation::RELEASE
                | operation::COPY
                | operation::STORE
                | operation::LOAD
                | operation::REMOVE
                | operation::SYNC,
            features: feature::REGISTER | feature::EVENT_FD,
            queue_depth: self.queue_depth as u64,
            alignment_bytes: ALIGNMENT_BYTES,
            piece_bytes_max: self.device.length_bytes,
        }
    }

    fn exports(&self) -> &[Memory] {
        &self.exports
    }

    fn register_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        if memory.cpu_address().is_none() {
            return Err(TierError::invalid("only memory with a CPU address can be registered"));
        }
        let id =
            (DEVICE + 1..).find(|id| !self.device.host.contains_key(id)).expect("fewer than 65,535 memories");
        self.device.host.insert(id, *memory);
        Ok(id)
    }

    fn forget_memory(&mut self, id: MemoryId) -> Result<(), TierError> {
        if self.waiting.iter().any(|waiting| waiting.operation.action.uses(id)) {
            return Err(TierError::invalid(format!("memory {id} is in use")));
        }
        let known = self.device.host.remove(&id);
        known
            .map(|_| ())
            .ok_or_else(|| TierError::new(Status::NOT_FOUND, format!("memory {id} is not known")))
    }

    fn submit(&mut self, operations: &[Operation]) -> Result<usize, TierError> {
        let taken = operations.len().min(self.queue_depth - self.waiting.len());
        for &operation in &operations[..taken] {
            let due_at_poll = self.polls + 1 + self.random.below(self.delay_polls_max + 1);
            self.waiting.push(Waiting { operation, due_at_poll, is_cancelled: false });
        }
        if taken > 0 {
            // Readable early as well: this tier only gets on while it is polled.
            rustix::io::write(&self.event, &1_u64.to_ne_bytes())
                .map_err(|error| TierError::new(Status::IO, error.to_string()))?;
        }
        Ok(taken)
    }

    fn poll(&mut self, completions: &mut [Completion]) -> Result<usize, TierError> {
        self.polls += 1;
        let mut count = 0;
        while count < completions.len() {
            let due: Vec<usize> = (0..self.waiting.len())
                .filter(|&index| self.waiting[index].due_at_poll <= self.polls)
                .collect();
            if due.is_empty() {
                break;
            }
            let waiting = self.waiting.swap_remove(due[self.random.below(due.len() as u64) as usize]);
            completions[count] = self.finish(&waiting);
            count += 1;
        }
        self.done += count as u64;
        if self.waiting.is_empty() {
            // Fails only if it was quiet before.
            let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
        }
        Ok(count)
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.event.as_fd())
    }

    fn cancel(&mut self, request_id: u64) -> Result<(), TierError> {
        let found = self.waiting.iter_mut().find(|waiting| waiting.operation.request_id == request_id);
        let waiting = found.ok_or_else(|| {
            TierError::new(Status::NOT_FOUND, format!("request {request_id} is not under way"))
        })?;
        waiting.is_cancelled = true;
        Ok(())
    }

    fn stats(&self) -> String {
        json!({"under_way": self.waiting.len(), "done": self.done}).to_string()
    }
}

cascade_tier::export_tier!(reference, ReferenceTier);
