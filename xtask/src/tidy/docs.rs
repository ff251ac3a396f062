//! Docs name real commands and real files.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::Findings;
use crate::{
    run::Step,
    workspace::{self, Profile, root},
};

/// A span that starts with one of these is taken for a path.
const FOLDERS: [&str; 6] = ["adapter/", "runtime/", "tests/", "xtask/", "vscode-extension/", ".ci/"];

/// Holds every Markdown file to what is there.
///
/// # Errors
/// When a file cannot be read.
pub fn check(files: &[PathBuf]) -> Result<Findings> {
    let mut findings = Findings::new();
    let mut commands: BTreeSet<(String, PathBuf)> = BTreeSet::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let text = workspace::read(file)?;
        findings.extend(links(file, &text));
        let code = code(&text);
        for span in &code {
            findings.extend(path(file, span, files));
            findings.extend(xtask(file, span));
            commands.extend(manta_command(span).map(|command| (command, file.clone())));
        }
    }
    findings.extend(unknown_commands(&commands));
    Ok(findings)
}

/// Relative links lead somewhere.
fn links(file: &Path, text: &str) -> Findings {
    let folder = file.parent().unwrap_or(Path::new(""));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let local = targets
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"));
    let broken = local.filter(|target| !root().join(folder).join(target).exists());
    broken.map(|target| format!("{}: the link to {target} leads nowhere", file.display())).collect()
}

/// All code of a Markdown text: spans between backticks, and each line of fenced blocks.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            found.push(line.trim().trim_start_matches("$ ").to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// A span that is a path in one of the project's folders names a file or folder that is there.
fn path(file: &Path, span: &str, files: &[PathBuf]) -> Option<String> {
    let is_path = FOLDERS.iter().any(|folder| span.starts_with(folder))
        && !span.contains([' ', '*', '{', '<', '(', ':']);
    if !is_path {
        return None;
    }
    let named = Path::new(span.trim_end_matches('/'));
    let known = files.iter().any(|known| known.starts_with(named));
    (!known).then(|| format!("{}: `{span}` is not in the project", file.display()))
}

fn xtask(file: &Path, span: &str) -> Option<String> {
    let verb = span.strip_prefix("cargo xtask ")?.split_whitespace().next()?;
    let known = crate::verbs().iter().any(|name| name == verb);
    (!known).then(|| format!("{}: `cargo xtask {verb}` is no command", file.display()))
}

/// The command of `manta COMMAND …`, when a span is such a line.
fn manta_command(span: &str) -> Option<String> {
    let words = span.split_whitespace().skip_while(|word| word.contains('=') && !word.starts_with('-'));
    let mut words = words.skip_while(|word| ["sudo", "$"].contains(word));
    let program = words.next()?;
    let verb = words.next()?;
    let is_verb = verb.starts_with(|c: char| c.is_ascii_lowercase())
        && verb.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    (program == "manta" && is_verb).then(|| verb.to_owned())
}

/// Asks the binary itself whether it knows the commands.
fn unknown_commands(commands: &BTreeSet<(String, PathBuf)>) -> Findings {
    let manta = Profile::Debug.program("manta");
    if !manta.is_file() {
        println!("warning: {} is not built, so the docs' `manta` commands were not checked", manta.display());
        return Findings::new();
    }
    let unknown =
        commands.iter().filter(|(command, _)| Step::new(&manta).args([command, "--help"]).output().is_err());
    unknown.map(|(command, file)| format!("{}: `manta {command}` is no command", file.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_from_code() {
        let found: Vec<_> =
            code("Run `manta start`.\n```sh\nMANTA_LOG=debug manta dap --listen X\nmanta --version\n```\n")
                .iter()
                .filter_map(|span| manta_command(span))
                .collect();
        assert_eq!(found, ["start", "dap"]);
    }

    #[test]
    fn what_is_not_there_is_found() {
        let file = Path::new("README.md");
        let files = [PathBuf::from("xtask/src/main.rs")];
        assert!(xtask(file, "cargo xtask fly").is_some());
        assert!(xtask(file, "cargo xtask test --only fmt").is_none());
        assert!(path(file, "xtask/src/main.rs", &files).is_none());
        assert!(path(file, "xtask/src/", &files).is_none());
        assert!(path(file, "xtask/src/lib.rs", &files).is_some());
        assert_eq!(links(file, "[a](Cargo.toml) [b](no-such-file.md) [c](https://example.org)").len(), 1);
    }
}
