//! The claim of who collects: one at a time in a store, whoever dies.
//!
//! A claim is a file of a generation, made with O_EXCL; the highest generation counts. It is given back by saying so in it, and
//! it has expired when it did not change for long. Whoever wants it then makes the next generation, which one of many can.
//!
//! Invariants: no clock is compared with another: that a claim does not change is watched with our own (on Lustre, times of files
//! are those of the clients that wrote them). Deciding late is no harm: what a collector does is said first, and done after a
//! grace, so that two of them would only do the same twice.

use crate::format::{FileName, LINE_BYTES, Line};
use crate::io::{Directory, FileKind};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What we know of the claim, and whether it is ours.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    seen: Option<Seen>,
    held: Option<Held>,
}

/// Somebody's claim, as it was when it last changed.
#[derive(Debug)]
struct Seen {
    generation: u32,
    line: Option<Line>,
    since: Instant,
}

/// Our claim.
#[derive(Debug)]
struct Held {
    generation: u32,
    file: Arc<OwnedFd>,
    renewals: u64,
    renewed_at: Instant,
}

impl Claim {
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Tries to be who collects.
    pub(crate) fn take(
        &mut self,
        directory: &dyn Directory,
        writer: u64,
        expiry: Duration,
    ) -> io::Result<bool> {
        let next = match highest(directory)? {
            None => 0,
            Some(generation) if self.is_over(directory, generation, expiry)? => generation + 1,
            Some(_) => return Ok(false),
        };
        let name = FileName::Claim(next).to_string();
        let file = match directory.create(&name, FileKind::Records) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(error),
        };
        directory.write_at(&file, &Line::Claim { writer, renewals: 1 }.encode(), 0)?;
        // Old generations are taken away: what we saw as the highest may have been one that is no more.
        if highest(directory)?.is_some_and(|generation| generation > next) {
            directory.remove(&name)?;
            return Ok(false);
        }
        for old in generations(directory)?.filter(|&generation| generation < next) {
            directory.remove(&FileName::Claim(old).to_string())?;
        }
        self.held = Some(Held { generation: next, file, renewals: 1, renewed_at: Instant::now() });
        Ok(true)
    }

    /// Whether a claim was given back, or has not changed for long.
    fn is_over(&mut self, directory: &dyn Directory, generation: u32, expiry: Duration) -> io::Result<bool> {
        let file = match directory.open(&FileName::Claim(generation).to_string(), FileKind::Records) {
            Ok(file) => file,
            // Another generation is there by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; LINE_BYTES];
        directory.read_at(&file, &mut bytes, 0)?;
        let line = Line::decode(&bytes).ok();
        if matches!(line, Some(Line::Claim { renewals: 0, .. })) {
            return Ok(true);
        }
        match &self.seen {
            Some(seen) if (seen.generation, &seen.line) == (generation, &line) => {
                Ok(seen.since.elapsed() >= expiry)
            }
            _ => {
                self.seen = Some(Seen { generation, line, since: Instant::now() });
                Ok(false)
            }
        }
    }

    /// Says that we are at work, now and then; `false` if the claim is not ours any more.
    pub(crate) fn renew(
        &mut self,
        directory: &dyn Directory,
        writer: u64,
        expiry: Duration,
    ) -> io::Result<bool> {
        let Some(held) = &mut self.held else { return Ok(false) };
        if held.renewed_at.elapsed() < expiry / 4 {
            return Ok(true);
        }
        // We may have slept for long: somebody may have taken us for dead.
        if highest(directory)?.is_some_and(|generation| generation > held.generation) {
            self.held = None;
            return Ok(false);
        }
        held.renewals += 1;
        directory.write_at(&held.file, &Line::Claim { writer, renewals: held.renewals }.encode(), 0)?;
        held.renewed_at = Instant::now();
        Ok(true)
    }

    /// Gives it back.
    pub(crate) fn release(&mut self, directory: &dyn Directory, writer: u64) -> io::Result<()> {
        match self.held.take() {
            Some(held) => directory.write_at(&held.file, &Line::Claim { writer, renewals: 0 }.encode(), 0),
            None => Ok(()),
        }
    }
}

