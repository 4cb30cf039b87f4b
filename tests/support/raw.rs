//! A client made by hand, that need not keep to the protocol: it speaks frames, maps its page, and writes what it likes.

use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr::NonNull;

use cascade_core::page::{PAGE_BYTES, PAGE_WORDS, Page};
use cascade_core::sync::AtomicU64;
use cascade_core::view::Region;
use cascade_core::wire::{Frame, HEADER_BYTES, Header};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

const DESCRIPTORS_MAX: usize = 16;

/// An attached client without any of the client library.
#[derive(Debug)]
pub struct RawClient {
    stream: UnixStream,
    page_index: u16,
    node_bell: OwnedFd,
    pages: MmapRaw,
    _lock: OwnedFd,
}

impl RawClient {
    /// Attaches, maps the client pages and locks its own.
    ///
    /// # Panics
    /// If the node refuses.
    pub fn attach(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).expect("the node listens");
        let attach = Frame::Attach { segment_id: 0, page: 0, owner: 0 };
        stream.write_all(&attach.encode()).expect("the node reads");
        let (frame, mut descriptors) = receive(&stream);
        let Frame::Attached { page, .. } = frame else { panic!("not attached: {frame:?}") };
        let pages_file = descriptors.swap_remove(2);
        let node_bell = descriptors.swap_remove(0);
        let path = format!("/proc/self/fd/{}", pages_file.as_raw_fd());
        let lock =
            rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).expect("opened anew");
        lock_page(&lock, page);
        let pages = MmapOptions::new().map_raw(pages_file.as_raw_fd()).expect("the pages can be mapped");
        Self { stream, page_index: page, node_bell, pages, _lock: lock }
    }

    /// The number of the page.
    pub fn page_index(&self) -> u16 {
        self.page_index
    }

    /// All words of the page.
    ///
    /// # Panics
    /// If the node gave a page outside of the file.
    pub fn words(&self) -> &[AtomicU64] {
        let base = NonNull::new(self.pages.as_mut_ptr()).expect("a mapping is never at null");
        // SAFETY: the mapping lives as long as `self`, from which the words are borrowed.
        let region: Region<'_> = unsafe { Region::new(base, self.pages.len()) };
        region.words(usize::from(self.page_index) * PAGE_BYTES, PAGE_WORDS).expect("a page of the file")
    }

    /// The page, by the book.
    pub fn page(&self) -> Page<'_> {
        Page::new(self.words())
    }

    /// Wakes the node.
    pub fn ring_bell(&self) {
        let _ = rustix::io::write(&self.node_bell, &1u64.to_ne_bytes());
    }

    /// The connection.
    pub fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }
}

/// Reads one frame with its descriptors.
///
/// # Panics
/// If what comes is no frame.
pub fn receive(stream: &UnixStream) -> (Frame, Vec<OwnedFd>) {
    let mut descriptors = Vec::new();
    let mut header = [0; HEADER_BYTES];
    fill(stream, &mut header, &mut descriptors);
    let header = Header::decode(&header).expect("a frame of the node");
    let mut body = vec![0; header.body_bytes];
    fill(stream, &mut body, &mut descriptors);
    (Frame::decode(header, &body).expect("a frame of the node"), descriptors)
}

fn fill(stream: &UnixStream, target: &mut [u8], descriptors: &mut Vec<OwnedFd>) {
    let mut got = 0;
    while got < target.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut target[got..])];
        let message =
            recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).expect("the node answers");
        assert!(message.bytes > 0, "the node hung up");
        got += message.bytes;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = part {
                descriptors.extend(received);
            }
        }
    }
}

fn lock_page(file: &OwnedFd, page: u16) {
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: (usize::from(page) * PAGE_BYTES) as libc::off_t,
        l_len: PAGE_BYTES as libc::off_t,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open and the command reads one `flock`.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    assert!(result == 0, "the page is locked by somebody else");
}
