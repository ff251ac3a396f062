//! Is a source file what the program was built from, and what the client shows? Lines of another one would mislead.

use std::fs;

use sha2::{Digest, Sha256};

use crate::dwarf::image::UnitIndex;
use crate::dwarf::modules::Module;
use crate::dwarf::separate::hex;
use crate::limits::SOURCE_BYTES_MAX;

/// What the user should know of a source file, if it is on this machine: that it has other content than the client's, whose hash
/// `sha256` is, or was changed after the build. The compiler leaves no checksum of it in a program (DWARF 5 has room for one, which
/// LLVM fills only when all files of a unit have one, and a unit of Rust has one that is made up), so its date has to tell.
#[must_use]
pub fn change_of(module: &Module, unit: UnitIndex, file: u32, sha256: Option<&str>) -> Option<String> {
    let path = module.file(unit, file)?;
    let about = fs::metadata(&path).ok()?;
    if about.len() > SOURCE_BYTES_MAX {
        return None;
    }
    let differs = match sha256 {
        Some(wanted) => !hex(&Sha256::digest(fs::read(&path).ok()?)).eq_ignore_ascii_case(wanted),
        None => false,
    };
    if differs {
        return Some(format!(
            "{path} has other content where the program runs (its checksum differs), so lines may not fit; build the program of \
             the source that you see."
        ));
    }
    let built = fs::metadata(&module.mapped.open_path).ok()?.modified().ok()?;
    let is_newer = about.modified().ok()? > built;
    is_newer
        .then(|| format!("{path} is newer than the program, so lines may not fit; build the program again."))
}
