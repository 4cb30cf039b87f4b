//! What a client process can be told, and what it answers: one line each.
//!
//! ```text
//! attach SOCKET      attached ID             put N         posted | present | refused WHY | error WHY
//! patience MS        ok                      put_wait N    fresh | present | refused WHY | error WHY
//! get N              hit | wrong | miss WHY | error WHY    pin N, hold N     hit | miss WHY | error WHY
//! views              right | wrong           reserve N     half filled | refused WHY | error WHY
//! commit             fresh | …               drop          ok (views, holds, fills)
//! match N            blocks                  segment       ID
//! locate N           BLOCKS in memory IN_MEMORY | error WHY
//! promote N          blocks | blocks WHY | error WHY (kept until `drop`)
//! get_within N       as get
//! discard N          dropped | absent
//! fork               PID error Forked        become UID    ok
//! load SEED PIECES   ok (load_copies: writes by copy only)
//! halt               the load's tally, as JSON
//! knock SOCKET       attached | error WHY    raw SOCKET    ok (attached by hand)
//! flood              entries that the ring of `raw` took
//! find INSTANCE      attached ID             knock_raw SOCKET   what the node says to one who ignores whose it is
//! ```

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use cascade_client::{
    Client, Committed, Deadline, Error, Fill, Hold, Lookup, Promotion, Reserved, Share, Stored, View,
};
use cascade_core::request::Request;
use cascade_core::slot::SlotRef;
use cascade_core::wire::Frame;

use crate::content;
use crate::load::Load;
use crate::raw::RawClient;
use crate::wait::PATIENCE;

/// What a client process has in its hands.
#[derive(Debug)]
pub struct Player {
    client: Option<Client>,
    patience: Duration,
    views: Vec<(u64, View)>,
    holds: Vec<Hold>,
    promotions: Vec<Promotion>,
    fills: Vec<(u64, Fill)>,
    load: Option<Load>,
    raw: Option<RawClient>,
}

impl Default for Player {
    fn default() -> Self {
        Self {
            client: None,
            patience: PATIENCE,
            views: Vec::new(),
            holds: Vec::new(),
            promotions: Vec::new(),
            fills: Vec::new(),
            load: None,
            raw: None,
        }
    }
}

