//! The file-system tier as the host sees it. No call here waits for the file system; closing waits for it up to a bound.

use crate::config::{self, Config, Durability, Mode};
use crate::exchange::{Exchange, QUEUE_DEPTH};
use crate::heat::Heat;
use crate::io::Access;
use crate::link::Speaker;
use crate::mount::{Machine, Mount};
use crate::mover::{self, Mover};
use crate::report::Report;
use crate::routes::Routes;
use crate::{garbage, keeper, probe};
use cascade_tier::capability::{feature, operation};
use cascade_tier::{
    Capabilities, CloseMode, Completion, Memory, MemoryId, News, Operation, Status, Tier, TierError,
};
use serde_json::json;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// An open store, with the further ones.
#[derive(Debug)]
pub struct LustreTier {
    config: Arc<Config>,
    exchange: Arc<Exchange>,
    /// Of the store that is written, and of the further ones.
    reports: Vec<Arc<Mutex<Report>>>,
    engine: &'static str,
    no_ring: Option<String>,
    close_mode: Arc<Mutex<CloseMode>>,
    is_closed: bool,
}

impl LustreTier {
    /// Opens a tier on file systems of the caller's.
    ///
    /// # Errors
    /// As [`Tier::open`].
    pub fn open_on(config: Config, mount: Arc<dyn Mount>) -> Result<LustreTier, TierError> {
        let failed =
            |what: &str, error: io::Error| TierError::new(Status::IO, format!("cannot {what}: {error}"));
        let config = Arc::new(config);
        let exchange = Arc::new(Exchange::new()?);
        let routes = Arc::new(Routes::default());
        let heat = Arc::new(Mutex::new(Heat::default()));
        let close_mode = Arc::new(Mutex::new(CloseMode::Leave));
        let (engine, no_ring) = mount.engine().map_err(|error| failed("start an engine", error))?;
        let name = engine.name();
        let access = match config.mode {
            Mode::ReadWrite => Access::ReadWrite,
            Mode::ReadOnly => Access::ReadOnly,
        };
        let further = config.read_only.iter().map(|path| (path.clone(), Access::ReadOnly));
        let stores: Vec<_> = std::iter::once((config.directory.clone(), access)).chain(further).collect();
        let unlisted = Arc::new(AtomicUsize::new(stores.len()));
        let (to_mover, inbox) = mpsc::channel();
        let (mut keepers, mut reports, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (path, access)) in stores.into_iter().enumerate() {
            let (to_keeper, inbox) = mpsc::channel();
            let report = Report { directory: path.clone(), ..Report::default() };
            let report = Arc::new(Mutex::new(report));
            let mover = Speaker::new(to_mover.clone(), Arc::clone(&exchange));
            threads.push(keeper::Setup {
                config: Arc::clone(&config),
                path,
                access,
                number,
                mount: Arc::clone(&mount),
                inbox,
                mover,
                exchange: Arc::clone(&exchange),
                routes: Arc::clone(&routes),
                heat: Arc::clone(&heat),
                report: Arc::clone(&report),
                unlisted: Arc::clone(&unlisted),
            });
            keepers.push(to_keeper);
            reports.push(report);
        }
        let setup = mover::Setup {
            exchange: Arc::clone(&exchange),
            inbox,
            keepers,
            routes,
            heat,
            close_mode: Arc::clone(&close_mode),
            is_writable: config.mode == Mode::ReadWrite,
            is_synced: config.durability == Durability::Sync,
            piece_bytes_max: config.piece_bytes_max(),
            pause: config.refresh(),
        };
        let mover = Mover::new(setup, engine).map_err(|error| failed("take memory", error))?;
        let tier =
            LustreTier { config, exchange, reports, engine: name, no_ring, close_mode, is_closed: false };
        // A thread that cannot be started leaves the others without work: dropping the tier ends them.
        let exchange = &tier.exchange;
        let start = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let started = thread::Builder::new().name(format!("cascade-{name}")).spawn(body);
            started.map(drop).map_err(|error| failed("start a thread; raise `ulimit -u`", error))
        };
        for setup in threads {
            let running = exchange.threads.started();
            start("keeper", Box::new(move || keeper::run(setup, running)))?;
        }
        let running = exchange.threads.started();
        start("mover", Box::new(move || mover.run(running)))?;
        Ok(tier)
    }

    /// Ends the threads, or leaves behind those that hang.
    fn end(&mut self, mode: CloseMode) -> Result<(), TierError> {
        if std::mem::replace(&mut self.is_closed, true) {
            return Ok(());
        }
        *self.close_mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
        let wait = Duration::from_millis(self.config.close_wait_ms);
        if self.exchange.threads.close(&self.exchange.mover_bell, wait) {
            return Ok(());
        }
        let what = if self.exchange.threads.have_memory() {
            "threads that wait for it are left behind, and memory that they have must not be used again by this process"
        } else {
            "what was stored last may not be found again"
        };
        let directory = self.config.directory.display();
        Err(TierError::new(Status::FENCED, format!("the file system of {directory} does not answer: {what}")))
    }
}

