//! Huge pages for shared memory.

use super::{Check, Machine};
use crate::config::{Config, HugePages};

const NAME: &str = "huge pages";
const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

pub(super) fn checks(machine: &Machine, config: &Config) -> Vec<Check> {
    vec![judge(machine.read(SETTING).as_deref().and_then(chosen), config.segment.huge_pages)]
}

fn judge(setting: Option<&str>, wanted: HugePages) -> Check {
    let advice = format!(
        "costs TLB misses, nothing else; an administrator can `echo advise > {SETTING}`, or set \
         segment.huge_pages = \"never\" to silence this"
    );
    match (setting, wanted) {
        (_, HugePages::Never) => Check::ok(NAME, "not asked for (segment.huge_pages = \"never\")"),
        (Some(setting @ ("always" | "within_size" | "advise" | "force")), _) => {
            Check::ok(NAME, format!("shmem_enabled is {setting}"))
        }
        (Some(setting), _) => Check::warn(NAME, format!("shmem_enabled is {setting}"), advice),
        (None, _) => Check::warn(NAME, "this kernel has none for shared memory", advice),
    }
}

/// The kernel lists all choices and brackets the one in force.
fn chosen(text: &str) -> Option<&str> {
    text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn the_bracketed_choice_is_in_force() {
        assert_eq!(chosen("always within_size [advise] never deny force\n"), Some("advise"));
        assert_eq!(chosen("\n"), None);
    }

    #[test]
    fn what_was_not_asked_for_is_not_missed() {
        assert_eq!(judge(Some("never"), HugePages::Advise).status, Status::Warn);
        assert_eq!(judge(None, HugePages::Advise).status, Status::Warn);
        assert_eq!(judge(Some("advise"), HugePages::Advise).status, Status::Ok);
        assert_eq!(judge(None, HugePages::Never).status, Status::Ok);
    }
}
