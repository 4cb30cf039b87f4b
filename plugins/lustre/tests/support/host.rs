//! A host of one tier: it keeps buffers alive, numbers requests, waits for completions, and listens to news.

use super::Random;
use cascade_core::copy::checksum_slice;
use cascade_core::piece::seal;
use cascade_tier::{
    Action, CloseMode, Completion, Library, Memory, MemoryRange, NO_DEADLINE, News, NewsKind, OpenTier,
    Operation, PieceId, Place, Record, Status, TierError, monotonic_ns,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long anything may take before it is taken for hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A piece to be stored: its name and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) id: PieceId,
    pub(crate) bytes: Vec<u8>,
}

impl Piece {
    pub(crate) fn checksum(&self) -> u32 {
        checksum_slice(&self.bytes, seal(&self.id.into(), self.bytes.len() as u64)).value()
    }
}

/// The piece of a number, with bytes that it decides.
pub(crate) fn piece(number: u64, length: u64) -> Piece {
    let mut key = [0x5a; 32];
    key[..8].copy_from_slice(&number.to_le_bytes());
    Piece { id: PieceId { key, rank: 0, group: 0 }, bytes: Random(number).bytes(length) }
}

fn library() -> Library {
    Library::from_entry(cascade_tier_lustre::entry).unwrap()
}

/// A host with an open tier.
pub(crate) struct Host {
    // Closed before the buffer goes.
    pub(crate) tier: OpenTier,
    buffer: Vec<u64>,
    memory: u16,
    last_request: u64,
    /// How long operations may take.
    pub(crate) deadline: Option<Duration>,
    /// What the news say is there, by piece, and what was stored by us.
    pub(crate) known: HashMap<PieceId, Record>,
    pub(crate) is_listed: bool,
    /// News in the order in which they came.
    pub(crate) news: Vec<News>,
}

/// Room for pieces on their way.
const BUFFER_BYTES: u64 = 16 << 20;

impl Host {
    pub(crate) fn open(config: &Value) -> Host {
        Host::open_in(&library(), config)
    }

    pub(crate) fn open_in(library: &Library, config: &Value) -> Host {
        let mut tier = library.open(&config.to_string()).unwrap();
        let mut buffer = vec![0_u64; BUFFER_BYTES as usize / 8 + 512];
        let memory = Memory::new("host", BUFFER_BYTES + 4096).at(buffer.as_mut_ptr().cast());
        // SAFETY: the buffer lives in this host until the tier is closed, and is touched only while nothing is under way.
        let memory = unsafe { tier.register_memory(&memory) }.unwrap();
        let (known, news) = (HashMap::new(), Vec::new());
        Host { tier, buffer, memory, last_request: 0, known, is_listed: false, deadline: None, news }
    }

    pub(crate) fn close(self, mode: CloseMode) -> Result<(), TierError> {
        let Host { tier, .. } = self;
        tier.close(mode)
    }

