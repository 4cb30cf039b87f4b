//! Single calls: how long one takes, each timed by itself, in random order over a node full of small pieces.
//!
//! What the clock costs (`clock_p50_ns`, some tens of nanoseconds) is in every figure.

use super::scene::{PATIENCE, Scene, must_hit, put};
use crate::latency::Latencies;
use crate::random::mix;
use cascade_client::{BlockKey, Deadline, Lineage, PieceId, Share};
use serde_json::{Map, Value, json};
use std::error::Error;

const PIECE_BYTES: usize = 4096;
/// Blocks of a chain that is matched and held.
const CHAIN_BLOCKS: usize = 64;

/// Measures all of them.
///
/// # Errors
/// The first of a call, or a miss of what was put.
pub(crate) fn measure(scene: &mut Scene, figures: &mut Map<String, Value>) -> Result<(), Box<dyn Error>> {
    // A share of the slots is kept free or handed out.
    let room = scene.effort.capacity_bytes as usize / PIECE_BYTES * 8 / 10;
    let mut clock = Latencies::default();
    (0..scene.effort.calls).for_each(|_| clock.time(|| ()));
    enter(figures, "clock", &clock);
    for power in 4..=6 {
        let pieces = 10_usize.pow(power);
        if pieces <= room {
            matches(scene, pieces, figures, &format!("1e{power}"))?;
        }
    }
    let pieces = room.min(100_000);
    figures.insert("calls_pieces".into(), json!(pieces));
    let chains = matches(scene, pieces, figures, "")?;
    let any = |i: usize| PieceId::sole(chains[pick(i, chains.len())][pick(!i, CHAIN_BLOCKS)]);
    // Another piece for each call: what one has touched is warm for the next.
    let mut names = (0..).map(any);
    let mut next = || names.next().expect("it never ends");
    let mut latencies: [Latencies; 4] = Default::default();
    let [pins, gets, contains, absent] = &mut latencies;
    let mut target = [0; PIECE_BYTES];
    for _ in 0..scene.effort.calls {
        let id = next();
        pins.time(|| scene.client.pin(&id).map(drop))?;
        let id = next();
        must_hit(gets.time(|| scene.client.get_into(&id, &mut target))?)?;
        let id = next();
        if !contains.time(|| scene.client.contains(&id))? {
            return Err("a piece that was put is not there".into());
        }
        let nowhere = PieceId { rank: 1, ..next() };
        absent.time(|| scene.client.contains(&nowhere))?;
    }
    for (name, latencies) in
        ["pin_unpin", "get_4kib", "lookup_hit", "lookup_miss"].into_iter().zip(&latencies)
    {
        enter(figures, name, latencies);
    }
    let mut puts = Latencies::default();
    for _ in 0..scene.effort.calls {
        let id = super::scene::fresh(&mut scene.names);
        puts.time(|| put(&scene.client, &id, &target))?;
    }
    enter(figures, "put_4kib", &puts);
    Ok(())
}

/// Fills the node with chains of so many pieces in all, then matches and holds some; the chains.
fn matches(
    scene: &mut Scene,
    pieces: usize,
    figures: &mut Map<String, Value>,
    name: &str,
) -> Result<Vec<Vec<BlockKey>>, Box<dyn Error>> {
    let mut chains = Vec::new();
    for _ in 0..pieces / CHAIN_BLOCKS {
        let keys: Vec<BlockKey> =
            (0..CHAIN_BLOCKS).map(|_| super::scene::fresh(&mut scene.names).key).collect();
        for i in 0..CHAIN_BLOCKS {
            let (id, lineage) = (PieceId::sole(keys[i]), Lineage::in_chain(&keys, i));
            let stored =
                scene.client.put(&id, lineage, &scene.near[..PIECE_BYTES], Deadline::after(PATIENCE))?;
            super::scene::must_be_stored(stored)?;
        }
        chains.push(keys);
    }
    scene.client.flush(Deadline::after(PATIENCE))?;
    let (mut matches, mut holds) = (Latencies::default(), Latencies::default());
    for i in 0..scene.effort.calls / 8 {
        let keys = &chains[pick(i, chains.len())];
        let matched = matches.time(|| scene.client.match_chain(keys, &[Share::default()]))?;
        if matched != CHAIN_BLOCKS {
            return Err(format!("{matched} of {CHAIN_BLOCKS} blocks that were put are there").into());
        }
        let keys = &chains[pick(!i, chains.len())];
        must_hit(holds.time(|| scene.client.hold(keys, &[Share::default()]))?).map(drop)?;
    }
    let suffix = if name.is_empty() { String::new() } else { format!("_{name}") };
    enter(figures, &format!("match_64{suffix}"), &matches);
    enter(figures, &format!("hold_64{suffix}"), &holds);
    Ok(chains)
}

/// A number below `limit` that follows from `i` in no order.
fn pick(i: usize, limit: usize) -> usize {
    (mix(i as u64) % limit as u64) as usize
}

fn enter(figures: &mut Map<String, Value>, name: &str, latencies: &Latencies) {
    for (share, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        figures.insert(format!("{name}_{share}_ns"), json!(latencies.quantile_ns(quantile)));
    }
}
