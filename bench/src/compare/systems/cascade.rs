//! Cascade: a node started through its command line, its client in this process.
//!
//! Cold blocks lie in the store of its file-system tier, and the node that reads them is another one than the one that wrote
//! them: a restart with empty memory.

use super::{Absent, Driver, Identity, Mode, PATIENCE, Pass, Setting, Started};
use crate::compare::stage::Stage;
use crate::node::Node;
use cascade_client::{BlockKey, Client, Deadline, Lineage, Lookup, PieceId, Stored};
use serde_json::Value;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The node's memory over the bytes of all blocks: some of it is handed out ahead, kept free, or lost to slots that do
/// not fill a chunk.
const MEMORY_RATIO: usize = 2;
const CHUNK_BYTES: usize = 32 << 20;
/// Blocks of this many rounds at most have room on the disk before the oldest go.
const ROUNDS_KEPT: usize = 64;
/// The tier for file systems.
const TIER: &str = "lustre";
/// What writing all blocks to the disk may take.
const PERSIST_LIMIT: Duration = Duration::from_secs(300);

/// The node with one client, and how to start it again.
struct Cascade {
    running: Option<Running>,
    recipe: Recipe,
    identity: Identity,
}

/// What runs. The client goes first: the node waits for its pins.
struct Running {
    client: Client,
    node: Node,
}

struct Recipe {
    program: PathBuf,
    capacity_bytes: usize,
    settings: Vec<String>,
    mode: Mode,
}

/// Starts the node, attaches, and lets this process see every slot once.
pub(super) fn start(setting: &Setting) -> Result<Started, Box<dyn Error>> {
    let program = setting.programs.node.clone().unwrap_or_else(Node::program);
    let Some(version) = version(&program) else {
        let reason = format!("{} is not here", program.display());
        let install = "cargo build --release -p cascade-node -p cascade-tier-shm (or name it with --node)";
        return Ok(Started::Absent(Absent { reason, install: Some(install.into()) }));
    };
    let stage = setting.stage;
    let mut settings = Vec::new();
    if setting.mode == Mode::Cold {
        if let Err(reason) = has_tier(&program) {
            let install = "cargo build --release -p cascade-tier-lustre, beside the node".to_owned();
            return Ok(Started::Absent(Absent { reason, install: Some(install) }));
        }
        settings.push(format!("plugins.optional={TIER}"));
        settings.push(format!("{TIER}.directory={}", setting.store.display()));
        settings.push(format!("{TIER}.capacity={}", (stage.total_bytes() * ROUNDS_KEPT).max(1 << 30)));
    }
    let capacity_bytes =
        (stage.total_bytes() * MEMORY_RATIO).next_multiple_of(CHUNK_BYTES).max(4 * CHUNK_BYTES);
    let path = std::fs::canonicalize(&program).unwrap_or_else(|_| program.clone()).display().to_string();
    let setup = match setting.mode {
        Mode::Hot => "node in shared memory, policy lru; the Rust client, every get verified",
        Mode::Cold => {
            "node with its file-system tier, restarted before gets; the Rust client, every get verified"
        }
    };
    let recipe = Recipe { program, capacity_bytes, settings, mode: setting.mode };
    let running = recipe.start()?;
    if setting.mode == Mode::Hot {
        warm(&running.client, stage, capacity_bytes)?;
    }
    let identity = Identity { version, path, setup: setup.to_owned() };
    Ok(Started::Running(Box::new(Cascade { running: Some(running), recipe, identity })))
}

/// What the program says of itself; `None` if it cannot be run.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split_whitespace().last()?.to_owned())
}

