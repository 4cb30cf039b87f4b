//! The bench as a program, against real nodes. What it measures is nobody's promise here; that it measures is.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Setup, programs};

fn bench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cascade-bench"));
    programs::without_settings(&mut command);
    command
}

fn replay(setup: &Setup, arguments: &str) -> Command {
    let mut command = bench();
    command.args(["replay", "--instance", setup.instance(), "--generate", "chat", "--json"]);
    command.args(arguments.split_whitespace());
    command
}

/// The object that a program printed, which must have ended well.
fn figures(command: &mut Command) -> Value {
    let output = command.output().expect("the bench runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn number(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or_else(|| panic!("{name} is a number, not {}", figures[name]))
}

#[test]
fn a_replay_compares_every_byte_and_hits_as_often_as_the_dry_run() {
    for clients in [1, 2] {
        // A node of its own each time: what an earlier run left would be in the way, and the dry run begins empty.
        let setup = Setup::new("replay");
        let _node = setup.clone().start();
        let figures =
            figures(&mut replay(&setup, &format!("--piece-bytes 32KiB --requests 1500 --clients {clients}")));
        assert_eq!((number(&figures, "requests"), number(&figures, "wrong_bytes")), (1500.0, 0.0));
        assert!(number(&figures, "evicted_blocks") > 0.0, "the cache is too large to tell anything");
        let difference = number(&figures, "block_hit_ratio") - number(&figures, "dry_run_block_hit_ratio");
        assert!(difference.abs() < 0.01, "{clients} clients: {figures}");
        for name in ["token_hit_ratio", "get_gbps", "put_gbps", "match_p99_ns", "get_p50_ns", "put_p99_ns"] {
            assert!(number(&figures, name) > 0.0, "{name}");
        }
    }
}

#[test]
fn a_replay_that_is_interrupted_tells_what_it_served() {
    let setup = Setup::new("interrupted");
    let _node = setup.clone().start();
    let mut slow = replay(&setup, "--clients 2 --requests 1000 --speed 1");
    let child = slow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the bench runs");
    std::thread::sleep(Duration::from_millis(1500));
    let pid = Pid::from_raw(child.id() as i32).expect("a process has a number");
    kill_process(pid, Signal::INT).expect("it still runs: the trace is minutes long");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert!(number(&figures, "requests") < 1000.0);
    assert_eq!(number(&figures, "wrong_bytes"), 0.0);
}

#[test]
fn a_replay_without_a_node_says_where_it_looked() {
    let output = replay(&Setup::new("nobody"), "").output().expect("the bench runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no node found") && said.contains("node.sock"), "{said}");
}

#[test]
fn a_quick_local_run_yields_every_figure_and_a_spread_with_each_ratio() {
    let figures = figures(bench().args(["local", "--quick", "--json", "--node"]).arg(programs::node()));
    let ratios = [
        "copy_out_2mib_ratio",
        "copy_out_10mib_ratio",
        "put_2mib_ratio",
        "put_10mib_ratio",
        "fill_2mib_ratio",
        "vectored_put_ratio",
        "vectored_get_ratio",
        "lookup_1e6_ratio",
    ];
    for name in ratios {
        let spread = figures[format!("{name}_spread")].as_array().expect(name);
        let ends: Vec<f64> = spread.iter().filter_map(Value::as_f64).collect();
        assert!(ends[0] <= number(&figures, name) && number(&figures, name) <= ends[1], "{name}: {spread:?}");
    }
    let others =
        ["pin_unpin_p99_ns", "get_4kib_p50_ns", "put_4kib_p50_ns", "match_64_p50_ns", "segment_1e7_bytes"];
    for name in others {
        assert!(number(&figures, name) > 0.0, "{name}");
    }
    assert!(number(&figures, "segment_1e7_bytes") <= f64::from(1 << 30));
    // What takes gigabytes and its time is named, and said to be left out.
    for name in ["lookup_1e7_ratio", "lookup_1e7_ratio_spread", "catalog_1e7_bytes"] {
        assert!(figures.get(name).is_some_and(Value::is_null), "{name}");
    }
    assert!(number(&figures, "idle_cpu_ratio") < 1.0);
    assert!(figures["commit"].is_string() && figures["host"]["cpu_model"].is_string());
}
