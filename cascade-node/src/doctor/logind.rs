//! systemd-logind's RemoveIPC: with it, a user's files in /dev/shm are deleted when the last session ends.
//!
//! It is on by default and spares system users. A node started by hand, or beside a job into which someone logs in by
//! ssh, loses its segment's names in mid-run.

use super::{Check, Machine};

const NAME: &str = "RemoveIPC";
const MAIN: &str = "/etc/systemd/logind.conf";
/// Later folders win only by file name, as in logind.conf(5): the same name in /etc hides the others.
const DROP_INS: [&str; 3] =
    ["/usr/lib/systemd/logind.conf.d", "/run/systemd/logind.conf.d", "/etc/systemd/logind.conf.d"];
/// Users below are system users (the usual SYS_UID_MAX), whom logind spares.
const FIRST_USER: u32 = 1000;

pub(super) fn checks(machine: &Machine) -> Vec<Check> {
    if machine.metadata("/run/systemd/system").is_none() {
        return vec![Check::ok(NAME, "no systemd here")];
    }
    if machine.uid < FIRST_USER {
        return vec![Check::ok(NAME, "spares system users such as this one")];
    }
    vec![if setting(machine) {
        Check::warn(
            NAME,
            "is on: files in /dev/shm go when your last session ends",
            "run the node inside the job, `loginctl enable-linger`, or ask for RemoveIPC=no in logind.conf",
        )
    } else {
        Check::ok(NAME, "is off")
    }]
}

fn setting(machine: &Machine) -> bool {
    let mut drop_ins = std::collections::BTreeMap::new();
    for folder in DROP_INS {
        for name in machine.names(folder).into_iter().filter(|name| name.ends_with(".conf")) {
            drop_ins.insert(name.clone(), format!("{folder}/{name}"));
        }
    }
    let files = std::iter::once(MAIN.to_owned()).chain(drop_ins.into_values());
    // The last file that says anything wins.
    files.rev().find_map(|path| remove_ipc(&machine.read(path)?)).unwrap_or(true)
}

/// What a file says, if it says anything; its last word counts.
fn remove_ipc(text: &str) -> Option<bool> {
    let mut in_login = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_login = line == "[Login]";
        } else if let Some((key, value)) = line.split_once('=').filter(|_| in_login)
            && key.trim() == "RemoveIPC"
        {
            found = match value.trim().to_ascii_lowercase().as_str() {
                "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
                "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
                _ => found,
            };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::remove_ipc;

    #[test]
    fn the_last_word_in_the_login_section_counts() {
        assert_eq!(remove_ipc("[Login]\nRemoveIPC=yes\nRemoveIPC = no\n"), Some(false));
        assert_eq!(remove_ipc("[Login]\n#RemoveIPC=no\n"), None);
        assert_eq!(remove_ipc("[Other]\nRemoveIPC=no\n"), None);
        assert_eq!(remove_ipc("[Login]\nRemoveIPC=perhaps\n"), None);
    }
}
