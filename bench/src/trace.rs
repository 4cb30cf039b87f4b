//! Traces: requests as the ids of their blocks.
//!
//! The format is the one that Mooncake published with its FAST'25 paper: one JSON object a line. An id stands for the whole
//! prefix up to and including its block, so equal ids mean equal prefixes. Fields that we do not know are let pass.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TraceRequest {
    /// When it came, since the trace began.
    #[serde(rename = "timestamp")]
    pub(crate) timestamp_ms: f64,
    /// Tokens of the prompt.
    #[serde(rename = "input_length")]
    pub(crate) input_tokens: u64,
    /// Tokens of the answer.
    #[serde(rename = "output_length")]
    pub(crate) output_tokens: u64,
    /// The blocks of the prompt, root first.
    pub(crate) hash_ids: Vec<u64>,
}

/// Requests in the order in which they came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace {
    /// What reports call it: the file's name, or the generator and its seed.
    pub(crate) name: String,
    pub(crate) requests: Vec<TraceRequest>,
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    /// It cannot be opened or read.
    #[error("cannot read the trace {trace}: {error}")]
    Unreadable { trace: String, error: std::io::Error },
    /// A line is no request.
    #[error("{trace}:{line}: {reason}")]
    Malformed { trace: String, line: usize, reason: String },
    /// Nothing to replay.
    #[error("the trace {trace} holds no request")]
    Empty { trace: String },
}

impl Trace {
    /// Reads a file of requests. See [`Trace::parse`].
    pub(crate) fn read(path: &Path) -> Result<Self, TraceError> {
        let file = File::open(path)
            .map_err(|error| TraceError::Unreadable { trace: path.display().to_string(), error })?;
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self::parse(&name.to_string_lossy(), BufReader::new(file))
    }

    /// Reads requests, one a line. Blank lines are skipped; the first malformed one is an error that names its number.
    pub(crate) fn parse(name: &str, lines: impl BufRead) -> Result<Self, TraceError> {
        let trace = name.to_owned();
        let mut requests = Vec::new();
        for (index, line) in lines.lines().enumerate() {
            let line = match line {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => line,
                Err(error) => return Err(TraceError::Unreadable { trace, error }),
            };
            match parse_line(&line) {
                Ok(request) => requests.push(request),
                Err(reason) => return Err(TraceError::Malformed { trace, line: index + 1, reason }),
            }
        }
        if requests.is_empty() {
            return Err(TraceError::Empty { trace });
        }
        Ok(Self { name: trace, requests })
    }

    /// Tokens of a block, which the format does not say: the fewest that make room for every prompt in its blocks.
    pub(crate) fn block_tokens(&self) -> u64 {
        let tokens = |request: &TraceRequest| match request.hash_ids.len() as u64 {
            0 => 0,
            blocks => request.input_tokens.div_ceil(blocks),
        };
        self.requests.iter().map(tokens).max().unwrap_or(0)
    }

    /// The same requests with block ids renumbered from zero in order of appearance.
    pub(crate) fn dense(&self) -> Dense {
        let mut numbers = HashMap::new();
        let mut requests = Vec::with_capacity(self.requests.len());
        for request in &self.requests {
            let chain = request.hash_ids.iter().map(|&id| {
                let next = numbers.len() as u32;
                *numbers.entry(id).or_insert(next)
            });
            requests.push(chain.collect());
        }
        Dense { requests, distinct_blocks: numbers.len() }
    }
}

/// A trace whose block ids index vectors.
#[derive(Debug)]
pub(crate) struct Dense {
    /// Chains, each root first.
    pub(crate) requests: Vec<Vec<u32>>,
    /// Ids are below this.
    pub(crate) distinct_blocks: usize,
}

impl Dense {
    /// Blocks that the requests name, repetitions counted.
    pub(crate) fn references(&self) -> usize {
        self.requests.iter().map(Vec::len).sum()
    }
}

/// One line of a trace, or what is wrong with it.
fn parse_line(line: &str) -> Result<TraceRequest, String> {
    let request: TraceRequest = serde_json::from_str(line).map_err(|error| {
        let wanted = "a JSON object with timestamp, input_length, output_length and hash_ids";
        format!("{error}; each line must be {wanted}")
    })?;
    if request.timestamp_ms < 0.0 {
        return Err(format!("timestamp {} is before the trace began", request.timestamp_ms));
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Trace, TraceError> {
        Trace::parse("trace.jsonl", text.as_bytes())
    }

    const LINE: &str =
        r#"{"timestamp": 27, "input_length": 1030, "output_length": 5, "hash_ids": [7, 8, 9]}"#;

    #[test]
    fn a_request_is_read_field_by_field() {
        let trace = read(&format!("{LINE}\n\n{LINE}\n")).expect("a good trace");
        assert_eq!(trace.name, "trace.jsonl");
        assert_eq!(trace.requests.len(), 2);
        let request = &trace.requests[1];
        assert_eq!((request.timestamp_ms, request.input_tokens, request.output_tokens), (27.0, 1030, 5));
        assert_eq!(request.hash_ids, [7, 8, 9]);
    }

    #[test]
    fn fields_of_other_publishers_are_let_pass() {
        let line =
            LINE.replace("{\"timestamp\": 27", "{\"chat_id\": 3, \"type\": \"text\", \"timestamp\": 61.5");
        assert_eq!(read(&line).expect("a good trace").requests[0].timestamp_ms, 61.5);
    }

    #[test]
    fn a_malformed_line_is_named_by_its_number() {
        for bad in ["{", "[]", "{\"timestamp\": 1}", &LINE.replace("8", "-8"), &LINE.replace("27", "-27")] {
            let error = read(&format!("{LINE}\n{bad}\n{LINE}"))
                .expect_err("the second line is malformed")
                .to_string();
            assert!(error.contains("trace.jsonl:2: "), "{error}");
        }
    }

    #[test]
    fn a_file_without_requests_is_refused() {
        assert!(matches!(read("\n \n"), Err(TraceError::Empty { .. })));
        let absent = Path::new("no/such/trace.jsonl");
        assert!(matches!(Trace::read(absent), Err(TraceError::Unreadable { .. })));
    }

    #[test]
    fn the_fullest_prompt_tells_how_many_tokens_a_block_has() {
        let full = LINE.replace("1030", "1536");
        assert_eq!(read(&format!("{LINE}\n{full}\n{LINE}")).expect("a good trace").block_tokens(), 512);
    }

    #[test]
    fn dense_ids_keep_equality_and_count_from_zero() {
        let request = |hash_ids: &[u64]| TraceRequest {
            timestamp_ms: 0.0,
            input_tokens: 0,
            output_tokens: 0,
            hash_ids: hash_ids.to_vec(),
        };
        let trace =
            Trace { name: String::new(), requests: vec![request(&[90, 7]), request(&[90, u64::MAX])] };
        let dense = trace.dense();
        assert_eq!(dense.requests, [[0, 1], [0, 2]]);
        assert_eq!((dense.distinct_blocks, dense.references()), (3, 4));
    }
}
