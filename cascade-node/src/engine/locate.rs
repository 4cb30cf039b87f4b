//! Questions about chains: their keys are taken up, the books are looked at, and the node answers.
//!
//! The way of a question: `service` hands keys over batch by batch, then the question; each turn some of the books are looked at
//! ([`Survey`]); a question that only asks is answered then, one that wants the chain in memory goes on in `errands.rs`.
//! Invariants: no look waits for anything, and a turn makes so many of them and no more; a question is answered once,
//! unless it is cancelled or its client goes; the part that is in memory is kept from the moment it is known.

use std::collections::{HashMap, VecDeque};

use cascade_core::chain::Located;
use cascade_core::key::BlockKey;
use cascade_core::page::Page;
use cascade_core::piece::PieceId;
use cascade_core::request::{Question, Ticket, Verdict};
use cascade_core::rule::{Probe, Share, Walk};
use cascade_core::touch::Touch;

use super::below::Direction;
use super::now_ns;
use super::pump::Engine;
use super::service::answer_with;
use super::store::Store;

/// Looks at the books in one turn, for all questions together: a fraction of a millisecond.
const TURN_LOOKS: usize = 4096;
/// Blocks of all questions of one client that are not answered yet.
const ASKED_BLOCKS_MAX: usize = 1 << 18;
/// How long a chain is kept after the answer, in nanoseconds: up to the deadline, but at least and at most so long.
const KEEP_NS: std::ops::RangeInclusive<u64> = 1_000_000_000..=60_000_000_000;

/// Where a piece can be had from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It is in memory.
    Memory,
    /// A lower tier has it and would bring it.
    Below {
        /// Which of them, as bits in the order in which the node lists its lower tiers.
        tiers: u64,
    },
    /// It is nowhere, or nowhere from where it would come.
    Nowhere,
}

impl Store {
    /// Where a piece can be had from. What is longer than any slot here cannot be had from below.
    pub fn whereabouts(&self, id: &PieceId) -> Whereabouts {
        let residency = self.catalog.residency(id);
        let fits = |stored| self.segment.geometry().slot_bytes(self.stored.get(stored).len_bytes).is_some();
        match (residency.slot(), residency.stored()) {
            (Some(_), _) => Whereabouts::Memory,
            (None, Some(stored)) if fits(stored) => Whereabouts::Below { tiers: 1 },
            (None, _) => Whereabouts::Nowhere,
        }
    }
}

/// How far the look at a chain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    /// How much is usable from memory alone?
    Memory,
    /// How much is usable at all?
    Anywhere,
    /// Which pieces of that much have to be brought?
    Needed,
    /// All is known.
    Over,
}

/// The look at one chain, which may take several turns.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) keys: Vec<BlockKey>,
    leg: Leg,
    walk: Walk<Vec<Share>>,
    pub(super) located: Located,
    /// What has to be brought for all of it, the last block first.
    pub(super) needed: Vec<Probe>,
    /// A look found something in a lower tier, so what is usable from there is worth another.
    saw_below: bool,
}

impl Survey {
    fn new(keys: Vec<BlockKey>, shares: Vec<Share>) -> Self {
        let walk = Walk::new(keys.len(), shares);
        Self {
            keys,
            leg: Leg::Memory,
            walk,
            located: Located::default(),
            needed: Vec::new(),
            saw_below: false,
        }
    }

    pub(super) fn shares(&self) -> &[Share] {
        self.walk.shares()
    }

    /// The piece that a probe names.
    pub(super) fn piece(&self, probe: Probe) -> PieceId {
        self.shares()[probe.share].piece(self.keys[probe.block])
    }

    /// The first share's piece of the last block that is usable from memory.
    fn tail(&self) -> Option<PieceId> {
        let key = self.keys.get(self.located.memory_blocks.checked_sub(1)?)?;
        Some(self.shares().first()?.piece(*key))
    }

