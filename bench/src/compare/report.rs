//! `report`: the table and the chart of a comparison that was kept, beside its JSON.

use super::{Comparison, chart, table};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes FILE.md and FILE.svg for a FILE.json; their paths.
///
/// # Errors
/// The file is none that `compare --json` wrote, or its folder takes no more.
pub(crate) fn report(kept: &Path) -> Result<[PathBuf; 2], Box<dyn Error>> {
    let text = fs::read_to_string(kept).map_err(|error| format!("{}: {error}", kept.display()))?;
    let run: Comparison = serde_json::from_str(&text)
        .map_err(|error| format!("{} is no output of `compare --json`: {error}", kept.display()))?;
    let paths = ["md", "svg"].map(|extension| kept.with_extension(extension));
    let picture = paths[1].file_name().expect("it has a name").to_string_lossy().into_owned();
    fs::write(&paths[0], format!("{}\n![The same as bars.]({picture})\n", table(&run)))?;
    fs::write(&paths[1], chart::svg(&run)?)?;
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::table::tests::comparison;

    #[test]
    fn table_and_chart_lie_beside_what_was_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = folder.path().join("run.json");
        fs::write(&kept, serde_json::to_string(&comparison()).expect("it is data")).expect("there is room");
        let [table, chart] = report(&kept).expect("it was kept here");
        assert!(fs::read_to_string(table).expect("it was written").contains("(run.svg)"));
        assert!(fs::read_to_string(chart).expect("it was written").starts_with("<svg"));
    }

    #[test]
    fn what_is_no_comparison_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = folder.path().join("local.json");
        fs::write(&kept, "{}").expect("there is room");
        assert!(report(&kept).expect_err("it is none").to_string().contains("local.json is no output"));
    }
}
