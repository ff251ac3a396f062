//! Putting a set of breakpoints into force.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::breakpoints::{Breakpoint, On, Specification};
use super::copies::Code;
use super::level::{Level, SNAPSHOT_ONLY};
use super::resolve::{Resolution, Resolutions, resolve_function, resolve_instruction, resolve_line};
use super::{Cause, Engine};
use crate::address::Address;
use crate::dwarf::modules::{Module, short_symbol};

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
    /// Reads specifications and finds their code, also in libraries that have been loaded meanwhile.
    pub(crate) fn breakpoints_of(&mut self, specifications: Vec<Specification>) -> Vec<Breakpoint> {
        if !specifications.is_empty() {
            self.look_for_libraries();
        }
        self.bind(specifications)
    }

    /// The same in what is known of the process.
    pub(super) fn bind(&self, specifications: Vec<Specification>) -> Vec<Breakpoint> {
        let resolve = |on: &On| match on {
            On::Data { .. } => Resolution::Bound { addresses: Vec::new(), line: 0, note: None },
            On::ElsewhereData(id) => {
                Resolution::Pending(format!("The place {id} is in the memory of another process."))
            }
            On::Instruction(address) => resolve_instruction(&self.modules, *address),
            On::Line { paths, line, sha256 } => {
                let sha256 = sha256.as_deref();
                self.resolve_in_all(|module| resolve_line(module, paths, *line, sha256)).with_first_line()
            }
            On::Function(name) => self.resolve_in_all(|module| resolve_function(module, name)).merged(),
        };
        specifications.into_iter().map(|specification| Breakpoint::new(specification, resolve)).collect()
    }

    /// Looks in the program and in its libraries.
    fn resolve_in_all(&self, resolve: impl Fn(&Module) -> Resolution) -> Resolutions {
        let mut found = Resolutions::default();
        if let Err(reason) = self.modules.program() {
            found.add(Resolution::Failed(format!("The program cannot be read: {reason}.")));
        }
        for module in self.modules.searched() {
            if module.image.has_units() {
                found.add(resolve(module));
            } else if module.mapped.is_program && self.debug_information_comes(module) {
                found.add(Resolution::Pending(format!(
                    "The debug information of {} is being fetched from the cluster.",
                    module.image.path()
                )));
            } else if module.mapped.is_program {
                found.add(Resolution::Failed(without_debug_information(module)));
            }
        }
        found
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
        self.configuration = configuration;
        self.look_for_deaf_threads();
        self.place_sites();
        self.index_the_files();
    }

    /// Makes threads trap wherever something of theirs is wanted.
    pub(super) fn place_sites(&mut self) {
        let mut configuration = std::mem::take(&mut self.configuration);
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
        for address in self.suspended_entries() {
            causes.entry(address).or_default().push(Cause::Resumption);
        }
        for address in self.step_traps() {
            causes.entry(address).or_default().push(Cause::Step);
        }
        let loader = self.loader_site(&configuration);
        let wanted: BTreeSet<Address> = causes.keys().copied().collect();
        if let Some(address) = loader {
            self.looks_again |= self.sites.at(address).is_none();
            causes.entry(address).or_default().push(Cause::Loader);
        }
        let never = match &self.patches_harm {
            _ if self.level() == Level::SnapshotOnly => Some(SNAPSHOT_ONLY.to_owned()),
            harm => harm.clone(),
        };
        let code = Code { modules: &self.modules };
        let mut place = |wanted: &BTreeSet<Address>, loader| {
            let guard = self.guard.as_mut();
            self.sites.replace(wanted, loader, &self.process, guard, &code, self.hardware_works)
        };
        let failed = match never {
            None => place(&wanted, loader),
            Some(reason) => {
                place(&BTreeSet::new(), None);
                wanted.iter().chain(&loader).map(|address| (*address, reason.clone())).collect()
            }
        };
        let mut missing: BTreeMap<usize, (usize, String)> = BTreeMap::new();
        for (address, reason) in failed {
            for cause in causes.remove(&address).unwrap_or_default() {
                match cause {
                    Cause::Breakpoint(index) => {
                        missing.entry(index).or_insert_with(|| (0, reason.clone())).0 += 1;
                    }
                    Cause::Loader => note_unwatched(&mut configuration.breakpoints, &reason),
                    Cause::Panic | Cause::Resumption | Cause::Step => {}
                }
            }
        }
        for (index, (places, reason)) in missing {
            configuration.breakpoints[index].resolution.lacks(places, &reason);
        }
        self.causes = causes;
        self.configuration = configuration;
    }

    /// Sees to it that the next agent of this program finds its breakpoints at once.
    fn index_the_files(&mut self) {
        if self.configuration.breakpoints.is_empty() {
            return;
        }
        for module in self.modules.searched() {
            if let Some(note) = module.image.take_index_note() {
                self.outbox.console(&format!("{note}\n"));
            }
            module.image.index_in_background();
        }
    }

    /// Each library that is made of Rust may have a standard library of its own.
    fn panic_addresses(&self) -> Vec<Address> {
        let in_module = |module: &Rc<Module>| {
            let named = |wanted: &str| -> Vec<Address> {
                let symbols = module.image.symbols().iter();
                // Asking for the text first spares undoing the mangling of every name.
                let symbols = symbols.filter(|symbol| symbol.name.contains(wanted));
                let own =
                    symbols.filter(|symbol| short_symbol(symbol.name).rsplit("::").next() == Some(wanted));
                own.map(|symbol| symbol.address.live(module.bias)).collect()
            };
            PANIC_FUNCTIONS.iter().map(|name| named(name)).find(|found| !found.is_empty()).unwrap_or_default()
        };
        self.modules.searched().flat_map(in_module).collect()
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

/// Says with breakpoints that have no code yet that a library with it would not be seen.
fn note_unwatched(breakpoints: &mut [Breakpoint], reason: &str) {
    for breakpoint in breakpoints {
        if let Resolution::Pending(message) = &mut breakpoint.resolution {
            message.push_str(&format!(
                " A library that is loaded later is not seen, as {reason}: remove a breakpoint, or set this one again when it \
                 is loaded."
            ));
        }
    }
}

/// Why nothing but names can be shown of a program.
pub(super) fn without_debug_information(program: &Module) -> String {
    let advice = || {
        "it was stripped, or built without it; build it with debug = \"full\" in its Cargo profile".to_owned()
    };
    let why = program.image.warning().unwrap_or_else(advice);
    format!("The program {} has no debug information: {why}.", program.image.path())
}
