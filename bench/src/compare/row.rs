//! One system's figures for one size of blocks, and whether they can be true.

use super::systems::{Identity, Mode};
use serde::{Deserialize, Serialize};

/// How much faster than its floor a figure may be and still be taken for noise. What this is to catch (a pointer in place of
/// a copy, a disk that was never asked) is off by factors.
const TOLERANCE: f64 = 1.5;
/// The share of what was got that must have come from the disk, as the kernel counts it.
const FROM_DISK: f64 = 0.9;
/// The share of the store that may still be in memory when a cold pass begins: heads of files, not blocks.
const IN_MEMORY: f64 = 0.01;

/// A row. Rates are medians over the rounds, latencies are over all calls; GB are 10⁹ bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) system: String,
    /// How blocks are kept, where there are several ways; otherwise empty.
    pub(crate) variant: String,
    #[serde(flatten)]
    pub(crate) identity: Identity,
    pub(crate) mode: Mode,
    pub(crate) block_bytes: usize,
    pub(crate) blocks: usize,
    pub(crate) rounds: usize,
    pub(crate) put: Figures,
    pub(crate) get: Figures,
    /// Of all gets.
    pub(crate) wrong_bytes: u64,
    pub(crate) floor: Floor,
    /// What was left in memory of the system's files before cold gets, at most; what was in them.
    pub(crate) resident_bytes: Option<u64>,
    /// What the kernel says that the system had read from the disk, over what it should have; the least of all rounds.
    pub(crate) read_from_disk_ratio: Option<f64>,
}

/// Of puts or of gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) calls: usize,
    pub(crate) successes: usize,
    pub(crate) gbps: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Of client and servers.
    pub(crate) cpu_s_per_gb: f64,
    /// Speed over that of the floor: the faster copy, or the disk's write and faster read. The median over rounds.
    pub(crate) floor_ratio: f64,
    /// The fastest that the floor was at any moment, for one block or for all.
    pub(crate) bound_gbps: f64,
}

/// What the machine did with the same bytes in the same rounds; GB/s.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Floor {
    pub(crate) memcpy_gbps: f64,
    pub(crate) nontemporal_gbps: f64,
    /// O_DIRECT, several writes at a time, and their sync.
    pub(crate) disk_write_gbps: Option<f64>,
    /// O_DIRECT, one read at a time and several.
    pub(crate) disk_read_gbps: Option<f64>,
    pub(crate) disk_deep_read_gbps: Option<f64>,
}

impl Row {
    /// Looks for what cannot be true. Errors: what it is; then the driver is wrong, and the row is none.
    pub(crate) fn judge(&self) -> Result<(), String> {
        for (name, figures) in [("puts", &self.put), ("gets", &self.get)] {
            if figures.calls == 0 || figures.successes < figures.calls {
                return Err(format!("{} of {} {name} succeeded", figures.successes, figures.calls));
            }
            if !(figures.floor_ratio > 0.0 && figures.bound_gbps > 0.0 && figures.gbps > 0.0) {
                return Err(format!("there is no floor to {name}, or no figure"));
            }
            // Half of the calls were this fast or faster: the median call is disturbed less than all calls together. Of cold
            // ones a few wait for the disk on behalf of the others.
            let typical_gbps = self.block_bytes as f64 / 1e3 / figures.p50_us;
            let gbps = if self.mode == Mode::Hot { figures.gbps.max(typical_gbps) } else { figures.gbps };
            let times = gbps / figures.bound_gbps;
            if times > TOLERANCE {
                return Err(format!("{name} at {times:.1} times the speed of their floor"));
            }
        }
        if self.mode == Mode::Hot {
            return Ok(());
        }
        let store_bytes = (self.blocks * self.block_bytes) as f64;
        match (self.resident_bytes, self.read_from_disk_ratio) {
            (Some(resident), _) if resident as f64 > store_bytes * IN_MEMORY => {
                Err(format!("{resident} bytes of its files were still in memory when its cold gets began"))
            }
            (_, Some(ratio)) if ratio < FROM_DISK => {
                Err(format!("its cold gets read {:.0} % of the blocks from the disk", ratio * 100.0))
            }
            (Some(_), Some(_)) => Ok(()),
            _ => Err("nobody looked whether its cold gets were cold".to_owned()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row that nothing is wrong with.
    pub(in crate::compare) fn row(mode: Mode) -> Row {
        let cold = mode == Mode::Cold;
        let figures = Figures {
            calls: 8,
            successes: 8,
            gbps: 4.0,
            p50_us: 500.0,
            p99_us: 900.0,
            cpu_s_per_gb: 0.25,
            floor_ratio: 0.5,
            bound_gbps: 9.0,
        };
        Row {
            system: "redis".into(),
            variant: String::new(),
            identity: Identity {
                version: "7.0.15".into(),
                path: "/usr/bin/redis".into(),
                setup: "a server".into(),
            },
            mode,
            block_bytes: 2 << 20,
            blocks: 8,
            rounds: 1,
            put: figures.clone(),
            get: figures,
            wrong_bytes: 0,
            floor: Floor {
                memcpy_gbps: 7.0,
                nontemporal_gbps: 8.0,
                disk_write_gbps: cold.then_some(0.5),
                disk_read_gbps: cold.then_some(1.0),
                disk_deep_read_gbps: cold.then_some(2.0),
            },
            resident_bytes: cold.then_some(0),
            read_from_disk_ratio: cold.then_some(1.0),
        }
    }

    fn refused(mode: Mode, change: impl FnOnce(&mut Row)) -> String {
        let mut row = row(mode);
        assert_eq!(row.judge(), Ok(()), "before the change");
        change(&mut row);
        row.judge().expect_err("after the change")
    }

    #[test]
    fn a_call_that_failed_is_a_bug_of_the_driver() {
        assert_eq!(refused(Mode::Hot, |row| row.get.successes = 7), "7 of 8 gets succeeded");
        assert_eq!(
            refused(Mode::Hot, |row| (row.put.calls, row.put.successes) = (0, 0)),
            "0 of 0 puts succeeded"
        );
    }

    #[test]
    fn a_figure_above_its_floor_is_a_bug_of_the_driver() {
        // What handing over a pointer looks like.
        let said = refused(Mode::Hot, |row| row.get.p50_us = 2.5);
        assert_eq!(said, "gets at 93.2 times the speed of their floor");
        let said = refused(Mode::Cold, |row| row.get.bound_gbps = 2.0);
        assert!(said.starts_with("gets at 2.0 times"), "a cold get that beats the disk: {said}");
    }

    #[test]
    fn a_row_without_a_floor_is_none() {
        assert!(refused(Mode::Hot, |row| row.put.floor_ratio = 0.0).contains("no floor"));
        assert!(refused(Mode::Hot, |row| row.put.bound_gbps = f64::NAN).contains("no floor"));
    }

    #[test]
    fn cold_gets_that_were_not_cold_are_a_bug_of_the_driver() {
        assert!(refused(Mode::Cold, |row| row.resident_bytes = Some(1 << 20)).contains("still in memory"));
        assert!(refused(Mode::Cold, |row| row.read_from_disk_ratio = Some(0.2)).contains("20 %"));
        assert!(refused(Mode::Cold, |row| row.read_from_disk_ratio = None).contains("nobody looked"));
    }
}
