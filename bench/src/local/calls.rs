//! Single calls: how long one takes, each timed by itself, in random order over small pieces.
//!
//! Among 10⁴ pieces, which fit the outer cache of a server, and among as many more as the node holds, where every call
//! waits for memory and page tables: two lines of the books, and for a get the bytes.
//! What the clock costs (`clock_p50_ns`, some tens of nanoseconds) is in every figure.

use super::scene::{PATIENCE, Scene, fresh, must_be_stored, must_hit, put};
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
    scene.warm(PIECE_BYTES)?;
    let mut clock = Latencies::default();
    (0..scene.effort.calls).for_each(|_| clock.time(|| ()));
    enter(figures, "clock", &clock);
    for power in 4..=6 {
        let pieces = 10_usize.pow(power);
        if pieces <= room {
            let chains = put_chains(scene, pieces)?;
            matches(scene, &chains, figures, &format!("1e{power}"))?;
            reads(scene, &chains, figures, &format!("1e{power}"))?;
            figures.insert("calls_pieces_largest".into(), json!(pieces));
        }
    }
    let bytes = [0; PIECE_BYTES];
    let mut puts = Latencies::default();
    for _ in 0..scene.effort.calls {
        let id = fresh(&mut scene.names);
        puts.time(|| put(&scene.client, &id, &bytes))?;
    }
    enter(figures, "put_4kib", &puts);
    Ok(())
}

/// Puts chains of so many pieces in all.
fn put_chains(scene: &mut Scene, pieces: usize) -> Result<Vec<Vec<BlockKey>>, Box<dyn Error>> {
    let mut chains = Vec::new();
    for _ in 0..pieces / CHAIN_BLOCKS {
        let keys: Vec<BlockKey> = (0..CHAIN_BLOCKS).map(|_| fresh(&mut scene.names).key).collect();
        for (i, key) in keys.iter().enumerate() {
            let (id, lineage) = (PieceId::sole(*key), Lineage::in_chain(BlockKey::ROOT, &keys, i));
            let bytes = &scene.near[..PIECE_BYTES];
            must_be_stored(scene.client.put(&id, lineage, bytes, Deadline::after(PATIENCE))?)?;
        }
        chains.push(keys);
    }
    scene.client.flush(Deadline::after(PATIENCE))?;
    Ok(chains)
}

/// Matches and holds whole chains.
fn matches(
    scene: &Scene,
    chains: &[Vec<BlockKey>],
    figures: &mut Map<String, Value>,
    size: &str,
) -> Result<(), Box<dyn Error>> {
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
    enter_at(figures, "match_64", size, &matches);
    enter_at(figures, "hold_64", size, &holds);
    Ok(())
}

/// Reads single pieces.
fn reads(
    scene: &Scene,
    chains: &[Vec<BlockKey>],
    figures: &mut Map<String, Value>,
    size: &str,
) -> Result<(), Box<dyn Error>> {
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
        enter_at(figures, name, size, latencies);
    }
    Ok(())
}

/// A number below `limit` that follows from `i` in no order.
fn pick(i: usize, limit: usize) -> usize {
    (mix(i as u64) % limit as u64) as usize
}

/// Enters a figure under the number of pieces; the figure without one is that among the fewest.
fn enter_at(figures: &mut Map<String, Value>, name: &str, size: &str, latencies: &Latencies) {
    if !figures.contains_key(&format!("{name}_p50_ns")) {
        enter(figures, name, latencies);
    }
    enter(figures, &format!("{name}_{size}"), latencies);
}

fn enter(figures: &mut Map<String, Value>, name: &str, latencies: &Latencies) {
    for (share, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        figures.insert(format!("{name}_{share}_ns"), json!(latencies.quantile_ns(quantile)));
    }
}
