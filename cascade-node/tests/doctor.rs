//! The doctor on made-up machines.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use cascade_node::config::Config;
use cascade_node::doctor::{Check, Machine, Probe, Report, Space, Status, examine};

const GIB: u64 = 1 << 30;

/// A tree of files that goes away with the test.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("cascade-doctor-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder for the test");
            std::fs::write(path, text).expect("a file for the test");
        }
        Self(root)
    }

    fn machine(&self, environment: &[(&str, &str)]) -> Machine {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Machine {
            root: self.0.clone(),
            environment: environment.iter().map(pair).collect::<BTreeMap<_, _>>(),
            uid: 1000,
            architecture: "x86_64",
            shm: Some(Space { total_bytes: 16 * GIB, free_bytes: 12 * GIB }),
            io_uring: Probe::Works,
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const SHM: &str = "30 25 0:27 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=16777216k\n";
const WELL: [(&str, &str); 6] = [
    ("proc/cpuinfo", "flags : fpu sse4_2 avx2\n"),
    ("proc/meminfo", "MemAvailable: 33554432 kB\n"),
    ("proc/self/limits", "Max open files 65536 65536 files\nMax locked memory unlimited unlimited bytes\n"),
    ("sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size [advise] never deny force\n"),
    ("sys/devices/system/node/has_memory", "0\n"),
    ("scratch/keep", ""),
];

fn report(machine: &Machine) -> Report {
    Report::from(examine(machine, &Config::default()))
}

fn check<'a>(report: &'a Report, name: &str) -> &'a Check {
    report.check(name).unwrap_or_else(|| panic!("no check `{name}`"))
}

#[test]
fn a_machine_in_order_gets_no_advice() {
    let tree = Tree::new("well", &[&WELL[..], &[("proc/self/mountinfo", SHM)]].concat());
    let report = report(&tree.machine(&[("SCRATCH", "/scratch"), ("HOME", "/home/x")]));
    for check in &report.checks {
        assert_eq!((check.status, &check.advice), (Status::Ok, &None), "{}: {}", check.name, check.found);
    }
    assert!(report.fit);
    assert!(check(&report, "capacity").found.starts_with("auto takes about 4.8 GiB"));
}

#[test]
fn an_empty_tree_is_examined_without_panic() {
    let tree = Tree::new("empty", &[]);
    let mut machine = tree.machine(&[]);
    machine.shm = None;
    let report = report(&machine);
    assert!(!report.fit);
    assert_eq!(check(&report, "/dev/shm").status, Status::Fail);
    assert!(report.checks.iter().all(|check| (check.status == Status::Ok) == check.advice.is_none()));
}

#[test]
fn the_tightest_level_of_a_version_2_cgroup_bounds_the_capacity() {
    let mounts = format!("{SHM}31 25 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    let files = [
        ("proc/self/mountinfo", mounts.as_str()),
        ("proc/self/cgroup", "0::/slurm/job_7/step_0\n"),
        ("sys/fs/cgroup/slurm/job_7/memory.max", "4294967296\n"),
        ("sys/fs/cgroup/slurm/job_7/memory.current", "3221225472\n"),
        ("sys/fs/cgroup/slurm/job_7/memory.stat", "anon 1\ninactive_file 2147483648\n"),
        ("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n"),
        ("sys/fs/cgroup/slurm/job_7/step_0/memory.current", "1\n"),
    ];
    let tree = Tree::new("cgroup2", &[&WELL[..], &files].concat());
    let report = report(&tree.machine(&[]));
    // 4 GiB, of which 3 are used, of which 2 are page cache.
    assert_eq!(check(&report, "memory cgroup").found, "3 GiB free of 4 GiB (/sys/fs/cgroup/slurm/job_7)");
    assert!(check(&report, "capacity").found.ends_with("the memory cgroup has 3 GiB free"));
}

