//! Reaching the node from the command line: who it is, how long to wait, what a failure means.

use std::path::PathBuf;
use std::time::Duration;

use cascade_client::{BlockKey, Client, Deadline, Error, PieceId};
use cascade_core::key::wrapped_key;

use super::{Context, Exit, Failure};

/// How long a command waits for the node, unless told otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Which piece, for commands that name one.
#[derive(Debug, clap::Args)]
pub(super) struct Piece {
    /// Block key: 64 hexadecimal digits, or @NAME for the key that is made from a name
    #[arg(value_name = "KEY", value_parser = key)]
    pub(super) key: BlockKey,

    /// Tensor-parallel rank of the piece
    #[arg(long, default_value_t = 0)]
    rank: u16,

    /// KV group of the piece
    #[arg(long, default_value_t = 0)]
    group: u16,
}

impl Piece {
    pub(super) fn id(&self) -> PieceId {
        PieceId { key: self.key, rank: self.rank, group: self.group }
    }
}

/// Reads a key as commands take it.
pub(super) fn key(text: &str) -> Result<BlockKey, String> {
    match text.strip_prefix('@') {
        Some(name) if !name.is_empty() => Ok(wrapped_key(&BlockKey::ROOT, name.as_bytes())),
        _ => BlockKey::from_hex(text).ok_or_else(|| "a key is 64 hexadecimal digits, or @NAME".to_owned()),
    }
}

/// Reads a time in seconds, a fraction or none.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds".to_owned())?;
    // A year is for ever; more does not fit a clock.
    if (0.0..=31_536_000.0).contains(&seconds) { Ok(seconds) } else { Err("0 to 31536000 seconds".into()) }
}

/// When a command gives up.
pub(super) fn deadline() -> Deadline {
    Deadline::after(PATIENCE)
}

/// Attaches to the node of the configured instance.
pub(super) fn client(context: &Context) -> Result<Client, Failure> {
    let loaded = context.configuration()?;
    Ok(Client::connect_to_instance(&loaded.config.instance, deadline())?)
}

/// The node of the configured instance, to be asked again and again without attaching.
#[derive(Debug)]
pub(super) struct Node {
    sockets: Vec<PathBuf>,
}

impl Node {
    pub(super) fn of(context: &Context) -> Result<Self, Failure> {
        let loaded = context.configuration()?;
        Ok(Self { sockets: cascade_client::sockets(&loaded.config.instance) })
    }

    /// Asks a question and waits so long for the answer.
    pub(super) fn ask_within(
        &self,
        question: &str,
        patience: Duration,
    ) -> Result<serde_json::Value, Failure> {
        let answer = cascade_client::query(&self.sockets, question, Deadline::after(patience))?;
        serde_json::from_str(&answer)
            .map_err(|error| Failure::new(Exit::Failed, format!("the node's answer is not JSON: {error}")))
    }
}

/// Asks the node of the configured instance a question, without attaching.
pub(super) fn ask(context: &Context, question: &str) -> Result<serde_json::Value, Failure> {
    Node::of(context)?.ask_within(question, PATIENCE)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::NoNode { .. } | Error::NodeLost | Error::Deadline => Exit::Unreachable,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_of_seconds_that_a_clock_can_hold() {
        assert_eq!((seconds("0"), seconds("1.5")), (Ok(0.0), Ok(1.5)));
        for text in ["-1", "1s", "inf", "NaN", "1e18"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_hexadecimal_or_named() {
        let named = key("@greeting").unwrap();
        assert_eq!(key(&named.to_string()), Ok(named));
        assert!(key("greeting").is_err());
        assert!(key("@").is_err());
    }
}
