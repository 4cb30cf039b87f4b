//! One golden file: named values in hexadecimal, compared as a whole.

use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

/// The values of one format, as the program makes them today.
pub(crate) struct Golden {
    format: &'static str,
    version: &'static str,
    text: String,
}

impl Golden {
    /// A format whose change must raise `version`.
    pub(crate) fn new(format: &'static str, version: &'static str) -> Self {
        Self { format, version, text: String::new() }
    }

    /// Adds a value of bytes.
    pub(crate) fn bytes(&mut self, name: &str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.text, "{name}: {hex}").expect("a string takes everything");
    }

    /// Adds a value of words; written as words, so that fields can be read off.
    pub(crate) fn words(&mut self, name: &str, words: &[u64]) {
        let hex: Vec<String> = words.iter().map(|word| format!("{word:016x}")).collect();
        writeln!(self.text, "{name}: {}", hex.join(" ")).expect("a string takes everything");
    }

    /// Fails with the first difference and what to do about it.
    pub(crate) fn compare(self) {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("formats").join(self.format).with_extension("txt");
        if env::var_os("CASCADE_GOLDEN").is_some_and(|what| what == "write") {
            fs::write(&path, &self.text).expect("the golden file is writable");
        }
        let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let pair = golden.lines().zip(self.text.lines()).find(|(golden, now)| golden != now);
        let advice = "programs of other releases no longer understand it. If that is meant, raise";
        if let Some((golden, now)) = pair {
            panic!(
                "the format `{}` changed: {advice} {}.\n  was {golden}\n  is  {now}",
                self.format, self.version
            );
        }
        assert!(
            golden == self.text,
            "the format `{}` gained or lost values: {advice} {}",
            self.format,
            self.version
        );
    }
}
