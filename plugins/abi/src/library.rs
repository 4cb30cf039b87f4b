//! A tier's code, loaded or linked.
//! Invariants: a loaded library stays mapped for ever, so its table and its functions do; a table is used only after its
//! size, version and every function in it were checked.

use crate::elf;
use crate::open_tier::{lend, read_text};
use crate::vtable::{ENTRY_PREFIX, Text, TextBuffer, Vtable};
use crate::{ABI_VERSION, Entry, LoadError, OpenTier, Status, TierError};
use libloading::os::unix;
use std::mem::{self, offset_of};
use std::path::{Path, PathBuf};
use std::{ptr, slice};

/// A tier's code. Cheap to copy about; nothing is open yet.
#[derive(Clone)]
pub struct Library {
    vtable: &'static Vtable,
    path: Option<PathBuf>,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Library")
            .field("name", &self.name())
            .field("version", &self.version())
            .field("path", &self.path)
            .finish()
    }
}

impl Library {
    /// Loads a plugin. The tier's name is that of the file: `libcascade_tier_NAME.so`, or `NAME.so` or `libNAME.so`.
    ///
    /// Loading runs the library's constructors: load only what you trust.
    ///
    /// # Errors
    /// Each [`LoadError`] says what is wrong with the file and what to do.
    pub fn load(path: &Path) -> Result<Library, LoadError> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let stem = stem.strip_prefix("lib").unwrap_or(&stem);
        Library::load_as(path, stem.strip_prefix(ENTRY_PREFIX).unwrap_or(stem))
    }

    /// Loads the tier `name` from a file, whatever the file is called.
    ///
    /// # Errors
    /// As [`load`](Library::load).
    pub fn load_as(path: &Path, name: &str) -> Result<Library, LoadError> {
        let path = path.to_owned();
        if !path.exists() {
            return Err(LoadError::Missing { path });
        }
        if let Some(reason) = elf::fault(&path) {
            return Err(LoadError::NotALibrary { path, reason });
        }
        // Without a slash the loader would search its own path instead of taking this file.
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        // SAFETY: the caller trusts the library, so its constructors may run.
        let opened = unsafe { unix::Library::open(Some(&absolute), unix::RTLD_NOW | unix::RTLD_LOCAL) };
        let library = match opened {
            Ok(library) => library,
            Err(error) => {
                return Err(LoadError::NotALibrary { path, reason: innermost(&error) });
            }
        };
        let symbol = format!("{ENTRY_PREFIX}{}", name.replace('-', "_"));
        // SAFETY: a symbol with our prefix has this type; that is what the prefix says.
        let entry = unsafe { library.get::<Entry>(symbol.as_bytes()) }.map(|entry| *entry);
        let Ok(entry) = entry else { return Err(LoadError::NoEntry { path, symbol }) };
        // Threads, thread-locals and our `&'static` point into it: it stays mapped.
        mem::forget(library);
        let vtable = checked(entry, &path.display().to_string())?;
        Ok(Library { vtable, path: Some(path) })
    }

    /// A tier that is linked into this program.
    ///
    /// # Errors
    /// As [`load`](Library::load), where they apply.
    pub fn from_entry(entry: Entry) -> Result<Library, LoadError> {
        Ok(Library { vtable: checked(entry, "linked tier")?, path: None })
    }

    /// The tier's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        constant(self.vtable.name)
    }

    /// The plugin's own version.
    #[must_use]
    pub fn version(&self) -> &'static str {
        constant(self.vtable.version)
    }

    /// Where it was loaded from; `None` if it is linked in.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Looks at the machine without opening anything: what the tier would find, in JSON.
    ///
    /// # Errors
    /// What the tier answers; `PANICKED` if it did.
    pub fn probe(&self, config_json: &str) -> Result<String, TierError> {
        // SAFETY: the configuration lives through the call, and the buffer is what its type says.
        self.text(|buffer| unsafe { (self.vtable.probe)(lend(config_json), buffer) })
    }

    /// Removes what dead owners left: what went, what stayed and why, in JSON.
    ///
    /// # Errors
    /// As [`probe`](Library::probe); `UNSUPPORTED` if the tier leaves nothing.
    pub fn collect_garbage(&self, config_json: &str) -> Result<String, TierError> {
        // SAFETY: the configuration lives through the call, and the buffer is what its type says.
        self.text(|buffer| unsafe { (self.vtable.collect_garbage)(lend(config_json), buffer) })
    }

    /// Opens the tier.
    ///
    /// # Errors
    /// `INVALID` for a configuration that the tier cannot read, `OWNED` if a living process has it, or what else it answers.
    pub fn open(&self, config_json: &str) -> Result<OpenTier, TierError> {
        let mut handle = ptr::null_mut();
        // SAFETY: the configuration and the place for the handle live through the call.
        let status = unsafe { (self.vtable.open)(lend(config_json), &raw mut handle) };
        if !status.is_ok() {
            return Err(self.error(status));
        }
        match ptr::NonNull::new(handle) {
            Some(handle) => Ok(OpenTier::new(self.clone(), handle)),
            None => Err(TierError::new(
                Status::INVALID,
                "the tier opened, but gave no handle; report it to its author",
            )),
        }
    }

    pub(crate) fn vtable(&self) -> &'static Vtable {
        self.vtable
    }

    /// The words for a failure of a call without a handle.
    pub(crate) fn error(&self, status: Status) -> TierError {
        // SAFETY: null asks for this thread's calls, and the buffer is what its type says.
        let reason = read_text(|buffer| unsafe { (self.vtable.last_error)(ptr::null_mut(), buffer) });
        TierError::new(status, format!("{}: {}", self.name(), reason.unwrap_or_default()))
    }

    fn text(&self, call: impl FnMut(*mut TextBuffer) -> Status) -> Result<String, TierError> {
        read_text(call).map_err(|status| self.error(status))
    }
}

