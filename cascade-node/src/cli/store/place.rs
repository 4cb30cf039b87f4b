//! Where a store is, and how it is opened: what a node would tell the tier, but for what a look at it changes.

use std::path::{Path, PathBuf};

use cascade_tier::{Library, News};
use serde_json::Value;

use super::{Condition, Store, failure};
use crate::cli::interrupts::Interrupts;
use crate::cli::{Context, Exit, Failure, tiers};
use crate::config::Override;
use crate::engine::{LOWER_TIER, lower_configuration};

/// Nothing is lost if the tier is left behind in a file system that hangs: it is not waited for.
const CLOSE_WAIT_MS: u64 = 500;

/// `--store`, for commands that look into one.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct StoreFlag {
    /// Folder of the store [default: lustre.directory of the configuration, which is $CASCADE_DIR or on scratch]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    store: Option<PathBuf>,
}

/// Where a store is; it can be opened again and again.
#[derive(Debug)]
pub(in crate::cli) struct Place {
    library: Library,
    directory: PathBuf,
    /// What a node would tell the tier.
    configuration: Value,
    interrupts: Interrupts,
}

/// What may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Access {
    /// Nothing is made or changed.
    ReadOnly,
    /// What a node may.
    ReadWrite,
}

impl StoreFlag {
    /// Whether a store was named.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.store.is_some()
    }

    /// What it sets in the configuration.
    pub(in crate::cli) fn overrides(&self) -> Vec<Override> {
        let folder =
            self.store.as_deref().map(|store| std::path::absolute(store).unwrap_or(store.to_owned()));
        let value = folder.map(|folder| folder.display().to_string());
        let set = |value| Override { flag: "--store", key: "lustre.directory".to_owned(), value };
        value.into_iter().map(set).collect()
    }

    /// The store that is meant. Interrupts are watched from here on.
    pub(in crate::cli) fn place(&self, context: &Context) -> Result<Place, Failure> {
        let loaded = context.configuration()?;
        let (Some(directory), Some(configuration)) =
            (loaded.config.lustre.folder(), lower_configuration(&loaded.config))
        else {
            let hint = "which store? name its folder with --store DIR, CASCADE_DIR or lustre.directory";
            return Err(Failure::new(Exit::Usage, hint));
        };
        let library = tiers::load(LOWER_TIER, &tiers::folders(&loaded))
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        let interrupts = Interrupts::watch()?;
        Ok(Place { library, directory: directory.to_owned(), configuration, interrupts })
    }
}

impl Place {
    /// Its folder.
    pub(in crate::cli) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What asks to stop.
    pub(super) fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// Opens it. That it cannot be opened is told by the first look at it.
    pub(in crate::cli) fn open(&self, access: Access) -> Result<Store<'_>, Failure> {
        let mut configuration = self.configuration.clone();
        // This store, and none beside it.
        configuration["read_only"] = Value::Array(Vec::new());
        if access == Access::ReadOnly {
            configuration["mode"] = "read_only".into();
            configuration["close_wait_ms"] = CLOSE_WAIT_MS.into();
        }
        let tier = self.library.open(&configuration.to_string()).map_err(failure)?;
        Ok(Store::new(self, tier))
    }

    /// Opens it to be read, and shows `each` what it tells, until all has been told that was there.
    pub(in crate::cli) fn walk(
        &self,
        mut each: impl FnMut(&News) -> Result<(), Failure>,
    ) -> Result<Condition, Failure> {
        let mut store = self.open(Access::ReadOnly)?;
        let mut news = Vec::new();
        while !store.is_told() {
            store.hear(&mut news)?;
            news.iter().try_for_each(&mut each)?;
            if news.is_empty() {
                store.rest()?;
            }
        }
        store.condition()
    }
}
