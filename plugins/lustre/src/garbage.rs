//! Collection without a node: for the command line, after jobs that were killed, and for who wants room now.
//!
//! It is the collector of a node, run until there is nothing left for it to do; so nothing is taken from anybody who lives, and
//! what it condemns stays for the grace.

use crate::config::Config;
use crate::exchange::Exchange;
use crate::io::Access;
use crate::keeper::{Keeper, Setup};
use crate::link::Speaker;
use crate::mount::{Machine, Mount};
use crate::{config, marker};
use cascade_tier::{Status, TierError};
use serde_json::{Value, json};
use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Looks this often whether a grace is over.
const LOOK: Duration = Duration::from_millis(20);

/// Takes the configuration of `open`, and `dry_run`. Without a directory there is nothing to do.
pub(crate) fn collect(json: &str) -> Result<String, TierError> {
    let mut fields: Value = config::parse(json)?;
    let dry_run = fields.as_object_mut().and_then(|fields| fields.remove("dry_run")) == Some(json!(true));
    if fields.get("directory").is_none() {
        return Ok(json!({"stores": [], "dry_run": dry_run}).to_string());
    }
    let config = Arc::new(Config::parse(&fields.to_string())?);
    let store = collect_store(&config, dry_run).map_err(|error| {
        TierError::new(Status::IO, format!("{}: cannot collect: {error}", config.directory.display()))
    })?;
    Ok(json!({"stores": store.as_slice(), "dry_run": dry_run}).to_string())
}

/// What became of a store; `None` if there is none, which is not made for this.
fn collect_store(config: &Arc<Config>, dry_run: bool) -> io::Result<Option<Value>> {
    let mount: Arc<dyn Mount> = Arc::new(Machine::new(Arc::clone(config)));
    if !is_store(mount.as_ref(), &config.directory)? {
        return Ok(None);
    }
    let access = if dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let exchange = Arc::new(Exchange::new().map_err(io::Error::other)?);
    // Nobody moves anything, and nobody asks.
    let ((to_mover, _), (_, inbox)) = (mpsc::channel(), mpsc::channel());
    let setup = Setup {
        config: Arc::clone(config),
        path: config.directory.clone(),
        access,
        number: 0,
        mount,
        inbox,
        mover: Speaker::new(to_mover, Arc::clone(&exchange)),
        exchange: Arc::clone(&exchange),
        routes: Arc::default(),
        heat: Arc::default(),
        report: Arc::default(),
        unlisted: Arc::default(),
    };
    let mut keeper = Keeper::visit(setup)?;
    let before = (keeper.bytes(), keeper.files());
    let is_done = dry_run || run(&mut keeper, config)?;
    let counts = exchange.counts();
    let report = json!({
        "directory": config.directory,
        "bytes": before.0,
        "files": before.1,
        "capacity_bytes": config.capacity_bytes,
        "bytes_left": keeper.bytes(),
        "files_left": keeper.files(),
        "dead_manifests": keeper.dead_manifests(),
        "removed_containers": counts.collected_containers,
        "removed_bytes": counts.collected_bytes,
        "folded_manifests": counts.folded_manifests,
        "kept": if is_done { Value::Null } else { json!("another node collects, or holds what would go") },
    });
    keeper.leave();
    Ok(Some(report))
}

/// Works until there is nothing left to do; `false` if somebody else is at it.
fn run(keeper: &mut Keeper, config: &Config) -> io::Result<bool> {
    // A collector that died is waited for, and then what it had condemned.
    let patience = config.claim_expiry() + Duration::from_millis(config.grace_ms) + Duration::from_secs(30);
    let end = Instant::now() + patience;
    loop {
        if keeper.collect_once()? {
            return Ok(true);
        }
        if Instant::now() > end {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
}

fn is_store(mount: &dyn Mount, path: &Path) -> io::Result<bool> {
    match mount.directory(path, Access::ReadOnly) {
        Ok(directory) => marker::is_there(directory.as_ref()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
