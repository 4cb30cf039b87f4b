//! A directory of a real file system: private, counted, and never followed elsewhere.

use crate::support::Folder;
use cascade_tier_lustre::io::{Access, Caching, Directory, FileKind, PosixDirectory};
use rustix::fs::OFlags;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{SystemTime, UNIX_EPOCH};

fn folder(test: &str) -> Folder {
    Folder::on_disk(&format!("directory-{test}"), Caching::Avoided)
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn flags(file: &OwnedFd) -> OFlags {
    rustix::fs::fcntl_getfl(file).unwrap()
}

#[test]
fn the_directory_and_its_files_are_private_and_leak_into_no_child() {
    let folder = folder("private");
    let file = folder.directory.create("a", FileKind::Records).unwrap();
    assert_eq!((mode(folder.path()), mode(&folder.path().join("a"))), (0o700, 0o600));
    let closed = rustix::io::fcntl_getfd(&file).unwrap().contains(rustix::io::FdFlags::CLOEXEC);
    assert!(closed);
}

#[test]
fn a_directory_that_others_may_enter_is_refused_with_what_to_do() {
    let folder = folder("open");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o750)).unwrap();
    let error = PosixDirectory::open(folder.path(), Access::ReadWrite, Caching::Used).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[test]
fn no_symbolic_link_is_followed() {
    let folder = folder("links");
    fs::write(folder.path().join("target"), "x").unwrap();
    symlink("target", folder.path().join("link")).unwrap();
    assert!(folder.directory.open("link", FileKind::Records).is_err());
    let beside = folder.path().with_extension("link");
    symlink(folder.path(), &beside).unwrap();
    let error = PosixDirectory::open(&beside, Access::ReadWrite, Caching::Used).unwrap_err();
    fs::remove_file(&beside).unwrap();
    assert!(error.to_string().contains("symbolic link"), "{error}");
}

#[test]
fn a_file_is_made_once_and_removed_without_complaint() {
    let folder = folder("names");
    let directory = &folder.directory;
    directory.create("a", FileKind::Records).unwrap();
    assert_eq!(directory.create("a", FileKind::Records).unwrap_err().kind(), ErrorKind::AlreadyExists);
    directory.rename("a", "b").unwrap();
    assert_eq!(directory.open("a", FileKind::Records).unwrap_err().kind(), ErrorKind::NotFound);
    directory.create("c", FileKind::Container).unwrap();
    let mut names = directory.list().unwrap();
    names.sort();
    assert_eq!(names, ["b", "c"]);
    for name in ["b", "b"] {
        directory.remove(name).unwrap();
    }
    directory.sync_names().unwrap();
    assert_eq!(directory.list().unwrap(), ["c"]);
}

#[test]
fn records_are_written_and_read_at_any_offset() {
    let folder = folder("records");
    let directory = &folder.directory;
    let file = directory.create("a", FileKind::Records).unwrap();
    directory.write_at(&file, b"world", 6).unwrap();
    directory.write_at(&file, b"hello", 0).unwrap();
    directory.sync(&file).unwrap();
    let mut buffer = [1; 20];
    assert_eq!(directory.read_at(&file, &mut buffer, 0).unwrap(), 11);
    assert_eq!(&buffer[..12], b"hello\0world\x01");
    assert_eq!(directory.read_at(&file, &mut buffer, 11).unwrap(), 0);
    let look = directory.look(&file).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    assert_eq!(look.length, 11);
    assert!(look.written_ns <= now + 1_000_000_000 && look.written_ns > now - 600_000_000_000);
    let file = directory.open("a", FileKind::Records).unwrap();
    assert_eq!(directory.write_at(&file, b"x", 0).unwrap_err().raw_os_error(), Some(libc::EBADF));
}

#[test]
fn containers_avoid_the_page_cache_where_that_works_and_records_never_do() {
    let folder = folder("direct");
    let directory = &folder.directory;
    let works = matches!(directory.direct(), Some(Ok(())));
    let container = directory.create("c", FileKind::Container).unwrap();
    let records = directory.create("r", FileKind::Records).unwrap();
    assert_eq!(flags(&container).contains(OFlags::DIRECT), works);
    assert!(!flags(&records).contains(OFlags::DIRECT));
    let through_the_cache = folder.again();
    assert!(matches!(through_the_cache.direct(), Some(Err(_))));
    let container = through_the_cache.open("c", FileKind::Container).unwrap();
    assert!(!flags(&container).contains(OFlags::DIRECT));
    assert!(directory.list().unwrap().iter().all(|name| name == "c" || name == "r"), "no probe is left");
}

#[test]
fn who_only_reads_makes_nothing_and_finds_out_by_its_first_container() {
    let folder = folder("read-only");
    folder.directory.create("c", FileKind::Container).unwrap();
    let reader = PosixDirectory::open(folder.path(), Access::ReadOnly, Caching::Avoided).unwrap();
    assert!(reader.direct().is_none());
    reader.open("c", FileKind::Container).unwrap();
    assert_eq!(
        reader.direct().is_some_and(|direct| direct.is_ok()),
        folder.directory.direct() == Some(Ok(()))
    );
    for refused in
        [reader.create("d", FileKind::Records).map(drop), reader.remove("c"), reader.rename("c", "d")]
    {
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
    let missing = folder.path().join("missing");
    assert!(PosixDirectory::open(&missing, Access::ReadOnly, Caching::Avoided).is_err());
    assert!(!missing.exists());
}

#[test]
fn what_a_metadata_server_would_see_is_counted_and_nothing_else() {
    let folder = folder("counted");
    let directory = &folder.directory;
    let start = directory.metadata_operations();
    assert!(start <= 6, "making, opening, a look, a probe: {start}");
    let file = directory.create("a", FileKind::Records).unwrap();
    directory.open("a", FileKind::Container).unwrap();
    directory.look(&file).unwrap();
    directory.list().unwrap();
    directory.rename("a", "b").unwrap();
    directory.remove("b").unwrap();
    assert_eq!(directory.metadata_operations(), start + 6);
    for _ in 0..100 {
        directory.write_at(&file, b"x", 0).unwrap();
        directory.read_at(&file, &mut [0], 0).unwrap();
    }
    assert_eq!(directory.metadata_operations(), start + 6);
}
