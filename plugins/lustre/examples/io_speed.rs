//! Measures the engines beside fio: the same directory, O_DIRECT, block size and depth.
//!
//! `cargo run --release -p cascade-tier-lustre --example io_speed -- --directory DIR [--json]`
//!
//! Each pair is a run of an engine and one of fio's io_uring, next to each other and in an order that turns, so that a disk
//! that slows down slows both. A ratio is ours over fio's within its pair; printed is the median, and in brackets the least and
//! the most. Reads are past the page cache, so cold; writes make a new file, as a container is. fio must be installed.

use cascade_tier_lustre::io::{
    Access, Caching, Depth, Direction, Directory, Engine, FileKind, Method, Part, PosixDirectory,
    Surroundings, Transfer,
};
use clap::Parser;
use memmap2::{MmapOptions, MmapRaw};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::Value;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const READ_FILE: &str = "io-speed.read";
const OUR_FILE: &str = "io-speed.ours";
const FIO_FILE: &str = "io-speed.fio";

#[derive(Parser)]
struct Arguments {
    /// Where the files go; it must be private (chmod 700), and is made where it is missing.
    #[arg(long)]
    directory: PathBuf,
    /// How many pairs.
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// How much one run moves.
    #[arg(long, default_value_t = 320)]
    mib: u64,
    /// How many requests are under way.
    #[arg(long, default_value_t = 16)]
    depth: usize,
    /// Give files that are written their room before the clock runs, ours and fio's, instead of letting them grow.
    #[arg(long)]
    preallocate: bool,
    /// Only workloads whose names begin so.
    #[arg(long, default_value = "")]
    only: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    direction: Direction,
    block_bytes: u64,
    random: bool,
    /// What the median ratio is to reach with a ring.
    bar: f64,
}

const WORKLOADS: [Workload; 6] = [
    Workload {
        name: "read_2mib",
        direction: Direction::Read,
        block_bytes: 2 << 20,
        random: false,
        bar: 0.95,
    },
    Workload {
        name: "read_2mib_random",
        direction: Direction::Read,
        block_bytes: 2 << 20,
        random: true,
        bar: 0.95,
    },
    Workload {
        name: "read_10mib",
        direction: Direction::Read,
        block_bytes: 10 << 20,
        random: false,
        bar: 0.95,
    },
    Workload {
        name: "read_10mib_random",
        direction: Direction::Read,
        block_bytes: 10 << 20,
        random: true,
        bar: 0.95,
    },
    Workload {
        name: "write_2mib",
        direction: Direction::Write,
        block_bytes: 2 << 20,
        random: false,
        bar: 0.90,
    },
    Workload {
        name: "write_10mib",
        direction: Direction::Write,
        block_bytes: 10 << 20,
        random: false,
        bar: 0.90,
    },
];

/// What one run came to.
#[derive(Clone, Copy, Serialize)]
struct Speed {
    gbps: f64,
    cpu_s_per_gb: f64,
}

/// What the pairs of a workload and an engine came to.
#[derive(Serialize)]
struct Row {
    workload: &'static str,
    engine: &'static str,
    pairs: Vec<(Speed, Speed)>,
    gbps: f64,
    fio_gbps: f64,
    ratio: f64,
    ratio_spread: (f64, f64),
    bar: f64,
    cpu_s_per_gb: f64,
    fio_cpu_s_per_gb: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let directory = PosixDirectory::open(&arguments.directory, Access::ReadWrite, Caching::Avoided)?;
    if let Some(Err(reason)) = directory.direct() {
        return Err(format!("no direct I/O in {}: {reason}", arguments.directory.display()).into());
    }
    let fio = fio_version()?;
    let bench = Bench { arguments: &arguments, directory: &directory };
    bench.lay_out()?;
    let mut rows = Vec::new();
    for workload in WORKLOADS.into_iter().filter(|workload| workload.name.starts_with(&arguments.only)) {
        for method in [Method::IoUring, Method::Pread] {
            rows.push(bench.pairs(workload, method)?);
            if !arguments.json {
                print_row(rows.last().expect("just pushed"));
            }
        }
    }
    for name in [READ_FILE, OUR_FILE, FIO_FILE] {
        directory.remove(name)?;
    }
    if arguments.json {
        let surroundings = Surroundings::of(&arguments.directory)?;
        let (mib, depth) = (arguments.mib, arguments.depth);
        let ratio = |workload| {
            let is_it = |row: &&Row| row.workload == workload && row.engine == "io_uring";
            rows.iter().find(is_it).map(|row| row.ratio)
        };
        let report = serde_json::json!({
            "cold_read_2mib_ratio": ratio("read_2mib"),
            "cold_read_10mib_ratio": ratio("read_10mib"),
            "demote_ratio": ratio("write_2mib"),
            "fio": fio,
            "mib": mib,
            "depth": depth,
            "place": surroundings,
            "rows": rows,
        });
        println!("{report}");
    }
    Ok(())
}

