//! The comparison as a program, with the real peers that a Debian machine can have: Redis and HDF5.
//!
//! What is fast is nobody's promise here. That it is the real thing, that every byte is looked at and that nothing is made up is.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use support::{Scratch, programs, until};

/// Small enough for any machine, large enough for layers of LMCache's.
const SIZES: [&str; 4] = ["--block-bytes", "1MiB", "--total-bytes", "32MiB"];

fn compare(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cascade-bench"));
    programs::without_settings(&mut command);
    command.args(["compare", "--json", "--folder"]).arg(folder).args(SIZES);
    command.args(arguments.split_whitespace());
    command
}

/// A folder on a disk: that for temporary files may lie in memory.
fn on_disk() -> Scratch {
    Scratch::in_folder(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

fn result(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("one JSON object ({error}): {said}"))
}

/// A Python with h5py: that of `cargo xtask test`, or the user's.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("CASCADE_BENCH_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let found = Command::new(&python).args(["-c", "import h5py"]).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success()).then_some(python)
}

fn has_redis() -> bool {
    Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok()
}

/// The rows, and whoever has none, as `system variant mode`.
fn names(result: &Value, list: &str) -> Vec<String> {
    let name =
        |one: &Value| format!("{} {} {}", text(one, "system"), text(one, "variant"), text(one, "mode"));
    result[list].as_array().expect(list).iter().map(name).collect()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is a text, not {}", value[name])).to_owned()
}

fn number(value: &Value, name: &str) -> f64 {
    value.pointer(name).and_then(Value::as_f64).unwrap_or_else(|| panic!("{name} is a number in {value}"))
}

/// What makes a row one that can be believed.
fn is_honest(row: &Value) {
    assert_eq!(number(row, "/wrong_bytes"), 0.0, "{row}");
    for verb in ["put", "get"] {
        assert_eq!(number(row, &format!("/{verb}/calls")), 64.0, "two rounds of 32 blocks: {row}");
        assert_eq!(number(row, &format!("/{verb}/successes")), 64.0, "{row}");
        for figure in ["gbps", "p50_us", "p99_us", "floor_ratio", "cpu_s_per_gb"] {
            assert!(number(row, &format!("/{verb}/{figure}")) > 0.0, "{verb} {figure}: {row}");
        }
    }
    assert!(number(row, "/floor/memcpy_gbps") > 0.0 && number(row, "/floor/nontemporal_gbps") > 0.0);
    if text(row, "mode") == "cold" {
        for floor in ["disk_write_gbps", "disk_read_gbps", "disk_deep_read_gbps"] {
            assert!(number(row, &format!("/floor/{floor}")) > 0.0, "{row}");
        }
        // A page of a file's head may stay, no block.
        assert!(number(row, "/resident_bytes") < 256.0 * 1024.0, "{row}");
        assert!(number(row, "/read_from_disk_ratio") > 0.9, "{row}");
    }
    assert!(text(row, "version").starts_with(|c: char| c.is_ascii_digit()), "{row}");
    // Below the sources paths are relative, and those of users' homes are not told.
    let path = text(row, "path");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    assert!(path.starts_with("~/") || sources.join(&path).exists(), "what ran is named: {row}");
}

#[test]
fn cascade_is_compared_beside_redis_in_memory_and_alone_on_the_disk() {
    if !has_redis() {
        return println!(
            "SKIPPED compare::redis: redis-server is not here; install the package redis-server"
        );
    }
    let folder = on_disk();
    let mut command = compare(folder.path(), "--systems cascade,redis --rounds 2");
    let output = command.arg("--node").arg(programs::node()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("has no disk below it") {
        return println!("SKIPPED compare::cold: {}", said.trim());
    }
    let result = result(&output);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names(&result, "rows"), ["cascade  hot", "redis  hot", "cascade  cold"], "{result}");
    result["rows"].as_array().expect("rows").iter().for_each(is_honest);
    assert!(names(&result, "absent").contains(&"redis  cold".to_owned()), "it has no disk: {result}");
    for field in ["time", "commit", "run_id"] {
        assert!(!text(&result, field).is_empty());
    }
    assert!(text(&result["host"], "cpu_model").len() > 1);
}

#[test]
fn hdf5_is_compared_in_memory_and_on_the_disk_and_its_table_and_chart_are_made() {
    let Some(python) = python() else {
        return println!("SKIPPED compare::hdf5: there is no h5py; `cargo xtask test` brings it along");
    };
    let folder = on_disk();
    let mut command = compare(folder.path(), "--systems hdf5,lmcache --rounds 2 --lmcache-python /no/python");
    let output = command.arg("--hdf5-python").arg(python).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("has no disk below it") {
        return println!("SKIPPED compare::cold: {}", said.trim());
    }
    let result = result(&output);
    assert!(output.status.success(), "{said}");
    let expected = ["hdf5 datasets hot", "hdf5 chunks hot", "hdf5 datasets cold", "hdf5 chunks cold"];
    assert_eq!(names(&result, "rows"), expected, "{result}");
    result["rows"].as_array().expect("rows").iter().for_each(is_honest);
    assert_eq!(names(&result, "absent"), ["lmcache  hot", "lmcache  cold"]);
    assert!(text(&result["absent"][0], "reason").contains("/no/python"));
    assert!(text(&result["absent"][0], "install").contains("lmcache"));

    let kept = folder.path().join("kept.json");
    fs::write(&kept, &output.stdout).expect("there is room");
    let mut report = Command::new(env!("CARGO_BIN_EXE_cascade-bench"));
    assert!(report.arg("report").arg(&kept).output().expect("it runs").status.success());
    for (extension, shown) in [("md", "| hdf5, chunks "), ("svg", "absent: /no/python")] {
        let made = fs::read_to_string(kept.with_extension(extension)).expect(extension);
        assert!(made.contains(shown), "{extension}: {made}");
    }
}

