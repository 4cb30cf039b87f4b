//! Receiving who comes through the door: clients to attach, people with questions.
//!
//! Invariants: a connection has one client at most; a page is a client's from the moment its owner word is set until it is
//! buried; a client that was there before takes its page up again.

use std::os::fd::AsFd;

use cascade_core::sync::Ordering;
use cascade_core::wire::Frame;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::bell::Doorbell;
use super::clients::PageLock;
use super::door::Knock;
use super::orders::Heard;
use super::pump::{CONNECTION, Engine, PIDFD};
use super::{numa, random_word, report};

/// Frames that are read from one connection before the others' turn.
const TURN_FRAMES: usize = 16;

impl Engine {
    pub(super) fn let_in(&mut self) {
        while let Some((connection, fd)) = self.door.accept() {
            let watched = epoll::add(
                &self.epoll,
                fd,
                EventData::new_u64(CONNECTION + connection),
                EventFlags::IN | EventFlags::RDHUP,
            );
            if watched.is_err() {
                self.door.shut(connection);
            }
        }
    }

    pub(super) fn listen(&mut self, connection: u64) {
        for _ in 0..TURN_FRAMES {
            match self.door.read(connection) {
                Ok(Knock::Frame(frame)) => self.reply(connection, frame),
                Ok(Knock::Nothing) => return,
                Ok(Knock::End) => return self.hang_up(connection),
                Err(error) => {
                    self.door.send(connection, &Frame::Refused(error.to_string()), &[]);
                    return self.hang_up(connection);
                }
            }
        }
        // Who asks waits for the answer; nobody has so many questions at once.
        self.door.send(
            connection,
            &Frame::Refused("too many frames without waiting for answers".into()),
            &[],
        );
        self.hang_up(connection);
    }

    /// The connection is over. Whether its client is, the lock on its page tells.
    fn hang_up(&mut self, connection: u64) {
        self.door.shut(connection);
        let pages = self.clients.pages();
        let client = pages
            .into_iter()
            .find(|&page| self.clients.get(page).is_some_and(|client| client.connection == Some(connection)));
        if let Some(page) = client {
            if let Some(client) = self.clients.get_mut(page) {
                client.connection = None;
            }
            if let Some(_lock) = PageLock::take(self.memory.pages_fd(), page) {
                self.bury(page);
            }
        }
    }

    fn reply(&mut self, connection: u64, frame: Frame) {
        match frame {
            Frame::Attach { segment_id, page, owner } => self.attach(connection, segment_id, page, owner),
            Frame::Query(name) => {
                let answer = match self.obey(&name) {
                    Heard::Answer(answer) => Frame::Answer(answer.to_string()),
                    Heard::Refused(reason) => Frame::Refused(reason),
                    Heard::Unknown => match report::answer(self, &name) {
                        Some(answer) => Frame::Answer(answer.to_string()),
                        None => Frame::Refused(format!("this node has no answer to {name:?}")),
                    },
                };
                self.door.send(connection, &answer, &[]);
            }
            Frame::Attached { .. } | Frame::Refused(_) | Frame::Answer(_) => {
                self.door.send(connection, &Frame::Refused("a node asks, it is not answered".into()), &[]);
                self.hang_up(connection);
            }
        }
    }

    fn attach(&mut self, connection: u64, segment_id: u64, page: u16, owner: u64) {
        let has_one = self.clients.iter().any(|(_, client)| client.connection == Some(connection));
        let result = match has_one {
            true => Err("this connection has attached already".to_owned()),
            false => self.admit(connection, segment_id, page, owner),
        };
        let attached = result.and_then(|page| self.welcome(connection, page).map(|()| page));
        if let Err(reason) = attached {
            tracing::warn!(%reason, "a client could not attach");
            self.door.send(connection, &Frame::Refused(reason), &[]);
            self.hang_up(connection);
        }
    }

    /// Finds the client's page: the one it had, or a free one.
    fn admit(&mut self, connection: u64, segment_id: u64, page: u16, owner: u64) -> Result<u16, String> {
        let segment = self.memory.segment();
        let again = segment_id == segment.id()
            && owner != 0
            && self.clients.get(page).is_some_and(|client| client.owner == owner && !client.fenced);
        let page = if again {
            page
        } else {
            let clients_max = segment.geometry().clients_max as u16;
            let page = (0..clients_max).find(|&page| self.clients.get(page).is_none()).ok_or_else(|| {
                format!("all {clients_max} client pages are taken: raise segment.clients_max")
            })?;
            let shared = segment.page(page).ok_or("the page is outside of the segment")?;
            shared.clear();
            let owner = random_word();
            shared.owner().store(owner, Ordering::Release);
            self.clients.insert(page, owner);
            self.store.admit(page);
            page
        };
        let bell = Doorbell::new().map_err(|error| error.to_string())?;
        let pid = self.door.pid(connection);
        if let Some(client) = self.clients.get_mut(page) {
            client.bell = Some(bell);
            client.connection = Some(connection);
            client.pid = pid;
        }
        let near = pid
            .and_then(numa::domain_of)
            .and_then(|domain| self.domains.iter().position(|&arena_domain| arena_domain == Some(domain)));
        if let Some(arena) = near {
            self.store.keep_near(page, arena as u8);
        }
        self.watch_process(page, pid);
        self.store.counters.attachments += 1;
        Ok(page)
    }

    fn watch_process(&mut self, page: u16, pid: Option<i32>) {
        let pidfd = pid
            .and_then(rustix::process::Pid::from_raw)
            .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
        let Some(pidfd) = pidfd else { return };
        let watched = self.watch(pidfd.as_fd(), PIDFD + u64::from(page)).is_ok();
        if let Some(client) = self.clients.get_mut(page).filter(|_| watched) {
            client.pidfd = Some(pidfd);
        }
    }

    fn welcome(&mut self, connection: u64, page: u16) -> Result<(), String> {
        let client = self.clients.get(page).ok_or("the client has gone")?;
        let bell = client.bell.as_ref().ok_or("the client has no bell")?;
        let (memory, arenas) = self.memory.descriptors().map_err(|error| error.to_string())?;
        let mut descriptors = vec![self.bell.as_fd(), bell.as_fd()];
        descriptors.extend(memory);
        let frame = Frame::Attached {
            segment_id: self.memory.segment().id(),
            page,
            owner: client.owner,
            epoch: self.epoch,
            arenas,
        };
        match self.door.send(connection, &frame, &descriptors) {
            true => Ok(()),
            false => Err("the client does not read its answer".into()),
        }
    }
}
