//! The dependency arrows: which folder must not know of which.

use super::{Findings, Metadata, Package};

/// No package under the first folder depends on one under the second, unless the exception says so.
const FORBIDDEN: [(&str, &str, &[&str]); 6] = [
    ("adapter/dap", "runtime/", &[]),
    ("adapter/dap", "adapter/", &[]),
    ("adapter/session", "runtime/", &[]),
    // The guard is what the debugger and the debugged process share: tables at known addresses, and no code of the runtime.
    ("adapter/native", "runtime/", &["manta-guard"]),
    // The command-line program joins both halves; nothing else of the runtime knows that a debugger exists.
    ("runtime/", "adapter/", &[]),
    ("runtime/proto", "runtime/", &[]),
];

/// The one package in `runtime/` that may know of the adapter: the `manta` binary.
const JOINT: &str = "runtime/cli";

/// Holds the workspace's packages to the arrows.
pub fn check(metadata: &Metadata) -> Findings {
    metadata.members().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Findings {
    let folder = package.folder();
    let mut findings = Findings::new();
    // Tests may reach for anything.
    for dependency in
        package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"))
    {
        let Some(target) = dependency.path.as_deref().map(super::relative) else { continue };
        for (from, to, exceptions) in FORBIDDEN {
            let concerns =
                folder.starts_with(from) && (from.ends_with('/') || folder == from) && folder != JOINT;
            if concerns && target.starts_with(to) && !exceptions.contains(&dependency.name.as_str()) {
                findings.push(format!(
                    "{folder}: {} must not depend on {} ({target}); arrows point down",
                    package.name, dependency.name
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{tidy::Dependency, workspace::root};

    fn package(folder: &str, dependency: &str, target: &str) -> Package {
        let path = |folder: &str| root().join(folder).display().to_string();
        Package {
            id: String::new(),
            name: folder.to_owned(),
            license: None,
            license_file: None,
            manifest_path: path(folder) + "/Cargo.toml",
            dependencies: vec![Dependency {
                name: dependency.to_owned(),
                kind: None,
                path: Some(path(target)),
            }],
        }
    }

    #[test]
    fn arrows_that_point_up_are_found() {
        assert_eq!(check_package(&package("adapter/session", "manta-proto", "runtime/proto")).len(), 1);
        assert_eq!(check_package(&package("runtime/node", "dap", "adapter/dap")).len(), 1);
        assert_eq!(check_package(&package("adapter/native", "manta-head", "runtime/head")).len(), 1);
    }

    #[test]
    fn arrows_that_point_down_are_not() {
        for (folder, name, target) in [
            ("adapter/session", "dap", "adapter/dap"),
            ("adapter/native", "manta-guard", "runtime/guard"),
            ("adapter/server", "manta-proto", "runtime/proto"),
            ("runtime/cli", "manta-server", "adapter/server"),
        ] {
            assert!(check_package(&package(folder, name, target)).is_empty(), "{folder} -> {target}");
        }
    }
}