    /// Goes on with the present leg as long as `looks` lasts; `true` when that is behind it. What changed between two turns
    /// may be seen before or after.
    fn step(&mut self, looks: &mut usize, whereabouts: impl Fn(&PieceId) -> Whereabouts) -> bool {
        while self.leg != Leg::Over {
            if *looks == 0 {
                return false;
            }
            *looks -= 1;
            let Some(probe) = self.walk.next() else {
                self.finish_leg();
                return true;
            };
            match whereabouts(&self.piece(probe)) {
                Whereabouts::Memory => {}
                Whereabouts::Below { .. } if self.leg == Leg::Anywhere => {}
                Whereabouts::Below { tiers } if self.leg == Leg::Needed => {
                    self.located.tiers |= tiers;
                    self.needed.push(probe);
                }
                elsewhere => {
                    self.saw_below |= elsewhere != Whereabouts::Nowhere;
                    self.walk.missing(probe);
                    self.located.tiers = 0;
                    self.needed.clear();
                }
            }
        }
        true
    }

    fn finish_leg(&mut self) {
        let length = self.walk.length();
        let memory_blocks = self.located.memory_blocks.min(length);
        let shares = self.walk.shares().to_vec();
        (self.leg, self.walk) = match self.leg {
            Leg::Memory => {
                self.located = Located::in_memory(length);
                let leg = if self.saw_below { Leg::Anywhere } else { Leg::Over };
                (leg, Walk::new(self.keys.len(), shares))
            }
            Leg::Anywhere if length > memory_blocks => (Leg::Needed, Walk::backwards(length, shares)),
            Leg::Anywhere | Leg::Needed | Leg::Over => {
                self.located = Located { blocks: length, memory_blocks, ..self.located };
                (Leg::Over, Walk::new(0, shares))
            }
        };
    }
}

/// A question that is not answered yet.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) page: u16,
    pub(super) question: Question,
    promotes: bool,
    pub(super) survey: Survey,
    /// What is to be answered, once it is counted how much of the chain is in memory.
    verdict: Option<Verdict>,
}

/// What clients ask about chains.
#[derive(Debug, Default)]
pub(super) struct Chains {
    taken_up: HashMap<u16, Vec<BlockKey>>,
    asked: VecDeque<Asked>,
}

impl Chains {
    /// Takes up the keys that lie in a client's chain area. A batch that does not follow the one before leaves nothing, so
    /// that its question is a miss.
    pub(super) fn take_up(&mut self, page: u16, shared: &Page<'_>, first: u32, count: u32) {
        let keys = self.taken_up.entry(page).or_default();
        keys.truncate(first as usize);
        match keys.len() == first as usize {
            true => keys.extend(shared.chain().keys(count as usize)),
            false => keys.clear(),
        }
    }

    /// Begins to look for the chain that was taken up; `false` if the client has asked about too much already.
    pub(super) fn ask(&mut self, page: u16, shared: &Page<'_>, question: Question, promotes: bool) -> bool {
        let mut keys = self.taken_up.remove(&page).unwrap_or_default();
        if keys.len() != question.blocks as usize {
            keys.clear();
        }
        // A client has so many completion entries, and waits for one answer in each.
        self.asked
            .retain(|other| other.page != page || other.question.ticket.index() != question.ticket.index());
        let asked = self.asked.iter().filter(|other| other.page == page);
        if asked.map(|other| other.survey.keys.len()).sum::<usize>() + keys.len() > ASKED_BLOCKS_MAX {
            return false;
        }
        let survey = Survey::new(keys, shared.chain().shares(question.shares as usize).collect());
        self.asked.push_back(Asked { page, question, promotes, survey, verdict: None });
        true
    }

    /// What was to be brought of a chain has been, or will not be: counts how much is in memory, and answers.
    pub(super) fn close(&mut self, mut asked: Asked, verdict: Verdict) {
        let Survey { keys, walk, .. } = asked.survey;
        (asked.survey, asked.verdict) = (Survey::new(keys, walk.into_shares()), Some(verdict));
        self.asked.push_back(asked);
    }

    /// Nobody waits for this answer any more; `true` if it was still open.
    pub(super) fn cancel(&mut self, page: u16, ticket: Ticket) -> bool {
        let before = self.asked.len();
        self.asked.retain(|asked| (asked.page, asked.question.ticket) != (page, ticket));
        self.asked.len() < before
    }