#[test]
fn a_version_1_cgroup_near_its_limit_is_a_warning() {
    let mounts = format!(
        "{SHM}35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
         41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    );
    let files = [
        ("proc/self/mountinfo", mounts.as_str()),
        ("proc/self/cgroup", "4:memory:/job\n0::/\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "99999999999\n"),
        ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1073741824\n"),
        ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1063256064\n"),
    ];
    let tree = Tree::new("cgroup1", &[&WELL[..], &files].concat());
    let report = report(&tree.machine(&[]));
    assert_eq!(check(&report, "memory cgroup").status, Status::Warn);
    assert_eq!(check(&report, "memory cgroup").found, "10 MiB free of 1 GiB (/sys/fs/cgroup/memory/job)");
    assert_eq!(check(&report, "capacity").status, Status::Fail);
}

#[test]
fn a_segment_folder_that_others_own_or_enter_is_refused() {
    let tree = Tree::new("private", &[("dev/shm/keep", "")]);
    let shm = tree.0.join("dev/shm");
    let owner = std::fs::metadata(&shm).expect("the folder").uid();
    let status = |uid: u32, mode: u32| {
        let folder = shm.join(format!("cascade-{uid}"));
        std::fs::create_dir_all(&folder).expect("the user's folder");
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).expect("chmod");
        let mut machine = tree.machine(&[]);
        machine.uid = uid;
        check(&report(&machine), "segment folder").status
    };
    assert_eq!(status(owner, 0o700), Status::Ok);
    assert_eq!(status(owner, 0o750), Status::Fail);
    assert_eq!(status(owner + 1, 0o700), Status::Fail);
}

#[test]
fn remove_ipc_is_on_unless_a_file_of_logind_says_no() {
    let systemd = [("run/systemd/system/keep", ""), ("etc/systemd/logind.conf", "[Login]\n#RemoveIPC=no\n")];
    let tree = Tree::new("logind", &systemd);
    assert_eq!(check(&report(&tree.machine(&[])), "RemoveIPC").status, Status::Warn);
    let mut system_user = tree.machine(&[]);
    system_user.uid = 0;
    assert_eq!(check(&report(&system_user), "RemoveIPC").status, Status::Ok);

    let drop_in = ("etc/systemd/logind.conf.d/site.conf", "[Login]\nRemoveIPC=no\n");
    let tree = Tree::new("logind-off", &[&systemd[..], &[drop_in]].concat());
    assert_eq!(check(&report(&tree.machine(&[])), "RemoveIPC").found, "is off");
}

#[test]
fn job_and_instance_make_the_segments_folder() {
    let tree = Tree::new("job", &[]);
    let report = report(&tree.machine(&[("SLURM_JOB_ID", "4711")]));
    assert_eq!(check(&report, "identity").found, "user 1000, job 4711 (SLURM_JOB_ID), instance default");
    assert_eq!(check(&report, "segment folder").found, "/dev/shm/cascade-1000/4711.default");
    assert_eq!(check(&report, "socket").found, "/dev/shm/cascade-1000/4711.default/node.sock");
}

#[test]
fn a_named_socket_wins_and_must_fit() {
    let tree = Tree::new("socket", &[]);
    let short = report(&tree.machine(&[("CASCADE_SOCKET", "/run/c.sock")]));
    assert_eq!(check(&short, "socket").found, "/run/c.sock");
    let long = format!("/{}", "x".repeat(200));
    let long = report(&tree.machine(&[("CASCADE_SOCKET", &long), ("TMPDIR", &long)]));
    assert_eq!(check(&long, "socket").status, Status::Fail);
}

#[test]
fn data_never_goes_home_unsaid() {
    let tree = Tree::new("data", &[("home/x/keep", ""), ("scratch/x/keep", "")]);
    let data = |environment: &[(&str, &str)]| {
        let report = report(&tree.machine(environment));
        let check = check(&report, "data folder");
        (check.status, check.found.clone())
    };
    assert_eq!(data(&[("PWD", "/home/x"), ("HOME", "/home/x")]).0, Status::Warn);
    let both = [("PWD", "/home/x"), ("HOME", "/home/x"), ("PSCRATCH", "/scratch/x")];
    assert_eq!(data(&both), (Status::Ok, "/scratch/x (PSCRATCH)".to_owned()));
    assert_eq!(data(&[("CASCADE_DIR", "/scratch/gone")]).0, Status::Warn);
}

#[test]
fn this_machine_is_examined_too() {
    let report = report(&Machine::here());
    assert!(report.checks.len() >= 10);
    assert!(report.checks.iter().all(|check| (check.status == Status::Ok) == check.advice.is_none()));
}
