//! Cascade: a node started through its command line, its client in this process.

use super::{Absent, Driver, Identity, Mode, PATIENCE, Pass, Setting, Started};
use crate::compare::stage::Stage;
use crate::node::Node;
use cascade_client::{BlockKey, Client, Deadline, Lineage, Lookup, PieceId, Stored};
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// The node's memory over the bytes of all blocks: some of it is handed out ahead, kept free, or lost to slots that do
/// not fill a chunk.
const MEMORY_RATIO: usize = 2;
const CHUNK_BYTES: usize = 32 << 20;

/// The node with one client.
struct Cascade {
    // Before the node: its pins go first.
    client: Client,
    node: Node,
    identity: Identity,
}

/// Starts the node, attaches, and lets this process see every slot once.
pub(super) fn start(setting: &Setting) -> Result<Started, Box<dyn Error>> {
    if setting.mode == Mode::Cold {
        let reason = "there is no lower tier in this build".to_owned();
        return Ok(Started::Absent(Absent { reason, install: None }));
    }
    let program = setting.programs.node.clone().unwrap_or_else(Node::program);
    let Some(version) = version(&program) else {
        let reason = format!("{} is not here", program.display());
        let install = "cargo build --release -p cascade-node -p cascade-tier-shm (or name it with --node)";
        return Ok(Started::Absent(Absent { reason, install: Some(install.into()) }));
    };
    let stage = setting.stage;
    let capacity_bytes =
        (stage.total_bytes() * MEMORY_RATIO).next_multiple_of(CHUNK_BYTES).max(4 * CHUNK_BYTES);
    let node = Node::start(&program, capacity_bytes as u64, &[])?;
    let client = Client::connect_to_instance(&node.instance, Deadline::after(PATIENCE))?;
    warm(&client, stage, capacity_bytes)?;
    let path = std::fs::canonicalize(&program).unwrap_or(program).display().to_string();
    let setup = "node in shared memory, policy lru; the Rust client, every get verified".to_owned();
    Ok(Started::Running(Box::new(Cascade { client, node, identity: Identity { version, path, setup } })))
}

/// What the program says of itself; `None` if it cannot be run.
fn version(program: &PathBuf) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split_whitespace().last()?.to_owned())
}

/// Puts pieces of no round until all slots had one, so that no fault of a page is measured.
fn warm(client: &Client, stage: &Stage, capacity_bytes: usize) -> Result<(), Box<dyn Error>> {
    let pieces = capacity_bytes / stage.block_bytes * 5 / 4;
    for number in 0..pieces as u64 {
        let id = PieceId::sole(BlockKey::from_words([number, 1, 2, u64::MAX]));
        let source = stage.source(number as usize % stage.blocks);
        let _ = client.put(&id, Lineage::FIRST, source, Deadline::after(PATIENCE))?;
    }
    Ok(client.flush(Deadline::after(PATIENCE))?)
}

impl Driver for Cascade {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn processes(&self) -> Vec<u32> {
        vec![std::process::id(), self.node.pid()]
    }

    fn put(&mut self, stage: &Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>> {
        let mut pass = Pass::of(numbers, |number| {
            let (id, source) = (stage.piece(number), stage.source(number));
            let stored = self.client.put(&id, Lineage::FIRST, source, Deadline::after(PATIENCE))?;
            // Already there would mean that an earlier round was not forgotten: nothing was moved.
            Ok(matches!(stored, Stored::Posted))
        })?;
        let start = Instant::now();
        self.client.flush(Deadline::after(PATIENCE))?;
        pass.settling = start.elapsed();
        Ok(pass)
    }

    fn get(&mut self, stage: &mut Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>> {
        Pass::of(numbers, |number| {
            let id = stage.piece(number);
            let block_bytes = stage.block_bytes;
            Ok(
                matches!(self.client.get_into(&id, stage.target(number))?, Lookup::Hit(bytes) if bytes == block_bytes),
            )
        })
    }

    fn clear(&mut self, stage: &Stage) -> Result<(), Box<dyn Error>> {
        for number in 0..stage.blocks {
            self.client.discard(&stage.piece(number))?;
        }
        Ok(self.client.flush(Deadline::after(PATIENCE))?)
    }
}
