//! /dev/shm: there, a tmpfs, writable, not full.

use super::mounts::{self, Mount};
use super::{Check, Machine, Space};
use crate::config::Bytes;

const NAME: &str = "/dev/shm";
/// The smallest cache needs this much.
const FREE_MIN_BYTES: u64 = 32 << 20;

pub(super) fn checks(machine: &Machine, mounts: &[Mount]) -> Vec<Check> {
    vec![judge(machine.shm, mounts::at(mounts, "/dev/shm"))]
}

fn judge(space: Option<Space>, mount: Option<&Mount>) -> Check {
    let Some(space) = space else {
        return Check::fail(
            NAME,
            "is not there",
            "mount a tmpfs at /dev/shm, or start the container with one",
        );
    };
    let size = format!("{}, {} free", Bytes(space.total_bytes).rounded(), Bytes(space.free_bytes).rounded());
    let Some(mount) = mount else {
        let advice =
            "the cache would lie on a disk: mount a tmpfs at /dev/shm, or start the container with one";
        return Check::fail(NAME, format!("{size}, a folder and no mount of its own"), advice);
    };
    let size = format!("{size} ({})", mount.kind);
    if mount.kind != "tmpfs" {
        return Check::fail(NAME, size, "the cache needs memory, not a disk: mount a tmpfs at /dev/shm");
    }
    if [&mount.options, &mount.super_options].into_iter().any(|options| options.iter().any(|o| o == "ro")) {
        return Check::fail(NAME, format!("{size}, read-only"), "mount it with the option rw");
    }
    if space.total_bytes < FREE_MIN_BYTES {
        let advice = "give it at least 64 MiB: `docker run --shm-size=8g`, or an emptyDir with medium Memory";
        return Check::fail(NAME, size, advice);
    }
    if space.free_bytes < FREE_MIN_BYTES {
        let advice = "others fill it: look with `ls -la /dev/shm`, remove what dead jobs left";
        return Check::fail(NAME, size, advice);
    }
    Check::ok(NAME, size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    const MIB: u64 = 1 << 20;

    fn status(total_mib: u64, free_mib: u64, kind: &str, option: &str) -> Status {
        let mount = Mount {
            root: "/".into(),
            point: "/dev/shm".into(),
            options: vec![option.to_owned()],
            kind: kind.to_owned(),
            super_options: Vec::new(),
        };
        let space = Space { total_bytes: total_mib * MIB, free_bytes: free_mib * MIB };
        judge(Some(space), Some(&mount)).status
    }

    #[test]
    fn a_tmpfs_with_room_is_well() {
        assert_eq!(status(64, 64, "tmpfs", "rw"), Status::Ok);
    }

    #[test]
    fn full_small_read_only_or_on_a_disk_fails() {
        assert_eq!(status(64, 16, "tmpfs", "rw"), Status::Fail);
        assert_eq!(status(16, 16, "tmpfs", "rw"), Status::Fail);
        assert_eq!(status(64, 64, "tmpfs", "ro"), Status::Fail);
        assert_eq!(status(64, 64, "ext4", "rw"), Status::Fail);
        assert_eq!(judge(None, None).status, Status::Fail);
    }
}
