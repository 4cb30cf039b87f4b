//! Loading plugins: good ones, and each way in which a file can fail to be one. Every error says what to do.

use crate::subjects::plugin_file;
use crate::suite::Scratch;
use cascade_tier::{ABI_VERSION, Action, CloseMode, Library, LoadError, Operation, Status};
use std::path::Path;

fn refusal(path: &Path, name: &str) -> LoadError {
    Library::load_as(path, name).expect_err("it is no good plugin")
}

fn faulty(name: &str) -> LoadError {
    refusal(&plugin_file("faulty"), name)
}

#[test]
fn a_plugin_is_named_by_its_file() {
    let library = Library::load(&plugin_file("shm")).unwrap();
    assert_eq!(library.name(), "shm");
    assert_eq!(library.path(), Some(plugin_file("shm").as_path()));
    assert!(library.version().starts_with(|first: char| first.is_ascii_digit()));
}

#[test]
fn a_plugin_whose_file_has_another_name_is_found_by_its_symbol() {
    let scratch = Scratch::new();
    let copy = scratch.path().join("shm.so");
    std::fs::copy(plugin_file("shm"), &copy).unwrap();
    assert_eq!(Library::load(&copy).unwrap().name(), "shm");
}

#[test]
fn a_missing_file_is_said_to_be_missing() {
    let error = refusal(Path::new("/nowhere/libcascade_tier_x.so"), "x");
    assert!(matches!(error, LoadError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("build the plugin"), "{error}");
}

#[test]
fn a_file_that_is_no_library_is_refused() {
    let scratch = Scratch::new();
    let text = scratch.path().join("libcascade_tier_text.so");
    std::fs::write(&text, "not a library\n".repeat(100)).unwrap();
    let empty = scratch.path().join("libcascade_tier_empty.so");
    std::fs::write(&empty, "").unwrap();
    let half = scratch.path().join("libcascade_tier_half.so");
    let whole = std::fs::read(plugin_file("shm")).unwrap();
    std::fs::write(&half, &whole[..2000]).unwrap();
    for path in [&text, &empty, &half] {
        let error = Library::load(path).unwrap_err();
        assert!(matches!(error, LoadError::NotALibrary { .. }), "{error}");
        assert!(error.to_string().contains("build it anew"), "{error}");
    }
}

#[test]
fn a_library_that_is_no_tier_is_refused_by_the_symbol_that_it_lacks() {
    let error = refusal(&plugin_file("shm"), "mpi-remote");
    assert!(
        matches!(&error, LoadError::NoEntry { symbol, .. } if symbol == "cascade_tier_mpi_remote"),
        "{error}"
    );
    assert!(error.to_string().contains("libcascade_tier_NAME.so"), "{error}");
}

#[test]
fn a_plugin_of_another_version_is_refused_and_both_versions_are_named() {
    let error = faulty("null");
    assert!(matches!(error, LoadError::OtherVersion { plugin: None, host: ABI_VERSION, .. }), "{error}");
    let error = faulty("later");
    let LoadError::OtherVersion { plugin: Some(plugin), .. } = error else { panic!("{error}") };
    assert_eq!(plugin, ABI_VERSION + 1);
    let message = faulty("later").to_string();
    assert!(message.contains(&format!("version {plugin}")) && message.contains("build both"), "{message}");
}

#[test]
fn a_table_that_is_short_or_has_holes_is_refused_before_it_is_used() {
    let error = faulty("short");
    assert!(
        matches!(error, LoadError::VtableTooSmall { found_bytes, needed_bytes, .. } if found_bytes < needed_bytes)
    );
    let error = faulty("hole");
    assert!(matches!(error, LoadError::VtableHole { .. }), "{error}");
}

#[test]
fn a_loaded_plugin_that_panics_leaves_the_host_standing() {
    let library = Library::load(&plugin_file("faulty")).unwrap();
    let panicked = |error: cascade_tier::TierError, place: &str| {
        assert_eq!(error.status, Status::PANICKED, "{error}");
        assert!(error.message.contains(&format!("told to panic in {place}")), "{error}");
    };
    panicked(library.probe("probe").unwrap_err(), "probe");
    panicked(library.open("open").unwrap_err(), "open");
    let mut tier = library.open("submit").unwrap();
    panicked(tier.submit(&[Operation::new(1, Action::Unknown(0))]).unwrap_err(), "submit");
    panicked(tier.close(CloseMode::Leave).unwrap_err(), "submit");
    panicked(library.open("stats").unwrap().stats().unwrap_err(), "stats");
    panicked(library.open("drop").unwrap().close(CloseMode::Leave).unwrap_err(), "drop");
    library.open("nowhere").unwrap().close(CloseMode::Leave).unwrap();
}
