//! Generated chat traffic: multi-turn sessions that share system prompts.
//!
//! Sessions open at random (Poisson), each with a system prompt drawn by Zipf's law. A turn's prompt is all that was said
//! before (the system prompt, messages and answers) and a new message; after the answer the user thinks, then goes on or
//! leaves. Whoever went on before is likelier to go on again, as in published conversation traces.
//!
//! Only the order of events and the lengths are drawn, from one generator: the same parameters give the same trace.

use crate::random::Random;
use crate::trace::{Trace, TraceRequest};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Parameters. The defaults make a working set of some tens of thousands of blocks in 5,000 requests.
#[derive(Clone, Debug)]
pub(crate) struct ChatTraffic {
    /// Same seed, same trace.
    pub(crate) seed: u64,
    /// Requests to make; sessions still open then are cut off.
    pub(crate) requests: usize,
    /// Tokens that one block id stands for.
    pub(crate) block_tokens: u64,
    /// Different system prompts; the n-th most popular is drawn in proportion to 1 / n.
    pub(crate) system_prompts: usize,
    /// Median tokens of a system prompt (log-normal, sigma 0.8), at least one block.
    pub(crate) system_tokens: f64,
    /// Median tokens of a message (log-normal, sigma 1.2).
    pub(crate) message_tokens: f64,
    /// Median tokens of an answer (log-normal, sigma 0.8).
    pub(crate) answer_tokens: f64,
    /// Mean time between two sessions' openings (exponential).
    pub(crate) session_gap_ms: f64,
    /// Median time from a request to the next of its session (log-normal, sigma 1): the answer is read, the next typed.
    pub(crate) think_ms: f64,
    /// Chance that a session goes on after its first turn, and the most that it grows to, in steps of a quarter of the rest.
    pub(crate) continue_first: f64,
    pub(crate) continue_most: f64,
    /// Prompts end the session before they pass this.
    pub(crate) context_tokens: u64,
}

impl Default for ChatTraffic {
    fn default() -> Self {
        Self {
            seed: 1,
            requests: 5000,
            block_tokens: 512,
            system_prompts: 32,
            system_tokens: 1500.0,
            message_tokens: 900.0,
            answer_tokens: 350.0,
            session_gap_ms: 400.0,
            think_ms: 45_000.0,
            continue_first: 0.45,
            continue_most: 0.9,
            context_tokens: 128 * 1024,
        }
    }
}

/// What a block id stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Block {
    System {
        prompt: usize,
        depth: u64,
    },
    Session {
        session: usize,
        depth: u64,
    },
    /// The unfinished last block of one turn: the next turn fills it up, so nobody asks for it again.
    Partial {
        session: usize,
        turn: u32,
    },
}

struct Session {
    prompt: usize,
    system_tokens: u64,
    tokens: u64,
    turn: u32,
    continues: f64,
}

