//! Signals by name, as the configuration says them: those that a scheduler may send and that nothing else uses.

/// The names, each with its number.
const NAMES: [(&str, i32); 4] =
    [("USR1", libc::SIGUSR1), ("USR2", libc::SIGUSR2), ("HUP", libc::SIGHUP), ("URG", libc::SIGURG)];

/// The number of a signal that may be given a meaning.
pub(crate) fn by_name(name: &str) -> Option<i32> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}