#[test]
fn who_is_not_here_is_shown_as_absent_and_never_estimated() {
    let folder = on_disk();
    let missing =
        "--redis-server /no/redis --hdf5-python /no/python --lmcache-python no-such-python --node /no/node";
    let output =
        compare(folder.path(), "--mode hot").args(missing.split_whitespace()).output().expect("it runs");
    let result = result(&output);
    assert!(output.status.success(), "an absence is no failure");
    assert!(names(&result, "rows").is_empty() && names(&result, "refused").is_empty(), "{result}");
    let expected = ["cascade  hot", "redis  hot", "hdf5 datasets hot", "hdf5 chunks hot", "lmcache  hot"];
    assert_eq!(names(&result, "absent"), expected);
    for absent in result["absent"].as_array().expect("absent") {
        assert!(text(absent, "reason").contains("is not here") && !text(absent, "install").is_empty());
    }
}

/// Starts a comparison that would go on for long, and finds the process of its system once it has worked.
fn under_way(folder: &Path, arguments: &str, name: &str) -> (Child, Pid) {
    let mut command = compare(folder, arguments);
    command.args(["--rounds", "60000"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let bench = command.spawn().expect("it runs");
    let system = busy_child(&bench, name, None);
    (bench, system)
}

/// Waits until a child of this name has used a quarter of a second, another one than `former`.
fn busy_child(bench: &Child, name: &str, former: Option<Pid>) -> Pid {
    until("the system works", || {
        let entries = fs::read_dir("/proc").ok()?.flatten();
        let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
        pids.into_iter().find(|&pid| Some(pid) != former && is_busy(pid, bench.id(), name))
    })
}

fn is_busy(pid: Pid, parent: u32, name: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let Some((head, fields)) = stat.rsplit_once(") ") else { return false };
    let fields: Vec<u64> = fields.split(' ').skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    // Its parent; user and system time in ticks, of which a second has a hundred.
    head.contains(name) && fields[0] == u64::from(parent) && fields[10] + fields[11] >= 25
}

#[test]
fn a_system_whose_server_is_killed_in_the_middle_has_no_row() {
    if !has_redis() {
        return println!(
            "SKIPPED compare::redis: redis-server is not here; install the package redis-server"
        );
    }
    let folder = on_disk();
    let (bench, server) = under_way(folder.path(), "--systems redis --mode hot", "redis");
    kill_process(server, Signal::KILL).expect("it lives");
    let output = bench.wait_with_output().expect("it ends");
    assert!(!output.status.success(), "a row that is none is a failure");
    let result = result(&output);
    assert!(names(&result, "rows").is_empty(), "{result}");
    assert_eq!(names(&result, "refused"), ["redis  hot"]);
    assert!(text(&result["refused"][0], "reason").contains("signal: 9"), "{result}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("NO ROW for redis, hot"), "loudly");
}

#[test]
fn a_library_whose_process_is_killed_in_the_middle_has_no_row() {
    let Some(python) = python() else {
        return println!("SKIPPED compare::hdf5: there is no h5py; `cargo xtask test` brings it along");
    };
    let folder = on_disk();
    let arguments = format!("--systems hdf5 --mode hot --hdf5-python {}", python.display());
    let (bench, client) = under_way(folder.path(), &arguments, "python");
    kill_process(client, Signal::KILL).expect("it lives");
    // The other way to keep blocks is a process of its own, and goes on.
    kill_process(busy_child(&bench, "python", Some(client)), Signal::KILL).expect("it lives");
    let output = bench.wait_with_output().expect("it ends");
    let result = result(&output);
    assert!(names(&result, "rows").is_empty() && !output.status.success(), "{result}");
    assert_eq!(names(&result, "refused"), ["hdf5 datasets hot", "hdf5 chunks hot"]);
}

#[test]
fn a_comparison_that_is_interrupted_leaves_nothing_behind() {
    if !has_redis() {
        return println!(
            "SKIPPED compare::redis: redis-server is not here; install the package redis-server"
        );
    }
    let folder = on_disk();
    let (bench, server) = under_way(folder.path(), "--systems redis --mode hot", "redis");
    let line = fs::read(format!("/proc/{}/cmdline", server.as_raw_nonzero())).expect("it lives");
    let words: Vec<_> = line.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
    let title = words.iter().find_map(|word| word.split_once("unixsocket:").map(|(_, path)| path.to_owned()));
    let socket = PathBuf::from(title.expect("its title names its socket"));
    let ours = socket.ancestors().nth(2).expect("our folder").to_owned();
    assert!(ours.exists() && ours.starts_with("/dev/shm"), "{}", ours.display());
    kill_process(Pid::from_raw(bench.id() as i32).expect("a number"), Signal::TERM).expect("it lives");
    let output = bench.wait_with_output().expect("it ends");
    assert!(!output.status.success() && output.stdout.is_empty(), "half a comparison is none");
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
    assert!(!ours.exists(), "{} is still there", ours.display());
    assert_eq!(fs::read_dir(folder.path()).expect("ours").count(), 0);
    assert!(kill_process(server, Signal::TERM).is_err(), "the server is still there");
}