    /// The client is gone.
    pub(super) fn forget(&mut self, page: u16) {
        self.taken_up.remove(&page);
        self.asked.retain(|asked| asked.page != page);
    }
}

impl Engine {
    /// Looks at the books for who asked about chains, a bounded number of times; `true` if there was anything to do.
    pub(super) fn look_for_chains(&mut self) -> bool {
        let mut looks = TURN_LOOKS;
        let mut worked = false;
        let now = now_ns();
        let comes = self.lower.as_ref().is_some_and(|lower| !lower.below.is_given_up(now, Direction::Read));
        while looks > 0
            && let Some(mut asked) = self.chains.asked.pop_front()
        {
            worked = true;
            let (store, began) = (&mut self.store, asked.survey.leg);
            let promotes = asked.promotes;
            let whereabouts = |id: &PieceId| match store.whereabouts(id) {
                // Who only asks is not sent for what does not come; who wants it is told why.
                Whereabouts::Below { .. } if !comes && !promotes => Whereabouts::Nowhere,
                found => found,
            };
            if !asked.survey.step(&mut looks, whereabouts) {
                // The others have their turn first.
                self.chains.asked.push_back(asked);
                break;
            }
            // From now on what is there stays, whatever is brought beside it.
            if began == Leg::Memory && asked.promotes && !keep(store, &asked) {
                let Survey { keys, walk, .. } = asked.survey;
                asked.survey = Survey::new(keys, walk.into_shares());
            }
            match asked.survey.leg {
                leg if leg != Leg::Memory
                    && let Some(verdict) = asked.verdict =>
                {
                    self.promoted(&asked, verdict, asked.survey.located.memory_blocks);
                }
                Leg::Over if asked.promotes => self.promote(asked),
                Leg::Over => {
                    touch(store, &asked.survey);
                    store.counters.located_chains += 1;
                    self.tell(&asked, Verdict::Located, asked.survey.located);
                }
                Leg::Memory | Leg::Anywhere | Leg::Needed => self.chains.asked.push_front(asked),
            }
        }
        worked
    }

    /// Answers who wanted a chain in memory: `blocks` of it are, and are kept.
    pub(super) fn promoted(&mut self, asked: &Asked, verdict: Verdict, blocks: usize) {
        let Asked { page, question: Question { ticket, deadline_ns, .. }, .. } = *asked;
        let now_ns = now_ns();
        let until_ns = deadline_ns.clamp(now_ns + KEEP_NS.start(), now_ns + KEEP_NS.end());
        self.store.keep_until(page, ticket, until_ns);
        self.store.counters.promoted_chains += 1;
        if verdict == Verdict::Promoted
            && let Some(tail) = asked.survey.tail()
        {
            // Who got a part of a chain often wants the next.
            self.store.goes_on_from(&tail.key);
        }
        self.tell(asked, verdict, Located::in_memory(blocks));
    }

    fn tell(&self, asked: &Asked, verdict: Verdict, located: Located) {
        answer_with(&self.store, &self.clients, asked.page, asked.question.ticket, verdict, located);
    }
}

/// Keeps the part of a chain that is in memory; `false` if its last block went in the meantime.
fn keep(store: &mut Store, asked: &Asked) -> bool {
    // Until it is answered, which is not for the deadline to decide.
    let tail = asked.survey.tail();
    tail.is_none_or(|tail| store.keep(asked.page, asked.question.ticket, &tail, u64::MAX))
}

