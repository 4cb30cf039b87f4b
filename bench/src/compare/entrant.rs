//! A system that takes part: its turns, what they came to, and its row at the end.

use super::disk::DiskFloor;
use super::floor::{self, Moved};
use super::page_cache;
use super::rounds::{Finished, Rounds};
use super::row::{Figures, Floor, Row};
use super::stage::Stage;
use super::systems::{Driver, Identity, Mode, Pass, System};
use crate::cpu;
use crate::latency::Latencies;
use crate::local::quantile;
use crate::provenance::shortened;
use crate::random::mix;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

/// A system that takes part, and what it has done so far.
pub(super) struct Entrant {
    pub(crate) system: System,
    pub(crate) variant: &'static str,
    driver: Box<dyn Driver>,
    /// Where its files lie.
    store: PathBuf,
    puts: Taken,
    gets: Taken,
    copies: [Vec<f64>; 2],
    disk: Vec<DiskFloor>,
    wrong_bytes: u64,
    resident_bytes: u64,
    from_disk_ratio: f64,
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
            disk: vec![],
            wrong_bytes: 0,
            resident_bytes: 0,
            from_disk_ratio: f64::INFINITY,
        }
    }

    /// One round of it. With the disk's floor, what was put goes to the disk, and gets are cold.
    pub(super) fn turn(
        &mut self,
        stage: &mut Stage,
        round: usize,
        disk: Option<DiskFloor>,
    ) -> Result<(), Box<dyn Error>> {
        let numbers: Vec<usize> = (0..stage.blocks).collect();
        let total_bytes = stage.total_bytes();
        let copied = floor::copies(stage);
        let (mut put, put_cost) = spent(self.driver.as_mut(), |driver| driver.put(stage, &numbers))?;
        if disk.is_some() {
            let start = Instant::now();
            page_cache::sync_below(&self.store)?;
            put.settling += start.elapsed();
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
            let [put_floor, get_floor] = disk.map_or([copied; 2], |disk| [[disk.write; 2], disk.reads]);
            self.puts.take(&put, &put_cost, total_bytes, put_floor);
            self.gets.take(&get, &get_cost, total_bytes, get_floor);
            self.copies.iter_mut().zip(copied).for_each(|(copies, moved)| copies.push(moved.gbps));
            self.disk.extend(disk);
            let from_disk_ratio = get_cost.read_bytes as f64 / total_bytes as f64;
            self.from_disk_ratio = self.from_disk_ratio.min(from_disk_ratio);
        }
        Ok(())
    }

    /// Stops it and judges what it did.
    pub(super) fn finish(self, rounds: &Rounds, stage: &Stage) -> Finished {
        let cold = rounds.mode == Mode::Cold;
        let median = |values: &[f64]| quantile(values, 0.5);
        let disk =
            |of: fn(&DiskFloor) -> f64| cold.then(|| median(&self.disk.iter().map(of).collect::<Vec<_>>()));
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
                disk_write_gbps: disk(|disk| disk.write.gbps),
                disk_read_gbps: disk(|disk| disk.reads[0].gbps),
                disk_deep_read_gbps: disk(|disk| disk.reads[1].gbps),
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