/// Makes a trace of chat traffic.
///
/// # Panics
/// When there is no system prompt or a block has no tokens.
pub(crate) fn generate_chat(traffic: &ChatTraffic) -> Trace {
    assert!(traffic.system_prompts > 0, "sessions need a system prompt");
    assert!(traffic.block_tokens > 0, "a block has tokens");
    let mut random = Random::new(traffic.seed);
    let system_tokens = (0..traffic.system_prompts)
        .map(|_| tokens(&mut random, traffic.system_tokens, 0.8).max(traffic.block_tokens))
        .collect::<Vec<_>>();
    let mut sessions: Vec<Session> = Vec::new();
    let mut ids = BTreeMap::new();
    let mut requests = Vec::with_capacity(traffic.requests);
    // (time, session): the turn due next of each open session; the highest number is the session that opens next.
    let mut due = BinaryHeap::from([Reverse((0, 0))]);
    while requests.len() < traffic.requests {
        let Some(Reverse((now_ms, number))) = due.pop() else { break };
        if number == sessions.len() {
            let prompt = random.zipf(traffic.system_prompts);
            let system_tokens = system_tokens[prompt];
            let continues = traffic.continue_first;
            sessions.push(Session { prompt, system_tokens, tokens: system_tokens, turn: 0, continues });
            due.push(Reverse((now_ms + random.exponential(traffic.session_gap_ms) as u64, number + 1)));
        }
        let session = &mut sessions[number];
        session.turn += 1;
        session.tokens += tokens(&mut random, traffic.message_tokens, 1.2);
        if session.tokens > traffic.context_tokens {
            continue;
        }
        let output_tokens = tokens(&mut random, traffic.answer_tokens, 0.8);
        let hash_ids = blocks(session, number, traffic.block_tokens).map(|block| {
            let next = ids.len() as u64;
            *ids.entry(block).or_insert(next)
        });
        requests.push(TraceRequest {
            timestamp_ms: now_ms as f64,
            input_tokens: session.tokens,
            output_tokens,
            hash_ids: hash_ids.collect(),
        });
        session.tokens += output_tokens;
        if random.unit() < session.continues {
            session.continues += (traffic.continue_most - session.continues) / 4.0;
            due.push(Reverse((now_ms + random.log_normal(traffic.think_ms, 1.0) as u64, number)));
        }
    }
    Trace { name: format!("chat, seed {}", traffic.seed), requests }
}

/// The blocks of a session's present prompt, root first.
fn blocks(session: &Session, number: usize, block_tokens: u64) -> impl Iterator<Item = Block> {
    let Session { prompt, system_tokens, tokens, turn, .. } = *session;
    let full = (0..tokens / block_tokens).map(move |depth| {
        // The block in which the system prompt ends holds the session's own words too.
        if (depth + 1) * block_tokens <= system_tokens {
            Block::System { prompt, depth }
        } else {
            Block::Session { session: number, depth }
        }
    });
    let partial = (tokens % block_tokens != 0).then_some(Block::Partial { session: number, turn });
    full.chain(partial)
}

/// A length in tokens, at least one.
fn tokens(random: &mut Random, median: f64, sigma: f64) -> u64 {
    (random.log_normal(median, sigma) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn chat(seed: u64) -> Trace {
        generate_chat(&ChatTraffic { seed, requests: 2000, ..Default::default() })
    }

    #[test]
    fn a_seed_gives_one_trace() {
        assert_eq!(chat(7), chat(7));
        assert_ne!(chat(7).requests, chat(8).requests);
    }

    #[test]
    fn requests_come_in_order_with_a_block_id_for_each_started_block() {
        let trace = chat(1);
        assert_eq!(trace.requests.len(), 2000);
        assert!(trace.requests.is_sorted_by(|a, b| a.timestamp_ms <= b.timestamp_ms));
        for request in &trace.requests {
            assert_eq!(request.hash_ids.len() as u64, request.input_tokens.div_ceil(512));
        }
    }

    #[test]
    fn an_id_stands_for_its_whole_prefix() {
        let mut parents = HashMap::new();
        for request in &chat(2).requests {
            let mut parent = None;
            for &id in &request.hash_ids {
                assert_eq!(*parents.entry(id).or_insert(parent), parent);
                parent = Some(id);
            }
        }
    }

    #[test]
    fn turns_grow_and_system_prompts_are_shared() {
        let dense = chat(3).dense();
        let mut uses = vec![0; dense.distinct_blocks];
        dense.requests.iter().flatten().for_each(|&block| uses[block as usize] += 1);
        assert!(
            uses.iter().max() > Some(&200),
            "the most popular system prompt opens every tenth session at least"
        );
        let once = uses.iter().filter(|&&uses| uses == 1).count();
        assert!(
            once * 4 > uses.len() && once * 4 < uses.len() * 3,
            "{once} of {} blocks are used once",
            uses.len()
        );
    }
}
