//! Striping on Lustre, without its library: how a container is laid over the servers is said by ioctl when it is made.
//! Invariant: a failure costs the layout, never the container; it is tried once, and said.
//!
//! Source: lustre_user.h and liblustreapi of Lustre 2.15 (`llapi_file_open_param`).

use super::sys;
use rustix::fs::{self, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// What `statfs` says of a Lustre file system.
pub(crate) const LUSTRE_SUPER_MAGIC: u64 = 0x0BD0_0BD0;

/// Opens a new file without a layout, so that it can be given one.
const O_LOV_DELAY_CREATE: OFlags = OFlags::from_bits_retain(0x0100_2100);

const LOV_USER_MAGIC_V1: u32 = 0x0BD1_0BD0;
const LOV_PATTERN_RAID0: u32 = 1;
const ANY_SERVER: u16 = 0xFFFF;

/// What a stripe is a multiple of.
const STRIPE_UNIT_BYTES: u32 = 64 << 10;

/// How a container is laid over the servers of a Lustre file system.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Stripe {
    /// Over how many servers.
    pub count: u16,
    /// How much in a row on each, a multiple of 64 KiB.
    pub bytes: u32,
}

impl Stripe {
    /// `struct lov_user_md_v1`: magic, pattern, object (none yet), bytes, count, first server.
    fn layout(self) -> [u8; 32] {
        let mut layout = [0; 32];
        layout[0..4].copy_from_slice(&LOV_USER_MAGIC_V1.to_ne_bytes());
        layout[4..8].copy_from_slice(&LOV_PATTERN_RAID0.to_ne_bytes());
        layout[24..28].copy_from_slice(&self.bytes.to_ne_bytes());
        layout[28..30].copy_from_slice(&self.count.to_ne_bytes());
        layout[30..32].copy_from_slice(&ANY_SERVER.to_ne_bytes());
        layout
    }
}

/// What striping asks of the kernel. Behind a trait because Lustre is where few tests run.
pub(crate) trait Kernel: Debug + Send + Sync {
    /// The type of the file system that a folder is on.
    fn file_system_type(&self, folder: &OwnedFd) -> io::Result<u64>;

    /// Opens a file in a folder.
    fn open(&self, folder: &OwnedFd, name: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd>;

    /// Gives a file that has no layout this one.
    fn set_stripe(&self, file: &OwnedFd, layout: &[u8; 32]) -> io::Result<()>;
}

/// The kernel that runs us.
#[derive(Debug)]
pub(crate) struct Linux;

impl Kernel for Linux {
    fn file_system_type(&self, folder: &OwnedFd) -> io::Result<u64> {
        Ok(fs::fstatfs(folder)?.f_type as u64)
    }

    fn open(&self, folder: &OwnedFd, name: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        fs::openat(folder, name, flags, mode)
    }

    fn set_stripe(&self, file: &OwnedFd, layout: &[u8; 32]) -> io::Result<()> {
        sys::set_stripe(file, layout)
    }
}

/// How new containers are laid out.
#[derive(Debug)]
pub(crate) struct Striping {
    kernel: Box<dyn Kernel>,
    stripe: Stripe,
    failure: OnceLock<String>,
}

impl Striping {
    /// Lays containers out as wanted, if the folder is on Lustre.
    ///
    /// # Errors
    /// Why they are left to the directory's default.
    pub(crate) fn new(stripe: Stripe, kernel: Box<dyn Kernel>, folder: &OwnedFd) -> Result<Striping, String> {
        match kernel.file_system_type(folder) {
            Ok(LUSTRE_SUPER_MAGIC) => {}
            Ok(_) => return Err("this is no Lustre".to_owned()),
            Err(error) => return Err(format!("the file system does not say what it is: {error}")),
        }
        if stripe.bytes == 0 || !stripe.bytes.is_multiple_of(STRIPE_UNIT_BYTES) {
            return Err(format!("stripe.bytes: {} is not a multiple of {STRIPE_UNIT_BYTES}", stripe.bytes));
        }
        Ok(Striping { kernel, stripe, failure: OnceLock::new() })
    }

    /// The layout of new containers, or why there is none.
    pub(crate) fn layout(&self) -> Result<Stripe, &str> {
        self.failure.get().map_or(Ok(self.stripe), |failure| Err(failure))
    }

    /// Makes a container with its layout. `counted` is told of each operation that the metadata server sees.
    pub(crate) fn create(
        &self,
        folder: &OwnedFd,
        name: &str,
        flags: OFlags,
        mode: Mode,
        counted: impl Fn(),
    ) -> rustix::io::Result<OwnedFd> {
        counted();
        if self.failure.get().is_some() {
            return self.kernel.open(folder, name, flags, mode);
        }
        let file = self.kernel.open(folder, name, flags | O_LOV_DELAY_CREATE, mode)?;
        counted();
        let Err(error) = self.kernel.set_stripe(&file, &self.stripe.layout()) else { return Ok(file) };
        let Stripe { count, bytes } = self.stripe;
        let _ = self.failure.set(format!("stripes of {bytes} bytes on {count} servers are refused: {error}"));
        // Opened once more for writing, the file gets the layout of its directory; as it is now, it would have none.
        drop(file);
        counted();
        self.kernel.open(folder, name, flags - OFlags::CREATE - OFlags::EXCL, mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Access, Caching, Directory, FileKind, PosixDirectory};
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};

