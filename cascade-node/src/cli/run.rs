//! `run`: the node itself, in the foreground, alone or around a command.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

use cascade_tier::Library;
use rustix::process::Rlimit;

use super::{Context, Exit, Failure, Run, descriptors, output, signals, tiers};
use crate::config::Loaded;
use crate::engine::{Ended, Engine, EngineError, LOWER_TIER, LowerTier, Stop};
use crate::signal;

/// Run the node in the foreground, alone or around a command
///
/// Prints one line `ready SOCKET` once clients may attach, and one line of summary at the end. SIGTERM and Ctrl-C stop
/// it cleanly: what only memory has is written to the lower tier if there is one, and nothing stays behind in /dev/shm. With a command, the node ends when the command does, with its exit
/// code; the command finds the node through CASCADE_SOCKET.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node run
  cascade-node run --profile perlmutter --set segment.capacity=64GiB
  srun --overlap --ntasks-per-node=1 cascade-node run &
  cascade-node run -- vllm serve MODEL
")]
pub(super) struct Args {
    /// Also write `ready SOCKET` to this open descriptor, and close it
    #[arg(long, value_name = "FD")]
    ready_fd: Option<RawFd>,

    /// Command to run the node around
    #[arg(last = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let loaded = context.configuration()?;
        // Before any thread is started: all of them are to leave the signals to the pump.
        let drain_signal = signal::by_name(&loaded.config.flow.drain_signal);
        let signals = signals::descriptor(drain_signal)?;
        let limit = descriptors::raise();
        let (shm, lower) = load_tiers(&loaded)?;
        let mut engine = Engine::start(loaded.config, &shm, lower.as_ref()).map_err(failure)?;
        let ended = self.serve(&mut engine, signals, drain_signal, limit);
        // However it ended: what the engine has in shared memory goes.
        let closed = engine.close().map_err(failure);
        let (ended, summary) = (ended?, closed?);
        tracing::info!("{summary}");
        match ended {
            Ended::Asked => Ok(Exit::Done),
            Ended::Child(status) => std::process::exit(code_of(status)),
            Ended::Abandoned(pid) => Err(Failure::new(
                Exit::Failed,
                format!("the command (pid {pid}) did not end; it was left behind"),
            )),
        }
    }
}

impl Args {
    /// Tells that clients may attach, starts the command if there is one, and serves until something ends it.
    fn serve(
        &self,
        engine: &mut Engine,
        signals: OwnedFd,
        drain_signal: Option<i32>,
        limit: Rlimit,
    ) -> Result<Ended, Failure> {
        self.announce(engine)?;
        let child = start_child(&self.command, engine, drain_signal, limit)?;
        engine.run(Stop::new(signals, child, drain_signal)).map_err(failure)
    }

    fn announce(&self, engine: &Engine) -> Result<(), Failure> {
        let line = format!("ready {}\n", engine.socket().display());
        if self.command.is_empty() {
            output::text(&line)?;
        }
        if let Some(fd) = self.ready_fd {
            // SAFETY: the caller says that this descriptor is open and meant for us; it is closed after the line.
            let mut ready = unsafe { File::from_raw_fd(fd) };
            let unwritable =
                |error| Failure::new(Exit::Usage, format!("--ready-fd {fd} cannot be written: {error}"));
            ready.write_all(line.as_bytes()).map_err(unwritable)?;
        }
        Ok(())
    }
}

/// Loads all tiers that the configuration names: that of memory, and the one below it.
fn load_tiers(loaded: &Loaded) -> Result<(Library, Option<LowerTier>), Failure> {
    let folders = tiers::folders(loaded);
    let plugins = &loaded.config.plugins;
    let (mut shm, mut lower) = (None, None);
    for name in &plugins.required {
        let library = tiers::load(name, &folders).map_err(|error| {
            Failure::new(Exit::Failed, format!("the required tier {name} cannot be used: {error}"))
        })?;
        match name.as_str() {
            "shm" => shm = Some(library),
            LOWER_TIER => lower = Some(LowerTier { library, is_required: true }),
            _ => {}
        }
    }
    for name in &plugins.optional {
        match tiers::load(name, &folders) {
            Ok(library) if name == LOWER_TIER => lower = Some(LowerTier { library, is_required: false }),
            Ok(_) => {}
            // Nobody misses a tier that has nowhere to keep anything.
            Err(_) if name == LOWER_TIER && loaded.config.lustre.folder().is_none() => {}
            Err(error) => tracing::warn!(tier = name, error, "going on without an optional tier"),
        }
    }
    let shm = shm.ok_or_else(|| {
        Failure::new(Exit::Usage, "plugins.required must name `shm`: the node lives in shared memory")
    })?;
    Ok((shm, lower))
}

fn start_child(
    command: &[OsString],
    engine: &Engine,
    drain_signal: Option<i32>,
    limit: Rlimit,
) -> Result<Option<Child>, Failure> {
    let Some((program, arguments)) = command.split_first() else { return Ok(None) };
    let mut command = Command::new(program);
    command.args(arguments).env("CASCADE_SOCKET", engine.socket());
    signals::unblock_in(&mut command, drain_signal);
    descriptors::restore_in(&mut command, limit);
    let child = command.spawn().map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot run {}: {error}", program.to_string_lossy()))
    })?;
    Ok(Some(child))
}

/// The exit code that a shell would give.
fn code_of(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

fn failure(error: EngineError) -> Failure {
    let hint = if error.is_owned() { "\nstop that node, or give this one another --instance" } else { "" };
    Failure::new(Exit::Failed, format!("{error}{hint}"))
}
