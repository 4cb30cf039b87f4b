//! The rounds of a panel: each system in turn puts all blocks and gets them, every byte is compared, and the floors stand beside.
//!
//! All systems run at once and take turns, round by round in an order that rotates: what disturbs the machine for a while
//! disturbs all of them. The first round does not count: it makes pages present.

use super::Interrupted;
use super::floor::{self, Disk, Moved};
use super::page_cache;
use super::row::{Figures, Floor, Row};
use super::stage::Stage;
use super::systems::{Driver, Identity, Mode, Pass, System};
use crate::cpu;
use crate::latency::Latencies;
use crate::local::quantile;
use crate::provenance::shortened;
use crate::random::mix;
use crate::signals::Signals;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
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

/// A system that takes part, and what it has done so far.
pub(crate) struct Entrant {
    pub(crate) system: System,
    pub(crate) variant: &'static str,
    driver: Box<dyn Driver>,
    /// Where its files lie.
    store: PathBuf,
    puts: Taken,
    gets: Taken,
    copies: [Vec<f64>; 2],
    reads: [Vec<f64>; 2],
    wrong_bytes: u64,
    resident_bytes: u64,
    from_disk_ratio: f64,
}

/// A system that was stopped, and its row or why it has none.
pub(crate) struct Finished {
    pub(crate) system: System,
    pub(crate) variant: &'static str,
    pub(crate) row: Result<Row, String>,
}

/// What the puts or the gets of all rounds came to.
#[derive(Default)]
struct Taken {
    latencies: Latencies,
    calls: usize,
    successes: usize,
    gbps: Vec<f64>,
    cpu_s_per_gb: Vec<f64>,
    floor_ratios: Vec<f64>,
    bound_gbps: f64,
}

