//! Where a node is found: a pure function of user, job and instance.
//!
//! Clients and node compute the same path without talking to each other. The socket lies in the segment's own
//! directory on `/dev/shm`, whatever `TMPDIR` is, and always fits the 107 bytes that a Unix socket address takes.
//! `CASCADE_SOCKET` overrides the socket's path; reading the environment is the caller's.

use alloc::format;
use alloc::string::String;
use core::fmt::Write;

/// The longest path of a Unix socket, in bytes, without its terminating zero.
pub const SOCKET_PATH_MAX_BYTES: usize = 107;
/// The longest instance name, in bytes.
pub const INSTANCE_MAX_BYTES: usize = 32;
/// The instance that is meant when none is named.
pub const DEFAULT_INSTANCE: &str = "default";
/// The environment variables that name a job, first match wins: Slurm, PBS, Flux.
pub const JOB_VARIABLES: [&str; 3] = ["SLURM_JOB_ID", "PBS_JOBID", "FLUX_JOB_ID"];

/// The most folders that one instance may need: its own, and those beside it.
const DIRECTORIES_MAX: usize = 9;

const JOB_MAX_BYTES: usize = 24;

/// The folder that holds all segments of one user: `/dev/shm/cascade-<uid>`.
pub fn user_directory(uid: u32) -> String {
    format!("/dev/shm/cascade-{uid}")
}

/// The directory of one segment: `/dev/shm/cascade-<uid>/<job>.<instance>`.
///
/// Characters other than `A–Z a–z 0–9 _ -` become `_`; a name that is too long or was changed gets a digest of its
/// original, so that different names stay different.
///
/// ```
/// use cascade_core::place::segment_directory;
/// assert_eq!(segment_directory(1000, Some("4711"), "default"), "/dev/shm/cascade-1000/4711.default");
/// assert_eq!(segment_directory(1000, None, "default"), "/dev/shm/cascade-1000/nojob.default");
/// ```
pub fn segment_directory(uid: u32, job: Option<&str>, instance: &str) -> String {
    let job = component(job.unwrap_or("nojob"), JOB_MAX_BYTES);
    format!("{}/{job}.{}", user_directory(uid), component(instance, INSTANCE_MAX_BYTES))
}

/// What is appended to the first directory of an instance for each that its node may live in, in the order in which it
/// takes them: nothing, then `.2` to `.9`, for when killed owners that cannot exit keep the ones before.
///
/// A node takes the first that it can lock, so a client has to look at all of them.
pub fn directory_suffixes() -> impl Iterator<Item = String> {
    // No instance is named so: a dot in a name would have become `_`.
    (1..=DIRECTORIES_MAX).map(|number| if number == 1 { String::new() } else { format!(".{number}") })
}

/// Every directory in which the node of an instance may live: [`segment_directory`] and those beside it, see
/// [`directory_suffixes`].
///
/// ```
/// use cascade_core::place::segment_directories;
/// let all: Vec<_> = segment_directories(1000, None, "default").collect();
/// assert_eq!(all[..2], ["/dev/shm/cascade-1000/nojob.default", "/dev/shm/cascade-1000/nojob.default.2"]);
/// assert_eq!(all.len(), 9);
/// ```
pub fn segment_directories(uid: u32, job: Option<&str>, instance: &str) -> impl Iterator<Item = String> {
    let first = segment_directory(uid, job, instance);
    directory_suffixes().map(move |suffix| format!("{first}{suffix}"))
}

/// The socket of the node that owns the segment in `directory`.
pub fn socket_path(directory: &str) -> String {
    format!("{directory}/node.sock")
}

fn component(name: &str, max_bytes: usize) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.len() <= max_bytes && name.chars().all(plain) {
        return String::from(name);
    }
    let mut out: String =
        name.chars().map(|c| if plain(c) { c } else { '_' }).take(max_bytes.saturating_sub(9)).collect();
    let digest = blake3::hash(name.as_bytes());
    out.push('-');
    for byte in &digest.as_bytes()[..4] {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_always_fits_its_address() {
        let long = "x".repeat(300);
        for directory in segment_directories(u32::MAX, Some(&long), &long) {
            assert!(socket_path(&directory).len() <= SOCKET_PATH_MAX_BYTES, "{directory}");
        }
    }

    #[test]
    fn a_folder_beside_is_no_other_instances_first() {
        for beside in segment_directories(1, Some("7"), "a").skip(1) {
            let name = beside.rsplit('/').next().unwrap().split_once('.').unwrap().1;
            assert_ne!(segment_directory(1, Some("7"), name), beside);
        }
    }

    #[test]
    fn different_names_stay_different() {
        let of = |job: &str| segment_directory(1, Some(job), "default");
        assert_ne!(of("12[3]"), of("12_3_"));
        assert_ne!(of("a/b"), of("a.b"));
        assert_ne!(of(&"x".repeat(40)), of(&"x".repeat(41)));
        assert!(!of("../../etc").contains(".."));
    }
}
