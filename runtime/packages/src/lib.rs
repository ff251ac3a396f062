//! Environments of tasks: what one is made of, and the packages in which files travel to the nodes.
//!
//! A package is a tar file with sorted names and no times or owners, so that equal folders make equal packages. It is known by the
//! SHA-256 of its bytes. This crate must never talk to a cluster: it reads and writes local files.

mod environment;
mod pack;
mod unpack;

pub use environment::{Config, Pip, RuntimeEnv, Uv, package_id};
pub use pack::{PackError, Package, PackageSource, pack};
pub use unpack::{Hasher, UnpackError, is_package_id, unpack};

/// Bytes of one package.
pub const PACKAGE_BYTES_MAX: u64 = 500 * 1024 * 1024;
/// Files of one package.
pub const PACKAGE_FILES_MAX: usize = 200_000;
/// What a package is called in an environment: this, and its SHA-256 in hex.
pub const URI_SCHEME: &str = "manta://";
