//! `plugins` and `gc`: the commands that load tiers without a node.
//!
//! The happy paths need the shm tier's library beside the program, where `cargo build --workspace` puts it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cascade_tier::{CloseMode, Library};

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    fn temporary(name: &str) -> Self {
        Self::new(std::env::temp_dir().join(format!("cascade-cli-tiers-{}-{name}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program in an empty environment, looking for tiers in `search` only.
fn run(search: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cascade-node"));
    command.args(arguments).arg("--set").arg(format!("plugins.search={}", search.display()));
    command.env_clear().current_dir(std::env::temp_dir()).output().expect("the program starts")
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The folder with the shm tier's library, or word that the test is skipped.
fn built(test: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_BIN_EXE_cascade-node")).parent()?.to_owned();
    if folder.join("libcascade_tier_shm.so").exists() {
        return Some(folder);
    }
    println!("SKIPPED cli_tiers::{test}: the shm tier is not built: cargo build -p cascade-tier-shm");
    None
}

#[test]
fn a_required_tier_that_is_not_there_fails_and_names_the_folders() {
    let folder = Folder::temporary("missing");
    let output = run(&folder.0, &["plugins", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let shm = &json(&output)[0];
    assert_eq!((shm["name"].as_str(), shm["role"].as_str()), (Some("shm"), Some("required")));
    let error = shm["error"].as_str().expect("an error");
    assert!(error.contains("libcascade_tier_shm.so is in none of"), "{error}");
    assert!(error.contains(&folder.0.display().to_string()), "{error}");
}

#[test]
fn a_file_that_is_no_library_is_told() {
    let folder = Folder::temporary("junk");
    std::fs::write(folder.0.join("libcascade_tier_shm.so"), "no library").expect("the file");
    let output = run(&folder.0, &["plugins", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let error = json(&output)[0]["error"].as_str().map(str::to_owned).expect("an error");
    assert!(error.contains("no shared library for this machine"), "{error}");
}

#[test]
fn gc_without_the_shm_tier_fails_and_says_what_to_do() {
    let folder = Folder::temporary("gc");
    let output = run(&folder.0, &["gc"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(message.starts_with("error: libcascade_tier_shm.so is in none of"), "{message}");
}

#[test]
fn the_shm_tier_is_listed_with_version_and_health() {
    let Some(folder) = built("the_shm_tier_is_listed_with_version_and_health") else { return };
    let output = run(&folder, &["plugins", "--json", "--set", "plugins.optional=no-such"]);
    assert_eq!(output.status.code(), Some(0));
    let tiers = json(&output);
    assert_eq!(tiers[0]["healthy"], true);
    assert_eq!(tiers[0]["version"], env!("CARGO_PKG_VERSION"));
    assert!(tiers[0]["probe"]["available_bytes"].is_u64());
    // An optional tier that is not there is said, and fails nothing.
    assert_eq!((&tiers[1]["name"], &tiers[1]["healthy"]), (&"no-such".into(), &false.into()));
}

#[test]
fn a_tier_under_another_ones_name_is_refused() {
    let Some(built) = built("a_tier_under_another_ones_name_is_refused") else { return };
    let folder = Folder::temporary("renamed");
    let (source, target) = (built.join("libcascade_tier_shm.so"), folder.0.join("libcascade_tier_hbm.so"));
    std::fs::copy(source, target).expect("a copy");
    let output = run(&folder.0, &["plugins", "--json", "--set", "plugins.required=hbm"]);
    assert_eq!(output.status.code(), Some(1));
    let error = json(&output)[0]["error"].as_str().map(str::to_owned).expect("an error");
    assert!(error.contains("lacks the symbol `cascade_tier_hbm`"), "{error}");
}

#[test]
fn gc_keeps_a_living_segment_and_removes_a_dead_one() {
    let Some(folder) = built("gc_keeps_a_living_segment_and_removes_a_dead_one") else { return };
    let user = cascade_core::place::user_directory(rustix::process::getuid().as_raw());
    let directory = format!("{user}/test-{}.gc", std::process::id());
    let request = serde_json::json!({
        "directory": directory,
        "regions": [{ "name": "arena-0", "bytes": 1 << 20 }],
        "owner": { "instance": "gc", "host": "test" },
    });
    let listed = |output: &Output, list: &str| {
        assert_eq!(output.status.code(), Some(0));
        let report = json(output);
        let entries = report[list].as_array().expect("a list").clone();
        entries.iter().any(|entry| entry["directory"] == directory.as_str())
    };

    let library = Library::load(&folder.join("libcascade_tier_shm.so")).expect("the shm tier loads");
    let tier = library.open(&request.to_string()).expect("the segment opens");
    assert!(listed(&run(&folder, &["gc", "--json"]), "kept"));
    assert!(Path::new(&directory).exists());

    tier.close(CloseMode::Leave).expect("the segment is left");
    assert!(listed(&run(&folder, &["gc", "--json", "--dry-run"]), "removed"));
    assert!(Path::new(&directory).exists(), "a dry run removes nothing");
    assert!(listed(&run(&folder, &["gc", "--json"]), "removed"));
    assert!(!Path::new(&directory).exists());
}
