//! Several client processes at once: what they copy out together, beside what they copy plainly together.

use super::scene::{PATIENCE, must_hit, piece};
use crate::plain::Plain;
use cascade_client::{Client, Deadline};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a client process is told.
#[derive(Debug, clap::Args)]
pub(crate) struct ClientArgs {
    #[arg(long)]
    instance: String,
    /// The first of the pieces that it reads, and how many they are.
    #[arg(long)]
    first: u64,
    #[arg(long)]
    count: u64,
    #[arg(long)]
    piece_bytes: usize,
    #[arg(long)]
    milliseconds: u64,
}

/// Lets one and two processes read the same pieces, which lie there already.
///
/// # Errors
/// A process failed.
pub(crate) fn measure(
    instance: &str,
    first: u64,
    count: u64,
    piece_bytes: usize,
    time: Duration,
    figures: &mut Map<String, Value>,
) -> Result<(), Box<dyn Error>> {
    for clients in [1, 2] {
        let spawn = || {
            Command::new(std::env::current_exe()?)
                .args(["local-client", "--instance", instance])
                .args(["--first", &first.to_string(), "--count", &count.to_string()])
                .args(["--piece-bytes", &piece_bytes.to_string()])
                .args(["--milliseconds", &time.as_millis().to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
        };
        let mut processes = (0..clients).map(|_| spawn()).collect::<Result<Vec<_>, _>>()?;
        let result = together(&mut processes);
        processes.iter_mut().for_each(|process| _ = process.wait());
        let [plain, verified] = result?;
        figures.insert(format!("copy_out_2mib_{clients}_clients_gbps"), json!(verified));
        figures.insert(format!("copy_2mib_{clients}_clients_gbps"), json!(plain));
        figures.insert(format!("copy_out_2mib_{clients}_clients_ratio"), json!(verified / plain));
    }
    Ok(())
}

/// Each half begins when all are ready for it; the sums of what they say.
fn together(processes: &mut [Child]) -> Result<[f64; 2], Box<dyn Error>> {
    let mut sums = [0.0; 2];
    for sum in &mut sums {
        for process in &mut *processes {
            // Its word that it is ready.
            process.stdout.as_mut().expect("it was piped").read_exact(&mut [0])?;
        }
        for process in &mut *processes {
            process.stdin.as_mut().expect("it was piped").write_all(&[1])?;
        }
        for process in &mut *processes {
            let mut bits = [0; 8];
            process.stdout.as_mut().expect("it was piped").read_exact(&mut bits)?;
            *sum += f64::from_le_bytes(bits);
        }
    }
    Ok(sums)
}

/// Runs one client process: plain copies, then verified ones, each when told and for its time; tells GB/s of each.
///
/// # Errors
/// There is no node, or a piece is not there.
pub(crate) fn run_client(args: &ClientArgs) -> Result<(), Box<dyn Error>> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let client = Client::connect_to_instance(&args.instance, Deadline::after(PATIENCE))?;
    let mut target = vec![1; args.piece_bytes * 32];
    let mut turn = 0;
    let mut next = || {
        turn += 1;
        (piece(args.first + turn % args.count), turn as usize % 32 * args.piece_bytes)
    };
    let measure = |call: &mut dyn FnMut() -> Result<(), Box<dyn Error>>| -> Result<(), Box<dyn Error>> {
        // Every page of the node's is mapped before the clock runs.
        (0..args.count).try_for_each(|_| call())?;
        let mut out = std::io::stdout();
        out.write_all(&[1])?;
        out.flush()?;
        std::io::stdin().read_exact(&mut [0])?;
        let (start, mut pieces) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_millis(args.milliseconds) {
            call()?;
            pieces += 1;
        }
        let gbps = (pieces * args.piece_bytes) as f64 / 1e9 / start.elapsed().as_secs_f64();
        out.write_all(&gbps.to_le_bytes())?;
        Ok(out.flush()?)
    };
    measure(&mut || {
        let (id, at) = next();
        let view = must_hit(client.pin(&id)?)?;
        // SAFETY: the view lives, and all writers of this node are ours and keep to the protocol.
        let source = unsafe { view.as_slice() };
        Plain::NonTemporal.copy(std::iter::once((&mut target[at..at + args.piece_bytes], source)));
        Ok(())
    })?;
    measure(&mut || {
        let (id, at) = next();
        must_hit(client.get_into(&id, &mut target[at..at + args.piece_bytes])?).map(drop)
    })
}
