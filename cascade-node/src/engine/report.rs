//! What the node tells: status as JSON, Prometheus text, one line at the end.

use std::fmt::Write as _;

use cascade_core::key::BlockKey;
use cascade_core::piece::PieceId;
use cascade_core::residency::Residency;
use serde_json::{Value, json};

use super::pump::Engine;

/// The answer to a question that came through the door: `status`, or `stat` and a key.
pub(super) fn answer(engine: &Engine, question: &str) -> Option<Value> {
    match question.split_once(' ') {
        None if question == "status" => Some(status(engine)),
        Some(("stat", key)) => Some(stat(engine, &BlockKey::from_hex(key)?)),
        _ => None,
    }
}

/// Where the copies of a block's pieces lie.
fn stat(engine: &Engine, key: &BlockKey) -> Value {
    let catalog = &engine.store.catalog;
    let copies = catalog.known(key).into_iter().flat_map(|block| catalog.copies(block));
    let pieces: Vec<Value> = copies.map(|(id, residency)| piece(engine, &id, residency)).collect();
    json!({ "key": key.to_string(), "pieces": pieces })
}

/// One piece: what the line of its slot says, and what the book of stored copies says.
fn piece(engine: &Engine, id: &PieceId, residency: Residency) -> Value {
    let stored = residency.stored().map(|stored| {
        let copy = engine.store.stored.get(stored);
        json!({
            "tier": engine.lower.as_ref().map(|lower| lower.below.name()),
            "len_bytes": copy.len_bytes,
            "checksum": copy.checksum,
            "depth": copy.depth,
            "stored_unix_s": copy.stored_unix_s,
        })
    });
    let memory = residency.slot().map(|slot| {
        let meta = engine.store.line(slot.arena, slot.slot).meta();
        json!({
            "len_bytes": meta.len_bytes,
            "checksum": meta.checksum,
            "depth": meta.depth,
            "arena": slot.arena,
            "slot": slot.slot,
            "generation": slot.generation,
        })
    });
    let on_its_way = match residency {
        Residency::Demoting { .. } => Some("down"),
        Residency::Promoting { .. } => Some("up"),
        _ => None,
    };
    json!({ "rank": id.rank, "group": id.group, "memory": memory, "stored": stored, "on_its_way": on_its_way })
}

/// The state of the node, for `status` and programs.
fn status(engine: &Engine) -> Value {
    let geometry = engine.store.segment().geometry();
    let capacity_bytes: u64 = geometry.arenas().map(|arena| geometry.arena_bytes(arena)).sum();
    let clients: Vec<Value> = engine
        .clients
        .iter()
        .map(|(page, client)| {
            json!({
                "page": page,
                "pid": client.pid,
                "attached": client.connection.is_some(),
                "fenced": client.fenced,
                "granted_slots": engine.store.granted.get(&page).map_or(0, |slots| slots.len()),
            })
        })
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "instance": engine.config.instance,
        "socket": engine.door.path(),
        "directory": engine.memory.directory(),
        "segment_id": format!("{:016x}", engine.store.segment().id()),
        "epoch": engine.epoch,
        "adopted": engine.memory.adopted(),
        "uptime_s": engine.started.elapsed().as_secs_f64(),
        "policy": engine.store.policy.name(),
        "capacity_bytes": capacity_bytes,
        "backed_bytes": engine.store.backed_bytes(),
        "free_bytes": engine.store.free_bytes(),
        "chunk_bytes": geometry.chunk_bytes,
        "granule_bytes": geometry.granule_bytes,
        "metadata_bytes": geometry.meta_bytes(),
        // What is kept free of blocks: who wants to know how many of a size stay needs these.
        "margins": {
            "watermark_low_ratio": engine.config.policy.watermark_low_ratio,
            "watermark_high_ratio": engine.config.policy.watermark_high_ratio,
            "grant_share": engine.config.clients.grant_share,
            "grants_per_class_max": engine.config.clients.grants_per_class_max,
        },
        "catalog_bytes": engine.store.catalog.memory_bytes(),
        "blocks": engine.store.catalog.len(),
        "pieces": engine.store.catalog.pieces_total(),
        "kept_chains": engine.store.kept(),
        "counters": engine.store.counters,
        // What only clients see: hits, and why reads missed.
        "traffic": Value::Object(engine.store.tallies().iter().map(|(name, total)| (name.to_owned(), total.into())).collect()),
        "clients": clients,
        "clean_bytes": engine.store.clean_bytes,
        "draining": engine.store.is_draining,
        "jobs": engine.jobs.reports(),
        "tiers": tiers(engine),
    })
}

/// What each tier says of itself, and the node of those below memory; in the order in which questions about chains name them.
fn tiers(engine: &Engine) -> Value {
    let mut tiers = json!({ "shm": engine.memory.stats() });
    if let Some(lower) = &engine.lower {
        tiers[lower.below.name()] = lower.report(&engine.store, super::now_ns());
    }
    tiers
}

/// One line for the end of the log.
pub(super) fn summary(engine: &Engine) -> String {
    let counters = &engine.store.counters;
    format!(
        "served {} clients for {:.1} s: {} pieces put ({:.2} GB), {} duplicates, {} refused, {} chains matched, {} blocks evicted, {} corrupt",
        counters.attachments,
        engine.started.elapsed().as_secs_f64(),
        counters.puts_fresh,
        counters.put_bytes as f64 / 1e9,
        counters.puts_duplicate,
        counters.puts_refused,
        counters.touched_chains,
        counters.evicted_blocks,
        counters.corrupt_pieces,
    )
}

/// Has the Prometheus text file rewritten, if one is configured. Waits for no file.
pub(super) fn post_metrics(engine: &Engine) {
    if let Some(file) = &engine.metrics {
        file.post(metrics(engine));
    }
}

fn metrics(engine: &Engine) -> String {
    let mut text = String::new();
    let instance = &engine.config.instance;
    let Ok(Value::Object(counters)) = serde_json::to_value(engine.store.counters) else { return text };
    for (name, value) in counters {
        let (kind, name) = match name.as_str() {
            "resident_bytes" => ("gauge", name),
            _ => ("counter", format!("{name}_total")),
        };
        let _ =
            writeln!(text, "# TYPE cascade_{name} {kind}\ncascade_{name}{{instance=\"{instance}\"}} {value}");
    }
    for (name, value) in engine.store.tallies().iter() {
        let name = format!("client_{name}_total");
        let _ = writeln!(
            text,
            "# TYPE cascade_{name} counter\ncascade_{name}{{instance=\"{instance}\"}} {value}"
        );
    }
    let gauges = [
        ("blocks", engine.store.catalog.len() as u64),
        ("pieces", engine.store.catalog.pieces_total() as u64),
        ("kept_chains", engine.store.kept() as u64),
        ("clients", engine.clients.len() as u64),
        ("backed_bytes", engine.store.backed_bytes()),
        ("free_bytes", engine.store.free_bytes()),
        ("clean_bytes", engine.store.clean_bytes),
    ];
    for (name, value) in gauges {
        let _ =
            writeln!(text, "# TYPE cascade_{name} gauge\ncascade_{name}{{instance=\"{instance}\"}} {value}");
    }
    if let Some(lower) = &engine.lower {
        let tier = lower.below.name();
        for (name, value) in lower.gauges(&engine.store) {
            let _ = writeln!(
                text,
                "# TYPE cascade_tier_{name} gauge\ncascade_tier_{name}{{instance=\"{instance}\",tier=\"{tier}\"}} {value}"
            );
        }
    }
    text
}
