//! Set-up that is done once: a stamp file holds what it was done from, so that it is done again exactly when that changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Runs `work` unless the stamp in `folder` says that it was done from the same `inputs` before.
///
/// # Errors
/// Those of `work`, and when the stamp cannot be written.
pub fn once(folder: &Path, inputs: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp: PathBuf = folder.join(".xtask-stamp");
    if fs::read_to_string(&stamp).is_ok_and(|before| before == inputs) {
        return Ok(());
    }
    work()?;
    fs::create_dir_all(folder).with_context(|| format!("{} could not be made", folder.display()))?;
    fs::write(&stamp, inputs).with_context(|| format!("{} could not be written", stamp.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_again_exactly_when_its_inputs_changed() {
        let folder = std::env::temp_dir().join(format!("manta-stamp-{}", std::process::id()));
        let mut done = Vec::new();
        for inputs in ["a", "a", "b"] {
            once(&folder, inputs, || {
                done.push(inputs);
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(done, ["a", "b"]);
        assert!(once(&folder, "c", || anyhow::bail!("no network")).is_err());
        assert_eq!(
            fs::read_to_string(folder.join(".xtask-stamp")).unwrap(),
            "b",
            "failed work leaves no stamp"
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
