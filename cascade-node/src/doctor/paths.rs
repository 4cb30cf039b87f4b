//! Paths: the segment's folder, the socket, the folder for data.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cascade_core::place::{SOCKET_PATH_MAX_BYTES, segment_directory, socket_path, user_directory};

use super::{Check, Machine, identity};
use crate::config::Config;

pub(super) fn checks(machine: &Machine, config: &Config) -> Vec<Check> {
    let job = identity::job(machine).map(|(_, id)| id);
    let directory = segment_directory(machine.uid, job, &config.instance);
    let socket = machine.variable("CASCADE_SOCKET").map_or_else(|| socket_path(&directory), str::to_owned);
    let user = user_directory(machine.uid);
    let owner = machine.metadata(&user).map(|found| (found.uid(), found.permissions().mode() & 0o777));
    vec![judge_segment(&directory, &user, owner, machine.uid), judge_socket(&socket), judge_data(machine)]
}

fn judge_segment(directory: &str, user: &str, owner: Option<(u32, u32)>, uid: u32) -> Check {
    const NAME: &str = "segment folder";
    match owner {
        Some((other, _)) if other != uid => Check::fail(
            NAME,
            format!("{user} belongs to user {other}"),
            "someone took the name: have it removed by its owner or an administrator",
        ),
        Some((_, mode)) if mode & 0o077 != 0 => Check::fail(
            NAME,
            format!("{user} is open to others (mode {mode:o})"),
            format!("chmod 700 {user}"),
        ),
        _ => Check::ok(NAME, directory),
    }
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

    #[test]
    fn a_folder_that_others_own_or_enter_is_refused() {
        let status = |owner| judge_segment("d", "u", owner, 1000).status;
        assert_eq!(status(None), Status::Ok);
        assert_eq!(status(Some((1000, 0o700))), Status::Ok);
        assert_eq!(status(Some((1000, 0o750))), Status::Fail);
        assert_eq!(status(Some((1001, 0o700))), Status::Fail);
    }
}
