//! `replay` against a living node: a trace served by client processes, every byte of it compared.
//!
//! The parent deals requests ([`deal`]), watches, and sums up; each client ([`player`]) is a process of its own, started
//! as this program with a hidden command. Beside the live hit ratio stands that of the dry run, under the node's policy and
//! at the capacity that the node can really keep: they differ by what the node loses to concurrency.

mod chains;
mod deal;
mod node;
mod player;
mod tally;

use crate::cli::Source;
use crate::dry_run;
use crate::latency::Latencies;
use crate::provenance::Provenance;
use crate::signals::Signals;
use crate::trace::Trace;
use deal::Deal;
use indicatif::{ProgressBar, ProgressStyle};
use node::Status;
use player::Player;
use serde::Serialize;
use std::error::Error;
use std::io::{IsTerminal, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};
use tally::Tally;

/// How often the parent looks up.
const TICK: Duration = Duration::from_millis(100);
/// How often a line is logged where no terminal shows a bar.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
/// The share of the distinct blocks that fits when the size of a piece is chosen, in percent: enough to hit, too little
/// to keep everything.
const AUTO_FIT_PERCENT: u64 = 10;
const AUTO_PIECE_BYTES: std::ops::RangeInclusive<u64> = 4 << 10..=256 << 10;

/// What is replayed, and how.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) source: &'a Source,
    pub(crate) instance: &'a str,
    pub(crate) clients: usize,
    /// `None`: chosen so that a tenth of the distinct blocks fits.
    pub(crate) piece_bytes: Option<u64>,
    /// Trace time over our time; `None`: without pauses.
    pub(crate) speed: Option<f64>,
    /// The last request begins by then.
    pub(crate) longest: Option<Duration>,
}

/// What a client process is told by its parent.
#[derive(Debug, clap::Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    source: Source,
    #[arg(long)]
    instance: String,
    #[arg(long)]
    run: u64,
    #[arg(long)]
    piece_bytes: usize,
    #[arg(long)]
    speed: Option<f64>,
}

/// What a replay found. Rates are those of the calls themselves, added over the clients: bytes per second of copying.
#[derive(Debug, Serialize)]
pub(crate) struct Replayed {
    #[serde(flatten)]
    pub(crate) provenance: Provenance,
    pub(crate) trace: String,
    pub(crate) clients: usize,
    pub(crate) policy: String,
    pub(crate) node_version: String,
    pub(crate) piece_bytes: u64,
    pub(crate) capacity_blocks: u64,
    pub(crate) requests: u64,
    pub(crate) requests_total: u64,
    pub(crate) blocks: u64,
    pub(crate) block_hit_ratio: f64,
    pub(crate) token_hit_ratio: f64,
    /// The hit ratio of the policy alone, over the same requests at `capacity_blocks`, from an empty cache: compare with a
    /// node that has just begun.
    pub(crate) dry_run_block_hit_ratio: f64,
    pub(crate) wrong_bytes: u64,
    pub(crate) corrupt_pieces: u64,
    pub(crate) evicted_blocks: u64,
    pub(crate) puts: u64,
    pub(crate) puts_present: u64,
    pub(crate) puts_refused: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) get_gbps: f64,
    pub(crate) put_gbps: f64,
    pub(crate) match_p50_ns: u64,
    pub(crate) match_p99_ns: u64,
    pub(crate) get_p50_ns: u64,
    pub(crate) get_p99_ns: u64,
    pub(crate) put_p50_ns: u64,
    pub(crate) put_p99_ns: u64,
    pub(crate) publish_p50_ns: u64,
    pub(crate) publish_p99_ns: u64,
    pub(crate) wall_s: f64,
}