impl Player {
    /// Does what the line says; the answer.
    ///
    /// # Panics
    /// If the line makes no sense.
    pub fn play(&mut self, line: &str) -> String {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = || rest.parse::<u64>().unwrap_or_else(|_| panic!("{line}: a number is missing"));
        let answer = match verb {
            "attach" => self.attach(rest),
            "patience" => {
                self.patience = Duration::from_millis(number());
                Ok("ok".into())
            }
            "put" => self.put(number()),
            "put_wait" => self.put_wait(number()),
            "get" => self.get(number()),
            "pin" => self.pin(number()),
            "hold" => self.hold(number()),
            "views" => Ok(self.views()),
            "reserve" => self.reserve(number()),
            "commit" => self.commit(),
            "match" => self.matched(number()),
            "locate" => self.locate(number()),
            "promote" => self.promote(number()),
            "get_within" => self.get_within(number()),
            "discard" => self.discard(number()),
            "segment" => self.client().segment_id().map(|id| format!("{id:016x}")),
            "fork" => Ok(self.fork()),
            "load" | "load_copies" => {
                let (seed, pieces) = rest.split_once(' ').expect("load SEED PIECES");
                let (seed, pieces) = (seed.parse().expect("a seed"), pieces.parse().expect("a number"));
                self.load = Some(Load::start(self.client().clone(), seed, pieces, verb == "load"));
                Ok("ok".into())
            }
            "halt" => Ok(self.load.take().expect("a load runs").halt()),
            "become" => Ok(become_user(number() as u32)),
            "knock" => Ok(knock(rest)),
            "knock_raw" => Ok(knock_raw(rest)),
            "find" => self.keep(Client::connect_to_instance(rest, self.deadline())),
            "raw" => {
                self.raw = Some(RawClient::attach(PathBuf::from(rest).as_path()));
                Ok("ok".into())
            }
            "flood" => Ok(self.flood()),
            "drop" => {
                (self.views, self.holds, self.fills) = (Vec::new(), Vec::new(), Vec::new());
                self.promotions.clear();
                Ok("ok".into())
            }
            _ => panic!("no such verb: {line}"),
        };
        answer.unwrap_or_else(|error| format!("error {}", name_of(&error)))
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("attached before")
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.patience)
    }

    fn attach(&mut self, socket: &str) -> Result<String, Error> {
        self.keep(Client::connect_to(vec![PathBuf::from(socket)], self.deadline()))
    }

    fn keep(&mut self, connected: Result<Client, Error>) -> Result<String, Error> {
        let client = connected?;
        let id = client.segment_id()?;
        self.client = Some(client);
        Ok(format!("attached {id:016x}"))
    }

    fn put(&self, n: u64) -> Result<String, Error> {
        let stored = self.client().put(
            &content::piece(n),
            content::lineage(n),
            &content::bytes(n),
            self.deadline(),
        )?;
        Ok(match stored {
            Stored::Posted => "posted".into(),
            Stored::AlreadyPresent => "present".into(),
            Stored::Refused(why) => format!("refused {why:?}"),
        })
    }

    fn put_wait(&self, n: u64) -> Result<String, Error> {
        let (id, lineage) = (content::piece(n), content::lineage(n));
        Ok(committed(self.client().put_wait(&id, lineage, &content::bytes(n), self.deadline())?))
    }

    fn get(&self, n: u64) -> Result<String, Error> {
        let mut target = vec![0; content::LEN_MAX_BYTES];
        Ok(read(n, self.client().get_into(&content::piece(n), &mut target)?, &target))
    }

    fn get_within(&self, n: u64) -> Result<String, Error> {
        let mut target = vec![0; content::LEN_MAX_BYTES];
        Ok(read(n, self.client().get_within(&content::piece(n), &mut target, self.deadline())?, &target))
    }

    fn pin(&mut self, n: u64) -> Result<String, Error> {
        Ok(match self.client().pin(&content::piece(n))? {
            Lookup::Hit(view) => {
                self.views.push((n, view));
                "hit".into()
            }
            Lookup::Miss(why) => format!("miss {why:?}"),
        })
    }

    fn hold(&mut self, n: u64) -> Result<String, Error> {
        Ok(match self.client().hold(&content::chain_to(n), &[Share::default()])? {
            Lookup::Hit(hold) => {
                self.holds.push(hold);
                "hit".into()
            }
            Lookup::Miss(why) => format!("miss {why:?}"),
        })
    }

    /// Whether every pinned piece still has its bytes, where it lies.
    fn views(&self) -> String {
        let right = self.views.iter().all(|(n, view)| {
            // SAFETY: by the protocol nobody writes a pinned slot; that it holds is what the test finds out.
            content::is_right(*n, unsafe { view.as_slice() })
        });
        if right { "right".into() } else { "wrong".into() }
    }

    fn reserve(&mut self, n: u64) -> Result<String, Error> {
        match self.client().reserve(content::len_bytes(n) as u64, self.deadline())? {
            Reserved::Fill(mut fill) => {
                let half = fill.len_bytes() / 2;
                content::write(n, &mut fill.bytes_mut()?[..half]);
                self.fills.push((n, fill));
                Ok("half filled".into())
            }
            Reserved::Refused(why) => Ok(format!("refused {why:?}")),
        }
    }

    /// Fills the rest of the last reserved slot and commits it.
    fn commit(&mut self) -> Result<String, Error> {
        let (n, mut fill) = self.fills.pop().expect("reserved before");
        content::write(n, fill.bytes_mut()?);
        Ok(committed(fill.commit_wait(&content::piece(n), content::lineage(n), self.deadline())?))
    }

    fn matched(&self, n: u64) -> Result<String, Error> {
        Ok(self.client().match_chain(&content::chain_to(n), &[Share::default()])?.to_string())
    }

    fn locate(&self, n: u64) -> Result<String, Error> {
        let located = self.client().locate(&content::chain_to(n), &[Share::default()], self.deadline())?;
        Ok(format!("{} in memory {}", located.blocks, located.memory_blocks))
    }

    fn promote(&mut self, n: u64) -> Result<String, Error> {
        let promotion = self.client().promote(&content::chain_to(n), &[Share::default()], self.deadline())?;
        let (blocks, why) = (promotion.blocks(), promotion.reason());
        self.promotions.push(promotion);
        Ok(why.map_or_else(|| blocks.to_string(), |why| format!("{blocks} {why:?}")))
    }

    /// Says that a piece is of no use, and waits until the node has heard it.
    fn discard(&self, n: u64) -> Result<String, Error> {
        let is_there = self.client().discard(&content::piece(n))?;
        self.client().flush(self.deadline())?;
        Ok(if is_there { "dropped" } else { "absent" }.into())
    }

    /// Forks. The child tries its parent's handle, tells what came of it, drops all that it inherited, and stays alive.
    fn fork(&mut self) -> String {
        let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
        // SAFETY: no load runs, so this process has one thread, and the child is as good a process as its parent.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            drop(reader);
            let said = self.play("get 0");
            self.play("drop");
            let _ = writer.write_all(said.as_bytes());
            drop(writer);
            loop {
                std::thread::sleep(PATIENCE);
            }
        }
        drop(writer);
        let mut said = String::new();
        reader.read_to_string(&mut said).expect("the child speaks");
        format!("{pid} {said}")
    }

    /// Posts requests that ask for nothing until the ring takes no more.
    fn flood(&self) -> String {
        let raw = self.raw.as_ref().expect("attached by hand before");
        let nothing = Request::Suspect { slot: SlotRef { arena: 0, slot: 0, generation: 1 } }.encode();
        let mut entries = 0;
        while raw.page().ring().push(&nothing).is_some() {
            entries += 1;
        }
        entries.to_string()
    }
}

