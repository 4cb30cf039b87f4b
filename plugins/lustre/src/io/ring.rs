//! The engine of one io_uring: direct I/O straight into and out of the parts, by one thread, without a copy.
//!
//! Invariants: a request has one slot from its first call to its last, and its number is what the kernel hands back; there are
//! as many slots as entries, so the ring is never too small. Whoever submits lives as long as what it submitted: the kernel
//! cancels the rest when that thread ends. Source: Axboe, "Efficient IO with io_uring" (2019).
//!
//! Absent on purpose: registered buffers. Shared memory is punched and backed anew while we have it open, and a registered page
//! would go on being the old one. It would save about 0.02 processor seconds per GB (fio, `fixedbufs`), of 0.05.

use super::request::Job;
use super::sys::as_iovecs;
use super::{Depth, Direction, Done, Engine, Part, Transfer};
use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

/// The engine of a ring.
pub struct Ring {
    ring: IoUring,
    event: OwnedFd,
    depth: Depth,
    waiting: VecDeque<Job>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Transfers that were accepted and not reaped.
    under_way: usize,
    done: Vec<Done>,
}

#[derive(Default)]
struct Slot {
    call: Option<Call>,
    /// Kept with its capacity from one request to the next.
    vectors: Vec<Part>,
}

struct Call {
    job: Job,
    asked: u64,
    since: Instant,
}

impl Ring {
    /// An engine, if the kernel has rings and lets us have one: containers often do not.
    ///
    /// # Errors
    /// What the kernel says, or what it lacks.
    pub fn new(depth: Depth) -> io::Result<Ring> {
        depth.check();
        let entries = u32::try_from(depth.calls_ever()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut ring = IoUring::builder().dontfork().build(entries)?;
        if !(ring.params().is_feature_nodrop() && ring.params().is_feature_submit_stable()) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel's rings are too old (before 5.5)",
            ));
        }
        // Some sandboxes allow rings to be made, and nothing to be done with them.
        // SAFETY: it names no memory.
        unsafe { ring.submission().push(&opcode::Nop::new().build()) }.map_err(io::Error::other)?;
        ring.submit_and_wait(1)?;
        ring.completion().for_each(drop);
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        // File systems that may wait in a call get threads of the kernel's, by default few on small machines. Older kernels
        // know no such number.
        let _ = ring.submitter().register_iowq_max_workers(&mut [entries, 0]);
        let slots = (0..entries).map(|_| Slot::default()).collect();
        let free = (0..entries as usize).rev().collect();
        Ok(Ring { ring, event, depth, waiting: VecDeque::new(), slots, free, under_way: 0, done: Vec::new() })
    }

    /// Puts requests into the ring while they wait for one and as many may be there, and tells the kernel.
    fn start(&mut self) {
        if !self.waiting.is_empty() {
            let calls = self.slots.iter().filter_map(|slot| slot.call.as_ref());
            let mut room = self.depth.calls_max(calls.map(|call| call.since));
            room = room.saturating_sub(self.slots.len() - self.free.len());
            for job in self.waiting.drain(..room.min(self.waiting.len())) {
                let slot = self.free.pop().expect("there are as many slots as calls may ever be");
                push(&mut self.ring, slot, &mut self.slots[slot], job);
            }
        }
        // What the kernel does not take now (no memory, a signal) stays in the ring and is offered again.
        if !self.ring.submission().is_empty() {
            let _ = self.ring.submit();
        }
    }

    /// Takes in what the kernel has done.
    fn collect(&mut self) {
        // A copy of the few: what is not over goes back into the ring.
        let ended: Vec<(u64, i32)> =
            self.ring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
        for (number, result) in ended {
            let number = usize::try_from(number).expect("a slot's number");
            let slot = &mut self.slots[number];
            let Call { mut job, asked, .. } = slot.call.take().expect("the kernel ends a call once");
            let moved = match u64::try_from(result) {
                Ok(moved) => job.advance(asked, Ok(moved)),
                Err(_) if -result == libc::EINTR => None,
                Err(_) => job.advance(asked, Err(io::Error::from_raw_os_error(-result))),
            };
            match moved {
                None => push(&mut self.ring, number, slot, job),
                Some(result) => {
                    self.free.push(number);
                    self.done.extend(job.end(result));
                }
            }
        }
    }
}

/// Puts a request's next call into the ring.
fn push(ring: &mut IoUring, number: usize, slot: &mut Slot, job: Job) {
    let asked = job.vectors(&mut slot.vectors);
    let transfer = job.transfer();
    let file = types::Fd(transfer.file.as_raw_fd());
    let (vectors, count) = (as_iovecs(&slot.vectors), slot.vectors.len() as u32);
    let entry: squeue::Entry = match transfer.direction {
        Direction::Read => opcode::Readv::new(file, vectors, count).offset(job.offset()).build(),
        Direction::Write => opcode::Writev::new(file, vectors, count).offset(job.offset()).build(),
    };
    // SAFETY: the submitter's promise: the parts are this transfer's until it is done. The kernel has copied the vectors when
    // it has taken the entry (submit_stable), and the slot keeps them, and the job the file, until the call has ended.
    unsafe { ring.submission().push(&entry.user_data(number as u64)) }.expect("a slot has an entry");
    slot.call = Some(Call { job, asked, since: Instant::now() });
}

impl Engine for Ring {
    fn name(&self) -> &'static str {
        "io_uring"
    }

    unsafe fn submit(&mut self, transfer: Transfer) -> Result<(), Transfer> {
        if self.under_way >= self.depth.transfers {
            return Err(transfer);
        }
        self.under_way += 1;
        self.waiting.extend(Job::of(transfer, self.depth.request_bytes));
        self.start();
        Ok(())
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        // Before the look: what is done after it makes the descriptor readable again.
        let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
        self.collect();
        self.start();
        self.under_way -= self.done.len();
        done.append(&mut self.done);
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn under_way(&self) -> usize {
        self.under_way
    }
}
