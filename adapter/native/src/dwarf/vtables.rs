//! Which concrete type a trait object has: the compiler describes each table of methods, with the type that it is for.

use std::collections::HashMap;

use gimli::constants as dw;
use gimli::{EvaluationResult, Location};

use super::image::UnitIndex;
use super::modules::Module;
use super::types::TypeId;
use super::{Attribute, text};
use crate::address::{Address, FileAddress};

/// The end of the name of every such table.
const NAME_END: &str = "{vtable}";
/// Units of the standard library say where they were built.
const LIBRARY_DIRECTORY: &str = "/rustc/";

impl Module {
    /// The type whose methods the table at this address has.
    #[must_use]
    pub fn type_of_vtable(&self, address: Address) -> Option<TypeId> {
        let tables = self.vtables.get_or_init(|| self.read_vtables());
        tables.get(&self.file_address(address)).copied()
    }

    /// Reads the tables of the program's own units. Those of the library are many, and their types are rarely wanted.
    fn read_vtables(&self) -> HashMap<FileAddress, TypeId> {
        let mut tables = HashMap::new();
        for index in self.image.unit_indices() {
            let unit = self.image.unit(index);
            if self.image.directory(index).starts_with(LIBRARY_DIRECTORY) {
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
