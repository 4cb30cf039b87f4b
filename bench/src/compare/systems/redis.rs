//! Redis: its server on a Unix socket, persistence off.
//!
//! It has no cold row: it answers from memory alone, and after a restart not before it has loaded everything.

use super::resp::Connection;
use super::server::{self, Server};
use super::{Absent, Driver, Identity, Mode, PATIENCE, Pass, Setting, Started};
use crate::compare::stage::Stage;
use std::error::Error;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const INSTALL: &str = "apt-get install redis-server (or name the program with --redis-server)";

/// The server with one connection.
struct Redis {
    server: Server,
    connection: Connection,
    identity: Identity,
}

/// Starts the server and connects.
pub(super) fn start(setting: &Setting) -> Result<Started, Box<dyn Error>> {
    if setting.mode == Mode::Cold {
        let reason = "it answers from memory alone, and after a restart not before it has loaded all of it";
        return Ok(Started::Absent(Absent { reason: reason.into(), install: None }));
    }
    let Some(program) = server::find(&setting.programs.redis_server) else {
        let reason = format!("{} is not here", setting.programs.redis_server.display());
        return Ok(Started::Absent(Absent { reason, install: Some(INSTALL.into()) }));
    };
    let socket = setting.memory.join("redis.sock");
    let mut command = Command::new(&program);
    command.args(["--port", "0", "--unixsocketperm", "700", "--unixsocket"]).arg(&socket);
    command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(&setting.store);
    let mut server = Server::start(&mut command, &setting.memory.join("redis.log"), false)
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    let mut connection = connect(&mut server, &socket)?;
    let told = connection.info()?;
    let field = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let version = field("redis_version:").ok_or("its INFO has no version")?.to_owned();
    let path = field("executable:").ok_or("its INFO has no path")?.to_owned();
    let setup =
        "server on a Unix socket, persistence off; one connection, no copies in the client".to_owned();
    let identity = Identity { version, path, setup };
    Ok(Started::Running(Box::new(Redis { server, connection, identity })))
}

/// Waits until the server listens.
fn connect(server: &mut Server, socket: &Path) -> Result<Connection, Box<dyn Error>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Connection::open(socket, PATIENCE) {
            Ok(connection) => return Ok(connection),
            Err(error) if server.obituary().is_some() || Instant::now() >= deadline => {
                return Err(server.explain("redis-server does not listen", &error));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

impl Redis {
    fn explain(&mut self, error: &io::Error) -> Box<dyn Error> {
        self.server.explain("redis-server does not answer", error)
    }
}

impl Driver for Redis {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn processes(&self) -> Vec<u32> {
        vec![std::process::id(), self.server.pid()]
    }

    fn put(&mut self, stage: &Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>> {
        Pass::of(numbers, |number| {
            let stored = self.connection.set(number as u64, stage.source(number));
            stored.map(|()| true).map_err(|error| self.explain(&error))
        })
    }

    fn get(&mut self, stage: &mut Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>> {
        Pass::of(numbers, |number| {
            let found = self.connection.get(number as u64, stage.target(number));
            found.map_err(|error| self.explain(&error))
        })
    }

    fn clear(&mut self, _stage: &Stage) -> Result<(), Box<dyn Error>> {
        // The next round's puts take the place of this one's: what is deleted would give its pages back to the kernel.
        Ok(())
    }
}
