//! A transfer cut into requests, and how each goes on after a call that moved less than it was asked for.
//! Pure: the engines make the calls and say what came of them. Positions count from the transfer's start.
//!
//! Invariants: requests are disjoint and cover the transfer; one ends where it was to, where the file ends, or with an error;
//! the last one to end ends the transfer.

use super::{ALIGNMENT_BYTES, Depth, Direction, Done, Part, Transfer};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A call that takes longer hangs, for what the number of calls is concerned.
const HANGING_AFTER: Duration = Duration::from_secs(2);

/// So many times the depth is the number of calls when all but those of one depth hang.
const CALLS_PER_DEPTH_MAX: usize = 4;

impl Depth {
    /// As many calls as may be made at once, given since when those that are.
    pub(crate) fn calls_max(&self, since: impl Iterator<Item = Instant>) -> usize {
        let hanging = since.filter(|since| since.elapsed() > HANGING_AFTER).count();
        (self.requests + hanging).min(self.calls_ever())
    }

    /// As many calls as there may ever be.
    pub(crate) const fn calls_ever(&self) -> usize {
        self.requests * CALLS_PER_DEPTH_MAX
    }
}

/// A request, and the transfer that it is of.
#[derive(Debug)]
pub(crate) struct Job {
    flight: Arc<Flight>,
    request: Request,
}

/// A transfer under way.
#[derive(Debug)]
struct Flight {
    transfer: Transfer,
    outcome: Mutex<Outcome>,
}

impl Job {
    /// Cuts a transfer.
    pub(crate) fn of(transfer: Transfer, request_bytes: u64) -> impl Iterator<Item = Job> {
        let length = transfer.length();
        let requests = Request::cut(length, request_bytes);
        let outcome = Mutex::new(Outcome::new(requests.len(), length));
        let flight = Arc::new(Flight { transfer, outcome });
        requests.map(move |request| Job { flight: flight.clone(), request })
    }

    pub(crate) fn transfer(&self) -> &Transfer {
        &self.flight.transfer
    }

    /// Where in the file the next call begins.
    pub(crate) fn offset(&self) -> u64 {
        // What has no places has none further on.
        self.flight.transfer.offset.saturating_add(self.request.position)
    }

    /// The memory of the next call, and how much that is.
    pub(crate) fn vectors(&self, vectors: &mut Vec<Part>) -> u64 {
        self.request.vectors(&self.flight.transfer.parts, vectors)
    }

    /// Takes in what came of a call that was asked to move so much: how the request ended, if it did.
    pub(crate) fn advance(&mut self, asked: u64, moved: io::Result<u64>) -> Option<io::Result<()>> {
        let direction = self.flight.transfer.direction;
        match moved.and_then(|moved| self.request.advance(direction, asked, moved)) {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    }

    /// Ends the request; and the transfer, if this was its last.
    pub(crate) fn end(self, result: io::Result<()>) -> Option<Done> {
        let mut outcome = self.flight.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let result = outcome.end(&self.request, result.err())?;
        Some(Done { token: self.flight.transfer.token, result })
    }
}

/// As many pieces of memory as one call takes (the kernel's UIO_MAXIOV).
const VECTORS_MAX: usize = 1024;

/// A range of a transfer, moved by one call after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    end: u64,
    position: u64,
    reached: u64,
}

impl Request {
    /// Cuts a transfer; an empty one is one empty request.
    fn cut(length: u64, request_bytes: u64) -> impl ExactSizeIterator<Item = Request> {
        assert!(request_bytes > 0 && request_bytes.is_multiple_of(ALIGNMENT_BYTES));
        let count =
            usize::try_from(length.div_ceil(request_bytes).max(1)).expect("memory has that many pages");
        (0..count).map(move |index| {
            let first = index as u64 * request_bytes;
            Request { end: length.min(first + request_bytes), position: first, reached: first }
        })
    }

    /// The memory of the next call, and how much that is.
    fn vectors(&self, parts: &[Part], vectors: &mut Vec<Part>) -> u64 {
        vectors.clear();
        let (mut start, mut position) = (0, self.position);
        for part in parts {
            let end = start + part.length as u64;
            if position < end {
                if position == self.end || vectors.len() == VECTORS_MAX {
                    break;
                }
                let (skipped, length) =
                    ((position - start) as usize, (end.min(self.end) - position) as usize);
                vectors.push(Part { pointer: part.pointer.wrapping_add(skipped), length });
                position += length as u64;
            }
            start = end;
        }
        position - self.position
    }

    /// Takes in what a call moved; whether the request is over.
    ///
    /// # Errors
    /// A write that does not get on.
    fn advance(&mut self, direction: Direction, asked: u64, moved: u64) -> io::Result<bool> {
        assert!(moved <= asked, "a call moves what it was asked for at most");
        self.position += moved;
        if moved == asked {
            self.reached = self.reached.max(self.position);
            return Ok(self.position == self.end);
        }
        if self.position > self.reached {
            self.reached = self.position;
            // Direct I/O goes on where a page begins; asking for the rest of the page again does no harm elsewhere.
            self.position -= self.position % ALIGNMENT_BYTES;
            return Ok(false);
        }
        match direction {
            // The file ends here: a second call got no further.
            Direction::Read => Ok(true),
            Direction::Write => Err(io::Error::new(io::ErrorKind::WriteZero, "a write got no further")),
        }
    }
}

