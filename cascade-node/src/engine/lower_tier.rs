//! The lower tier as it was loaded: its code, and whether the node does without it.

use cascade_tier::Library;

use super::EngineError;
use super::lower::{self, Lower};
use super::memory::SegmentMemory;
use super::store::Store;
use crate::config::Config;

/// The tier that keeps what memory cannot, by its name in the configuration.
pub const NAME: &str = "lustre";

/// A loaded tier that is not open yet.
#[derive(Debug)]
pub struct LowerTier {
    /// Its code.
    pub library: Library,
    /// Whether the node does not start without it.
    pub is_required: bool,
}

impl LowerTier {
    /// Opens the tier below a store; `None`, and said, if that is not possible and not required.
    pub(super) fn open(
        &self,
        config: &Config,
        memory: &SegmentMemory,
        store: &mut Store,
    ) -> Result<Option<Lower>, EngineError> {
        let Some(configuration) = lower::configuration(config) else {
            let reason = "no folder for it: name one in CASCADE_DIR or lustre.directory";
            if self.is_required {
                return Err(EngineError::Lower(reason.to_owned()));
            }
            tracing::info!(tier = NAME, reason, "going on without a lower tier");
            return Ok(None);
        };
        // SAFETY: the engine closes or drops this before the memory, and slots are the node's to hand out.
        match unsafe {
            Lower::open(&self.library, &configuration.to_string(), &memory.arenas(), &config.flow)
        } {
            Ok(lower) => {
                lower.attach(store);
                Ok(Some(lower))
            }
            Err(error) if self.is_required => Err(EngineError::Lower(error.to_string())),
            Err(error) => {
                tracing::warn!(tier = NAME, %error, "going on without a lower tier");
                Ok(None)
            }
        }
    }
}
