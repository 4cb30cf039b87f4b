//! The program as people and scripts meet it: exit codes, output, completions.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cascade-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program in an empty environment.
fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cascade-node"));
    command.args(arguments).current_dir(folder).env_clear();
    command
}

fn run(folder: &Folder, arguments: &[&str]) -> Output {
    program(&folder.0, arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn help_lists_the_exit_codes_and_examples() {
    let folder = Folder::new("help");
    let output = run(&folder, &["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    for words in ["Exit codes:", "  4  no node can be reached", "Examples:", "CASCADE_SOCKET"] {
        assert!(help.contains(words), "{words}");
    }
}

#[test]
fn wrong_usage_and_wrong_configuration_end_with_2() {
    let folder = Folder::new("usage");
    let wrong: [&[&str]; 6] = [
        &[],
        &["frobnicate"],
        &["doctor", "--frobnicate"],
        &["config", "show", "--set", "segment.capacity"],
        &["config", "show", "--profile", "mainframe"],
        &["config", "show", "--set", "segment.capacity=tiny"],
    ];
    for arguments in wrong {
        let output = run(&folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_misspelt_variable_is_told_with_what_was_meant() {
    let folder = Folder::new("variable");
    let mut command = program(&folder.0, &["config", "check"]);
    let output = command.env("CASCADE_SEGMENT__CAPCITY", "1GiB").output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "error: variable CASCADE_SEGMENT__CAPCITY: unknown variable; did you mean CASCADE_SEGMENT__CAPACITY?\n"
    );
}

#[test]
fn init_writes_the_profile_once_and_it_is_sound() {
    let folder = Folder::new("init");
    assert_eq!(run(&folder, &["config", "init"]).status.code(), Some(0));
    let written = std::fs::read_to_string(folder.0.join("cascade.toml")).expect("the file");
    assert_eq!(written, include_str!("../profiles/laptop.toml"));

    let again = run(&folder, &["config", "init", "--profile", "perlmutter"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("--force replaces it"));
    assert_eq!(std::fs::read_to_string(folder.0.join("cascade.toml")).ok(), Some(written));

    assert_eq!(
        run(&folder, &["config", "init", "--profile", "perlmutter", "--force"]).status.code(),
        Some(0)
    );
    let written = std::fs::read_to_string(folder.0.join("cascade.toml")).expect("the file");
    assert_eq!(written, include_str!("../profiles/perlmutter.toml"));
    assert_eq!(run(&folder, &["config", "check"]).status.code(), Some(0));
}

#[test]
fn show_prints_toml_that_gives_the_same_configuration() {
    let folder = Folder::new("show");
    let first = run(&folder, &["config", "show", "--profile", "perlmutter", "--instance", "blue"]);
    let text = stdout(&first);
    assert!(text.lines().any(|l| l.starts_with("instance = \"blue\"") && l.ends_with("# flag --instance")));
    assert!(
        text.lines().any(|l| l.starts_with("numa = \"per-domain\"") && l.ends_with("# profile perlmutter"))
    );
    std::fs::write(folder.0.join("cascade.toml"), &text).expect("the file");

    let values = |output: &Output| -> Vec<(String, serde_json::Value)> {
        let list = json(output).as_array().cloned().expect("a list");
        list.into_iter().map(|s| (s["key"].as_str().expect("a key").to_owned(), s["value"].clone())).collect()
    };
    let asked = run(&folder, &["config", "show", "--json", "--profile", "perlmutter", "--instance", "blue"]);
    let read = run(&folder, &["config", "show", "--json"]);
    assert_eq!(values(&asked), values(&read));
    assert_eq!(json(&read)[0]["origin"], "file cascade.toml");
}

#[test]
fn check_as_json_lists_every_problem_and_ends_with_2() {
    let folder = Folder::new("check");
    std::fs::write(folder.0.join("my.toml"), "zzz = 1\n[log]\nfromat = 'json'\n").expect("the file");
    let output = run(&folder, &["config", "check", "--json", "--config", "my.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let result = json(&output);
    assert_eq!(result["sound"], false);
    assert_eq!(result["problems"][0]["place"], "my.toml:1");
    assert_eq!(result["problems"][1]["message"], "unknown key `log.fromat`; did you mean `log.format`?");

    let sound = run(&folder, &["config", "check", "--json"]);
    assert_eq!((sound.status.code(), json(&sound)["sound"].as_bool()), (Some(0), Some(true)));
}

#[test]
fn doctor_as_json_ends_as_its_verdict_says() {
    let folder = Folder::new("doctor");
    let output = run(&folder, &["doctor", "--json"]);
    let report = json(&output);
    let failed = report["checks"].as_array().expect("checks").iter().any(|check| check["status"] == "fail");
    assert_eq!(report["fit"].as_bool(), Some(!failed));
    assert_eq!(output.status.code(), Some(i32::from(failed)));

    let output = run(&folder, &["doctor", "--json", "--set", "log.filtre=x"]);
    assert_eq!(output.status.code(), Some(1));
    let configuration = &json(&output)["checks"][0];
    assert_eq!((&configuration["name"], &configuration["status"]), (&"configuration".into(), &"fail".into()));
}

#[test]
fn doctor_for_people_gives_advice_under_each_failure() {
    let folder = Folder::new("doctor-text");
    let output = run(&folder, &["doctor", "--set", "segment.capacity=4000TiB"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    let mut lines = text.lines().skip_while(|line| !line.starts_with("FAIL  capacity"));
    assert!(lines.next().is_some_and(|line| line.contains("4000 TiB wanted")), "{text}");
    assert!(lines.next().is_some_and(|line| line.contains("→ lower segment.capacity")), "{text}");
}

#[test]
fn each_shell_gets_a_script_that_knows_the_commands() {
    let folder = Folder::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&folder, &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = stdout(&output);
        for word in ["cascade-node", "doctor", "completions", "profile", "perlmutter"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new("pipe");
    let mut command = program(&folder.0, &["completions", "bash"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_long_tmpdir_changes_no_path() {
    let folder = Folder::new("tmpdir");
    let paths = |tmpdir: &str| {
        let mut command = program(&folder.0, &["doctor", "--json"]);
        let output = command.env("TMPDIR", tmpdir).output().expect("the program starts");
        let checks = json(&output)["checks"].as_array().cloned().expect("checks");
        checks.into_iter().find(|check| check["name"] == "socket").expect("the socket's check")
    };
    assert_eq!(paths("/tmp"), paths(&format!("/{}", "t".repeat(200))));
}

#[test]
fn top_without_a_terminal_says_what_to_do_and_without_a_node_that_there_is_none() {
    let folder = Folder::new("top");
    let output = run(&folder, &["top"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("top --once"), "{}", stderr(&output));
    let mut command = program(&folder.0, &["top", "--once"]);
    let output = command.env("CASCADE_SOCKET", folder.0.join("none")).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert_eq!(run(&folder, &["top", "--once", "--interval", "0"]).status.code(), Some(2));
}
