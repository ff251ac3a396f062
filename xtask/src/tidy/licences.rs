//! Every dependency has a licence that fits MIT OR Apache-2.0.

use super::{Findings, Metadata};

const ALLOWED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

/// Holds each package's licence expression to the list.
pub fn check(metadata: &Metadata) -> Findings {
    let verdict = |package: &super::Package| match (&package.license, &package.license_file) {
        (Some(expression), _) if allowed(expression) => None,
        (Some(expression), _) => {
            Some(format!("{}: the licence {expression:?} is not one of {}", package.name, ALLOWED.join(", ")))
        }
        (None, Some(file)) => {
            Some(format!("{}: its licence is a file ({file}); read it and list it here", package.name))
        }
        (None, None) => Some(format!("{}: it names no licence", package.name)),
    };
    metadata.packages.iter().filter_map(verdict).collect()
}

/// Whether an SPDX expression can be met with allowed licences. The old form with `/` means OR.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut position = 0;
    either(&tokens, &mut position) && position == tokens.len()
}

fn either(tokens: &[&str], position: &mut usize) -> bool {
    let mut met = both(tokens, position);
    while tokens.get(*position) == Some(&"OR") {
        *position += 1;
        met |= both(tokens, position);
    }
    met
}

fn both(tokens: &[&str], position: &mut usize) -> bool {
    let mut met = single(tokens, position);
    while tokens.get(*position) == Some(&"AND") {
        *position += 1;
        met &= single(tokens, position);
    }
    met
}

fn single(tokens: &[&str], position: &mut usize) -> bool {
    let Some(&token) = tokens.get(*position) else { return false };
    *position += 1;
    if token == "(" {
        let met = either(tokens, position);
        *position += 1;
        return met;
    }
    let mut name = token.to_owned();
    if tokens.get(*position) == Some(&"WITH") {
        name = format!("{token} WITH {}", tokens.get(*position + 1).unwrap_or(&""));
        *position += 2;
    }
    ALLOWED.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn expressions_are_understood() {
        for yes in [
            "MIT",
            "MIT/Apache-2.0",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
            "GPL-2.0 OR ISC",
        ] {
            assert!(allowed(yes), "{yes}");
        }
        for no in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND AGPL-3.0", "", "MIT )"] {
            assert!(!allowed(no), "{no}");
        }
    }
}
