//! Where tiers are looked for, and what their files are called.

use std::path::{Path, PathBuf};

use super::schema::Plugins;

const PREFIX: &str = "libcascade_tier_";
const SUFFIX: &str = ".so";

impl Plugins {
    /// The folders to look in, first one first: `search`; if that is empty, those that `variable` (the value of
    /// `CASCADE_PLUGINS`) separates by `:`, then `../lib` seen from the folder of `program`, then that folder.
    pub fn folders(&self, variable: Option<&str>, program: Option<&Path>) -> Vec<PathBuf> {
        if !self.search.is_empty() {
            return self.search.clone();
        }
        let named =
            variable.unwrap_or_default().split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let beside = program.and_then(Path::parent).into_iter().flat_map(|bin| {
            let lib = bin.parent().map(|prefix| prefix.join("lib"));
            lib.into_iter().chain([bin.to_owned()])
        });
        named.chain(beside).collect()
    }
}

/// The file name of a tier: `mpi-remote` is in `libcascade_tier_mpi_remote.so`.
pub fn library_file(tier: &str) -> String {
    format!("{PREFIX}{}{SUFFIX}", tier.replace('-', "_"))
}

/// The tier that a file holds by its name, with `_` for `-`; `None` for a file that is called otherwise.
pub fn tier_of(file: &str) -> Option<&str> {
    file.strip_prefix(PREFIX)?.strip_suffix(SUFFIX).filter(|name| !name.is_empty())
}

/// The file of a tier in the first folder that has it.
pub fn locate(tier: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(library_file(tier))).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_variable_comes_before_the_programs_neighbours() {
        let mut plugins = Config::default().plugins;
        let folders =
            |plugins: &Plugins| plugins.folders(Some("/a::/b"), Some(Path::new("/opt/bin/cascade-node")));
        assert_eq!(folders(&plugins), ["/a", "/b", "/opt/lib", "/opt/bin"].map(PathBuf::from));
        plugins.search = vec!["/only".into()];
        assert_eq!(folders(&plugins), [PathBuf::from("/only")]);
    }

    #[test]
    fn a_tier_and_its_file_name_each_other() {
        assert_eq!(library_file("mpi-remote"), "libcascade_tier_mpi_remote.so");
        assert_eq!(tier_of("libcascade_tier_mpi_remote.so"), Some("mpi_remote"));
        assert_eq!(tier_of("libm.so"), None);
    }
}
