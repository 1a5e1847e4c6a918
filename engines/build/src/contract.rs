//! The contract between an engine and its host, as the tools of other languages want it: files in a folder.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::BuildError;

/// The world that an engine is.
pub(crate) const WORLD: &str = "decision-engine";

/// The texts, as this version of the crate knows them: what the host of the same version serves.
pub(crate) const FILES: [(&str, &str); 6] = [
    ("control.wit", include_str!("../../../wit/engine/control.wit")),
    ("engine.wit", include_str!("../../../wit/engine/engine.wit")),
    ("log.wit", include_str!("../../../wit/engine/log.wit")),
    ("state.wit", include_str!("../../../wit/engine/state.wit")),
    ("types.wit", include_str!("../../../wit/engine/types.wit")),
    ("world.wit", include_str!("../../../wit/engine/world.wit")),
];

/// Writes them into a folder that goes away with the value.
pub(crate) fn written() -> Result<TempDir, BuildError> {
    let folder = TempDir::with_prefix("pilothouse-contract-").map_err(BuildError::file("making", &std::env::temp_dir()))?;
    write(folder.path())?;
    Ok(folder)
}

fn write(folder: &Path) -> Result<(), BuildError> {
    for (name, text) in FILES {
        let path = folder.join(name);
        fs::write(&path, text).map_err(BuildError::file("writing", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_of_the_contract_is_left_out() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/engine");
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names, FILES.map(|(name, _)| name));
    }
}
