//! What the project's text must not have: paths of one machine, registries' hosts in lock files, spaces at line ends.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Findings;
use crate::workspace;

/// Put together here, so that this file does not find itself.
const FORBIDDEN: [(&str, &str); 6] = [
    (concat!("/wo", "rk/main"), "a path of one machine"),
    (concat!("/wo", "rk/shared"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/tmp/", "brief"), "a path of one machine"),
    (concat!("127.0.0.1", ":8081"), "a registry of one machine"),
    (concat!("TO", "DO"), "unfinished work; finish it, or say in an error what cannot be done"),
];

const TEXT: [&str; 14] =
    ["rs", "py", "pyi", "ts", "js", "mjs", "json", "toml", "md", "proto", "sh", "yml", "yaml", "run"];

/// Holds every text file to the list.
///
/// # Errors
/// When a file cannot be read.
pub fn check(files: &[PathBuf]) -> Result<Findings> {
    let mut findings = Findings::new();
    for file in files.iter().filter(|file| is_text(file)) {
        let text = workspace::read(file)?;
        findings.extend(check_text(file, &text));
        if file.extension().is_some_and(|extension| extension == "rs")
            && !text.starts_with("//!")
            && !text.starts_with("#!")
            && !is_generated(file)
        {
            findings.push(format!("{}: no `//!` says what the module is for", file.display()));
        }
    }
    Ok(findings)
}

fn is_text(file: &Path) -> bool {
    file.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| TEXT.contains(&extension))
        || file.ends_with(".ci/run")
}

fn is_generated(file: &Path) -> bool {
    file.file_stem().is_some_and(|stem| stem == "generated")
}

fn check_text(file: &Path, text: &str) -> Findings {
    let mut findings = Findings::new();
    let lock = file.file_name().is_some_and(|name| name == "package-lock.json");
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        for (word, why) in FORBIDDEN {
            if line.contains(word) {
                findings.push(format!("{}:{number}: {word:?} is {why}", file.display()));
            }
        }
        if lock && line.contains("\"resolved\"") {
            findings.push(format!(
                "{}:{number}: a lock file names a registry's host; set omit-lockfile-registry-resolved",
                file.display()
            ));
        }
        // Two spaces at the end of a line of Markdown would be a line break, which nobody sees when reading.
        if line.ends_with(' ') && !file.to_string_lossy().contains("snapshots") {
            findings.push(format!("{}:{number}: spaces at the end of the line", file.display()));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_text_is_found() {
        let text = format!("fine\n{}x\ntrailing \n", FORBIDDEN[0].0);
        assert_eq!(check_text(Path::new("a.rs"), &text).len(), 2);
        assert_eq!(
            check_text(Path::new("package-lock.json"), "  \"resolved\": \"https://example\"\n").len(),
            1
        );
        assert!(check_text(Path::new("a.json"), "  \"resolved\": true\n").is_empty());
    }
}
