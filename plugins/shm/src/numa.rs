//! NUMA domains: which there are, and binding a region to them.

use crate::config::Numa;
use crate::sys::{self, Placement};
use serde::Serialize;
use std::fs;

/// A NUMA domain of the machine.
#[derive(Clone, Debug, Serialize)]
pub struct Domain {
    /// Its number.
    pub node: u32,
    /// Its memory.
    pub total_bytes: u64,
    /// What of it is free.
    pub free_bytes: u64,
}

/// The domains that have memory, in order. A machine that does not tell has none.
pub(crate) fn domains() -> Vec<Domain> {
    let online = fs::read_to_string("/sys/devices/system/node/has_memory").unwrap_or_default();
    parse_list(&online).into_iter().map(domain).collect()
}

fn domain(node: u32) -> Domain {
    let text = fs::read_to_string(format!("/sys/devices/system/node/node{node}/meminfo")).unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find(|line| line.contains(key))?;
        Some(line.split_ascii_whitespace().nth(3)?.parse::<u64>().ok()? * 1024)
    };
    Domain { node, total_bytes: value("MemTotal:").unwrap_or(0), free_bytes: value("MemFree:").unwrap_or(0) }
}

/// The kernel's form of a set: `0-3,8`.
fn parse_list(text: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// Puts the pages of a mapped file where they were asked for. What is there already stays where it is.
pub(crate) fn place(start: *mut u8, length: usize, numa: Numa) -> rustix::io::Result<()> {
    match numa {
        Numa::Bind(node) => sys::mbind(start, length, Placement::Bind, &[node]),
        Numa::Interleave => {
            let all: Vec<u32> = domains().iter().map(|domain| domain.node).collect();
            sys::mbind(start, length, Placement::Interleave, &all)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_sets_are_read() {
        assert_eq!(parse_list("0\n"), [0]);
        assert_eq!(parse_list("0-2,5\n"), [0, 1, 2, 5]);
        assert!(parse_list("\n").is_empty());
    }
}