/// What a pass cost beside its time.
struct Spent {
    cpu_s: f64,
    read_bytes: u64,
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
            let read = match self.disk {
                Some(disk) => Some([disk.read(stage, 1)?, disk.read(stage, floor::DEPTH)?]),
                None => None,
            };
            for turn in 0..running.len() {
                if self.signals.sleep(Duration::ZERO) {
                    return Err(Interrupted.into());
                }
                let which = (turn + round) % running.len();
                let Some(entrant) = &mut running[which] else { continue };
                if let Err(error) = entrant.turn(stage, round, read) {
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

impl Entrant {
    /// A system that has not had a turn yet.
    pub(crate) fn new(
        system: System,
        variant: &'static str,
        driver: Box<dyn Driver>,
        store: PathBuf,
    ) -> Self {
        Self {
            system,
            variant,
            driver,
            store,
            puts: Taken::default(),
            gets: Taken::default(),
            copies: [vec![], vec![]],
            reads: [vec![], vec![]],
            wrong_bytes: 0,
            resident_bytes: 0,
            from_disk_ratio: f64::INFINITY,
        }
    }

    /// One round of it. `read` is the disk's floor where gets are to be cold.
    fn turn(
        &mut self,
        stage: &mut Stage,
        round: usize,
        read: Option<[Moved; 2]>,
    ) -> Result<(), Box<dyn Error>> {
        let numbers: Vec<usize> = (0..stage.blocks).collect();
        let total_bytes = stage.total_bytes();
        let copied = floor::copies(stage);
        let (put, put_cost) = spent(self.driver.as_mut(), |driver| driver.put(stage, &numbers))?;
        if read.is_some() {
            self.driver.rest()?;
            page_cache::drop_below(&self.store)?;
            self.resident_bytes = self.resident_bytes.max(page_cache::resident_bytes(&self.store)?);
            self.driver.wake()?;
        }
        stage.wipe();
        let order = shuffled(&numbers, round as u64);
        let (get, get_cost) = spent(self.driver.as_mut(), |driver| driver.get(stage, &order))?;
        self.wrong_bytes += stage.wrong_bytes();
        self.driver.clear(stage)?;
        if round > 0 {
            self.puts.take(&put, &put_cost, total_bytes, copied);
            self.gets.take(&get, &get_cost, total_bytes, read.unwrap_or(copied));
            self.copies.iter_mut().zip(copied).for_each(|(copies, moved)| copies.push(moved.gbps));
            self.reads
                .iter_mut()
                .zip(read.into_iter().flatten())
                .for_each(|(reads, moved)| reads.push(moved.gbps));
            let from_disk_ratio = get_cost.read_bytes as f64 / total_bytes as f64;
            self.from_disk_ratio = self.from_disk_ratio.min(from_disk_ratio);
        }
        Ok(())
    }

    /// Stops it and judges what it did.
    fn finish(self, rounds: &Rounds, stage: &Stage) -> Finished {
        let cold = rounds.mode == Mode::Cold;
        let median = |values: &[f64]| quantile(values, 0.5);
        let identity = self.driver.identity();
        let row = Row {
            system: self.system.name().to_owned(),
            variant: self.variant.to_owned(),
            identity: Identity { path: shortened(&identity.path), ..identity.clone() },
            mode: rounds.mode,
            block_bytes: stage.block_bytes,
            blocks: stage.blocks,
            rounds: rounds.rounds,
            put: self.puts.figures(),
            get: self.gets.figures(),
            wrong_bytes: self.wrong_bytes,
            floor: Floor {
                memcpy_gbps: median(&self.copies[0]),
                nontemporal_gbps: median(&self.copies[1]),
                disk_gbps: cold.then(|| median(&self.reads[0])),
                disk_deep_gbps: cold.then(|| median(&self.reads[1])),
            },
            resident_bytes: cold.then_some(self.resident_bytes),
            read_from_disk_ratio: cold.then_some(self.from_disk_ratio),
        };
        Finished { system: self.system, variant: self.variant, row: row.judge().map(|()| row) }
    }
}

impl Taken {
    /// Takes up a pass over so many bytes, and what the floor did with them.
    fn take(&mut self, pass: &Pass, spent: &Spent, bytes: usize, floor: [Moved; 2]) {
        pass.calls.iter().for_each(|&call| self.latencies.record(call));
        self.calls += pass.calls.len();
        self.successes += pass.successes;
        let gigabytes = bytes as f64 / 1e9;
        let gbps = gigabytes / pass.total_s();
        self.gbps.push(gbps);
        self.cpu_s_per_gb.push(spent.cpu_s / gigabytes);
        self.floor_ratios.push(gbps / floor[0].gbps.max(floor[1].gbps));
        self.bound_gbps = floor.iter().map(|moved| moved.fastest_gbps).fold(self.bound_gbps, f64::max);
    }

    fn figures(&self) -> Figures {
        let us = |share: f64| self.latencies.quantile_ns(share) as f64 / 1e3;
        Figures {
            calls: self.calls,
            successes: self.successes,
            gbps: quantile(&self.gbps, 0.5),
            p50_us: us(0.5),
            p99_us: us(0.99),
            cpu_s_per_gb: quantile(&self.cpu_s_per_gb, 0.5),
            floor_ratio: quantile(&self.floor_ratios, 0.5),
            bound_gbps: self.bound_gbps,
        }
    }
}

/// Runs a pass and tells what the system's processes spent meanwhile.
fn spent(
    driver: &mut dyn Driver,
    pass: impl FnOnce(&mut dyn Driver) -> Result<Pass, Box<dyn Error>>,
) -> Result<(Pass, Spent), Box<dyn Error>> {
    let count = |driver: &dyn Driver| -> Result<(u64, u64), Box<dyn Error>> {
        let (mut cpu_ns, mut read_bytes) = (0, 0);
        for pid in driver.processes() {
            cpu_ns += cpu::used_ns(pid).map_err(|error| format!("its process {pid} is gone: {error}"))?;
            read_bytes += read_by(pid)?;
        }
        Ok((cpu_ns, read_bytes))
    };
    let before = count(driver)?;
    let pass = pass(driver)?;
    let after = count(driver)?;
    let cpu_s = after.0.saturating_sub(before.0) as f64 / 1e9;
    Ok((pass, Spent { cpu_s, read_bytes: after.1.saturating_sub(before.1) }))
}

/// Bytes that the kernel has fetched from storage for a process.
fn read_by(pid: u32) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let field = text.lines().find_map(|line| line.strip_prefix("read_bytes:"));
    Ok(field.ok_or("the kernel does not count what is read")?.trim().parse()?)
}

/// The same numbers in an order that follows from the seed: gets in the order of puts would profit from reading ahead.
fn shuffled(numbers: &[usize], seed: u64) -> Vec<usize> {
    let mut shuffled = numbers.to_vec();
    shuffled.sort_by_key(|&number| mix(number as u64 ^ seed << 32));
    shuffled
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn an_order_holds_every_number_once_and_differs_by_round() {
        let numbers: Vec<usize> = (0..100).collect();
        let (one, other) = (shuffled(&numbers, 1), shuffled(&numbers, 2));
        assert_ne!(one, other);
        let mut sorted = one;
        sorted.sort_unstable();
        assert_eq!(sorted, numbers);
    }
}
