//! What `Unlink` and `Discard` do to a store that others may be using: all goes but what belongs to writers who live.

use crate::format::FileName;
use crate::holdings::Holdings;
use std::collections::HashSet;
use std::io;
use std::time::Duration;

/// Removes the store. Writers who have not ended, and may live, keep what is theirs, and then the directory stays a store.
pub(crate) fn wipe(holdings: &Holdings, expiry: Duration) -> io::Result<()> {
    let lives = |manifest: &&crate::manifest::Manifest| {
        !manifest.is_own && !manifest.is_folded && !manifest.is_closed && manifest.grown_at.elapsed() < expiry
    };
    let living: HashSet<u64> =
        holdings.manifests.iter().filter(lives).map(|manifest| manifest.writer).collect();
    let names = holdings.directory.list()?;
    for name in names.iter().filter_map(|name| FileName::parse(name)) {
        let stays = match name {
            FileName::Store | FileName::Claim(_) => !living.is_empty(),
            FileName::Manifest(writer) | FileName::Folded(writer) | FileName::Unfinished(writer) => {
                living.contains(&writer)
            }
            FileName::Container(id) => living.contains(&id.writer),
        };
        if !stays {
            holdings.directory.remove(&name.to_string())?;
        }
    }
    Ok(())
}
