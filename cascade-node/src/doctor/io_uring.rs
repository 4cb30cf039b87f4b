//! io_uring: asked of the kernel, since containers and policies forbid it in ways that no file tells.

use super::{Check, Machine};

const NAME: &str = "io_uring";

/// What `io_uring_setup` answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A ring.
    Works,
    /// This error number.
    Refused(i32),
}

/// Asks for the smallest ring and gives it back.
pub(super) fn probe() -> Probe {
    /// `struct io_uring_params` (linux/io_uring.h): 120 bytes that the kernel reads and writes, zero by default.
    #[repr(C, align(8))]
    struct Params([u8; 120]);
    let mut params = Params([0; 120]);
    // SAFETY: the kernel takes a number of entries and a pointer to 120 zeroed, aligned bytes that outlive the call.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, &raw mut params) };
    if ring < 0 {
        return Probe::Refused(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    // SAFETY: the call above made this descriptor and nobody else knows it.
    drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(ring as i32) });
    Probe::Works
}

pub(super) fn checks(machine: &Machine) -> Vec<Check> {
    vec![judge(machine.io_uring, machine.read("/proc/sys/kernel/io_uring_disabled").as_deref())]
}

fn judge(probe: Probe, disabled: Option<&str>) -> Check {
    let Probe::Refused(error) = probe else { return Check::ok(NAME, "works") };
    let slower = "file-system tiers use a pool of threads";
    match (error, disabled.map(str::trim)) {
        (libc::ENOSYS, _) => Check::warn(NAME, "this kernel has none", slower),
        (_, Some(level @ ("1" | "2"))) => Check::warn(
            NAME,
            format!("switched off (kernel.io_uring_disabled = {level})"),
            format!("{slower}; an administrator can `sysctl kernel.io_uring_disabled=0`"),
        ),
        (libc::EPERM | libc::EACCES, _) => Check::warn(
            NAME,
            "forbidden, as containers often do",
            format!("{slower}; a seccomp profile that allows io_uring_setup lifts this"),
        ),
        (libc::ENOMEM, _) => {
            Check::warn(NAME, "out of locked memory", format!("{slower}; raise `ulimit -l`"))
        }
        (error, _) => {
            Check::warn(NAME, format!("refused: {}", std::io::Error::from_raw_os_error(error)), slower)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_its_cause() {
        let found = |error, disabled| judge(Probe::Refused(error), disabled).found;
        assert!(found(libc::ENOSYS, None).contains("kernel has none"));
        assert!(found(libc::EPERM, Some("2\n")).contains("io_uring_disabled = 2"));
        assert!(found(libc::EPERM, Some("0\n")).contains("forbidden"));
        assert_eq!(judge(Probe::Works, Some("0\n")).advice, None);
    }

    #[test]
    fn the_probe_leaves_no_descriptor_behind() {
        let count = || std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0);
        let one = || {
            probe();
            count()
        };
        // Other tests open files too: a leak shows as growth by every one of many probes.
        let before = one();
        for _ in 0..200 {
            probe();
        }
        assert!(count() < before + 100);
    }
}
