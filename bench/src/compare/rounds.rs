//! The rounds of a panel: each system in turn puts all blocks and gets them, every byte is compared, and the floors stand beside.
//!
//! All systems run at once and take turns, round by round in an order that rotates: what disturbs the machine for a while
//! disturbs all of them. The first round does not count: it makes pages present.

use super::Interrupted;
use super::disk::Disk;
use super::entrant::Entrant;
use super::row::Row;
use super::stage::Stage;
use super::systems::{Mode, System};
use crate::signals::Signals;
use std::error::Error;
use std::time::Duration;

/// What the systems of a panel share.
pub(crate) struct Rounds<'a> {
    pub(crate) mode: Mode,
    pub(crate) rounds: usize,
    /// The floor of cold gets.
    pub(crate) disk: Option<&'a Disk>,
    pub(crate) signals: &'a Signals,
    /// Called after each turn.
    pub(crate) turned: &'a dyn Fn(),
}

/// A system that was stopped, and its row or why it has none.
pub(crate) struct Finished {
    pub(crate) system: System,
    pub(crate) variant: &'static str,
    pub(crate) row: Result<Row, String>,
}

impl Rounds<'_> {
    /// Runs them. A system whose call fails is stopped, and the others go on.
    ///
    /// # Errors
    /// The floor cannot be taken; interrupted.
    pub(crate) fn run(
        &self,
        entrants: Vec<Entrant>,
        stage: &mut Stage,
    ) -> Result<Vec<Finished>, Box<dyn Error>> {
        let mut running: Vec<Option<Entrant>> = entrants.into_iter().map(Some).collect();
        let mut finished: Vec<Option<Finished>> = running.iter().map(|_| None).collect();
        for round in 0..=self.rounds {
            if running.iter().all(Option::is_none) {
                break;
            }
            stage.fill(round as u64);
            let disk = self.disk.map(|disk| disk.take(stage)).transpose()?;
            for turn in 0..running.len() {
                if self.signals.sleep(Duration::ZERO) {
                    return Err(Interrupted.into());
                }
                let which = (turn + round) % running.len();
                let Some(entrant) = &mut running[which] else { continue };
                if let Err(error) = entrant.turn(stage, round, disk) {
                    let (system, variant) = (entrant.system, entrant.variant);
                    finished[which] = Some(Finished { system, variant, row: Err(error.to_string()) });
                    running[which] = None;
                }
                (self.turned)();
            }
        }
        let finish = |(entrant, failed): (Option<Entrant>, Option<Finished>)| {
            entrant.map(|entrant| entrant.finish(self, stage)).or(failed)
        };
        Ok(running.into_iter().zip(finished).filter_map(finish).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::systems::{Driver, Identity, Pass};

    const BLOCKS: usize = 4;

    /// What is wrong with a system.
    #[derive(Clone, Copy, PartialEq)]
    enum Flaw {
        None,
        Forgets,
        KeepsTheFirst,
        HandsOver,
        Dies,
    }

    /// A system in this process.
    struct Memory {
        flaw: Flaw,
        kept: Vec<Vec<u8>>,
        rounds: usize,
        identity: Identity,
    }

    impl Memory {
        fn with(flaw: Flaw) -> Self {
            let identity = Identity { version: "1".into(), path: "here".into(), setup: "a vector".into() };
            Self { flaw, kept: vec![vec![]; BLOCKS], rounds: 0, identity }
        }
    }

    impl Driver for Memory {
        fn identity(&self) -> &Identity {
            &self.identity
        }

        fn processes(&self) -> Vec<u32> {
            vec![std::process::id()]
        }

        fn put(&mut self, stage: &Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>> {
            self.rounds += 1;
            if self.flaw == Flaw::Dies && self.rounds == 2 {
                return Err("it died".into());
            }
            Pass::of(numbers, |number| {
                let copy = stage.source(number).to_vec();
                if self.flaw != Flaw::KeepsTheFirst || self.kept[number].is_empty() {
                    self.kept[number] = copy;
                }
                Ok(true)
            })
        }

        fn get(&mut self, stage: &mut Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>> {
            let pass = Pass::of(numbers, |number| {
                if self.flaw == Flaw::Forgets && number == 2 {
                    return Ok(false);
                }
                if self.flaw != Flaw::HandsOver {
                    stage.target(number).copy_from_slice(&self.kept[number]);
                }
                Ok(true)
            });
            if self.flaw == Flaw::HandsOver {
                numbers.iter().for_each(|&number| stage.target(number).copy_from_slice(&self.kept[number]));
            }
            pass
        }

        fn clear(&mut self, _stage: &Stage) -> Result<(), Box<dyn Error>> {
            Ok(())
        }
    }

    /// The rows of systems that ran two rounds together.
    fn rows(systems: Vec<Memory>) -> Vec<Result<Row, String>> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut stage = Stage::new(folder.path(), 1 << 16, BLOCKS).expect("there is room");
        let signals = Signals::block();
        let rounds = Rounds { mode: Mode::Hot, rounds: 2, disk: None, signals: &signals, turned: &|| () };
        let entrants = systems
            .into_iter()
            .map(|memory| Entrant::new(System::Redis, "", Box::new(memory), folder.path().to_owned()));
        let finished = rounds.run(entrants.collect(), &mut stage).expect("nobody interrupts");
        finished.into_iter().map(|finished| finished.row).collect()
    }

    fn row_of(flaw: Flaw) -> Result<Row, String> {
        rows(vec![Memory::with(flaw)]).pop().expect("one took part")
    }

    #[test]
    fn an_honest_system_has_all_of_its_calls_and_no_wrong_byte() {
        let row = row_of(Flaw::None).expect("nothing is wrong with it");
        assert_eq!((row.put.calls, row.get.successes, row.wrong_bytes), (8, 8, 0));
        assert!(row.floor.memcpy_gbps > 0.0 && row.put.gbps > 0.0 && row.get.p99_us >= row.get.p50_us);
    }

    #[test]
    fn a_miss_refuses_the_row() {
        assert_eq!(row_of(Flaw::Forgets).expect_err("a miss"), "6 of 8 gets succeeded");
    }

    #[test]
    fn a_pointer_in_place_of_a_copy_refuses_the_row() {
        assert!(row_of(Flaw::HandsOver).expect_err("no copy").contains("times the speed of their floor"));
    }

    #[test]
    fn what_was_put_in_an_earlier_round_is_wrong_in_a_later_one() {
        assert!(row_of(Flaw::KeepsTheFirst).expect("it succeeds, as it says").wrong_bytes > 0);
    }

    #[test]
    fn who_fails_in_the_middle_has_no_row_and_the_others_have_theirs() {
        let flaws = [Flaw::None, Flaw::Dies, Flaw::None];
        let rows = rows(flaws.map(Memory::with).into());
        assert_eq!(rows.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(rows[1].as_ref().expect_err("it died"), "it died");
    }
}
