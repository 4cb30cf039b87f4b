//! The metrics file's writer: a thread of its own, so that a file system that hangs stops nobody else.
//!
//! The pump leaves a text and goes on; the thread writes the latest that there is. Invariants: the pump waits for no
//! file; readers see the old file or the new one, never a part.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The writer of one file. Dropping it ends the thread once its last text is written, without waiting.
#[derive(Debug)]
pub(super) struct MetricsFile {
    desk: Arc<Desk>,
}

/// What pump and thread share.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The latest text that is not taken up yet.
    text: Option<String>,
    closing: bool,
    ended: bool,
}

impl MetricsFile {
    /// Starts a writer that does `write` with each text that it comes to.
    ///
    /// # Errors
    /// No thread can be had.
    fn start(mut write: impl FnMut(String) + Send + 'static) -> std::io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let theirs = Arc::clone(&desk);
        std::thread::Builder::new().name("cascade-metrics".to_owned()).spawn(move || {
            while let Some(text) = theirs.next() {
                write(text);
            }
            theirs.lock().ended = true;
            theirs.news.notify_all();
        })?;
        Ok(Self { desk })
    }

    /// A writer of the file at `path`, or none for the empty path.
    ///
    /// # Errors
    /// No thread can be had.
    pub(super) fn at(path: &Path) -> std::io::Result<Option<Self>> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let path = path.to_owned();
        let write = move |text: String| {
            if let Err(error) = replace(&path, &text) {
                tracing::warn!(path = %path.display(), %error, "cannot write the metrics file");
            }
        };
        Self::start(write).map(Some)
    }

    /// Leaves a text to be written; one that was not taken up yet is forgotten.
    pub(super) fn post(&self, text: String) {
        self.desk.lock().text = Some(text);
        self.desk.news.notify_all();
    }

    /// Waits until all is written, up to a bound; `false` if the file system takes longer.
    pub(super) fn finish(self, patience: Duration) -> bool {
        let mut state = self.desk.lock();
        state.closing = true;
        self.desk.news.notify_all();
        let waited = self.desk.news.wait_timeout_while(state, patience, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

impl Drop for MetricsFile {
    fn drop(&mut self) {
        self.desk.lock().closing = true;
        self.desk.news.notify_all();
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one step: a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a text; `None` once there is none and there will be none.
    fn next(&self) -> Option<String> {
        let idle = |state: &mut State| state.text.is_none() && !state.closing;
        let state = self.news.wait_while(self.lock(), idle);
        state.unwrap_or_else(PoisonError::into_inner).text.take()
    }
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_writer_that_hangs_holds_nobody_up_and_the_latest_text_wins() {
        let (taken, takes) = mpsc::channel();
        let (let_go, gate) = mpsc::channel::<()>();
        let file = MetricsFile::start(move |text| {
            taken.send(text).unwrap();
            let _ = gate.recv();
        })
        .unwrap();
        file.post("first".into());
        assert_eq!(takes.recv_timeout(LONG).unwrap(), "first");
        // The writer hangs now; were this to wait for it, nobody would ever let it go.
        for number in 0..1000 {
            file.post(number.to_string());
        }
        drop(let_go);
        assert_eq!(takes.recv_timeout(LONG).unwrap(), "999");
        assert!(file.finish(LONG));
    }

    #[test]
    fn a_writer_that_never_comes_back_is_left_behind() {
        let (_never, gate) = mpsc::channel::<()>();
        let file = MetricsFile::start(move |_| {
            let _ = gate.recv();
        })
        .unwrap();
        file.post("stuck".into());
        assert!(!file.finish(Duration::from_millis(1)));
    }

    #[test]
    fn the_last_text_is_in_the_file_when_all_is_done() {
        let path = std::env::temp_dir().join(format!("cascade-metrics-{}.prom", std::process::id()));
        let file = MetricsFile::at(&path).unwrap().expect("a path");
        file.post("cascade_blocks 1\n".into());
        assert!(file.finish(LONG));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "cascade_blocks 1\n");
        std::fs::remove_file(&path).unwrap();
        assert!(MetricsFile::at(Path::new("")).unwrap().is_none());
    }
}