    const STRIPE: Stripe = Stripe { count: 2, bytes: 4 << 20 };
    const EXT4_SUPER_MAGIC: u64 = 0xEF53;

    /// Opens files for real, says that it is another file system, and notes what it was asked.
    #[derive(Clone, Debug)]
    struct Recorder {
        file_system_type: u64,
        /// Whether the ioctl is made for real, which fails: there is no Lustre below.
        refuses: bool,
        asked: Arc<Mutex<Vec<Asked>>>,
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Asked {
        Open(u32),
        Stripe([u8; 32]),
    }

    impl Kernel for Recorder {
        fn file_system_type(&self, folder: &OwnedFd) -> io::Result<u64> {
            assert_ne!(Linux.file_system_type(folder)?, 0);
            Ok(self.file_system_type)
        }

        fn open(
            &self,
            folder: &OwnedFd,
            name: &str,
            flags: OFlags,
            mode: Mode,
        ) -> rustix::io::Result<OwnedFd> {
            self.asked.lock().unwrap().push(Asked::Open(flags.bits()));
            Linux.open(folder, name, flags, mode)
        }

        fn set_stripe(&self, file: &OwnedFd, layout: &[u8; 32]) -> io::Result<()> {
            self.asked.lock().unwrap().push(Asked::Stripe(*layout));
            if self.refuses { Linux.set_stripe(file, layout) } else { Ok(()) }
        }
    }

    struct Fake {
        directory: PosixDirectory,
        recorder: Recorder,
        path: PathBuf,
    }

    impl Fake {
        fn new(test: &str, file_system_type: u64, refuses: bool, stripe: Stripe) -> Fake {
            let path = std::env::temp_dir().join(format!("cascade-stripe-{}-{test}", std::process::id()));
            let recorder = Recorder { file_system_type, refuses, asked: Arc::default() };
            let directory = PosixDirectory::open(&path, Access::ReadWrite, Caching::Used).unwrap();
            let directory = directory.striped_by(stripe, Box::new(recorder.clone()));
            Fake { directory, recorder, path }
        }

        fn asked(&self) -> Vec<Asked> {
            std::mem::take(&mut *self.recorder.asked.lock().unwrap())
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }

    /// O_CREAT, O_EXCL, O_RDWR, O_NOFOLLOW, O_CLOEXEC, as x86-64 and aarch64 have them.
    const CREATE: u32 =
        (libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_NOFOLLOW | libc::O_CLOEXEC) as u32;

    #[test]
    fn a_container_on_lustre_is_made_without_a_layout_and_then_given_its_own() {
        let fake = Fake::new("made", LUSTRE_SUPER_MAGIC, false, STRIPE);
        let before = fake.directory.metadata_operations();
        fake.directory.create("a", FileKind::Container).unwrap();
        #[rustfmt::skip]
        let layout = [
            0xD0, 0x0B, 0xD1, 0x0B, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 2, 0, 0xFF, 0xFF,
        ];
        assert_eq!(fake.asked(), [Asked::Open(CREATE | 0x0100_2100), Asked::Stripe(layout)]);
        assert_eq!(fake.directory.metadata_operations(), before + 2);
        assert_eq!(fake.directory.stripe(), Ok(Some(STRIPE)));
    }

    #[test]
    fn small_records_and_what_is_only_opened_are_left_alone() {
        let fake = Fake::new("records", LUSTRE_SUPER_MAGIC, false, STRIPE);
        fake.directory.create("a", FileKind::Container).unwrap();
        fake.asked();
        fake.directory.create("b", FileKind::Records).unwrap();
        fake.directory.open("a", FileKind::Container).unwrap();
        assert_eq!(fake.asked(), []);
    }

    #[test]
    fn a_refused_layout_costs_the_layout_only_and_is_tried_once() {
        let fake = Fake::new("refused", LUSTRE_SUPER_MAGIC, true, STRIPE);
        let file = fake.directory.create("a", FileKind::Container).unwrap();
        fake.directory.write_at(&file, b"pieces", 0).unwrap();
        let plain = CREATE & !(libc::O_CREAT | libc::O_EXCL) as u32;
        let asked = fake.asked();
        assert_eq!(asked[0], Asked::Open(CREATE | O_LOV_DELAY_CREATE.bits()));
        assert_eq!(asked[2..], [Asked::Open(plain)]);
        let reason = fake.directory.stripe().unwrap_err().to_owned();
        assert!(reason.contains("Inappropriate ioctl"), "{reason}");
        assert!(fake.directory.notes().iter().any(|note| note.contains(&reason)), "people are told");
        fake.directory.create("b", FileKind::Container).unwrap();
        assert_eq!(fake.asked(), [Asked::Open(CREATE)]);
        assert_eq!(
            fake.directory.create("b", FileKind::Container).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn elsewhere_and_with_odd_stripes_containers_are_as_the_directory_says() {
        let odd = Stripe { count: 1, bytes: 1000 };
        for (test, file_system_type, stripe, reason) in [
            ("ext4", EXT4_SUPER_MAGIC, STRIPE, "no Lustre"),
            ("odd", LUSTRE_SUPER_MAGIC, odd, "multiple of 65536"),
        ] {
            let fake = Fake::new(test, file_system_type, false, stripe);
            fake.directory.create("a", FileKind::Container).unwrap();
            assert_eq!(fake.asked(), []);
            let said = fake.directory.stripe().unwrap_err().to_owned();
            assert!(said.contains(reason), "{said}");
        }
    }
}