fn generations(directory: &dyn Directory) -> io::Result<impl Iterator<Item = u32>> {
    let names = directory.list()?;
    Ok(names.into_iter().filter_map(|name| match FileName::parse(&name) {
        Some(FileName::Claim(generation)) => Some(generation),
        _ => None,
    }))
}

fn highest(directory: &dyn Directory) -> io::Result<Option<u32>> {
    Ok(generations(directory)?.max())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Access, Caching, PosixDirectory};

    const LONG: Duration = Duration::from_secs(3600);

    fn directory(name: &str) -> (PosixDirectory, impl Drop) {
        struct Gone(std::path::PathBuf);
        impl Drop for Gone {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
        let path = std::env::temp_dir().join(format!("cascade-claim-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        (PosixDirectory::open(&path, Access::ReadWrite, Caching::Used).unwrap(), Gone(path))
    }

    #[test]
    fn a_claim_is_one_s_until_it_is_given_back() {
        let (directory, _gone) = directory("given");
        let (mut first, mut second) = (Claim::default(), Claim::default());
        assert!(first.take(&directory, 1, LONG).unwrap());
        assert!(!second.take(&directory, 2, LONG).unwrap());
        assert!(first.renew(&directory, 1, LONG).unwrap());
        first.release(&directory, 1).unwrap();
        assert!(second.take(&directory, 2, LONG).unwrap());
        assert!(!first.take(&directory, 1, LONG).unwrap());
        assert_eq!(directory.list().unwrap().len(), 1, "old generations are taken away");
    }

    #[test]
    fn a_claim_that_does_not_change_expires_and_its_owner_finds_out() {
        let (directory, _gone) = directory("expires");
        let (mut first, mut second) = (Claim::default(), Claim::default());
        assert!(first.take(&directory, 1, Duration::ZERO).unwrap());
        // Seen for the first time it may have changed just now.
        assert!(!second.take(&directory, 2, LONG).unwrap());
        assert!(second.take(&directory, 2, Duration::ZERO).unwrap());
        assert!(!first.renew(&directory, 1, Duration::ZERO).unwrap());
        assert!(!first.is_held() && second.is_held());
    }

    #[test]
    fn a_claim_that_changes_does_not_expire() {
        let (directory, _gone) = directory("changes");
        let (mut first, mut second) = (Claim::default(), Claim::default());
        assert!(first.take(&directory, 1, Duration::ZERO).unwrap());
        for _ in 0..3 {
            assert!(!second.take(&directory, 2, Duration::ZERO).unwrap());
            assert!(first.renew(&directory, 1, Duration::ZERO).unwrap());
        }
    }

    #[test]
    fn of_many_who_want_it_at_once_one_gets_it() {
        let (directory, _gone) = directory("many");
        let mut dead = Claim::default();
        assert!(dead.take(&directory, 9, Duration::ZERO).unwrap());
        for round in 0..20 {
            let winners: usize = std::thread::scope(|scope| {
                let takers: Vec<_> = (0..4)
                    .map(|writer| {
                        let directory = &directory;
                        scope.spawn(move || {
                            let mut claim = Claim::default();
                            // Once to see it, once to find it expired.
                            let _ = claim.take(directory, writer, LONG).unwrap();
                            usize::from(claim.take(directory, writer, Duration::ZERO).unwrap())
                        })
                    })
                    .collect();
                takers.into_iter().map(|taker| taker.join().unwrap()).sum()
            });
            // Nobody, if each saw another's fresh claim; then the next round sees it expired.
            assert!(winners <= 4 && generations(&directory).unwrap().count() >= 1, "round {round}");
            let left = generations(&directory).unwrap().count();
            assert_eq!(left, 1, "round {round}: one claim counts");
        }
    }
}
