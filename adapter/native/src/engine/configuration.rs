//! Putting a set of breakpoints into force.

use std::collections::{BTreeMap, BTreeSet};

use super::breakpoints::{Breakpoint, On, Specification};
use super::resolve::{Resolution, resolve_function, resolve_instruction, resolve_line};
use super::sites::instruction_bytes;
use super::{Cause, Engine};
use crate::address::Address;
use crate::dwarf::modules::short_symbol;

/// Functions that every panic goes through, by the last part of their names: the first that the program has. They differ by
/// the version of the standard library. The first runs after the program's panic hook, so that the message is known, and
/// before anything is unwound; in the others it may not have been written yet.
const PANIC_FUNCTIONS: [&str; 3] = ["rust_panic", "panic_with_hook", "rust_panic_with_hook"];

/// What is in force.
#[derive(Default)]
pub struct Configuration {
    /// Whose set it is; an ordinary client has no name.
    pub session_id: Option<String>,
    /// The generation of the session's set.
    pub generation: u64,
    /// Its breakpoints.
    pub breakpoints: Vec<Breakpoint>,
    /// Stop where a panic begins.
    pub stop_at_panics: bool,
    /// Stop where a signal is about to end the program.
    pub stop_at_signals: bool,
    /// Steps go into libraries and the runtime too.
    pub into_framework: bool,
}

impl Engine {
    /// Reads specifications and finds their code.
    pub(crate) fn breakpoints_of(&self, specifications: Vec<Specification>) -> Vec<Breakpoint> {
        let program = self.program();
        let resolve = |on: &On| match (&program, on) {
            (_, On::Data { .. }) => Resolution::Bound { addresses: Vec::new(), line: 0, note: None },
            (_, On::ElsewhereData(id)) => {
                Resolution::Pending(format!("The place {id} is in the memory of another process."))
            }
            (_, On::Instruction(address)) => resolve_instruction(&self.modules, *address),
            (Err(reason), _) => Resolution::Failed(format!("The program cannot be read: {reason}.")),
            (Ok(program), _) if !program.image.has_units() => {
                let advice = || {
                    "it was stripped, or built without it; build it with debug = \"full\" in its Cargo profile".to_owned()
                };
                let why = program.image.warning().unwrap_or_else(advice);
                Resolution::Failed(format!(
                    "The program {} has no debug information: {why}.",
                    program.image.path()
                ))
            }
            (Ok(program), On::Line { paths, line, sha256 }) => {
                resolve_line(program, paths, *line, sha256.as_deref())
            }
            (Ok(program), On::Function(name)) => resolve_function(program, name),
        };
        specifications.into_iter().map(|specification| Breakpoint::new(specification, resolve)).collect()
    }

    /// Replaces what is in force. A breakpoint that stays keeps its count.
    pub(crate) fn configure(&mut self, mut configuration: Configuration) {
        for breakpoint in &mut configuration.breakpoints {
            let before = self
                .configuration
                .breakpoints
                .iter()
                .find(|old| old.specification == breakpoint.specification);
            breakpoint.hits = before.map_or(0, |old| old.hits);
        }
        self.set_watches(&mut configuration.breakpoints);
        let mut causes: BTreeMap<Address, Vec<Cause>> = BTreeMap::new();
        for (index, breakpoint) in configuration.breakpoints.iter().enumerate() {
            if let Resolution::Bound { addresses, .. } = &breakpoint.resolution {
                for address in addresses {
                    causes.entry(*address).or_default().push(Cause::Breakpoint(index));
                }
            }
        }
        if configuration.stop_at_panics {
            for address in self.panic_addresses() {
                causes.entry(address).or_default().push(Cause::Panic);
            }
        }
        let wanted: BTreeSet<Address> = causes.keys().copied().collect();
        let modules = &self.modules;
        let code_at = |address: Address| {
            let module = modules.at(address)?;
            module.image.code(module.file_address(address), instruction_bytes()).map(<[u8]>::to_vec)
        };
        let failed =
            self.sites.replace(&wanted, &self.process, self.guard.as_mut(), &code_at, self.hardware_works);
        for (address, reason) in failed {
            for cause in causes.remove(&address).unwrap_or_default() {
                if let Cause::Breakpoint(index) = cause {
                    configuration.breakpoints[index].resolution =
                        Resolution::Failed(format!("It cannot be set: {reason}."));
                }
            }
        }
        self.causes = causes;
        self.configuration = configuration;
        self.index_the_program();
    }

    /// Sees to it that the next agent of this program finds its breakpoints at once.
    fn index_the_program(&mut self) {
        if self.configuration.breakpoints.is_empty() {
            return;
        }
        let Ok(program) = self.program() else { return };
        if let Some(note) = program.image.take_index_note() {
            self.outbox.console(&format!("{note}\n"));
        }
        program.image.index_in_background();
    }

    fn panic_addresses(&self) -> Vec<Address> {
        let Ok(program) = self.program() else { return Vec::new() };
        let named = |wanted: &str| -> Vec<Address> {
            let symbols = program.image.symbols().iter();
            // Asking for the text first spares undoing the mangling of every name.
            let symbols = symbols.filter(|symbol| symbol.name.contains(wanted));
            let own = symbols.filter(|symbol| short_symbol(symbol.name).rsplit("::").next() == Some(wanted));
            own.map(|symbol| symbol.address.live(program.bias)).collect()
        };
        PANIC_FUNCTIONS.iter().map(|name| named(name)).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// Where a breakpoint landed, for the client.
    pub(crate) fn breakpoint_body(breakpoint: &Breakpoint) -> dap::Breakpoint {
        let id = Some(dap::BreakpointId(breakpoint.specification.id));
        match &breakpoint.resolution {
            Resolution::Bound { line, note, addresses } => dap::Breakpoint {
                id,
                verified: true,
                line: (*line != 0).then(|| i64::from(*line)),
                instruction_reference: addresses.first().map(Address::to_string),
                message: note.clone(),
                ..Default::default()
            },
            Resolution::Pending(message) => dap::Breakpoint {
                id,
                message: Some(message.clone()),
                reason: Some(dap::BreakpointReason::Pending),
                ..Default::default()
            },
            Resolution::Failed(message) => dap::Breakpoint {
                id,
                message: Some(message.clone()),
                reason: Some(dap::BreakpointReason::Failed),
                ..Default::default()
            },
        }
    }
}
