//! What the verified copy needs of the processor.

use super::{Check, Machine};

const NAME: &str = "processor";

pub(super) fn checks(machine: &Machine) -> Vec<Check> {
    let text = machine.read("/proc/cpuinfo").unwrap_or_default();
    vec![judge(machine.architecture, &features(&text))]
}

fn judge(architecture: &str, features: &[&str]) -> Check {
    let wanted: &[&str] = match architecture {
        "x86_64" => &["sse4_2", "avx2"],
        "aarch64" => &["crc32"],
        other => {
            return Check::fail(NAME, other, "Cascade runs on x86-64 and aarch64");
        }
    };
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !features.contains(name)).collect();
    if missing.is_empty() {
        return Check::ok(NAME, format!("{architecture} with {}", wanted.join(", ")));
    }
    Check::warn(
        NAME,
        format!("{architecture} without {}", missing.join(", ")),
        "checksums are computed the portable way, same result but slower; in a virtual machine, pass the host's CPU on",
    )
}

/// The features of the first processor: `flags` on x86-64, `Features` on aarch64.
fn features(cpuinfo: &str) -> Vec<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
    line.and_then(|line| line.split_once(':'))
        .map(|(_, names)| names.split_whitespace().collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn both_architectures_name_their_features() {
        assert_eq!(features("processor : 0\nflags\t\t: fpu sse4_2 avx2\n"), ["fpu", "sse4_2", "avx2"]);
        assert_eq!(features("Features\t: fp asimd crc32\n"), ["fp", "asimd", "crc32"]);
    }

    #[test]
    fn a_missing_feature_is_a_warning_and_another_processor_a_failure() {
        assert_eq!(judge("x86_64", &["sse4_2", "avx2"]).status, Status::Ok);
        assert!(judge("x86_64", &["sse4_2"]).found.ends_with("without avx2"));
        assert_eq!(judge("aarch64", &["crc32"]).status, Status::Ok);
        assert_eq!(judge("riscv64", &[]).status, Status::Fail);
    }
}
