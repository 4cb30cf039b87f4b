//! Where the store on a file system lies when nobody says: on scratch, where sites have large and fast file systems, and
//! never in a home, which is small, slow and everybody's.

use std::path::Path;

use super::schema::Lustre;

/// The key that is found out here.
pub(super) const KEY: &str = "lustre.directory";
/// Variables of sites that lead to scratch, first one first.
pub(crate) const VARIABLES: [&str; 2] = ["SCRATCH", "PSCRATCH"];
/// The variable that leads home.
pub(crate) const HOME: &str = "HOME";
/// The folder of ours there.
const FOLDER: &str = "cascade";

/// Puts the folder in the place of `auto`, if the environment leads to one; returns the origin then.
pub(super) fn resolve(lustre: &mut Lustre, environment: &[(String, String)]) -> Option<String> {
    if lustre.folder().is_some() {
        return None;
    }
    let value = |name: &str| environment.iter().find(|(n, _)| n == name).map(|(_, value)| Path::new(value));
    let home = value(HOME).filter(|home| home.parent().is_some());
    let is_scratch = |path: &Path| path.is_absolute() && !home.is_some_and(|home| path.starts_with(home));
    let (name, path) =
        VARIABLES.iter().find_map(|name| Some((name, value(name).filter(|path| is_scratch(path))?)))?;
    lustre.directory = path.join(FOLDER);
    Some(format!("variable {name}"))
}
