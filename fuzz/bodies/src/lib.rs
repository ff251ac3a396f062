//! What is fuzzed: one plain function for each reader of bytes that come from outside.
//!
//! Each takes any bytes, and must come back: no panic, no endless loop, no memory out of proportion. The targets of `cargo fuzz`
//! (`../targets`), the mutation loop for stable Rust (`bin/mutate.rs`) and the ordinary tests (`tests/corpus.rs`) call the same
//! functions. Nothing here starts a process or touches the network.

pub mod core_file;
pub mod dap;
pub mod dwarf;
pub mod expression;
pub mod index;
pub mod loan;
pub mod memory;
pub mod mutation;
pub mod profile;
pub mod split;
pub mod unwinder;

/// Something that is fuzzed.
pub struct Body {
    /// The name of its corpus's folder and of its `cargo fuzz` target.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
}

/// All of them.
pub const BODIES: &[Body] = &[
    Body { name: "core_file", run: core_file::run },
    Body { name: "dap", run: dap::run },
    Body { name: "dwarf", run: dwarf::run },
    Body { name: "expression", run: expression::run },
    Body { name: "index", run: index::run },
    Body { name: "profile", run: profile::run },
    Body { name: "split", run: split::run },
    Body { name: "unwinder", run: unwinder::run },
];

/// The stored inputs of all bodies.
#[must_use]
pub fn corpus() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// The folder in which a body's inputs lie: the unwinder reads program files, as the reader of debug information does.
#[must_use]
pub fn folders(body: &str) -> Vec<std::path::PathBuf> {
    let mut folders = vec![corpus().join(body)];
    if body == "unwinder" {
        folders.push(corpus().join("dwarf"));
    }
    folders
}