    pub(crate) fn stats(&self) -> Value {
        serde_json::from_str(&self.tier.stats().unwrap()).unwrap()
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        self.stats()["counts"][name].as_u64().expect("it is counted")
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: plain words seen as bytes.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.as_mut_ptr().cast(), self.buffer.len() * 8) }
    }

    /// Does all at once; completions come in the order of the actions.
    pub(crate) fn perform(&mut self, actions: &[Action]) -> Vec<Completion> {
        let deadline_ns =
            self.deadline.map_or(NO_DEADLINE, |deadline| monotonic_ns() + deadline.as_nanos() as u64);
        let operation = |(&action, id)| Operation::new(id, action).by(deadline_ns);
        let operations: Vec<Operation> = actions.iter().zip(self.last_request + 1..).map(operation).collect();
        self.last_request += operations.len() as u64;
        let (mut rest, mut done) = (&operations[..], HashMap::new());
        let patience = Instant::now() + PATIENCE;
        while done.len() < operations.len() {
            let taken = self.tier.submit(rest).unwrap();
            rest = &rest[taken..];
            let mut completions = Vec::new();
            self.tier.poll(&mut completions).unwrap();
            if completions.is_empty() {
                let event = self.tier.event_fd().unwrap().unwrap();
                let look_again = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                poll(&mut [PollFd::new(&event, PollFlags::IN)], Some(&look_again)).unwrap();
                assert!(Instant::now() < patience, "the tier owes completions: {}", self.stats());
            }
            done.extend(completions.into_iter().map(|completion| (completion.request_id, completion)));
        }
        operations.iter().map(|operation| done[&operation.request_id]).collect()
    }

    /// Stores pieces, which lie block-aligned in memory, as many at once as there is room for.
    pub(crate) fn store(&mut self, pieces: &[Piece]) -> Vec<Completion> {
        let mut completions = Vec::new();
        for batch in batches(pieces, |piece| piece.bytes.len() as u64) {
            let start = self.start();
            let mut actions = Vec::new();
            let mut at = start;
            for piece in batch {
                let length = piece.bytes.len();
                self.bytes_mut()[at..at + length].copy_from_slice(&piece.bytes);
                let source = MemoryRange::new(self.memory, at as u64, length as u64);
                let (checksum, place) = (piece.checksum(), Place::default());
                actions.push(Action::Store { source, piece: piece.id, checksum, place });
                at += length.next_multiple_of(4096);
            }
            let done = self.perform(&actions);
            for (piece, completion) in batch.iter().zip(&done) {
                if completion.status.is_ok() {
                    self.known.insert(piece.id, record_of(piece, completion));
                }
            }
            completions.extend(done);
        }
        completions
    }

    /// Stores pieces that there must be room for.
    pub(crate) fn store_all(&mut self, pieces: &[Piece]) {
        for (piece, completion) in pieces.iter().zip(self.store(pieces)) {
            assert_eq!(completion.status, Status::OK, "{:?} of {} bytes", piece.id, piece.bytes.len());
        }
    }

    /// Loads what records name, as many at once as there is room for.
    pub(crate) fn load(&mut self, records: &[Record]) -> Vec<Result<Vec<u8>, Status>> {
        let mut loaded = Vec::new();
        for batch in batches(records, |record| record.length_bytes) {
            let start = self.start();
            let (mut actions, mut places, mut at) = (Vec::new(), Vec::new(), start);
            for record in batch {
                let target = MemoryRange::new(self.memory, at as u64, record.length_bytes);
                let Record { extent, piece, checksum, .. } = *record;
                actions.push(Action::Load { extent, piece, checksum, target });
                places.push(at..at + record.length_bytes as usize);
                at += (record.length_bytes as usize).next_multiple_of(4096);
            }
            self.bytes_mut()[start..at].fill(0xee);
            let done = self.perform(&actions);
            for (place, completion) in places.into_iter().zip(done) {
                let bytes = self.bytes_mut()[place].to_vec();
                loaded.push(if completion.status.is_ok() { Ok(bytes) } else { Err(completion.status) });
            }
        }
        loaded
    }

    /// Loads a piece that is known of; `None` if it is not.
    pub(crate) fn get(&mut self, piece: &Piece) -> Option<Result<Vec<u8>, Status>> {
        let record = *self.known.get(&piece.id)?;
        self.load(&[record]).pop()
    }

    /// That all of these load with their bytes.
    pub(crate) fn has_all(&mut self, pieces: &[Piece]) {
        let records: Vec<Record> =
            pieces.iter().map(|piece| *self.known.get(&piece.id).expect("the piece is known")).collect();
        for (piece, loaded) in pieces.iter().zip(self.load(&records)) {
            let bytes = loaded.unwrap_or_else(|status| panic!("{:?}: {status}", piece.id));
            assert!(bytes == piece.bytes, "{:?} has other bytes", piece.id);
        }
    }

    pub(crate) fn sync(&mut self) -> Status {
        self.perform(&[Action::Sync])[0].status
    }

    pub(crate) fn remove(&mut self, record: &Record) -> Status {
        let status = self.perform(&[Action::Remove { extent: record.extent }])[0].status;
        if status.is_ok() {
            self.known.remove(&record.piece);
        }
        status
    }

    /// Takes up the news that there are.
    pub(crate) fn listen(&mut self) {
        let mut news = [News::default(); 256];
        loop {
            let count = self.tier.news(&mut news).unwrap();
            for news in &news[..count] {
                match news.kind {
                    NewsKind::FOUND => {
                        self.known.insert(news.record.piece, news.record);
                    }
                    // Of another copy than the latest it is no loss.
                    NewsKind::LOST => {
                        let piece = news.record.piece;
                        if self.known.get(&piece).is_some_and(|known| known.extent == news.record.extent) {
                            self.known.remove(&piece);
                        }
                    }
                    NewsKind::LISTED => self.is_listed = true,
                    other => panic!("news of an unknown kind: {other:?}"),
                }
                self.news.push(*news);
            }
            if count == 0 {
                return;
            }
        }
    }

    /// Takes up news until something holds.
    pub(crate) fn listen_until(&mut self, what: &str, mut holds: impl FnMut(&Host) -> bool) {
        let patience = Instant::now() + PATIENCE;
        loop {
            self.listen();
            if holds(self) {
                return;
            }
            assert!(Instant::now() < patience, "waited in vain until {what}: {}", self.stats());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Takes up what was there when the tier was opened.
    pub(crate) fn listen_until_listed(&mut self) {
        self.listen_until("all is listed", |host| host.is_listed);
    }

    /// Where in the buffer the first block begins.
    fn start(&mut self) -> usize {
        self.bytes_mut().as_ptr().align_offset(4096)
    }
}

fn record_of(piece: &Piece, completion: &Completion) -> Record {
    Record {
        piece: piece.id,
        checksum: piece.checksum(),
        length_bytes: piece.bytes.len() as u64,
        place: Place::default(),
        stored_unix_s: 0,
        extent: completion.extent,
    }
}

/// Cuts a list so that each part fits into the buffer.
fn batches<T>(all: &[T], length: impl Fn(&T) -> u64) -> Vec<&[T]> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, item) in all.iter().enumerate() {
        let takes = length(item).next_multiple_of(4096);
        assert!(takes <= BUFFER_BYTES);
        if bytes + takes > BUFFER_BYTES {
            parts.push(&all[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += takes;
    }
    parts.push(&all[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}
