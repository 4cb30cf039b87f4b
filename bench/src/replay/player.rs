//! One client of a replay: a process of its own that serves the requests it is dealt.
//!
//! A request is served as an engine does it: hold the longest prefix that is there, get all of it, put the rest, let go. The
//! hold makes the match binding. Every byte that a get brings is compared with what its key says. Then the node is given
//! the time to publish the puts: it is microseconds here, while minutes pass between two turns of a session in the trace.

use super::chains::Chains;
use super::deal::{Deal, Progress};
use super::tally::Tally;
use crate::content::Content;
use crate::trace::{Trace, TraceRequest};
use cascade_client::{
    BlockKey, Client, Deadline, Error, Lineage, Lookup, PieceId, Reason, Refusal, Share, Stored,
};
use std::time::Duration;

/// What no call of a replay may take longer than.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a client plays.
pub(crate) struct Player {
    client: Client,
    chains: Chains,
    /// Tokens of a block.
    block_tokens: u64,
    /// Trace time that passes in one of our seconds; `None`: requests follow one another without a pause.
    speed: Option<f64>,
    bytes: Vec<u8>,
    tally: Tally,
}

impl Player {
    /// Attaches to the node.
    pub(crate) fn connect(
        instance: &str,
        trace: &Trace,
        run: u64,
        piece_bytes: usize,
        speed: Option<f64>,
    ) -> Result<Self, Error> {
        Ok(Self {
            client: Client::connect_to_instance(instance, Deadline::after(PATIENCE))?,
            chains: Chains::of(run),
            block_tokens: trace.block_tokens(),
            speed,
            bytes: vec![0; piece_bytes],
            tally: Tally::default(),
        })
    }

    /// Serves requests until the deal is over; what it counted.
    pub(crate) fn play(mut self, trace: &Trace, deal: &Deal) -> Result<Tally, Error> {
        while let Some(number) = deal.take() {
            let request = &trace.requests[number];
            if let Some(speed) = self.speed {
                let due = Duration::from_secs_f64(request.timestamp_ms / 1e3 / speed);
                std::thread::sleep(due.saturating_sub(deal.elapsed()));
            }
            deal.served(self.serve(request)?);
        }
        Ok(self.tally)
    }

    fn serve(&mut self, request: &TraceRequest) -> Result<Progress, Error> {
        let deadline = Deadline::after(PATIENCE);
        let keys = self.chains.keys(&request.hash_ids);
        let held = self.tally.matches.time(|| self.client.hold(&keys, &[Share::default()]))?.hit();
        let matched = held.as_ref().map_or(0, |hold| hold.blocks());
        let moved = self.tally.bytes_in + self.tally.bytes_out;
        let mut hits = 0;
        while hits < matched && self.get(&PieceId::sole(keys[hits]))? {
            hits += 1;
        }
        for i in hits..keys.len() {
            self.put(&PieceId::sole(keys[i]), Lineage::in_chain(BlockKey::ROOT, &keys, i), deadline)?;
        }
        drop(held);
        if hits < keys.len() {
            self.tally.publishes.time(|| self.client.flush(deadline))?;
        }
        self.tally.requests += 1;
        self.tally.blocks += keys.len() as u64;
        self.tally.hit_blocks += hits as u64;
        self.tally.tokens += request.input_tokens;
        self.tally.hit_tokens += request.input_tokens.min(hits as u64 * self.block_tokens);
        Ok(Progress {
            requests: 1,
            blocks: keys.len() as u64,
            hit_blocks: hits as u64,
            bytes: self.tally.bytes_in + self.tally.bytes_out - moved,
        })
    }

    /// Gets a piece and compares all of it. `false`: it is not there, or not what was put.
    fn get(&mut self, id: &PieceId) -> Result<bool, Error> {
        match self.tally.gets.time(|| self.client.get_into(id, &mut self.bytes))? {
            Lookup::Hit(len_bytes) => {
                let missing = self.bytes.len() - len_bytes;
                let wrong = Content::of(&id.key).wrong_bytes(&self.bytes[..len_bytes]) + missing as u64;
                self.tally.wrong_bytes += wrong;
                self.tally.bytes_out += len_bytes as u64;
                Ok(wrong == 0)
            }
            Lookup::Miss(reason) => {
                self.tally.corrupt_pieces += u64::from(reason == Reason::Corrupt);
                // A longer piece than was ever put under this name: another's, so all of it is wrong.
                if let Reason::TooShort { len_bytes } = reason {
                    self.tally.wrong_bytes += len_bytes;
                }
                Ok(false)
            }
        }
    }

    fn put(&mut self, id: &PieceId, lineage: Lineage, deadline: Deadline) -> Result<(), Error> {
        Content::of(&id.key).fill(&mut self.bytes);
        match self.tally.stores.time(|| self.client.put(id, lineage, &self.bytes, deadline))? {
            Stored::Posted => {
                self.tally.puts += 1;
                self.tally.bytes_in += self.bytes.len() as u64;
            }
            Stored::AlreadyPresent => self.tally.puts_present += 1,
            Stored::Refused(refusal @ Refusal::TooLarge) => {
                return Err(Error::Refused(format!("{refusal}; choose a smaller --piece-bytes")));
            }
            Stored::Refused(_) => self.tally.puts_refused += 1,
        }
        Ok(())
    }
}