/// Replays a trace against the node of an instance.
///
/// # Errors
/// The trace cannot be used, there is no node, or a client failed.
pub(crate) fn run(plan: &Plan<'_>) -> Result<Replayed, Box<dyn Error>> {
    let mut trace = plan.source.trace()?;
    let before = Status::ask(plan.instance)?;
    let piece_bytes = plan.piece_bytes.unwrap_or_else(|| fitting_piece(&before, &trace, plan.clients));
    let capacity_blocks = before.capacity_blocks(piece_bytes, plan.clients as u64);
    if capacity_blocks == 0 {
        return Err(format!(
            "a piece of {piece_bytes} bytes fits into no slot of the node: choose a smaller --piece-bytes"
        )
        .into());
    }
    let signals = Signals::block();
    let (deal, shared) = Deal::new(trace.requests.len())?;
    let mut clients = Clients::start(plan, piece_bytes, &shared)?;
    watch(&deal, &signals, &mut clients, &trace, plan.longest)?;
    let wall_s = deal.elapsed().as_secs_f64();
    let tallies = clients.finish()?;
    let mut sum = Tally::default();
    tallies.iter().for_each(|tally| sum.add(tally));
    let requests_total = trace.requests.len() as u64;
    trace.requests.truncate(deal.taken());
    let dense = trace.dense();
    let dry_hits = dry_run::hits(&dense, &before.policy, capacity_blocks as usize);
    let after = Status::ask(plan.instance)?;
    let rate = |bytes: fn(&Tally) -> u64, calls: fn(&Tally) -> &Latencies| {
        let rates = tallies.iter().map(|tally| ratio(bytes(tally) as f64 / 1e9, calls(tally).total_s()));
        rates.sum::<f64>()
    };
    Ok(Replayed {
        provenance: Provenance::here(),
        trace: trace.name,
        clients: plan.clients,
        policy: before.policy.clone(),
        node_version: before.version.clone(),
        piece_bytes,
        capacity_blocks,
        requests: sum.requests,
        requests_total,
        blocks: sum.blocks,
        block_hit_ratio: ratio(sum.hit_blocks as f64, sum.blocks as f64),
        token_hit_ratio: ratio(sum.hit_tokens as f64, sum.tokens as f64),
        dry_run_block_hit_ratio: ratio(dry_hits as f64, dense.references() as f64),
        wrong_bytes: sum.wrong_bytes,
        corrupt_pieces: sum.corrupt_pieces,
        evicted_blocks: after.evicted_blocks().saturating_sub(before.evicted_blocks()),
        puts: sum.puts,
        puts_present: sum.puts_present,
        puts_refused: sum.puts_refused,
        bytes_out: sum.bytes_out,
        bytes_in: sum.bytes_in,
        get_gbps: rate(|tally| tally.bytes_out, |tally| &tally.gets),
        put_gbps: rate(|tally| tally.bytes_in, |tally| &tally.stores),
        match_p50_ns: sum.matches.quantile_ns(0.5),
        match_p99_ns: sum.matches.quantile_ns(0.99),
        get_p50_ns: sum.gets.quantile_ns(0.5),
        get_p99_ns: sum.gets.quantile_ns(0.99),
        put_p50_ns: sum.stores.quantile_ns(0.5),
        put_p99_ns: sum.stores.quantile_ns(0.99),
        publish_p50_ns: sum.publishes.quantile_ns(0.5),
        publish_p99_ns: sum.publishes.quantile_ns(0.99),
        wall_s,
    })
}

/// Runs one client process: deals come in by standard input, what was counted goes out by standard output.
///
/// # Errors
/// There is no node, or a call to it failed.
pub(crate) fn run_client(args: &ClientArgs) -> Result<(), Box<dyn Error>> {
    // A parent that is killed tells nobody; its clients are not to go on without it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let trace = args.source.trace()?;
    let deal = Deal::join(std::io::stdin().as_fd())?;
    let player = Player::connect(&args.instance, &trace, args.run, args.piece_bytes, args.speed)?;
    let tally = player.play(&trace, &deal)?;
    println!("{}", serde_json::to_string(&tally)?);
    Ok(())
}