/// Tells the policy that the part in memory is in use: a question is a match.
fn touch(store: &mut Store, survey: &Survey) {
    if let Some(tail) = survey.tail().and_then(|tail| store.catalog.slot(&tail)) {
        store.touch(Touch { tail, blocks: survey.located.memory_blocks as u32 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cascade_core::rule::Rule;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn keys(blocks: usize) -> Vec<BlockKey> {
        (0..blocks).map(|block| BlockKey::from_bytes([block as u8; 32])).collect()
    }

    fn shares(rules: &[Rule]) -> Vec<Share> {
        rules.iter().zip(0..).map(|(&rule, group)| Share::new(0, group).under(rule)).collect()
    }

    fn looked_at(mut survey: Survey, looks: usize, whereabouts: impl Fn(&PieceId) -> Whereabouts) -> Survey {
        while survey.leg != Leg::Over {
            survey.step(&mut { looks }, &whereabouts);
        }
        survey
    }

    fn longest(blocks: usize, shares: &[Share], is_there: impl Fn(Probe) -> bool) -> usize {
        let mut walk = Walk::new(blocks, shares);
        while let Some(probe) = walk.next() {
            if !is_there(probe) {
                walk.missing(probe);
            }
        }
        walk.length()
    }

    proptest! {
        #[test]
        fn a_survey_finds_what_is_usable_from_memory_and_what_with_the_tiers(
            rules in prop::collection::vec(
                prop_oneof![Just(Rule::Prefix), (1u32..6).prop_map(|blocks| Rule::Window { blocks })], 1..4),
            places in prop::collection::vec(prop::collection::vec(0u8..12, 3), 0..24),
            looks in 1usize..40,
        ) {
            let (blocks, shares) = (places.len(), shares(&rules));
            let place = |block: usize, share: usize| match places[block][share] {
                0 => Whereabouts::Nowhere,
                tier @ 1..=2 => Whereabouts::Below { tiers: 1 << tier },
                _ => Whereabouts::Memory,
            };
            let whereabouts = |id: &PieceId| place(usize::from(id.key.as_bytes()[0]), usize::from(id.group));
            let survey = looked_at(Survey::new(keys(blocks), shares.clone()), looks, whereabouts);

            let place = |probe: Probe| place(probe.block, probe.share);
            let memory_blocks = longest(blocks, &shares, |probe| place(probe) == Whereabouts::Memory);
            let usable = longest(blocks, &shares, |probe| place(probe) != Whereabouts::Nowhere);
            prop_assert_eq!((survey.located.memory_blocks, survey.located.blocks), (memory_blocks, usable));
            let is_below = |probe: &Probe| matches!(place(*probe), Whereabouts::Below { .. });
            let needed: BTreeSet<_> = Walk::backwards(usable, &shares)
                .filter(is_below)
                .map(|probe| (probe.block, probe.share))
                .collect();
            let found: BTreeSet<_> = survey.needed.iter().map(|probe| (probe.block, probe.share)).collect();
            prop_assert_eq!((&found, found.len()), (&needed, survey.needed.len()));
            let tiers = survey.needed.iter().fold(0, |tiers, &probe| match place(probe) {
                Whereabouts::Below { tiers: more } => tiers | more,
                _ => tiers,
            });
            prop_assert_eq!(survey.located.tiers, tiers);
        }
    }

    #[test]
    fn what_goes_while_it_is_looked_for_shortens_the_answer() {
        let mut survey = Survey::new(keys(8), shares(&[Rule::Prefix]));
        let below = |_: &PieceId| Whereabouts::Below { tiers: 1 };
        while survey.leg != Leg::Needed {
            survey.step(&mut { 100 }, below);
        }
        survey.step(&mut { 3 }, below);
        assert_eq!(survey.needed.len(), 3);
        let from_block_two = |id: &PieceId| match id.key.as_bytes()[0] {
            0..2 => Whereabouts::Below { tiers: 1 },
            _ => Whereabouts::Nowhere,
        };
        let survey = looked_at(survey, 100, from_block_two);
        assert_eq!(survey.located, Located { blocks: 2, memory_blocks: 0, tiers: 1 });
        assert_eq!(survey.needed.iter().map(|probe| probe.block).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn a_batch_that_does_not_follow_the_one_before_leaves_nothing() {
        let words = cascade_core::sync::zeroed_words(cascade_core::page::PAGE_WORDS);
        let page = Page::new(&words);
        let mut chains = Chains::default();
        let mut take_up = |first, count, length| {
            chains.take_up(3, &page, first, count);
            assert_eq!(chains.taken_up[&3].len(), length, "{count} keys as block {first}");
        };
        take_up(0, 5, 5);
        take_up(5, 5, 10);
        // A node that died before it was done with a batch comes to it again.
        take_up(5, 5, 10);
        take_up(0, 2, 2);
        take_up(4, 2, 0);
    }
}
