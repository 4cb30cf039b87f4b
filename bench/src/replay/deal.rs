//! The deal: which request is whose, by one counter that all client processes share.
//!
//! A client that is free takes the next request, so requests begin in the trace's order and at most one a client is under
//! way. Nobody is woken and nobody writes a message for it, so dealing costs nothing beside a request of microseconds.
//! The counter lies in a memory file that clients inherit as their standard input; beside it lies what a progress bar
//! shows. Invariant: every number below [`Deal::taken`] was given to exactly one client.

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is shared, a word each.
#[derive(Clone, Copy)]
enum Word {
    /// The next request's number.
    Next,
    /// No request from this number on is dealt.
    End,
    /// When the replay began, by the monotonic clock, in nanoseconds.
    Start,
    /// Requests served.
    Served,
    /// Blocks that were asked for, and those that hit.
    Blocks,
    Hits,
    /// Bytes that went in and out.
    Bytes,
}

const WORDS: usize = Word::Bytes as usize + 1;

/// The shared counter, as parent and clients see it.
pub(crate) struct Deal {
    map: MmapRaw,
}

/// What is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) requests: u64,
    pub(crate) blocks: u64,
    pub(crate) hit_blocks: u64,
    pub(crate) bytes: u64,
}

impl Deal {
    /// A deal of `requests`, and the file by which clients [`join`](Deal::join) it.
    pub(crate) fn new(requests: usize) -> io::Result<(Self, OwnedFd)> {
        let file = memfd_create("cascade-bench", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, (WORDS * size_of::<u64>()) as u64)?;
        let deal = Self::join(file.as_fd())?;
        deal.word(Word::End).store(requests as u64, Ordering::Relaxed);
        deal.word(Word::Start).store(now().as_nanos() as u64, Ordering::Relaxed);
        Ok((deal, file))
    }

    /// Takes part in the deal that somebody else began.
    pub(crate) fn join(file: BorrowedFd<'_>) -> io::Result<Self> {
        let map = MmapOptions::new().len(WORDS * size_of::<u64>()).map_raw(&file)?;
        Ok(Self { map })
    }

    /// The next request, or `None` when the deal is over.
    pub(crate) fn take(&self) -> Option<usize> {
        // Relaxed throughout: each word stands for itself, and who is given a number is decided by the addition alone.
        let number = self.word(Word::Next).fetch_add(1, Ordering::Relaxed);
        (number < self.word(Word::End).load(Ordering::Relaxed)).then_some(number as usize)
    }

    /// Ends the deal: requests under way are finished, no other begins.
    pub(crate) fn stop(&self) {
        self.word(Word::End).fetch_min(self.word(Word::Next).load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Requests that were given to somebody: those with the numbers below.
    pub(crate) fn taken(&self) -> usize {
        let next = self.word(Word::Next).load(Ordering::Relaxed);
        next.min(self.word(Word::End).load(Ordering::Relaxed)) as usize
    }

    /// Whether nobody will be given another request.
    pub(crate) fn is_over(&self) -> bool {
        self.word(Word::Next).load(Ordering::Relaxed) >= self.word(Word::End).load(Ordering::Relaxed)
    }

    /// How long ago the deal began.
    pub(crate) fn elapsed(&self) -> Duration {
        now().saturating_sub(Duration::from_nanos(self.word(Word::Start).load(Ordering::Relaxed)))
    }

    /// Adds to what is shown as served.
    pub(crate) fn served(&self, more: Progress) {
        let add = |word, n| self.word(word).fetch_add(n, Ordering::Relaxed);
        add(Word::Served, more.requests);
        add(Word::Blocks, more.blocks);
        add(Word::Hits, more.hit_blocks);
        add(Word::Bytes, more.bytes);
    }

    /// What was served so far.
    pub(crate) fn progress(&self) -> Progress {
        let word = |word| self.word(word).load(Ordering::Relaxed);
        Progress {
            requests: word(Word::Served),
            blocks: word(Word::Blocks),
            hit_blocks: word(Word::Hits),
            bytes: word(Word::Bytes),
        }
    }

    fn word(&self, word: Word) -> &AtomicU64 {
        // SAFETY: the mapping holds `WORDS` words, begins on a page and lives as long as `self`; everybody who has it uses
        // its words as atomics only.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(word as usize)) }
    }
}

/// The monotonic clock: the same in all processes of a machine.
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_dealt_once_whoever_asks() {
        let (deal, file) = Deal::new(1000).expect("a memory file");
        let mut numbers: Vec<usize> = std::thread::scope(|scope| {
            let clients = [(); 4].map(|()| {
                scope.spawn(|| {
                    let deal = Deal::join(file.as_fd()).expect("a mapping");
                    std::iter::from_fn(|| deal.take()).collect::<Vec<_>>()
                })
            });
            clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
        });
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..1000));
        assert_eq!(deal.taken(), 1000);
    }

    #[test]
    fn a_stopped_deal_keeps_what_it_gave() {
        let (deal, _file) = Deal::new(1000).expect("a memory file");
        assert_eq!((deal.take(), deal.take()), (Some(0), Some(1)));
        deal.stop();
        assert_eq!((deal.take(), deal.taken()), (None, 2));
    }
}
