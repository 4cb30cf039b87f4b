//! Which call meets which fault. Invariant: a control file that cannot be read fails every call, so that no test passes by it.

use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

/// How often the control file is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A call to a file system.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are called as what they are")]
pub enum Call {
    /// A transfer of an engine.
    Read,
    /// A transfer of an engine.
    Write,
    List,
    Create,
    Open,
    Rename,
    Remove,
    ReadAt,
    WriteAt,
    Look,
    Sync,
    SyncNames,
}

/// What becomes of a call.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It fails, with the error of this name.
    Error(String),
    /// It is made so much later.
    LatencyMs(u64),
    /// Calls are made one after the other, no faster than this.
    BytesPerS(u64),
    /// It is made when this rule is gone.
    Hang,
    /// It moves about half. A read looks as if the file ended there; an engine's write says how far it came, a directory's is
    /// an error.
    Short,
    /// Its file is removed before.
    Vanish,
}

/// Which calls meet a fault.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// These calls; all if none is named.
    #[serde(default)]
    pub on: Vec<Call>,
    /// Only for files whose names contain this.
    #[serde(default)]
    pub file: Option<String>,
    /// Only every so many such calls.
    #[serde(default)]
    pub one_in: Option<u64>,
    /// What becomes of them.
    pub fault: Fault,
}

/// The faults of a control file.
#[derive(Debug)]
pub struct Faults {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    rules: Vec<Live>,
    error: Option<String>,
    generation: u64,
    looked: Option<Instant>,
}

/// A rule, and how far it has come.
#[derive(Debug)]
struct Live {
    rule: Rule,
    met: u64,
    free_from: Instant,
}

/// All that becomes of one call.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) hang: bool,
    pub(super) until: Option<Instant>,
    pub(super) error: Option<io::Error>,
    pub(super) short: bool,
    pub(super) vanish: bool,
}

impl Faults {
    /// Those of a control file, which need not be there.
    #[must_use]
    pub fn new(path: PathBuf) -> Arc<Faults> {
        Arc::new(Faults { path, state: Mutex::default() })
    }

    /// Those that the environment names.
    pub(in crate::io) fn of_environment() -> Option<Arc<Faults>> {
        static FAULTS: OnceLock<Option<Arc<Faults>>> = OnceLock::new();
        FAULTS.get_or_init(|| std::env::var_os("CASCADE_FAULTS").map(|path| Faults::new(path.into()))).clone()
    }

    /// Changes with the rules.
    pub(super) fn generation(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.look(&self.path);
        state.generation
    }

    /// What becomes of a call that moves so many bytes of the file of that name.
    pub(super) fn meet(&self, call: Call, name: &str, bytes: u64) -> Verdict {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.look(&self.path);
        let mut verdict = Verdict::default();
        if let Some(error) = &state.error {
            verdict.error = Some(io::Error::new(io::ErrorKind::InvalidData, error.clone()));
        }
        for live in &mut state.rules {
            if live.meets(call, name) {
                live.judge(bytes, &mut verdict);
            }
        }
        verdict
    }
}

impl Verdict {
    /// Whether the call is made as if there were no faults.
    pub(super) const fn is_none(&self) -> bool {
        let Verdict { hang, until, error, short, vanish } = self;
        !*hang && until.is_none() && error.is_none() && !*short && !*vanish
    }
}

impl State {
    fn look(&mut self, path: &Path) {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now - looked < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        let text = fs::read_to_string(path).unwrap_or_default();
        if text == self.text {
            return;
        }
        let rules = if text.trim().is_empty() { Ok(Vec::new()) } else { parse(&text) };
        (self.text, self.generation) = (text, self.generation + 1);
        self.error = rules.as_ref().err().map(|error| format!("{}: {error}", path.display()));
        let live = |rule| Live { rule, met: 0, free_from: now };
        self.rules = rules.unwrap_or_default().into_iter().map(live).collect();
    }
}

fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let rules: Vec<Rule> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    for rule in &rules {
        match &rule.fault {
            Fault::Error(name) if code(name).is_none() => return Err(format!("no error is called {name}")),
            Fault::BytesPerS(0) => return Err("bytes_per_s: say hang".to_owned()),
            _ => {}
        }
    }
    Ok(rules)
}

impl Live {
    fn meets(&mut self, call: Call, name: &str) -> bool {
        let rule = &self.rule;
        let named = rule.file.as_ref().is_none_or(|file| name.contains(file.as_str()));
        if !named || !(rule.on.is_empty() || rule.on.contains(&call)) {
            return false;
        }
        self.met += 1;
        self.met.is_multiple_of(rule.one_in.unwrap_or(1).max(1))
    }

    fn judge(&mut self, bytes: u64, verdict: &mut Verdict) {
        let now = Instant::now();
        let mut wait = |until| verdict.until = verdict.until.max(Some(until));
        match &self.rule.fault {
            Fault::Error(name) => verdict.error = code(name).map(io::Error::from_raw_os_error),
            Fault::LatencyMs(latency_ms) => wait(now + Duration::from_millis(*latency_ms)),
            Fault::BytesPerS(rate) => {
                let takes = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate);
                self.free_from = self.free_from.max(now) + takes;
                wait(self.free_from);
            }
            Fault::Hang => verdict.hang = true,
            Fault::Short => verdict.short = true,
            Fault::Vanish => verdict.vanish = true,
        }
    }
}

/// The name of an open file, as it was last; one that was removed has it still.
pub(super) fn name_of(file: &OwnedFd) -> String {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().trim_end_matches(" (deleted)").to_owned()
}

/// The number of an error.
fn code(name: &str) -> Option<i32> {
    Some(match name {
        "EIO" => libc::EIO,
        "ESTALE" => libc::ESTALE,
        "ESHUTDOWN" => libc::ESHUTDOWN,
        "ENOENT" => libc::ENOENT,
        "ENOSPC" => libc::ENOSPC,
        "EDQUOT" => libc::EDQUOT,
        "EROFS" => libc::EROFS,
        "EACCES" => libc::EACCES,
        "ETIMEDOUT" => libc::ETIMEDOUT,
        _ => return None,
    })
}
