//! Which concrete type a trait object has: the compiler describes each table of methods, with the type that it is for.

use std::collections::HashMap;

use gimli::constants as dw;
use gimli::{EvaluationResult, Location};

use super::image::UnitIndex;
use super::modules::Module;
use super::types::TypeId;
use super::{Attribute, UnitOffset, text};
use crate::address::{Address, FileAddress};

/// The end of the name of every such table.
const NAME_END: &str = "{vtable}";
/// Units of the standard library say where they were built.
const LIBRARY_DIRECTORY: &str = "/rustc/";

impl Module {
    /// The type whose methods the table at this address has.
    #[must_use]
    pub fn type_of_vtable(&self, address: Address) -> Option<TypeId> {
        let address = self.file_address(address);
        let own = self.vtables.get_or_init(|| self.read_vtables(false));
        own.get(&address)
            .or_else(|| self.library_vtables.get_or_init(|| self.read_vtables(true)).get(&address))
            .copied()
    }

    /// Reads the tables of the program's own units, or those of the library: these are many, and are rarely wanted.
    fn read_vtables(&self, of_library: bool) -> HashMap<FileAddress, TypeId> {
        let mut tables = HashMap::new();
        for index in self.image.unit_indices() {
            let unit = self.image.unit(index);
            if self.image.directory(index).starts_with(LIBRARY_DIRECTORY) != of_library {
                continue;
            }
            for entry in self.image.scopes(index).globals() {
                let Ok(die) = unit.entry(entry) else { continue };
                let name = die.attr_value(dw::DW_AT_name);
                let name = name
                    .and_then(|name| self.image.dwarf(index).attr_string(unit, name).ok())
                    .map_or("", text);
                if !name.ends_with(NAME_END) {
                    continue;
                }
                let Some(Attribute::Exprloc(place)) = die.attr_value(dw::DW_AT_location) else { continue };
                let of = self.type_ref(index, &die).and_then(|of| {
                    let table = self.image.unit(of.unit).entry(of.entry).ok()?;
                    let (unit, entry) =
                        self.resolve(of.unit, table.attr_value(dw::DW_AT_containing_type)?)?;
                    Some(TypeId { unit, entry })
                });
                if let (Some(address), Some(of)) = (self.static_address(index, place), of) {
                    tables.insert(address, of);
                }
            }
        }
        tables
    }

    /// Where a global variable is; of one that each thread has of its own, that of the thread with this base.
    #[must_use]
    pub fn global_place(&self, index: UnitIndex, entry: UnitOffset, thread_base: u64) -> Option<Address> {
        let unit = self.image.unit(index);
        let entry = unit.entry(entry).ok()?;
        let Attribute::Exprloc(place) = entry.attr_value(dw::DW_AT_location)? else { return None };
        let mut evaluation = place.evaluation(unit.encoding());
        let step = evaluation.evaluate().ok()?;
        let EvaluationResult::RequiresTls(offset) = step else {
            return self.static_address(index, place).map(|address| address.live(self.bias));
        };
        self.thread_local(offset, thread_base)
    }

    fn static_address(
        &self,
        index: UnitIndex,
        place: gimli::Expression<super::Slice>,
    ) -> Option<FileAddress> {
        let unit = self.image.unit(index);
        let mut evaluation = place.evaluation(unit.encoding());
        let mut step = evaluation.evaluate().ok()?;
        loop {
            step = match step {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRelocatedAddress(address) => {
                    evaluation.resume_with_relocated_address(address)
                }
                EvaluationResult::RequiresIndexedAddress { index: at, .. } => {
                    evaluation.resume_with_indexed_address(self.image.dwarf(index).address(unit, at).ok()?)
                }
                _ => return None,
            }
            .ok()?;
        }
        match evaluation.result().first()?.location {
            Location::Address { address } if address != 0 => Some(FileAddress(address)),
            _ => None,
        }
    }
}
