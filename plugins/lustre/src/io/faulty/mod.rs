//! File systems that fail, for tests: faults around any engine and any directory, switched on and off while they run.
//!
//! Only in builds with the cargo feature `faults`; what is shipped has none of it. There, [`super::shared`] and
//! [`super::Method::start`] put the faults of the control file around what they hand out if the environment variable
//! `CASCADE_FAULTS` names one. So a test can steer the tier inside a real node:
//!
//! ```json
//! [{"on": ["read"], "fault": {"error": "ESTALE"}, "one_in": 3},
//!  {"on": ["write"], "fault": {"bytes_per_s": 20000000}},
//!  {"on": ["open", "list"], "file": ".pieces", "fault": "hang"}]
//! ```
//!
//! A missing or empty file is no fault. Replace the file by `rename`; it is looked at every few milliseconds.

mod directory;
mod engine;
mod rules;

pub use directory::FaultyDirectory;
pub use engine::FaultyEngine;
pub use rules::{Call, Fault, Faults, Rule};
