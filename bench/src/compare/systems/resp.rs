//! As much of Redis' protocol as two verbs need: values go from and to memory of the caller's, with no copy on this side.
//!
//! By hand, because the `redis` crate copies a value twice on its way out and again on its way in: at 2 MiB its puts took five
//! times as long as these, and that would not be Redis' figure.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection. After an error it is of no use: what is left of an answer would be taken for the next one.
pub(super) struct Connection(BufReader<UnixStream>);

/// Bytes of a simple line of an answer, at most.
const LINE_BYTES_MAX: u64 = 4096;

impl Connection {
    /// Connects, if somebody listens there. No call takes longer than `patience` without a byte.
    pub(super) fn open(socket: &Path, patience: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sets a key. Errors: the server's, with its words.
    pub(super) fn set(&mut self, key: u64, value: &[u8]) -> io::Result<()> {
        let key = name(key);
        let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len());
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(value)?;
        stream.write_all(b"\r\n")?;
        match self.line()?.as_str() {
            "+OK" => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Reads a key into all of `target`; `false` if there is none, or of another length.
    pub(super) fn get(&mut self, key: u64, target: &mut [u8]) -> io::Result<bool> {
        let key = name(key);
        self.send(&format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()))?;
        match self.length()? {
            Some(length) if length == target.len() => {
                self.0.read_exact(target)?;
                self.end()?;
                Ok(true)
            }
            Some(length) => {
                self.value(length)?;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// What the server says of itself.
    pub(super) fn info(&mut self) -> io::Result<String> {
        self.send("*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n")?;
        let length = self.length()?.ok_or_else(|| unexpected("no text"))?;
        Ok(String::from_utf8_lossy(&self.value(length)?).into_owned())
    }

    fn send(&mut self, request: &str) -> io::Result<()> {
        self.0.get_mut().write_all(request.as_bytes())
    }

    /// The length of the value that follows; `None`: there is no such key.
    fn length(&mut self) -> io::Result<Option<usize>> {
        let line = self.line()?;
        let length = line.strip_prefix('$').ok_or_else(|| unexpected(&line))?;
        if length == "-1" { Ok(None) } else { length.parse().map(Some).map_err(|_| unexpected(&line)) }
    }

    fn value(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut value = Vec::new();
        (&mut self.0).take(length as u64).read_to_end(&mut value)?;
        self.end().map(|()| value)
    }

    fn end(&mut self) -> io::Result<()> {
        let mut end = [0; 2];
        self.0.read_exact(&mut end)?;
        if end == *b"\r\n" { Ok(()) } else { Err(unexpected("a value without its end")) }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.0).take(LINE_BYTES_MAX).read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(text) => Ok(text.to_owned()),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ended in its first line")),
        }
    }
}

fn name(key: u64) -> String {
    format!("{key:016x}")
}

fn unexpected(answer: &str) -> io::Error {
    io::Error::other(format!("the server said {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What a client makes of these words of a server's.
    fn answered<T>(words: &'static [u8], ask: impl FnOnce(&mut Connection) -> T) -> T {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).expect("a short path");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            stream.write_all(words).expect("he listens");
            // No more comes, but what he asks is still heard.
            stream.shutdown(std::net::Shutdown::Write).expect("it is open");
            stream
        });
        let mut connection = Connection::open(&socket, Duration::from_secs(30)).expect("it listens");
        let answer = ask(&mut connection);
        drop(server.join());
        answer
    }

    #[test]
    fn a_value_lands_whole_and_a_missing_one_is_a_miss() {
        let mut target = [0; 5];
        assert!(answered(b"$5\r\nab\r\nc\r\n", |server| server.get(1, &mut target)).expect("an answer"));
        assert_eq!(target, *b"ab\r\nc");
        assert!(!answered(b"$-1\r\n", |server| server.get(1, &mut target)).expect("an answer"));
    }

    #[test]
    fn a_value_of_another_length_is_a_miss_and_the_next_answer_its_own() {
        let mut target = [0; 4];
        let found = answered(b"$2\r\nab\r\n$4\r\nabcd\r\n", |server| {
            [server.get(1, &mut target), server.get(2, &mut target)].map(|found| found.expect("an answer"))
        });
        assert_eq!(found, [false, true]);
    }

    #[test]
    fn refusals_and_endings_are_errors() {
        let refused = answered(b"-OOM used memory\r\n", |server| server.set(1, b"x")).expect_err("a refusal");
        assert!(refused.to_string().contains("OOM used memory"));
        assert!(answered(b"$5\r\nab", |server| server.get(1, &mut [0; 5])).is_err());
        assert!(answered(b"", |server| server.info()).is_err());
        assert!(answered(b"$1\r\nabc", |server| server.get(1, &mut [0; 1])).is_err());
    }
}
