//! How the process ends: six codes, and the message that goes with a failure.

use std::process::ExitCode;

use crate::config::Problems;

/// The exit codes, as `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage or configuration; clap ends with the same code.
    Usage = 2,
    /// What was asked for is not there.
    Miss = 3,
    /// No node can be reached.
    Unreachable = 4,
    /// Stopped by Ctrl-C or SIGTERM, in order; a shell gives the same code to what Ctrl-C ended.
    Interrupted = 130,
}

/// A command that did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What went wrong and what to do; empty when the output said so already.
    pub message: String,
}

impl Failure {
    /// A failure with its exit code and message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::new(Exit::Usage, problems.to_string())
    }
}

impl From<std::io::Error> for Failure {
    /// A reader that went away (`| head`) is no failure worth words.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(Exit::Done, ""),
            _ => Self::new(Exit::Failed, error.to_string()),
        }
    }
}
