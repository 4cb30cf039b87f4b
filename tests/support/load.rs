//! Load: one thread that puts, gets, pins, holds and fills, checks every byte, and remembers what it was promised.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cascade_client::{Client, Committed, Deadline, Error, Fill, Hold, Lookup, Reserved, Share, View};
use serde_json::{Value, json};

use crate::content;
use crate::seed::Seed;

/// Fills and views that are kept over many rounds, so that nodes come and go under them.
const KEPT_MAX: usize = 6;
/// How long a call may wait; a killed node is back sooner, a frozen one is not.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running load.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Value>,
}

#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    hits: u64,
    misses: u64,
    wrong: u64,
    wrong_views: u64,
    lost: u64,
    acknowledged: BTreeSet<u64>,
    refused: u64,
    errors: u64,
    other_errors: Vec<String>,
}

struct Worker {
    client: Client,
    seed: Seed,
    pieces: u64,
    in_place: bool,
    tally: Tally,
    views: Vec<(u64, View)>,
    fills: Vec<(u64, Fill)>,
    holds: Vec<Hold>,
    target: Vec<u8>,
}

impl Load {
    /// Starts a load on pieces `0..pieces`. Without `fills` it writes by copy only, which seals the bytes as they were
    /// before anybody else could change them.
    pub fn start(client: Client, seed: u64, pieces: u64, fills: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut worker = Worker {
                client,
                seed: Seed::new(seed),
                pieces,
                in_place: fills,
                tally: Tally::default(),
                views: Vec::new(),
                fills: Vec::new(),
                holds: Vec::new(),
                target: vec![0; content::LEN_MAX_BYTES],
            };
            while !stopped.load(Ordering::Relaxed) {
                worker.round();
            }
            worker.end()
        });
        Self { stop, thread }
    }

    /// Ends it; the tally as JSON. `wrong` and `wrong_views` count bytes that were not those put; `lost` counts gets of
    /// acknowledged pieces that missed.
    ///
    /// # Panics
    /// If the load has.
    pub fn halt(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load does not panic").to_string()
    }
}

impl Worker {
    fn round(&mut self) {
        self.tally.rounds += 1;
        let n = self.seed.below(self.pieces);
        let done = match self.seed.below(16) {
            0..=5 => self.get(n),
            6..=8 => self.put(n),
            9..=10 => self.put_wait(n),
            11 if self.in_place => self.reserve(n),
            12 if self.in_place => self.commit(),
            11..=12 => self.get(n),
            13 => self.pin(n),
            14 => self.look_at_views(),
            _ => self.hold(n),
        };
        match done {
            Ok(()) => {}
            Err(Error::NodeLost | Error::Deadline) => self.tally.errors += 1,
            Err(error) => self.tally.other_errors.push(error.to_string()),
        }
    }

    fn get(&mut self, n: u64) -> Result<(), Error> {
        match self.client.get_into(&content::piece(n), &mut self.target)? {
            Lookup::Hit(len) => {
                self.tally.hits += 1;
                self.tally.wrong += u64::from(!content::is_right(n, &self.target[..len]));
            }
            Lookup::Miss(_) => {
                self.tally.misses += 1;
                self.tally.lost += u64::from(self.tally.acknowledged.contains(&n));
            }
        }
        Ok(())
    }

    fn put(&mut self, n: u64) -> Result<(), Error> {
        let deadline = Deadline::after(PATIENCE);
        let _ = self.client.put(&content::piece(n), content::lineage(n), &content::bytes(n), deadline)?;
        Ok(())
    }

    fn put_wait(&mut self, n: u64) -> Result<(), Error> {
        let deadline = Deadline::after(PATIENCE);
        let bytes = content::bytes(n);
        let committed = self.client.put_wait(&content::piece(n), content::lineage(n), &bytes, deadline)?;
        self.note(n, committed);
        Ok(())
    }

    fn note(&mut self, n: u64, committed: Committed) {
        match committed {
            Committed::Fresh | Committed::AlreadyPresent => {
                self.tally.acknowledged.insert(n);
            }
            Committed::Refused(_) => self.tally.refused += 1,
        }
    }

    fn reserve(&mut self, n: u64) -> Result<(), Error> {
        if self.fills.len() >= KEPT_MAX {
            self.fills.remove(0).1.abort();
        }
        let len_bytes = content::len_bytes(n) as u64;
        if let Reserved::Fill(mut fill) = self.client.reserve(len_bytes, Deadline::after(PATIENCE))? {
            let half = fill.len_bytes() / 2;
            content::write(n, &mut fill.bytes_mut()?[..half]);
            self.fills.push((n, fill));
        }
        Ok(())
    }

    /// Commits the oldest fill: its first half was written long ago, perhaps under another node.
    fn commit(&mut self) -> Result<(), Error> {
        if self.fills.is_empty() {
            return Ok(());
        }
        let (n, mut fill) = self.fills.remove(0);
        let mut right = vec![0; fill.len_bytes()];
        content::write(n, &mut right);
        let half = right.len() / 2;
        let bytes = fill.bytes_mut()?;
        self.tally.wrong_views += u64::from(bytes[..half] != right[..half]);
        bytes[half..].copy_from_slice(&right[half..]);
        let committed =
            fill.commit_wait(&content::piece(n), content::lineage(n), Deadline::after(PATIENCE))?;
        self.note(n, committed);
        Ok(())
    }

    fn pin(&mut self, n: u64) -> Result<(), Error> {
        if self.views.len() >= KEPT_MAX {
            drop(self.views.remove(0));
        }
        if let Lookup::Hit(view) = self.client.pin(&content::piece(n))? {
            self.views.push((n, view));
        }
        Ok(())
    }

    fn look_at_views(&mut self) -> Result<(), Error> {
        for (n, view) in &self.views {
            // SAFETY: by the protocol nobody writes a pinned slot; that it holds is what the test finds out.
            let right = content::is_right(*n, unsafe { view.as_slice() });
            self.tally.wrong_views += u64::from(!right);
        }
        Ok(())
    }

    fn hold(&mut self, n: u64) -> Result<(), Error> {
        self.holds.clear();
        let keys = content::chain_to(n);
        let _ = self.client.match_chain(&keys, &[Share::default()])?;
        if let Lookup::Hit(hold) = self.client.hold(&keys, &[Share::default()])? {
            self.holds.push(hold);
        }
        Ok(())
    }

    fn end(mut self) -> Value {
        let _ = self.look_at_views();
        for n in self.tally.acknowledged.clone() {
            let _ = self.get(n);
        }
        json!({
            "rounds": self.tally.rounds,
            "hits": self.tally.hits,
            "misses": self.tally.misses,
            "wrong": self.tally.wrong,
            "wrong_views": self.tally.wrong_views,
            "lost": self.tally.lost,
            "acknowledged": self.tally.acknowledged.len(),
            "refused": self.tally.refused,
            "errors": self.tally.errors,
            "other_errors": self.tally.other_errors,
        })
    }
}
