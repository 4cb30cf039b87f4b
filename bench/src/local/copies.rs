//! Verified copies beside plain ones of the same bytes: out, in, in place, in fragments.

use super::pairs::{Method, Ratio, compare};
use super::scene::{PATIENCE, Scene, fresh, must_be_stored, must_hit};
use crate::plain::Plain;
use cascade_client::{Deadline, Lineage, PieceId, Reserved, View};
use serde_json::{Map, Value};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

/// Fragments and their size: an engine's block of 48 and of 160 layers.
const FRAGMENTED: [(usize, usize); 2] = [(48, 4096), (160, 8520)];

/// Measures all of them.
///
/// # Errors
/// The first of a call, or a miss of what was put.
pub(crate) fn measure(scene: &mut Scene, figures: &mut Map<String, Value>) -> Result<(), Box<dyn Error>> {
    for (name, bytes) in [("4kib", 4 << 10), ("2mib", 2 << 20), ("10mib", 10 << 20)] {
        if bytes * 8 > scene.effort.capacity_bytes as usize {
            continue;
        }
        let in_round = Scene::pieces_per_round(bytes) * bytes;
        scene.warm(bytes)?;
        get(scene, bytes, 1)?.enter(figures, &format!("copy_out_{name}"), in_round);
        put(scene, bytes, 1)?.enter(figures, &format!("put_{name}"), in_round);
        if name == "2mib" {
            fill(scene, bytes)?.enter(figures, "fill_2mib", in_round);
        }
    }
    let mut worst: [Option<Ratio>; 2] = [None; 2];
    for (fragments, fragment_bytes) in FRAGMENTED {
        let bytes = fragments * fragment_bytes;
        let in_round = Scene::pieces_per_round(bytes) * bytes;
        scene.warm(bytes)?;
        let ratios = [put(scene, bytes, fragments)?, get(scene, bytes, fragments)?];
        for (way, (ratio, worst)) in ["put", "get"].into_iter().zip(ratios.into_iter().zip(&mut worst)) {
            ratio.enter(figures, &format!("vectored_{way}_{fragments}"), in_round);
            *worst = Some(worst.map_or(ratio, |worst| worst.worse(ratio)));
        }
    }
    for (way, worst) in ["put", "get"].into_iter().zip(worst) {
        let ratio = worst.expect("both shapes were measured");
        figures.insert(format!("vectored_{way}_ratio"), ratio.median.into());
        figures.insert(format!("vectored_{way}_ratio_spread"), ratio.spread.to_vec().into());
    }
    Ok(())
}

/// A walk through memory, piece by piece: the i-th fragment of each in the i-th of equal regions, as layers lie.
struct Walk {
    fragments: usize,
    fragment_bytes: usize,
    region_bytes: usize,
    next: Cell<usize>,
}

impl Walk {
    fn new(memory_bytes: usize, piece_bytes: usize, fragments: usize) -> Self {
        let region_bytes = memory_bytes / fragments / 64 * 64;
        Self { fragments, fragment_bytes: piece_bytes / fragments, region_bytes, next: Cell::new(0) }
    }

    /// Where in its region each fragment of the next piece lies.
    fn step(&self) -> Range<usize> {
        let start = self.next.get() * self.fragment_bytes;
        self.next.set((self.next.get() + 1) % (self.region_bytes / self.fragment_bytes));
        start..start + self.fragment_bytes
    }

    fn sources<'m>(&self, memory: &'m [u8]) -> impl Iterator<Item = &'m [u8]> + use<'m> {
        let range = self.step();
        memory.chunks_exact(self.region_bytes).take(self.fragments).map(move |region| &region[range.clone()])
    }

    fn targets<'m>(&self, memory: &'m mut [u8]) -> impl Iterator<Item = &'m mut [u8]> + use<'m> {
        let range = self.step();
        memory
            .chunks_exact_mut(self.region_bytes)
            .take(self.fragments)
            .map(move |region| &mut region[range.clone()])
    }
}

/// The next pieces of a round, of those that are there: another part of them for each method, so none finds them cached.
struct Turn<'a> {
    ids: &'a [PieceId],
    next: Cell<usize>,
}

impl<'a> Turn<'a> {
    fn take(&self, pieces: usize) -> impl Iterator<Item = &'a PieceId> + use<'a> {
        let start = self.next.get();
        self.next.set((start + pieces) % self.ids.len());
        self.ids.iter().cycle().skip(start).take(pieces)
    }
}

