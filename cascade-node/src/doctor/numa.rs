//! Memory domains.

use super::{Check, Machine};
use crate::config::{Config, Numa};

const NAME: &str = "memory domains";

pub(super) fn checks(machine: &Machine, config: &Config) -> Vec<Check> {
    let listed = machine.read("/sys/devices/system/node/has_memory");
    vec![judge(listed.as_deref().map_or(1, count), config.segment.numa)]
}

fn judge(domains: usize, placement: Numa) -> Check {
    match (domains, placement) {
        (0 | 1, _) => Check::ok(NAME, "one"),
        (_, Numa::Local) => Check::warn(
            NAME,
            format!("{domains}, and the cache lies in the node's own"),
            "set segment.numa = \"per-domain\" (GPUs on several domains) or \"interleave\"",
        ),
        (_, Numa::Interleave) => Check::ok(NAME, format!("{domains}, blocks spread over all")),
        (_, Numa::PerDomain) => Check::ok(NAME, format!("{domains}, an arena in each")),
    }
}

/// How many numbers a kernel list such as `0-3,6` names.
fn count(list: &str) -> usize {
    let span = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    };
    list.trim().split(',').filter_map(span).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn a_kernel_list_is_counted() {
        assert_eq!(count("0\n"), 1);
        assert_eq!(count("0-3,6"), 5);
        assert_eq!(count("\n"), 0);
    }

    #[test]
    fn several_domains_ask_for_a_choice() {
        assert_eq!(judge(4, Numa::Local).status, Status::Warn);
        assert_eq!(judge(4, Numa::PerDomain).status, Status::Ok);
        assert_eq!(judge(1, Numa::PerDomain).status, Status::Ok);
    }
}