/// The last cause of an error, which is where the loader says what it found.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// A text of the table, which lives as long as the library: for ever.
fn constant(text: Text) -> &'static str {
    if text.data.is_null() {
        return "";
    }
    // SAFETY: the table's texts are constants of a library that stays mapped.
    let bytes = unsafe { slice::from_raw_parts(text.data, text.length as usize) };
    std::str::from_utf8(bytes).unwrap_or("?")
}

/// Asks an entry for its table and checks it, in the order in which its fields can be trusted.
fn checked(entry: Entry, origin: &str) -> Result<&'static Vtable, LoadError> {
    let other = |plugin| LoadError::OtherVersion { origin: origin.to_owned(), plugin, host: ABI_VERSION };
    let table = entry(ABI_VERSION);
    if table.is_null() {
        return Err(other(None));
    }
    // SAFETY: whatever the version, a table begins with its size and its version, and lives for ever.
    let (size_bytes, abi_version) = unsafe {
        let size_bytes = table.cast::<u64>().read();
        let abi_version = if size_bytes < 16 {
            0
        } else {
            table.cast::<u8>().add(offset_of!(Vtable, abi_version)).cast::<u32>().read()
        };
        (size_bytes, abi_version)
    };
    if size_bytes >= 16 && abi_version != ABI_VERSION {
        return Err(other(Some(abi_version)));
    }
    let needed_bytes = size_of::<Vtable>() as u64;
    if size_bytes < needed_bytes {
        return Err(LoadError::VtableTooSmall {
            origin: origin.to_owned(),
            found_bytes: size_bytes,
            needed_bytes,
        });
    }
    // Looked at as words first: a null in a `fn` would be undefined behaviour as soon as we had a reference.
    for offset in (offset_of!(Vtable, probe)..size_of::<Vtable>()).step_by(size_of::<usize>()) {
        // SAFETY: the table is at least `size_of::<Vtable>()` bytes, and from `probe` on it holds nothing but functions.
        if unsafe { table.cast::<u8>().add(offset).cast::<usize>().read() } == 0 {
            return Err(LoadError::VtableHole { origin: origin.to_owned(), offset_bytes: offset as u64 });
        }
    }
    // SAFETY: size, version and functions were checked; the table lives for ever because its library does.
    Ok(unsafe { &*table })
}
