//! What people see: steps, progress, and colours where a terminal shows them.

use std::io::{IsTerminal, Write, stdout};

/// Where the demo prints.
pub struct Terminal {
    is_terminal: bool,
    colours: bool,
}

impl Terminal {
    /// Colours only on a terminal, and not where `NO_COLOR` is set.
    pub fn new() -> Self {
        let is_terminal = stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_terminal, colours: is_terminal && !refused }
    }

    /// A step that was done.
    pub fn say(&self, text: &str) {
        println!("{} {text}", self.paint("36", "*"));
    }

    /// The state of a long step: one line that is written over on a terminal, a line each elsewhere.
    pub fn progress(&self, text: &str) {
        if self.is_terminal {
            print!("\r\x1b[K{text}");
        } else if !text.is_empty() {
            println!("  {text}");
        }
        // A terminal that is gone is found out by the next line.
        let _ = stdout().flush();
    }

    /// For what stands out.
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// For what went well.
    pub fn green(&self, text: &str) -> String {
        self.paint("1;32", text)
    }

    /// For what did not.
    pub fn red(&self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
