//! Files and functions that have grown too long. A warning, since a length alone proves nothing.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Findings;
use crate::workspace;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Names the files and functions above the limits.
///
/// # Errors
/// When a file cannot be read.
pub fn check(files: &[PathBuf]) -> Result<Findings> {
    let mut findings = Findings::new();
    for file in files {
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let generated = file.file_stem().is_some_and(|stem| stem == "generated");
        if generated || !["rs", "py", "ts"].contains(&extension) {
            continue;
        }
        let text = workspace::read(file)?;
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!("{}: {lines} lines; files stay below {FILE_LINES_MAX}", file.display()));
        }
        if extension == "rs" {
            findings.extend(functions(&text).into_iter().filter_map(|function| function.finding(file)));
        }
    }
    Ok(findings)
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

impl Function {
    fn finding(&self, file: &Path) -> Option<String> {
        let Self { name, line, lines } = self;
        (*lines > FUNCTION_LINES_MAX).then(|| {
            format!(
                "{}:{line}: {name} has {lines} lines; functions stay below {FUNCTION_LINES_MAX}",
                file.display()
            )
        })
    }
}

/// Finds functions in text that rustfmt has laid out: a function ends at the first `}` with its own indentation.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = name(line) else { continue };
        let signature_end =
            lines[index..].iter().map(|line| line.trim_end()).find(|line| line.ends_with(['{', ';', '}']));
        // A declaration has no body, and a body on the same line no length.
        if !signature_end.is_some_and(|line| line.ends_with('{')) {
            continue;
        }
        let close = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        if let Some(length) = lines[index..].iter().position(|line| **line == close) {
            found.push(Function { name, line: index + 1, lines: length + 1 });
        }
    }
    found
}

/// The function's name, when a line starts one.
fn name(line: &str) -> Option<String> {
    let mut rest = line.trim_start();
    loop {
        if let Some(name) = rest.strip_prefix("fn ") {
            return Some(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
        let (word, after) = rest.split_once(' ')?;
        let qualifier = ["pub", "const", "async", "unsafe", "extern", "\"C\""].contains(&word)
            || word.starts_with("pub(");
        rest = qualifier.then_some(after)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_with_their_lengths() {
        let text = "impl A {\n    pub(crate) async fn long(\n        a: u8,\n    ) -> u8 {\n        {\n        }\n        a\n    }\n\n    fn short() {}\n\n    fn declared(\n        self,\n    );\n}\n\nfn last() {\n}\n";
        let found: Vec<_> = functions(text)
            .into_iter()
            .map(|function| (function.name, function.line, function.lines))
            .collect();
        assert_eq!(found, [("long".to_owned(), 2, 7), ("last".to_owned(), 17, 2)]);
    }
}
