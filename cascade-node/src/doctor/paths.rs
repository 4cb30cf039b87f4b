//! Paths: the segment's folder, the socket, the folder for data.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cascade_core::place::{SOCKET_PATH_MAX_BYTES, segment_directory, socket_path, user_directory};

use super::{Check, Machine, identity};
use crate::config::Config;

pub(super) fn checks(machine: &Machine, config: &Config) -> Vec<Check> {
    let job = identity::job(machine).map(|(_, id)| id);
    let ours = segment_directory(machine.uid, job, &config.instance);
    let named = machine.variable("CASCADE_SOCKET").map(str::to_owned);
    let socket = named.unwrap_or_else(|| socket_path(&ours));
    vec![
        judge_segment(machine, &[user_directory(machine.uid), ours]),
        judge_socket(&socket),
        judge_data(machine),
    ]
}

/// The last of `folders` is the segment's; those that are there have to belong to this user alone.
fn judge_segment(machine: &Machine, folders: &[String]) -> Check {
    const NAME: &str = "segment folder";
    let there = folders.iter().filter_map(|folder| Some((folder, machine.metadata(folder)?)));
    for (folder, found) in there {
        let (owner, mode) = (found.uid(), found.permissions().mode() & 0o777);
        if owner != machine.uid {
            let found = format!("{folder} belongs to user {owner}");
            return Check::fail(NAME, found, "have it removed by its owner or an administrator");
        }
        if mode & 0o077 != 0 {
            let found = format!("{folder} is open to others (mode {mode:o})");
            return Check::fail(NAME, found, format!("chmod 700 {folder}"));
        }
    }
    Check::ok(NAME, folders.last().map(String::as_str).unwrap_or_default())
}

fn judge_socket(path: &str) -> Check {
    const NAME: &str = "socket";
    if path.len() > SOCKET_PATH_MAX_BYTES {
        let found =
            format!("{path} has {} bytes, a socket's path at most {SOCKET_PATH_MAX_BYTES}", path.len());
        return Check::fail(NAME, found, "unset CASCADE_SOCKET, or name a shorter path");
    }
    if !Path::new(path).is_absolute() {
        let advice = "name it from the root, so that clients in other folders find it";
        return Check::fail(NAME, format!("{path} is not absolute"), advice);
    }
    Check::ok(NAME, path)
}

fn judge_data(machine: &Machine) -> Check {
    const NAME: &str = "data folder";
    const ADVICE: &str = "set CASCADE_DIR to a folder on scratch: homes are small, slow and shared";
    let named =
        ["CASCADE_DIR", "SCRATCH", "PSCRATCH"].into_iter().find_map(|n| Some((n, machine.variable(n)?)));
    let home = machine.variable("HOME").filter(|home| *home != "/");
    let (source, folder) = named.unwrap_or(("the current folder", machine.variable("PWD").unwrap_or(".")));
    let found = format!("{folder} ({source})");
    if home.is_some_and(|home| Path::new(folder).starts_with(home)) {
        return Check::warn(NAME, format!("{found} lies in your home"), ADVICE);
    }
    if folder != "." && machine.metadata(folder).is_none_or(|found| !found.is_dir()) {
        return Check::warn(NAME, format!("{found} is not there"), ADVICE);
    }
    Check::ok(NAME, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn a_socket_path_has_at_most_107_bytes() {
        assert_eq!(judge_socket(&format!("/{}", "x".repeat(106))).status, Status::Ok);
        assert_eq!(judge_socket(&format!("/{}", "x".repeat(107))).status, Status::Fail);
        assert_eq!(judge_socket("node.sock").status, Status::Fail);
    }
}
