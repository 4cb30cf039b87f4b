//! `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::path::PathBuf;

use super::Machine;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The folder of the file system that is seen here; `/` unless it is a bind mount or a namespace's view.
    pub(super) root: PathBuf,
    /// Where it is seen.
    pub(super) point: PathBuf,
    /// Options of this mount.
    pub(super) options: Vec<String>,
    /// The kind of file system.
    pub(super) kind: String,
    /// Options of the file system, such as a tmpfs's size or a cgroup's controllers.
    pub(super) super_options: Vec<String>,
}

/// All mounts that this process sees; a later one hides an earlier one at the same place.
pub(super) fn read(machine: &Machine) -> Vec<Mount> {
    parse(&machine.read("/proc/self/mountinfo").unwrap_or_default())
}

/// The mount that is seen at `point`.
pub(super) fn at<'a>(mounts: &'a [Mount], point: &str) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.point.as_os_str() == point)
}

fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    // id parent major:minor root point options [tags] - kind source super-options
    let (place, device) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let mut device = device.split(' ');
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    Some(Mount {
        root: unescape(place.next()?).into(),
        point: unescape(place.next()?).into(),
        options: list(place.next()?),
        kind: device.next()?.to_owned(),
        super_options: list(device.nth(1)?),
    })
}

/// The kernel writes blank, tab, line end and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (code, character)| text.replace(code, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=65536k
30 25 0:27 / /dev/shm ro,nosuid shared:5 master:1 - tmpfs tmpfs rw,size=24684096k
35 31 0:32 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 24 8:1 / /mnt/with\\040blank rw - ext4 /dev/sda1 rw
not a mount
";

    #[test]
    fn optional_tags_do_not_shift_the_fields() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[1].options, ["ro", "nosuid"]);
        assert_eq!(mounts[1].super_options, ["rw", "size=24684096k"]);
        assert_eq!(mounts[2].root, PathBuf::from("/docker/ab"));
        assert_eq!(mounts[3].point, PathBuf::from("/mnt/with blank"));
    }

    #[test]
    fn the_later_mount_hides_the_earlier() {
        let mounts = parse(TEXT);
        assert_eq!(at(&mounts, "/dev/shm"), mounts.get(1));
        assert_eq!(at(&mounts, "/nowhere"), None);
    }
}
