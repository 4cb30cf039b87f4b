//! An answer of the node's that is on its way: a commit's verdict, a slot, or what became of a question about a chain.

use crate::fill::Fill;
use crate::handle::Handle;
use crate::names::deadline;
use crate::outcome::{Located, Stored};
use crate::promotion::Promotion;
use cascade_client::{Committed, Deadline, Error, Locating, Promoting, Reserved, Verdict};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An answer that is on its way. Dropping it cancels what was asked; a commit goes on without witness.
#[pyclass(frozen, module = "cascade_kv")]
#[derive(Debug)]
pub(crate) struct Pending {
    handle: Arc<Handle>,
    // `None`: the answer was given, or another thread waits for it.
    asked: Mutex<Option<Asked>>,
}

/// What was asked for.
#[derive(Debug)]
enum Asked {
    Commit(cascade_client::Pending),
    /// A slot for `len_bytes`, until `deadline`; `None` between a grant that another thread took and the next request.
    Reserve {
        len_bytes: u64,
        deadline: Deadline,
        request: Option<cascade_client::Pending>,
    },
    Locate(Locating),
    Promote(Promoting),
}

/// What came of it.
#[derive(Debug)]
enum Answer {
    Stored(Stored),
    Fill(cascade_client::Fill),
    Located(Located),
    Promotion(cascade_client::Promotion),
}

/// An [`Answer`] as Python has it.
#[derive(IntoPyObject)]
pub(crate) enum Answered {
    Stored(Stored),
    Fill(Fill),
    Located(Located),
    Promotion(Promotion),
}

impl From<Reserved> for Answer {
    fn from(reserved: Reserved) -> Self {
        match reserved {
            Reserved::Fill(fill) => Self::Fill(fill),
            Reserved::Refused(refusal) => Self::Stored(refusal.into()),
        }
    }
}

impl Asked {
    /// The answer, if it came.
    fn poll(&mut self, client: &cascade_client::Client) -> Result<Option<Answer>, Error> {
        match self {
            Self::Commit(pending) => {
                Ok(pending.poll()?.map(|verdict| Answer::Stored(Committed::from(verdict).into())))
            }
            Self::Reserve { len_bytes, deadline, request } => {
                match request.as_mut().map(cascade_client::Pending::poll) {
                    Some(Ok(None)) => return Ok(None),
                    Some(Ok(Some(verdict))) if verdict != Verdict::Granted => {
                        return Ok(Some(Answer::Stored(Committed::from(verdict).into())));
                    }
                    // The node went with the request; its successor is asked anew.
                    Some(Err(Error::NodeLost)) if !deadline.has_passed() => {}
                    Some(Err(error)) => return Err(error),
                    None | Some(Ok(Some(_))) => {}
                }
                *request = None;
                Ok(client.try_reserve(*len_bytes)?.map(Answer::from))
            }
            Self::Locate(locating) => Ok(locating.poll()?.map(|located| Answer::Located(located.into()))),
            Self::Promote(promoting) => Ok(promoting.poll()?.map(Answer::Promotion)),
        }
    }

    /// Whether there was no slot at hand, or another thread was faster.
    fn must_ask(&self) -> bool {
        matches!(self, Self::Reserve { request: None, .. })
    }

    /// Asks the node for slots. Waits for room in the ring, if it is full.
    fn ask(&mut self, client: &cascade_client::Client) -> Result<(), Error> {
        if let Self::Reserve { len_bytes, deadline, request } = self {
            *request = Some(client.reserve_async(*len_bytes, *deadline)?);
        }
        Ok(())
    }

    /// Waits for the answer.
    fn wait(&mut self, client: &cascade_client::Client, until: Deadline) -> Result<Answer, Error> {
        match self {
            Self::Commit(pending) => Ok(Answer::Stored(Committed::from(pending.wait(until)?).into())),
            Self::Reserve { len_bytes, request, .. } => {
                match request.as_mut().map(|request| request.wait(until)) {
                    Some(Ok(verdict)) if verdict != Verdict::Granted => {
                        return Ok(Answer::Stored(Committed::from(verdict).into()));
                    }
                    Some(Err(error)) if error_is_final(&error, until) => return Err(error),
                    _ => {}
                }
                *request = None;
                client.reserve(*len_bytes, until).map(Answer::from)
            }
            Self::Locate(locating) => Ok(Answer::Located(locating.wait(until)?.into())),
            Self::Promote(promoting) => promoting.wait(until).map(Answer::Promotion),
        }
    }
}

/// Whether asking anew is no use: a request that went with its node can be made again.
fn error_is_final(error: &Error, until: Deadline) -> bool {
    !matches!(error, Error::NodeLost) || until.has_passed()
}

impl Pending {
    /// A commit's verdict.
    pub(crate) fn commit(handle: Arc<Handle>, verdict: cascade_client::Pending) -> Self {
        Self { handle, asked: Mutex::new(Some(Asked::Commit(verdict))) }
    }

    /// A slot for `len_bytes`. Asks for one at the first poll, if none is at hand.
    pub(crate) fn reserve(handle: Arc<Handle>, len_bytes: u64, deadline: Deadline) -> Self {
        Self { handle, asked: Mutex::new(Some(Asked::Reserve { len_bytes, deadline, request: None })) }
    }

    /// How much of a chain can be used.
    pub(crate) fn locating(handle: Arc<Handle>, locating: Locating) -> Self {
        Self { handle, asked: Mutex::new(Some(Asked::Locate(locating))) }
    }

    /// A chain that is being brought into memory.
    pub(crate) fn promoting(handle: Arc<Handle>, promoting: Promoting) -> Self {
        Self { handle, asked: Mutex::new(Some(Asked::Promote(promoting))) }
    }

    fn asked(&self) -> MutexGuard<'_, Option<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, answer: Answer) -> Answered {
        match answer {
            Answer::Stored(stored) => Answered::Stored(stored),
            Answer::Fill(fill) => Answered::Fill(Fill::new(self.handle.clone(), fill)),
            Answer::Located(located) => Answered::Located(located),
            Answer::Promotion(promotion) => {
                Answered::Promotion(Promotion::new(self.handle.clone(), promotion))
            }
        }
    }
}

#[pymethods]
impl Pending {
    /// The answer, if it came. Never waits, but for room in a full ring when it asks anew.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Answered>> {
        let mut asked = self.asked().take().ok_or_else(over)?;
        let client = &self.handle.client;
        let answer = self.handle.answer(asked.poll(client))?;
        if answer.is_none() {
            if asked.must_ask() {
                self.handle.answer(py.detach(|| asked.ask(client)))?;
            }
            *self.asked() = Some(asked);
        }
        Ok(answer.map(|answer| self.answered(answer)))
    }

    /// The answer. After `DeadlinePassed` it can be waited for again.
    #[pyo3(signature = (timeout_s=1.0))]
    fn wait(&self, py: Python<'_>, timeout_s: f64) -> PyResult<Answered> {
        let until = deadline(timeout_s)?;
        let mut asked = self.asked().take().ok_or_else(over)?;
        let answer = py.detach(|| asked.wait(&self.handle.client, until));
        if matches!(answer, Err(Error::Deadline)) {
            *self.asked() = Some(asked);
        }
        Ok(self.answered(self.handle.answer(answer)?))
    }
}

fn over() -> PyErr {
    PyValueError::new_err("the answer was given, or another thread waits for it")
}