fn knock(socket: &str) -> String {
    match Client::connect_to(vec![PathBuf::from(socket)], Deadline::after(PATIENCE)) {
        Ok(_) => "attached".into(),
        Err(error) => format!("error {error}").replace('\n', " "),
    }
}

/// Asks to be let in without looking whose node it is, and tells what comes back.
fn knock_raw(socket: &str) -> String {
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) => return format!("no way in: {error}"),
    };
    // The node may have hung up by now: what it said before counts.
    let _ = stream.write_all(&Frame::Attach { segment_id: 0, page: 0, owner: 0 }.encode());
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).replace(char::is_control, " ")
}

/// Gives this process another user, for good.
fn become_user(uid: u32) -> String {
    // SAFETY: these calls take numbers only; the process has one thread.
    let changed = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0 && libc::setgid(uid) == 0 && libc::setuid(uid) == 0
    };
    if changed { "ok".into() } else { format!("error {}", std::io::Error::last_os_error()) }
}

/// What a read brought.
fn read(n: u64, found: Lookup<usize>, target: &[u8]) -> String {
    match found {
        Lookup::Hit(len) if content::is_right(n, &target[..len]) => "hit".into(),
        Lookup::Hit(_) => "wrong".into(),
        Lookup::Miss(why) => format!("miss {why:?}"),
    }
}

fn committed(verdict: Committed) -> String {
    match verdict {
        Committed::Fresh => "fresh".into(),
        Committed::AlreadyPresent => "present".into(),
        Committed::Refused(why) => format!("refused {why:?}"),
    }
}

/// The name of an error's variant.
fn name_of(error: &Error) -> String {
    format!("{error:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
