//! Debug information that somebody has brought from elsewhere, or could not bring, by the build-id of what it is for.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What of a file's debug information is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// The sections that the linker leaves in a program, in a separate file.
    Debug,
    /// The rest that was split off, packed in a `.dwp` file.
    Package,
}

/// A file, or a part of the sentence that says why there is none.
pub type Outcome = Result<PathBuf, String>;

/// All that was brought.
#[derive(Clone, Debug, Default)]
pub struct Provided {
    outcomes: HashMap<(Vec<u8>, Part), Outcome>,
}

/// What was brought for one file.
#[derive(Clone, Debug, Default)]
pub struct OfFile {
    /// Its sections.
    pub debug: Option<Outcome>,
    /// The rest of them.
    pub package: Option<Outcome>,
}

impl Provided {
    /// Takes one.
    pub fn add(&mut self, build_id: Vec<u8>, part: Part, outcome: Outcome) {
        self.outcomes.insert((build_id, part), outcome);
    }

    /// What there is for a file with this build-id.
    #[must_use]
    pub fn of(&self, build_id: Option<&[u8]>) -> OfFile {
        let part = |part| self.outcomes.get(&(build_id?.to_vec(), part)).cloned();
        OfFile { debug: part(Part::Debug), package: part(Part::Package) }
    }
}
