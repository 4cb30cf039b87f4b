//! Serving one client: its touches, its requests, its end.
//!
//! Invariants: an answer is written before its client is rung; one client gets so much of a turn and no more; what a fenced
//! client may still write stays its own until it is dead.

use cascade_core::bell::Bell;
use cascade_core::chain::Located;
use cascade_core::page::RING_ENTRIES;
use cascade_core::request::{Request, Ticket, Verdict};

use super::clients::Clients;
use super::pump::Engine;
use super::store::Store;

/// Requests of one client that are served before the next one's turn.
const TURN_REQUESTS: u64 = 64;
/// Blocks whose touches are taken up in one turn for one client.
const TURN_TOUCHED_BLOCKS: usize = 8192;
/// Bytes of suspected pieces that are read in one turn for one client; what is beyond is suspected again.
const TURN_SUSPECT_BYTES: u64 = 16 << 20;

impl Engine {
    /// Serves one client: its touches, then some of its requests.
    pub(super) fn serve(&mut self, page: u16) -> bool {
        let Some(client) = self.clients.get_mut(page) else { return false };
        if client.fenced {
            return false;
        }
        let Some(shared) = self.store.segment().page(page) else { return false };
        let seen = client.touches_seen;
        let store = &mut self.store;
        let (mut touched, mut last) = (0, None);
        client.touches_seen = shared.touches().read_while(seen, |touch| {
            // A client that matches the same chain again and again says so once.
            if last.replace(touch) != Some(touch) {
                touched += store.touch(touch);
            }
            touched < TURN_TOUCHED_BLOCKS
        });
        self.suspect_bytes = TURN_SUSPECT_BYTES;
        let mut worked = client.touches_seen != seen;
        let ring = shared.ring();
        for _ in 0..TURN_REQUESTS {
            let request = match ring.pending() {
                Ok(0) => break,
                Ok(_) => Request::decode(&ring.peek()).ok(),
                Err(_) => None,
            };
            let Some(request) = request else {
                self.fence(page);
                return true;
            };
            self.handle(page, request);
            ring.done();
            worked = true;
        }
        if worked {
            self.wake(page);
        }
        worked
    }

    fn handle(&mut self, page: u16, request: Request) {
        match request {
            Request::Commit { slot, meta, parent, ticket } => {
                let verdict = self.store.publish(page, slot, &meta, &parent);
                if matches!(verdict, Verdict::NoRoom | Verdict::NotYours) {
                    self.store.counters.puts_refused += 1;
                }
                if let Some(ticket) = ticket {
                    answer(&self.store, &self.clients, page, ticket, verdict);
                }
                if let Some(slot_bytes) = self.store.segment().geometry().slot_bytes(meta.len_bytes) {
                    self.grants.top_up(&mut self.store, &mut self.memory, page, slot_bytes);
                }
            }
            Request::Reserve { len_bytes, deadline_ns, ticket } => {
                let verdict = self.grants.reserve(
                    &mut self.store,
                    &mut self.memory,
                    page,
                    len_bytes,
                    deadline_ns,
                    ticket,
                );
                if let Some(verdict) = verdict {
                    answer(&self.store, &self.clients, page, ticket, verdict);
                }
            }
            Request::Abort { slot } => self.store.take_back(page, slot),
            Request::Suspect { slot } => {
                let read_bytes = self.store.suspect(slot, self.suspect_bytes);
                self.suspect_bytes = self.suspect_bytes.saturating_sub(read_bytes);
            }
            Request::Discard { slot } => {
                self.store.discard(slot);
            }
            Request::Cancel { ticket } => {
                self.store.unkeep(page, ticket);
                let was_open = self.grants.cancel(page, ticket)
                    || self.chains.cancel(page, ticket)
                    || self.cancel_errand(page, ticket);
                if was_open {
                    answer(&self.store, &self.clients, page, ticket, Verdict::Expired);
                }
            }
            Request::Flush { ticket } => answer(&self.store, &self.clients, page, ticket, Verdict::Flushed),
            Request::Keys { first, count } => {
                if let Some(shared) = self.store.segment().page(page) {
                    self.chains.take_up(page, &shared, first, count);
                }
            }
            Request::Locate(question) | Request::Promote(question) => {
                let promotes = matches!(request, Request::Promote(_));
                self.supersede_errand(page, question.ticket);
                let Some(shared) = self.store.segment().page(page) else { return };
                if !self.chains.ask(page, &shared, question, promotes) {
                    answer(&self.store, &self.clients, page, question.ticket, Verdict::Declined);
                }
            }
        }
    }

    /// Rings a client that sleeps.
    fn wake(&self, page: u16) {
        let Some(shared) = self.store.segment().page(page) else { return };
        if Bell::new(shared.asleep()).must_ring()
            && let Some(bell) = self.clients.get(page).and_then(|client| client.bell.as_ref())
        {
            bell.ring();
        }
    }

    /// Stops listening to a client that sent nonsense. What it may still write stays its own until it is dead.
    fn fence(&mut self, page: u16) {
        self.store.counters.confused_clients += 1;
        if let Some(client) = self.clients.get_mut(page) {
            tracing::warn!(page, pid = client.pid, "a client sent a request that is none: it is cut off");
            client.fenced = true;
            if let Some(connection) = client.connection.take() {
                self.door.shut(connection);
            }
        }
        self.forget_wishes(page);
        self.store.unkeep_all_of(page);
    }

    /// Drops what a client waits for.
    fn forget_wishes(&mut self, page: u16) {
        self.grants.forget(page);
        self.chains.forget(page);
        self.forget_errands(page);
    }

    /// Takes back all that a dead client held. Its complete commits are published first.
    pub(super) fn bury(&mut self, page: u16) {
        // What it had posted is served; a ring holds no more than that, whoever still writes to it.
        for _ in 0..RING_ENTRIES as u64 / TURN_REQUESTS {
            if !self.serve(page) {
                break;
            }
        }
        if let Some(client) = self.clients.remove(page)
            && let Some(connection) = client.connection
        {
            self.door.shut(connection);
        }
        self.forget_wishes(page);
        self.store.counters.deaths += 1;
        self.store.forget(page);
    }
}

/// Writes an answer into the client's page and rings it if it sleeps.
pub(super) fn answer(store: &Store, clients: &Clients, page: u16, ticket: Ticket, verdict: Verdict) {
    answer_with(store, clients, page, ticket, verdict, Located::default());
}

/// [`answer`] to a question about a chain.
pub(super) fn answer_with(
    store: &Store,
    clients: &Clients,
    page: u16,
    ticket: Ticket,
    verdict: Verdict,
    located: Located,
) {
    let Some(shared) = store.segment().page(page) else { return };
    let Some(completion) = shared.completion(ticket) else { return };
    completion.answer_with(ticket, verdict, located);
    if Bell::new(shared.asleep()).must_ring()
        && let Some(bell) = clients.get(page).and_then(|client| client.bell.as_ref())
    {
        bell.ring();
    }
}
