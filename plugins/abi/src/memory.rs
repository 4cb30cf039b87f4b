//! A memory as it crosses the boundary: what it is called, how large it is, and who can reach it how.
//! Invariant: pointers and descriptors in it are lent; whoever handed it out keeps them alive and closes them.

use crate::MemoryId;
use std::ptr;

/// What kind of memory it is, and so what [`Memory::handle`] means.
pub mod kind {
    /// Memory of this host.
    pub const HOST: u16 = 0;
    /// Memory of a CUDA device; the handle is a `cudaIpcMemHandle_t`.
    pub const CUDA: u16 = 1;
    /// Memory of another node; the handle is the remote tier's.
    pub const REMOTE: u16 = 2;
}

/// Bits of [`Memory::flags`].
pub mod flag {
    /// `cpu_pointer` may be dereferenced in this process.
    pub const CPU_ADDRESSABLE: u32 = 1;
    /// Nobody may write it through this description.
    pub const READ_ONLY: u32 = 1 << 1;
}

/// Bytes of a memory's name, NUL-padded.
pub const NAME_BYTES: usize = 32;

/// One memory, described.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// The tier's number for it. Ignored when the host registers or imports.
    pub id: MemoryId,
    /// One of [`kind`].
    pub kind: u16,
    /// Bits of [`flag`].
    pub flags: u32,
    /// How long it is.
    pub length_bytes: u64,
    /// Its first byte in this process, or null.
    pub cpu_pointer: *mut u8,
    /// Its address as its device sees it, or 0.
    pub device_address: u64,
    /// The number of its device, or -1.
    pub device: i32,
    /// The NUMA domain that it was bound to, or -1.
    pub numa_node: i32,
    /// A descriptor to map and write it by, or -1.
    pub fd: i32,
    /// A descriptor of the same file that can only be read, or -1. For those who must not write.
    pub fd_readonly: i32,
    /// How other processes or devices reach it; `kind` tells what it is.
    pub handle: [u8; 64],
    name: [u8; NAME_BYTES],
}

impl Memory {
    /// A description with a name and a length and nothing else: no CPU can dereference it, no descriptor leads to it.
    ///
    /// # Panics
    /// If the name is empty, has a NUL in it or takes more than [`NAME_BYTES`]: names are the programmer's.
    #[must_use]
    pub fn new(name: &str, length_bytes: u64) -> Memory {
        assert!(!name.is_empty(), "a memory needs a name");
        assert!(name.len() <= NAME_BYTES, "the memory name {name:?} takes more than {NAME_BYTES} bytes");
        assert!(!name.contains('\0'), "the memory name {name:?} has a NUL in it");
        let mut padded = [0; NAME_BYTES];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        Memory {
            id: 0,
            kind: kind::HOST,
            flags: 0,
            length_bytes,
            cpu_pointer: ptr::null_mut(),
            device_address: 0,
            device: -1,
            numa_node: -1,
            fd: -1,
            fd_readonly: -1,
            handle: [0; 64],
            name: padded,
        }
    }

    /// Host memory at `cpu_pointer` in this process.
    #[must_use]
    pub fn at(self, cpu_pointer: *mut u8) -> Memory {
        Memory { cpu_pointer, flags: self.flags | flag::CPU_ADDRESSABLE, ..self }
    }

    /// What the memory is called; a name that is no UTF-8 reads as empty.
    #[must_use]
    pub fn name(&self) -> &str {
        let length = self.name.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
        std::str::from_utf8(&self.name[..length]).unwrap_or_default()
    }

    /// The first byte, if a CPU of this process may dereference it.
    #[must_use]
    pub fn cpu_address(&self) -> Option<*mut u8> {
        (self.flags & flag::CPU_ADDRESSABLE != 0 && !self.cpu_pointer.is_null()).then_some(self.cpu_pointer)
    }
}

// SAFETY: a description owns nothing and dereferences nothing; whoever uses its pointer answers for the thread it is used on.
unsafe impl Send for Memory {}
// SAFETY: as above; there is nothing to change behind a shared reference.
unsafe impl Sync for Memory {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_full_length_comes_back_whole() {
        let name = "n".repeat(NAME_BYTES);
        assert_eq!(Memory::new(&name, 1).name(), name);
    }

    #[test]
    fn memory_without_the_flag_has_no_cpu_address() {
        let mut byte = 0_u8;
        let mut memory = Memory::new("m", 1).at(&raw mut byte);
        assert!(memory.cpu_address().is_some());
        memory.flags = 0;
        assert!(memory.cpu_address().is_none());
    }
}
