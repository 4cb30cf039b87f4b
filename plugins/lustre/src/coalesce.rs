//! Which loads share a transfer: those that lie close to each other in a container. Heads and removed pieces in between are
//! read into a scratch, for a request that goes on is cheaper than another one.

use crate::format::{BLOCK_BYTES, round_up};

/// What lies between two loads is read along up to here.
pub(crate) const GAP_BYTES_MAX: u64 = 64 << 10;

/// A transfer is not made longer than this by one more load: several are under way at once, and the first pieces of a chain
/// come before its last.
const TRANSFER_BYTES_MAX: u64 = 16 << 20;

/// A piece that is wanted from a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// Whether it can go straight to where it is wanted.
    pub(crate) is_direct: bool,
}

/// Whole blocks that are read together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The wants in it, by index: one, if it goes straight to where it is wanted.
    pub(crate) wants: Vec<usize>,
    pub(crate) is_direct: bool,
}

/// Spans that are read by one transfer, in order, with gaps in between.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) spans: Vec<Span>,
}

impl Plan {
    pub(crate) fn start(&self) -> u64 {
        self.spans[0].start
    }

    fn end(&self) -> u64 {
        self.spans.last().map_or(0, |span| span.end)
    }

    /// Takes a want in if it lies close to what is there.
    fn take(&mut self, index: usize, want: &Want) -> bool {
        let (start, end) = blocks_of(want);
        let plan_end = self.end();
        let Some(last) = self.spans.last_mut() else {
            self.spans.push(Span { start, end, wants: vec![index], is_direct: want.is_direct });
            return true;
        };
        let is_close = start <= plan_end.saturating_add(GAP_BYTES_MAX);
        let both_staged = !last.is_direct && !want.is_direct;
        if !is_close || (start < plan_end && !both_staged) {
            return false;
        }
        if both_staged {
            last.end = last.end.max(end);
            last.wants.push(index);
        } else {
            self.spans.push(Span { start, end, wants: vec![index], is_direct: want.is_direct });
        }
        true
    }
}

fn blocks_of(want: &Want) -> (u64, u64) {
    (want.offset - want.offset % BLOCK_BYTES, round_up(want.offset + want.length))
}

/// Plans the transfers for wants that are sorted by offset.
pub(crate) fn plan(wants: &[Want]) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for (index, want) in wants.iter().enumerate() {
        let end = blocks_of(want).1;
        let taken = plans
            .last_mut()
            .is_some_and(|plan| end <= plan.start() + TRANSFER_BYTES_MAX && plan.take(index, want));
        if !taken {
            let mut plan = Plan::default();
            plan.take(index, want);
            plans.push(plan);
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn direct(offset: u64, length: u64) -> Want {
        Want { offset, length, is_direct: true }
    }

    fn staged(offset: u64, length: u64) -> Want {
        Want { offset, length, is_direct: false }
    }

    #[test]
    fn a_chain_is_one_transfer_across_the_heads_in_it() {
        let wants = [direct(4096, MIB), direct(4096 + MIB, MIB), direct(8192 + 2 * MIB, MIB)];
        let plans = plan(&wants);
        assert_eq!(plans.len(), 1);
        assert_eq!(plans[0].spans.len(), 3);
        assert_eq!(plans[0].spans[2].start - plans[0].spans[1].end, 4096);
    }

    #[test]
    fn small_pieces_of_one_record_are_read_at_once() {
        let plans = plan(&[staged(4096, 100), staged(4224, 100), staged(12_288, 100)]);
        let span = Span { start: 4096, end: 16_384, wants: vec![0, 1, 2], is_direct: false };
        assert_eq!(plans, [Plan { spans: vec![span] }]);
    }

    #[test]
    fn what_lies_far_apart_or_is_too_much_is_read_apart() {
        assert_eq!(plan(&[direct(0, 4096), direct(4096 + GAP_BYTES_MAX + 4096, 4096)]).len(), 2);
        let chain: Vec<Want> = (0..32).map(|number| direct(number * MIB, MIB)).collect();
        let plans = plan(&chain);
        assert_eq!(plans.len(), 2);
        assert!(plans.iter().all(|plan| plan.end() - plan.start() <= TRANSFER_BYTES_MAX));
    }

    #[test]
    fn a_piece_that_is_wanted_twice_is_read_into_both_places() {
        assert_eq!(plan(&[direct(0, MIB), direct(0, MIB)]).len(), 2);
        assert_eq!(plan(&[staged(64, 10), staged(64, 10)])[0].spans[0].wants, [0, 1]);
    }

    #[test]
    fn every_want_lies_in_exactly_one_span() {
        let mut seed = 1_u64;
        for _ in 0..200 {
            let mut wants: Vec<Want> = (0..40)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let (block, small) = (seed >> 40 & 0xff, seed >> 20 & 1 == 0);
                    if small { staged(block * 4096 + 64, 3000) } else { direct(block * 4096, 50_000) }
                })
                .collect();
            wants.sort_by_key(|want| want.offset);
            let mut seen = vec![0; wants.len()];
            for plan in plan(&wants) {
                let mut at = 0;
                for span in &plan.spans {
                    assert!(span.start >= at && span.end > span.start);
                    assert!(!span.is_direct || span.wants.len() == 1);
                    at = span.end;
                    for &index in &span.wants {
                        let (start, end) = blocks_of(&wants[index]);
                        assert!(span.start <= start && end <= span.end);
                        seen[index] += 1;
                    }
                }
            }
            assert!(seen.iter().all(|&count| count == 1));
        }
    }
}