fn print_row(row: &Row) {
    let Row { workload, engine, gbps, fio_gbps, ratio, ratio_spread: (least, most), bar, .. } = row;
    let (cpu, fio_cpu) = (row.cpu_s_per_gb, row.fio_cpu_s_per_gb);
    println!(
        "{workload:<18} {engine:<9} {gbps:6.3} GB/s  fio {fio_gbps:6.3}  ratio {ratio:.3} [{least:.3} {most:.3}] \
         (bar {bar:.2})  CPU {cpu:.3} s/GB  fio {fio_cpu:.3}"
    );
}

struct Bench<'a> {
    arguments: &'a Arguments,
    directory: &'a PosixDirectory,
}

impl Bench<'_> {
    fn bytes(&self, block_bytes: u64) -> u64 {
        ((self.arguments.mib << 20) / block_bytes).max(1) * block_bytes
    }

    /// Writes the file that all read.
    fn lay_out(&self) -> Result<()> {
        self.directory.remove(READ_FILE)?;
        let mut engine = self.start(Method::Auto)?;
        let write = WORKLOADS.iter().find(|workload| workload.name == "write_2mib").expect("it is there");
        self.ours(engine.as_mut(), *write, READ_FILE)?;
        Ok(())
    }

    fn start(&self, method: Method) -> Result<Box<dyn Engine>> {
        let depth = Depth { requests: self.arguments.depth, ..Depth::default() };
        let chosen = method.start(depth)?;
        if let Some(reason) = chosen.no_ring {
            eprintln!("{reason}");
        }
        Ok(chosen.engine)
    }

    fn pairs(&self, workload: Workload, method: Method) -> Result<Row> {
        let mut engine = self.start(method)?;
        let name = engine.name();
        let file = if workload.direction == Direction::Read { READ_FILE } else { OUR_FILE };
        let mut pairs = Vec::new();
        for pair in 0..self.arguments.pairs {
            let (ours, fio) = if pair % 2 == 0 {
                let ours = self.ours(engine.as_mut(), workload, file)?;
                (ours, self.fio(workload)?)
            } else {
                let fio = self.fio(workload)?;
                (self.ours(engine.as_mut(), workload, file)?, fio)
            };
            pairs.push((ours, fio));
        }
        let over = |figure: fn(&(Speed, Speed)) -> f64| median(pairs.iter().map(figure).collect());
        let ratios: Vec<f64> = pairs.iter().map(|(ours, fio)| ours.gbps / fio.gbps).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        Ok(Row {
            workload: workload.name,
            engine: name,
            gbps: over(|(ours, _)| ours.gbps),
            fio_gbps: over(|(_, fio)| fio.gbps),
            ratio: median(ratios),
            ratio_spread: (least, most),
            bar: workload.bar,
            cpu_s_per_gb: over(|(ours, _)| ours.cpu_s_per_gb),
            fio_cpu_s_per_gb: over(|(_, fio)| fio.cpu_s_per_gb),
            pairs,
        })
    }

    /// A run of ours.
    fn ours(&self, engine: &mut dyn Engine, workload: Workload, name: &str) -> Result<Speed> {
        let Workload { direction, block_bytes, random, .. } = workload;
        let bytes = self.bytes(block_bytes);
        let (blocks, depth) = (bytes / block_bytes, self.arguments.depth as u64);
        let memory = Memory::new(depth * block_bytes)?;
        let file = match direction {
            Direction::Read => self.directory.open(name, FileKind::Container)?,
            Direction::Write => {
                self.directory.remove(name)?;
                let file = self.directory.create(name, FileKind::Container)?;
                if self.arguments.preallocate {
                    fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
                }
                file
            }
        };
        let mut order: Vec<u64> = (0..blocks).collect();
        if random {
            shuffle(&mut order);
        }
        let mut order = order.into_iter();
        let mut slots: Vec<u64> = (0..depth).collect();
        let (mut done, mut moved) = (Vec::new(), 0);
        let (started, cpu_before_s) = (Instant::now(), cpu_s());
        loop {
            while let Some(slot) = slots.pop() {
                let Some(block) = order.next() else { break };
                let part = memory.part(slot * block_bytes, block_bytes);
                let (file, offset) = (file.clone(), block * block_bytes);
                let transfer = Transfer { token: slot, file, offset, direction, parts: vec![part] };
                // SAFETY: the memory outlives the loop, which ends when everything is done; each slot has one transfer.
                unsafe { engine.submit(transfer) }.map_err(|_| "the engine takes less than the depth")?;
            }
            if engine.under_way() == 0 {
                break;
            }
            poll(&mut [PollFd::from_borrowed_fd(engine.event_fd(), PollFlags::IN)], None)?;
            engine.reap(&mut done);
            for done in done.drain(..) {
                moved += done.result?;
                slots.push(done.token);
            }
        }
        let (took_s, cpu_s) = (started.elapsed().as_secs_f64(), cpu_s() - cpu_before_s);
        assert_eq!(moved, bytes, "every byte was moved");
        let gb = bytes as f64 / 1e9;
        Ok(Speed { gbps: gb / took_s, cpu_s_per_gb: cpu_s / gb })
    }

    /// A run of fio.
    fn fio(&self, workload: Workload) -> Result<Speed> {
        let (name, mode) = match (workload.direction, workload.random) {
            (Direction::Read, false) => (READ_FILE, "read"),
            (Direction::Read, true) => (READ_FILE, "randread"),
            (Direction::Write, _) => {
                self.directory.remove(FIO_FILE)?;
                (FIO_FILE, "write")
            }
        };
        let bytes = self.bytes(workload.block_bytes);
        let path = self.arguments.directory.join(name);
        let output = Command::new("fio")
            .args(["--name=io_speed", "--ioengine=io_uring", "--direct=1"])
            .args(["--output-format=json", "--create_serialize=0"])
            .arg(if self.arguments.preallocate { "--fallocate=native" } else { "--fallocate=none" })
            .arg(format!("--filename={}", path.display()))
            .arg(format!("--rw={mode}"))
            .arg(format!("--bs={}", workload.block_bytes))
            .arg(format!("--size={bytes}"))
            .arg(format!("--iodepth={}", self.arguments.depth))
            .output()?;
        if !output.status.success() {
            return Err(format!("fio failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let job = &report["jobs"][0];
        let number = |value: &Value| value.as_f64().ok_or("fio's report is not as expected");
        let side = if workload.direction == Direction::Read { &job["read"] } else { &job["write"] };
        if number(&side["io_bytes"])? as u64 != bytes {
            return Err("fio moved another number of bytes".into());
        }
        let took_s = number(&side["runtime"])? / 1e3;
        let cpu_s = (number(&job["usr_cpu"])? + number(&job["sys_cpu"])?) / 100.0
            * number(&job["job_runtime"])?
            / 1e3;
        let gb = bytes as f64 / 1e9;
        Ok(Speed { gbps: gb / took_s, cpu_s_per_gb: cpu_s / gb })
    }
}

fn fio_version() -> Result<String> {
    let output =
        Command::new("fio").arg("--version").output().map_err(|error| format!("fio: {error}; install it"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Pages with something in them, as a piece has: none is still to be made when the clock runs.
struct Memory(MmapRaw);

impl Memory {
    fn new(bytes: u64) -> Result<Memory> {
        let mut map = MmapOptions::new().len(usize::try_from(bytes)?).map_anon()?;
        map.chunks_mut(8).enumerate().for_each(|(index, word)| word[0] = index as u8 | 1);
        Ok(Memory(map.into()))
    }

    fn part(&self, offset: u64, length: u64) -> Part {
        assert!(offset + length <= self.0.len() as u64);
        Part { pointer: self.0.as_mut_ptr().wrapping_add(offset as usize), length: length as usize }
    }
}

/// The processor time of this process, its threads and the kernel's work for it.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The same order in every run (Fisher and Yates, with Knuth's generator).
fn shuffle(values: &mut [u64]) {
    let mut state = 1_u64;
    for last in (1..values.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        values.swap(last, (state >> 33) as usize % (last + 1));
    }
}