impl Drop for LustreTier {
    fn drop(&mut self) {
        // Nobody is there to be told.
        let _ = self.end(CloseMode::Leave);
    }
}

impl Tier for LustreTier {
    fn probe(config: &str) -> Result<String, TierError> {
        probe::probe(&config::parse(config)?)
    }

    fn collect_garbage(config: &str) -> Result<String, TierError> {
        garbage::collect(config)
    }

    fn open(config: &str) -> Result<LustreTier, TierError> {
        let config = Config::parse(config)?;
        let machine = Machine::new(Arc::new(config.clone()));
        LustreTier::open_on(config, Arc::new(machine))
    }

    fn close(mut self, mode: CloseMode) -> Result<(), TierError> {
        self.end(mode)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            operations: operation::STORE | operation::LOAD | operation::REMOVE | operation::SYNC,
            features: feature::REGISTER
                | feature::IMPORT
                | feature::EVENT_FD
                | feature::PERSISTENT
                | feature::NEWS,
            queue_depth: QUEUE_DEPTH as u64,
            alignment_bytes: crate::format::BLOCK_BYTES,
            piece_bytes_max: self.config.piece_bytes_max(),
        }
    }

    fn register_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        if memory.cpu_address().is_none() || memory.length_bytes == 0 {
            return Err(TierError::invalid(format!(
                "memory {:?}: files are read into memory that the CPU reaches, and it does not reach this",
                memory.name()
            )));
        }
        self.exchange.learn(memory)
    }

    fn import_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        self.register_memory(memory)
    }

    fn forget_memory(&mut self, id: MemoryId) -> Result<(), TierError> {
        self.exchange.forget(id)
    }

    fn submit(&mut self, operations: &[Operation]) -> Result<usize, TierError> {
        self.exchange.threads.check()?;
        Ok(self.exchange.submit(operations))
    }

    fn poll(&mut self, completions: &mut [Completion]) -> Result<usize, TierError> {
        self.exchange.threads.check()?;
        Ok(self.exchange.poll(completions))
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.exchange.event())
    }

    fn news(&mut self, news: &mut [News]) -> Result<usize, TierError> {
        self.exchange.threads.check()?;
        Ok(self.exchange.take_news(news))
    }

    fn cancel(&mut self, request_id: u64) -> Result<(), TierError> {
        self.exchange.cancel(request_id)
    }

    fn stats(&self) -> String {
        let reports: Vec<Report> = self
            .reports
            .iter()
            .map(|report| report.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect();
        let (under_way, news_waiting) = self.exchange.waiting();
        json!({
            "store": reports[0],
            "read_only_stores": reports[1..],
            "mode": self.config.mode,
            "durability": self.config.durability,
            "capacity_bytes": self.config.capacity_bytes,
            "inodes_max": self.config.inodes_max,
            "engine": self.engine,
            "no_ring": self.no_ring,
            "under_way": under_way,
            "news_waiting": news_waiting,
            "counts": self.exchange.counts(),
        })
        .to_string()
    }
}