/// Copies out of the node's memory, into fragments.
fn get(scene: &mut Scene, bytes: usize, fragments: usize) -> Result<Ratio, Box<dyn Error>> {
    let ids = scene.populate(bytes, scene.effort.capacity_bytes as usize / 2)?;
    let turn = Turn { ids: &ids, next: Cell::new(0) };
    let (client, pieces) = (&scene.client, Scene::pieces_per_round(bytes));
    let walk = Walk::new(scene.near.len(), bytes, fragments);
    let near = RefCell::new(&mut scene.near);
    let plain = |plain: Plain| -> Method<'_> {
        let (turn, walk, near) = (&turn, &walk, &near);
        Box::new(move || {
            let views =
                turn.take(pieces).map(|id| must_hit(client.pin(id)?)).collect::<Result<Vec<View>, _>>()?;
            let mut near = near.borrow_mut();
            let start = Instant::now();
            for view in &views {
                // SAFETY: the view lives, and all writers of this node are ours and keep to the protocol.
                let source = unsafe { view.as_slice() };
                plain.copy(walk.targets(&mut near).zip(source.chunks_exact(bytes / fragments)));
            }
            Ok(start.elapsed().as_secs_f64())
        })
    };
    let verified = || {
        let mut near = near.borrow_mut();
        let start = Instant::now();
        for id in turn.take(pieces) {
            let mut targets: Vec<_> = walk.targets(&mut near).map(IoSliceMut::new).collect();
            must_hit(client.get_into_vectored(id, &mut targets)?)?;
        }
        Ok(start.elapsed().as_secs_f64())
    };
    compare(scene.effort.rounds, Plain::ALL.map(plain).into(), Box::new(verified))
}

/// Copies fragments into the node's memory, and commits.
fn put(scene: &mut Scene, bytes: usize, fragments: usize) -> Result<Ratio, Box<dyn Error>> {
    let pieces = Scene::pieces_per_round(bytes);
    let walk = Walk::new(scene.near.len(), bytes, fragments);
    let Scene { client, effort, near, far, names, .. } = scene;
    let verified = || {
        let ids: Vec<PieceId> = std::iter::repeat_with(|| fresh(names)).take(pieces).collect();
        let start = Instant::now();
        for id in &ids {
            let sources: Vec<_> = walk.sources(near).map(IoSlice::new).collect();
            let stored = client.put_vectored(id, Lineage::FIRST, &sources, Deadline::after(PATIENCE))?;
            must_be_stored(stored)?;
        }
        let elapsed_s = start.elapsed().as_secs_f64();
        // The node is done before the next method's turn.
        client.flush(Deadline::after(PATIENCE))?;
        Ok(elapsed_s)
    };
    compare(effort.rounds, plain_puts(near, far, &walk, bytes, pieces), Box::new(verified))
}

/// Writes a reserved slot in place, by ordinary stores, and commits it with its checksum.
fn fill(scene: &mut Scene, bytes: usize) -> Result<Ratio, Box<dyn Error>> {
    let pieces = Scene::pieces_per_round(bytes);
    let walk = Walk::new(scene.near.len(), bytes, 1);
    let Scene { client, effort, near, far, names, .. } = scene;
    let filled = || {
        let start = Instant::now();
        for _ in 0..pieces {
            let deadline = Deadline::after(PATIENCE);
            let Reserved::Fill(mut fill) = client.reserve(bytes as u64, deadline)? else {
                return Err("the node has no slot to fill".into());
            };
            Plain::Memcpy.copy(std::iter::once(fill.bytes_mut()?).zip(walk.sources(near)));
            fill.commit(&fresh(names), Lineage::FIRST, deadline)?;
        }
        let elapsed_s = start.elapsed().as_secs_f64();
        client.flush(Deadline::after(PATIENCE))?;
        Ok(elapsed_s)
    };
    compare(effort.rounds, plain_puts(near, far, &walk, bytes, pieces), Box::new(filled))
}

/// Copies of the same fragments into shared memory that is no node's.
fn plain_puts<'a>(
    near: &'a [u8],
    far: &'a mut [u8],
    walk: &'a Walk,
    bytes: usize,
    pieces: usize,
) -> Vec<Method<'a>> {
    let far = Rc::new(RefCell::new(far));
    let next = Rc::new(Cell::new(0));
    let method = |plain: Plain| -> Method<'a> {
        let (far, next) = (far.clone(), next.clone());
        Box::new(move || {
            let mut far = far.borrow_mut();
            let start = Instant::now();
            for _ in 0..pieces {
                let at = next.get() % (far.len() / bytes) * bytes;
                next.set(next.get() + 1);
                let target = &mut far[at..at + bytes];
                plain.copy(target.chunks_exact_mut(walk.fragment_bytes).zip(walk.sources(near)));
            }
            Ok(start.elapsed().as_secs_f64())
        })
    };
    Plain::ALL.map(method).into()
}