/// Whether the node can load and configure the tier. Errors: why not.
fn has_tier(program: &Path) -> Result<(), String> {
    let settings = [format!("plugins.optional={TIER}"), format!("{TIER}.directory=/")];
    let mut command = Command::new(program);
    command.args(["plugins", "--json"]).args(settings.iter().flat_map(|setting| ["--set", setting]));
    let output = command.output().map_err(|error| error.to_string())?;
    let tiers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let tier = tiers.iter().find(|tier| tier["name"] == TIER);
    if tier.is_some_and(|tier| tier["healthy"] == true) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let why = tier
        .and_then(|tier| tier["error"].as_str())
        .or(said.lines().next())
        .unwrap_or("it is not beside the node");
    Err(format!("there is no lower tier: {why}"))
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

impl Recipe {
    /// Starts the node and attaches; with a store, once the node knows what that holds.
    fn start(&self) -> Result<Running, Box<dyn Error>> {
        let node = Node::start(&self.program, self.capacity_bytes as u64, &self.settings)?;
        let client = Client::connect_to_instance(&node.instance, Deadline::after(PATIENCE))?;
        let running = Running { client, node };
        if self.mode == Mode::Cold {
            running.wait_until(PATIENCE, "the store is listed", "status", |status| {
                let tier = status["tiers"].get(TIER).ok_or("the node goes on without its lower tier")?;
                let store = &tier["stats"]["store"];
                if store["state"] == "failed" {
                    return Err(format!("its store cannot be used: {}", store["warnings"]).into());
                }
                Ok(tier["listed"] == true)
            })?;
        }
        Ok(running)
    }
}

impl Running {
    fn ask(&self, question: &str) -> Result<Value, Box<dyn Error>> {
        Ok(serde_json::from_str(&self.client.query(question, Deadline::after(PATIENCE))?)?)
    }

    /// Asks again and again until the answer will do.
    fn wait_until(
        &self,
        limit: Duration,
        what: &str,
        question: &str,
        will_do: impl Fn(&Value) -> Result<bool, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + limit;
        loop {
            let answer = self.ask(question)?;
            if will_do(&answer)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("waited in vain until {what}; the node says {answer}").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Has the node write everything to the disk.
    fn persist(&self) -> Result<(), Box<dyn Error>> {
        let begun = self.ask("persist")?;
        let job = begun["job"].as_u64().ok_or_else(|| format!("the node does not persist: {begun}"))?;
        let is_done = |job: &Value| match job["error"].as_str() {
            Some(error) => Err(format!("the node does not persist: {error}").into()),
            None => Ok(job["finished"] == true),
        };
        self.wait_until(PERSIST_LIMIT, "all is persisted", &format!("job {job}"), is_done)
    }
}

impl Cascade {
    fn running(&self) -> &Running {
        self.running.as_ref().expect("nobody asks while it rests")
    }
}

impl Driver for Cascade {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn processes(&self) -> Vec<u32> {
        vec![std::process::id(), self.running().node.pid()]
    }

    fn put(&mut self, stage: &Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>> {
        let running = self.running();
        let mut pass = Pass::of(numbers, |number| {
            let (id, source) = (stage.piece(number), stage.source(number));
            let stored = running.client.put(&id, Lineage::FIRST, source, Deadline::after(PATIENCE))?;
            // Already there would mean that an earlier round was not forgotten: nothing was moved.
            Ok(matches!(stored, Stored::Posted))
        })?;
        let start = Instant::now();
        running.client.flush(Deadline::after(PATIENCE))?;
        if self.recipe.mode == Mode::Cold {
            running.persist()?;
        }
        pass.settling = start.elapsed();
        Ok(pass)
    }

    fn get(&mut self, stage: &mut Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>> {
        let client = &self.running().client;
        let is_cold = self.recipe.mode == Mode::Cold;
        Pass::of(numbers, |number| {
            let (id, block_bytes, target) = (stage.piece(number), stage.block_bytes, stage.target(number));
            let found = if is_cold {
                client.get_within(&id, target, Deadline::after(PATIENCE))?
            } else {
                client.get_into(&id, target)?
            };
            Ok(matches!(found, Lookup::Hit(bytes) if bytes == block_bytes))
        })
    }

    fn rest(&mut self) -> Result<(), Box<dyn Error>> {
        self.running = None;
        Ok(())
    }

    fn wake(&mut self) -> Result<(), Box<dyn Error>> {
        self.running = Some(self.recipe.start()?);
        Ok(())
    }

    fn clear(&mut self, stage: &Stage) -> Result<(), Box<dyn Error>> {
        let client = &self.running().client;
        for number in 0..stage.blocks {
            client.discard(&stage.piece(number))?;
        }
        Ok(client.flush(Deadline::after(PATIENCE))?)
    }
}