/// The largest power of two of which a tenth of the distinct blocks fits, within sensible sizes.
fn fitting_piece(node: &Status, trace: &Trace, clients: usize) -> u64 {
    let wanted = trace.dense().distinct_blocks as u64 * AUTO_FIT_PERCENT / 100;
    let (smallest, largest) = AUTO_PIECE_BYTES.into_inner();
    let sizes =
        std::iter::successors(Some(largest), |bytes| Some(bytes / 2)).take_while(|&bytes| bytes > smallest);
    let fits = |&bytes: &u64| node.capacity_blocks(bytes, clients as u64) >= wanted;
    sizes.into_iter().find(fits).unwrap_or(smallest)
}

/// The client processes. Dropped before they ended, they are killed.
struct Clients(Vec<Child>);

impl Clients {
    fn start(plan: &Plan<'_>, piece_bytes: u64, shared: &OwnedFd) -> Result<Self, Box<dyn Error>> {
        let program = std::env::current_exe()?;
        let run = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
        let mut clients = Self(Vec::new());
        for _ in 0..plan.clients {
            let mut command = Command::new(&program);
            command.arg("replay-client").args(plan.source.arguments());
            command.args(["--instance", plan.instance, "--run", &run.to_string()]);
            command.args(["--piece-bytes", &piece_bytes.to_string()]);
            if let Some(speed) = plan.speed {
                command.args(["--speed", &speed.to_string()]);
            }
            command.stdin(Stdio::from(shared.try_clone()?)).stdout(Stdio::piped());
            clients.0.push(command.spawn()?);
        }
        Ok(clients)
    }

    /// Whether all have ended; an error as soon as one failed.
    fn have_ended(&mut self) -> Result<bool, Box<dyn Error>> {
        let mut ended = true;
        for client in &mut self.0 {
            match client.try_wait()? {
                Some(status) if !status.success() => {
                    return Err(format!("a client process failed: {status}").into());
                }
                Some(_) => {}
                // A tally is larger than a pipe at worst; it is read once the requests are served.
                None => ended = false,
            }
        }
        Ok(ended)
    }

    /// What each counted.
    fn finish(mut self) -> Result<Vec<Tally>, Box<dyn Error>> {
        let mut tallies = Vec::new();
        for client in &mut self.0 {
            let mut text = String::new();
            client.stdout.take().expect("it was piped").read_to_string(&mut text)?;
            let status = client.wait()?;
            if !status.success() {
                return Err(format!("a client process failed: {status}").into());
            }
            tallies.push(serde_json::from_str(&text)?);
        }
        Ok(tallies)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        for client in &mut self.0 {
            // One that has ended cannot be killed, and that is all that can go wrong.
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

/// Shows how far it is until all requests are served; ends the deal at the time limit and when asked to by a signal.
fn watch(
    deal: &Deal,
    signals: &Signals,
    clients: &mut Clients,
    trace: &Trace,
    longest: Option<Duration>,
) -> Result<(), Box<dyn Error>> {
    let total = trace.requests.len() as u64;
    let on_terminal = std::io::stderr().is_terminal();
    let bar = if on_terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} requests, {msg}")?);
    let mut logged = Duration::ZERO;
    loop {
        let asked = signals.sleep(TICK);
        let elapsed = deal.elapsed();
        if asked || longest.is_some_and(|longest| elapsed >= longest) {
            deal.stop();
        }
        let done = deal.progress();
        let line = format!(
            "{:.1} % of the blocks hit, {:.2} GB/s",
            ratio(done.hit_blocks as f64, done.blocks as f64) * 100.0,
            done.bytes as f64 / 1e9 / elapsed.as_secs_f64()
        );
        bar.set_position(done.requests);
        bar.set_message(line.clone());
        if !on_terminal && elapsed >= logged + LOG_INTERVAL {
            logged = elapsed;
            eprintln!("{}/{total} requests, {line}", done.requests);
        }
        if clients.have_ended()? || done.requests >= deal.taken() as u64 && deal.is_over() {
            bar.finish_and_clear();
            return Ok(());
        }
    }
}

/// A share of the whole; 0 of nothing.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
