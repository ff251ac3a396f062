//! Building the fixtures.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// How a fixture is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Build {
    Plain,
    Optimized,
    /// Debug information of version 5 (with the standard library's still of version 4), and the newer mangling.
    Dwarf5,
    /// The same, optimized.
    OptimizedDwarf5,
}

/// The source of a fixture, a program or a library.
pub fn source(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/src");
    let own = folder.join(format!("{name}.rs"));
    if own.exists() { own } else { folder.join("bin").join(format!("{name}.rs")) }
}

/// The line with the mark `// @mark`.
pub fn line_of(name: &str, mark: &str) -> u32 {
    let text = std::fs::read_to_string(source(name)).unwrap();
    let wanted = format!("// @{mark}");
    let at = text.lines().position(|line| line.trim_end().ends_with(&wanted));
    u32::try_from(at.unwrap_or_else(|| panic!("no mark {mark} in {name}")) + 1).unwrap()
}

fn built(build: Build) -> &'static Path {
    static PLAIN: OnceLock<PathBuf> = OnceLock::new();
    static OPTIMIZED: OnceLock<PathBuf> = OnceLock::new();
    static DWARF5: OnceLock<PathBuf> = OnceLock::new();
    static OPTIMIZED_DWARF5: OnceLock<PathBuf> = OnceLock::new();
    let (cell, folder, subfolder) = match build {
        Build::Plain => (&PLAIN, "native-fixtures", "debug"),
        Build::Optimized => (&OPTIMIZED, "native-fixtures", "release"),
        Build::Dwarf5 => (&DWARF5, "native-fixtures-dwarf5", "debug"),
        Build::OptimizedDwarf5 => (&OPTIMIZED_DWARF5, "native-fixtures-dwarf5", "release"),
    };
    cell.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        let mut cargo = Command::new(env!("CARGO"));
        cargo.arg("build").arg("--offline").arg("--quiet").arg("--bins");
        cargo
            .arg("--manifest-path")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/Cargo.toml"));
        cargo.arg("--target-dir").arg(&target);
        if matches!(build, Build::Optimized | Build::OptimizedDwarf5) {
            cargo.arg("--release");
        }
        if matches!(build, Build::Dwarf5 | Build::OptimizedDwarf5) {
            cargo.env("RUSTFLAGS", "-C dwarf-version=5 -C symbol-mangling-version=v0");
        }
        assert!(cargo.status().unwrap().success(), "the fixtures are built");
        target.join(subfolder)
    })
}

/// The built file of a fixture.
pub fn program_file(name: &str, build: Build) -> PathBuf {
    built(build).join(name)
}

/// Where the compiler leaves split debug information.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// In one `.dwp` file beside the program.
    Packed,
    /// In many `.dwo` files beside the objects.
    Unpacked,
}

/// The fixture `values` with split debug information of a version.
pub fn split_program(version: u8, split: Split) -> PathBuf {
    static BUILT: [OnceLock<PathBuf>; 4] = [const { OnceLock::new() }; 4];
    let word = if split == Split::Packed { "packed" } else { "unpacked" };
    let cell = &BUILT[usize::from(version == 5) * 2 + usize::from(split == Split::Packed)];
    let build = || {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("native-fixtures-{version}-{word}"));
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--offline", "--quiet", "--bin", "values", "--manifest-path"]);
        cargo.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/Cargo.toml"));
        cargo.arg("--target-dir").arg(&target).env("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", word);
        // As for the whole program of that version, so that the two can be compared.
        if version == 5 {
            cargo.env("RUSTFLAGS", "-C dwarf-version=5 -C symbol-mangling-version=v0");
        }
        assert!(cargo.status().unwrap().success(), "the fixture is built");
        target.join("debug/values")
    };
    cell.get_or_init(build).clone()
}

/// The library `plugin`, built alone.
pub fn plugin(build: Build) -> PathBuf {
    static PLAIN: OnceLock<PathBuf> = OnceLock::new();
    static OPTIMIZED: OnceLock<PathBuf> = OnceLock::new();
    let (cell, name, level) = match build {
        Build::Plain | Build::Dwarf5 => (&PLAIN, "plain", "0"),
        Build::Optimized | Build::OptimizedDwarf5 => (&OPTIMIZED, "optimized", "3"),
    };
    let compile = || {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("native-plugin");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("libplugin_{name}.so"));
        // Another process of tests may be at it too.
        let fresh = folder.join(format!("libplugin_{name}_{}.so", std::process::id()));
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2024", "--crate-type=cdylib", "-g", "-C", &format!("opt-level={level}")]);
        rustc.arg("-o").arg(&fresh).arg(source("plugin"));
        assert!(rustc.status().unwrap().success(), "the library is built");
        std::fs::rename(&fresh, &file).unwrap();
        file
    };
    cell.get_or_init(compile).clone()
}

/// A copy of a fixture without its sections: no names, no debug information.
pub fn stripped(folder: &Path) -> PathBuf {
    let path = folder.join("stripped");
    let mut bytes = std::fs::read(program_file("tasks", Build::Plain)).unwrap();
    // `e_shoff`, then `e_shnum` and `e_shstrndx` of elf(5).
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let permissions = std::fs::metadata(program_file("tasks", Build::Plain)).unwrap().permissions();
    std::fs::set_permissions(&path, permissions).unwrap();
    path
}