/// What has become of a transfer's requests.
#[derive(Debug)]
struct Outcome {
    left: usize,
    reached: u64,
    error: Option<io::Error>,
}

impl Outcome {
    const fn new(requests: usize, length: u64) -> Outcome {
        Outcome { left: requests, reached: length, error: None }
    }

    /// Takes in a request that is over; with the last one, how the transfer ended.
    fn end(&mut self, request: &Request, error: Option<io::Error>) -> Option<io::Result<u64>> {
        if request.reached < request.end {
            self.reached = self.reached.min(request.reached);
        }
        self.error = self.error.take().or(error);
        self.left -= 1;
        (self.left == 0).then(|| self.error.take().map_or(Ok(self.reached), Err))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Moves a transfer by calls that move as little as `caps` say, over a file of `file_bytes`; which bytes were moved.
    fn moved(
        parts: &[usize],
        request_bytes: u64,
        file_bytes: u64,
        caps: &[u64],
    ) -> (io::Result<u64>, Vec<u64>) {
        let mut memory = vec![0_u64; parts.iter().sum()];
        let base = memory.as_mut_ptr();
        let mut start = 0;
        let parts: Vec<Part> = parts
            .iter()
            .map(|&length| {
                let part = Part { pointer: base.cast::<u8>().wrapping_add(start), length };
                start += length;
                part
            })
            .collect();
        let length = start as u64;
        let requests = Request::cut(length, request_bytes);
        let mut outcome = Outcome::new(requests.len(), length);
        let mut caps = caps.iter().copied().cycle();
        let (mut vectors, mut result) = (Vec::new(), None);
        for mut request in requests {
            loop {
                let position = request.position;
                let asked = request.vectors(&parts, &mut vectors);
                assert_eq!(asked, vectors.iter().map(|vector| vector.length as u64).sum::<u64>());
                assert!(vectors.len() <= VECTORS_MAX);
                // What moves ends where a page does, or at the end of the file, as with direct I/O.
                let cap = caps.next().unwrap_or(u64::MAX).max(1).saturating_mul(ALIGNMENT_BYTES);
                let moves = asked.min(cap).min(file_bytes.saturating_sub(position));
                let places = vectors.iter().flat_map(|vector| {
                    let first = vector.pointer as usize - base as usize;
                    first..first + vector.length
                });
                for (place, at) in places.zip(position..position + moves) {
                    memory[place] = at + 1;
                }
                if request.advance(Direction::Read, asked, moves).expect("a read gets on or ends") {
                    break;
                }
            }
            result = outcome.end(&request, None);
        }
        (result.expect("the last request ends the transfer"), memory)
    }

    proptest! {
        #[test]
        fn every_byte_up_to_the_end_of_the_file_is_moved_to_its_place(
            parts in prop::collection::vec((1_usize..12).prop_map(|pages| pages * 512), 1..40),
            request_pages in 1_u64..8,
            file_bytes in 0_u64..200_000,
            caps in prop::collection::vec(0_u64..5, 1..8),
        ) {
            let length = parts.iter().sum::<usize>() as u64;
            let (result, memory) = moved(&parts, request_pages * ALIGNMENT_BYTES, file_bytes, &caps);
            let there = length.min(file_bytes);
            prop_assert_eq!(result.unwrap(), there);
            for (index, &value) in memory.iter().enumerate() {
                let expected = if (index as u64) < there { index as u64 + 1 } else { 0 };
                prop_assert_eq!(value, expected);
            }
        }
    }

    #[test]
    fn more_pieces_than_a_call_takes_are_moved_by_several() {
        let (result, memory) = moved(&[3; 5000], 16 << 20, u64::MAX, &[u64::MAX >> 12]);
        assert_eq!(result.unwrap(), 15_000);
        assert!(memory.iter().enumerate().all(|(index, &value)| value == index as u64 + 1));
    }

    #[test]
    fn a_write_that_gets_no_further_is_an_error() {
        let mut request = Request::cut(8192, 8192).next().unwrap();
        assert!(!request.advance(Direction::Write, 8192, 100).unwrap());
        assert_eq!(request.position, 0);
        let error = request.advance(Direction::Write, 8192, 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn one_failed_request_fails_the_transfer_once_all_are_over() {
        let requests: Vec<Request> = Request::cut(8192, 4096).collect();
        let mut outcome = Outcome::new(requests.len(), 8192);
        assert!(outcome.end(&requests[1], Some(io::Error::from(io::ErrorKind::TimedOut))).is_none());
        let result = outcome.end(&requests[0], None).unwrap();
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
