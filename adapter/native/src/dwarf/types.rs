//! Types as the debug information has them, read one at a time and kept.

use std::cell::OnceCell;
use std::rc::Rc;

use gimli::constants as dw;

use super::image::UnitIndex;
use super::modules::Module;
use super::{Attribute, Entry, UnitOffset, text};

/// Which type of a module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TypeId {
    /// The unit that describes it.
    pub unit: UnitIndex,
    /// Where.
    pub entry: UnitOffset,
}

/// A type.
#[derive(Debug)]
pub struct Type {
    /// Which one it is.
    pub id: TypeId,
    /// Its full path, with generic arguments.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// What it is made of.
    pub kind: TypeKind,
    /// Generic arguments, by name (`T`).
    pub parameters: Vec<(String, TypeId)>,
    /// What people call it, when that is not its name and was asked for.
    pub called: OnceCell<String>,
    /// Where it lies in its bytes, if it has not all of them.
    pub bits: Option<Bits>,
}

/// The dimensions of an array, from outside inwards: each with its entry and its count.
pub type Dimensions = Vec<(UnitOffset, u64)>;

/// A field of C that has some of the bits of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// The lowest.
    pub first: u64,
    /// So many.
    pub count: u64,
}

impl Bits {
    /// The number that they are, in as many bytes.
    #[must_use]
    pub fn taken_from(self, bytes: &[u8], is_signed: bool) -> Vec<u8> {
        let mut wide = [0; 16];
        let len = bytes.len().min(wide.len());
        wide[..len].copy_from_slice(&bytes[..len]);
        let own = 1u128.checked_shl(self.count as u32).map_or(u128::MAX, |bit| bit - 1);
        let mut number = u128::from_le_bytes(wide).checked_shr(self.first as u32).unwrap_or(0) & own;
        if is_signed && number > own >> 1 {
            number |= !own;
        }
        number.to_le_bytes()[..len].to_vec()
    }
}

/// What a type is made of.
#[derive(Debug)]
pub enum TypeKind {
    /// A number, a truth value or a character.
    Scalar(ScalarKind),
    /// A thin pointer or reference.
    Pointer(Option<TypeId>),
    /// A struct, a tuple, a closure, or an enum with data.
    Struct {
        /// Its fields; of an enum, those that every variant has.
        members: Vec<Member>,
        /// The variants of an enum.
        variants: Option<VariantPart>,
    },
    /// An enum without data.
    Enumeration {
        /// Name and value of each.
        enumerators: Vec<(String, u128)>,
    },
    /// Fields that share their place.
    Union(Vec<Member>),
    /// A fixed number of elements.
    Array {
        /// Of this type.
        element: TypeId,
        /// So many.
        count: u64,
    },
    /// Code.
    Function,
    /// Something that this engine does not know.
    Other,
}

/// Kinds of scalars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarKind {
    /// `bool`
    Bool,
    /// `char`
    Char,
    /// `i8` to `i128`
    Signed,
    /// `u8` to `u128`
    Unsigned,
    /// `f32`, `f64`
    Float,
    /// `()` and `!`
    Empty,
}

/// A field.
#[derive(Clone, Debug)]
pub struct Member {
    /// As in the source; `__0` for the first of a tuple.
    pub name: String,
    /// From the start of the whole.
    pub offset: u64,
    /// Its type.
    pub type_id: TypeId,
    /// Where it lies in the bytes of its type, if it has not all of them.
    pub bits: Option<Bits>,
    /// Where it was declared; for the variants of an async block, the line of the `.await`.
    pub line: u32,
    /// The file of that line, as an index into the files of the unit that has the member.
    pub file: Option<u32>,
}

/// The variants of an enum with data.
#[derive(Debug)]
pub struct VariantPart {
    /// What tells them apart; none for an enum of one variant.
    pub discriminant: Option<Member>,
    /// In the order of the source.
    pub variants: Vec<Variant>,
}

/// One variant.
#[derive(Debug)]
pub struct Variant {
    /// Discriminants of this variant; empty for the one that holds when no other does.
    pub values: Vec<(u128, u128)>,
    /// Its name, and the struct with its fields.
    pub member: Member,
}

/// What types without a name are called.
const UNNAMED: [&str; 3] = ["struct", "union", "enum"];

impl VariantPart {
    /// The variant that a discriminant means. A niche has exactly one variant without a value of its own: the default.
    #[must_use]
    pub fn variant_of(&self, discriminant: Option<u128>) -> Option<&Variant> {
        let named = discriminant.and_then(|value| {
            self.variants
                .iter()
                .find(|variant| variant.values.iter().any(|(low, high)| (*low..=*high).contains(&value)))
        });
        named.or_else(|| self.variants.iter().find(|variant| variant.values.is_empty()))
    }
}

impl Type {
    /// A struct's field.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member> {
        match &self.kind {
            TypeKind::Struct { members, .. } | TypeKind::Union(members) => {
                members.iter().find(|member| member.name == name)
            }
            _ => None,
        }
    }

    /// The type of a field that has some of the bits of its bytes.
    #[must_use]
    pub fn narrowed(&self, bits: Bits) -> Option<Self> {
        let kind = match &self.kind {
            TypeKind::Scalar(kind) => TypeKind::Scalar(*kind),
            TypeKind::Enumeration { enumerators } => {
                TypeKind::Enumeration { enumerators: enumerators.clone() }
            }
            _ => return None,
        };
        let (name, called) = (self.name.clone(), OnceCell::new());
        Some(Self { name, kind, parameters: Vec::new(), called, bits: Some(bits), ..*self })
    }

    /// A generic argument.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<TypeId> {
        self.parameters.iter().find(|(parameter, _)| parameter == name).map(|(_, id)| *id)
    }
}

impl Module {
    /// Reads a type, or gives the one that was read before.
    #[must_use]
    pub fn type_of(&self, id: TypeId) -> Option<Rc<Type>> {
        if let Some(known) = self.types.borrow().get(&id) {
            return Some(Rc::clone(known));
        }
        let read = Rc::new(self.read_type(id)?);
        self.types.borrow_mut().insert(id, Rc::clone(&read));
        Some(read)
    }

    fn read_type(&self, id: TypeId) -> Option<Type> {
        let entry = self.image.unit(id.unit).entry(id.entry).ok()?;
        let mut bytes = number(&entry, dw::DW_AT_byte_size).unwrap_or(0);
        let kind = match entry.tag() {
            dw::DW_TAG_base_type => TypeKind::Scalar(scalar_kind(&entry, bytes)),
            dw::DW_TAG_pointer_type | dw::DW_TAG_reference_type | dw::DW_TAG_rvalue_reference_type => {
                bytes = 8;
                TypeKind::Pointer(self.type_ref(id.unit, &entry))
            }
            dw::DW_TAG_structure_type | dw::DW_TAG_class_type => self.read_struct(id)?,
            dw::DW_TAG_union_type => TypeKind::Union(self.read_members(id)?),
            dw::DW_TAG_enumeration_type => {
                TypeKind::Enumeration { enumerators: self.read_enumerators(id, bytes)? }
            }
            dw::DW_TAG_array_type => {
                let element = self.type_ref(id.unit, &entry)?;
                let kind = self.array_of(id.unit, element, &self.read_dimensions(id)?);
                bytes = self.bytes_of_array(&kind);
                kind
            }
            dw::DW_TAG_subrange_type => {
                let (element, dimensions) = self.dimensions.borrow().get(&id).cloned()?;
                let kind = self.array_of(id.unit, element, &dimensions);
                bytes = self.bytes_of_array(&kind);
                kind
            }
            dw::DW_TAG_subroutine_type => TypeKind::Function,
            dw::DW_TAG_const_type
            | dw::DW_TAG_volatile_type
            | dw::DW_TAG_restrict_type
            | dw::DW_TAG_atomic_type => {
                let inner = self.type_of(self.type_ref(id.unit, &entry)?)?;
                return self.read_type(inner.id);
            }
            dw::DW_TAG_typedef => {
                let inner = self.type_of(self.type_ref(id.unit, &entry)?)?;
                let mut of = self.read_type(inner.id)?;
                // A struct with a name of its own is known by that.
                if !matches!(of.kind, TypeKind::Struct { .. }) || UNNAMED.contains(&of.name.as_str()) {
                    of.name = self.path_of(id.unit, id.entry);
                }
                return Some(of);
            }
            _ => TypeKind::Other,
        };
        let name = self.type_name(id, &entry, &kind);
        let parameters = self.read_parameters(id);
        Some(Type { id, name, bytes, kind, parameters, called: OnceCell::new(), bits: None })
    }

    /// An array of arrays is one entry with several dimensions. Each but the first is a type of its own here, by its entry.
    fn array_of(&self, unit: UnitIndex, element: TypeId, dimensions: &[(UnitOffset, u64)]) -> TypeKind {
        let Some(((_, count), inner)) = dimensions.split_first() else {
            return TypeKind::Array { element, count: 0 };
        };
        let Some((entry, _)) = inner.first() else { return TypeKind::Array { element, count: *count } };
        let row = TypeId { unit, entry: *entry };
        self.dimensions.borrow_mut().insert(row, (element, inner.to_vec()));
        TypeKind::Array { element: row, count: *count }
    }

    fn bytes_of_array(&self, kind: &TypeKind) -> u64 {
        let TypeKind::Array { element, count } = kind else { return 0 };
        self.type_of(*element).map_or(0, |element| element.bytes).saturating_mul(*count)
    }

    /// The name of what an entry refers to; nothing is `void`.
    fn name_of(&self, id: Option<TypeId>) -> String {
        id.and_then(|id| self.type_of(id)).map_or_else(|| "void".to_owned(), |of| of.name.clone())
    }

    /// A type of C's functions, written as Rust would.
    fn function_name_of(&self, id: TypeId, entry: &Entry) -> String {
        let mut arguments = Vec::new();
        self.children(id, |child| match child.tag() {
            dw::DW_TAG_formal_parameter => arguments.push(self.name_of(self.type_ref(id.unit, child))),
            dw::DW_TAG_unspecified_parameters => arguments.push("...".to_owned()),
            _ => {}
        });
        let result = self.type_ref(id.unit, entry);
        let result = result.map_or_else(String::new, |_| format!(" -> {}", self.name_of(result)));
        format!("fn({}){result}", arguments.join(", "))
    }

    fn type_name(&self, id: TypeId, entry: &Entry, kind: &TypeKind) -> String {
        let path = self.path_of(id.unit, id.entry);
        let own = self.image.scopes(id.unit).named(id.entry).and_then(|named| named.name);
        match (own, kind) {
            // Names with a sign (`&str`, `[u8; 4]`, `*const T`, `(A, B)`) are whole already.
            (Some(own), _) if !own.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{') => {
                own.to_owned()
            }
            (Some(_), _) => path,
            (None, TypeKind::Array { element, count }) => {
                let element =
                    self.type_of(*element).map_or_else(|| "?".to_owned(), |element| element.name.clone());
                format!("[{element}; {count}]")
            }
            (None, TypeKind::Pointer(to)) => {
                let sign = if entry.tag() == dw::DW_TAG_pointer_type { "*" } else { "&" };
                format!("{sign}{}", self.name_of(*to))
            }
            (None, TypeKind::Function) => self.function_name_of(id, entry),
            (None, TypeKind::Struct { .. }) => UNNAMED[0].to_owned(),
            (None, TypeKind::Union(_)) => UNNAMED[1].to_owned(),
            (None, TypeKind::Enumeration { .. }) => UNNAMED[2].to_owned(),
            (None, _) => "?".to_owned(),
        }
    }

    /// The type that an entry says it has.
    #[must_use]
    pub fn type_ref(&self, unit: UnitIndex, entry: &Entry) -> Option<TypeId> {
        let (unit, entry) = self.resolve(unit, entry.attr_value(dw::DW_AT_type)?)?;
        Some(TypeId { unit, entry })
    }

    /// Calls `each` for every direct child of an entry, until it says to stop.
    fn children(&self, id: TypeId, mut each: impl FnMut(&Entry)) -> Option<()> {
        let unit = self.image.unit(id.unit);
        let mut tree = unit.entries_tree(Some(id.entry)).ok()?;
        let mut children = tree.root().ok()?.children();
        while let Ok(Some(child)) = children.next() {
            each(child.entry());
        }
        Some(())
    }

    fn string(&self, unit: UnitIndex, entry: &Entry, name: gimli::DwAt) -> Option<&'static str> {
        let value = entry.attr_value(name)?;
        self.image.dwarf(unit).attr_string(self.image.unit(unit), value).ok().map(text)
    }

    fn read_member(&self, unit: UnitIndex, entry: &Entry) -> Option<Member> {
        let type_id = self.type_ref(unit, entry)?;
        let mut offset = number(entry, dw::DW_AT_data_member_location).unwrap_or(0);
        let mut bits = None;
        if let Some(count) = number(entry, dw::DW_AT_bit_size) {
            let bytes = self.type_of(type_id)?.bytes;
            let storage = number(entry, dw::DW_AT_byte_size).unwrap_or(bytes);
            let first = match number(entry, dw::DW_AT_data_bit_offset) {
                Some(first) => first,
                // As it was before DWARF 4: from the highest bit of the storage on.
                None => {
                    let from_top = number(entry, dw::DW_AT_bit_offset).unwrap_or(0);
                    (offset * 8 + storage * 8).checked_sub(from_top + count)?
                }
            };
            let aligned = first / (bytes.max(1) * 8) * bytes;
            offset = if first - aligned * 8 + count <= bytes * 8 { aligned } else { first / 8 };
            bits = Some(Bits { first: first - offset * 8, count });
        }
        Some(Member {
            name: self.string(unit, entry, dw::DW_AT_name).unwrap_or("").to_owned(),
            offset,
            type_id,
            bits,
            line: number(entry, dw::DW_AT_decl_line).unwrap_or(0) as u32,
            file: match entry.attr_value(dw::DW_AT_decl_file) {
                Some(Attribute::FileIndex(file)) => u32::try_from(file).ok(),
                _ => None,
            },
        })
    }

    fn read_members(&self, id: TypeId) -> Option<Vec<Member>> {
        let mut members = Vec::new();
        self.children(id, |child| {
            match child.tag() {
                // One that every value of the class shares lies elsewhere.
                dw::DW_TAG_member if child.attr_value(dw::DW_AT_declaration).is_some() => {}
                dw::DW_TAG_member => members.extend(self.read_member(id.unit, child)),
                // Of a virtual base only the program can tell where it lies.
                dw::DW_TAG_inheritance if number(child, dw::DW_AT_data_member_location).is_some() => {
                    members.extend(self.read_member(id.unit, child).map(|base| Member {
                        name: crate::values::view::short_name(&self.name_of(Some(base.type_id))),
                        ..base
                    }));
                }
                _ => {}
            }
        })?;
        Some(members)
    }

    fn read_struct(&self, id: TypeId) -> Option<TypeKind> {
        let members = self.read_members(id)?;
        let mut part = None;
        self.children(id, |child| {
            if child.tag() == dw::DW_TAG_variant_part {
                part = Some(TypeId { unit: id.unit, entry: child.offset() });
            }
        })?;
        let variants = part.and_then(|part| self.read_variant_part(part));
        Some(TypeKind::Struct { members, variants })
    }

    fn read_variant_part(&self, id: TypeId) -> Option<VariantPart> {
        let unit = self.image.unit(id.unit);
        let part = unit.entry(id.entry).ok()?;
        let discriminant = part
            .attr_value(dw::DW_AT_discr)
            .and_then(|value| self.resolve(id.unit, value))
            .and_then(|(unit, entry)| self.read_member(unit, &self.image.unit(unit).entry(entry).ok()?));
        let width =
            discriminant.as_ref().and_then(|member| self.type_of(member.type_id)).map_or(8, |of| of.bytes);
        let mut variants = Vec::new();
        let mut tree = unit.entries_tree(Some(id.entry)).ok()?;
        let mut children = tree.root().ok()?.children();
        while let Ok(Some(child)) = children.next() {
            if child.entry().tag() != dw::DW_TAG_variant {
                continue;
            }
            let values = variant_values(child.entry(), width);
            let mut inner = child.children();
            while let Ok(Some(member)) = inner.next() {
                if member.entry().tag() == dw::DW_TAG_member
                    && let Some(member) = self.read_member(id.unit, member.entry())
                {
                    variants.push(Variant { values, member });
                    break;
                }
            }
        }
        Some(VariantPart { discriminant, variants })
    }

    fn read_enumerators(&self, id: TypeId, width: u64) -> Option<Vec<(String, u128)>> {
        let mut enumerators = Vec::new();
        self.children(id, |child| {
            if child.tag() == dw::DW_TAG_enumerator
                && let Some(value) =
                    child.attr_value(dw::DW_AT_const_value).and_then(|value| wide_number(value, width))
            {
                enumerators
                    .push((self.string(id.unit, child, dw::DW_AT_name).unwrap_or("").to_owned(), value));
            }
        })?;
        Some(enumerators)
    }

    fn read_dimensions(&self, id: TypeId) -> Option<Dimensions> {
        let mut dimensions = Vec::new();
        self.children(id, |child| {
            if child.tag() == dw::DW_TAG_subrange_type {
                let count = number(child, dw::DW_AT_count)
                    .or_else(|| number(child, dw::DW_AT_upper_bound).map(|last| last.wrapping_add(1)));
                dimensions.push((child.offset(), count.unwrap_or(0)));
            }
        })?;
        Some(dimensions)
    }

    fn read_parameters(&self, id: TypeId) -> Vec<(String, TypeId)> {
        let mut parameters = Vec::new();
        self.children(id, |child| {
            if child.tag() == dw::DW_TAG_template_type_parameter
                && let Some(type_id) = self.type_ref(id.unit, child)
            {
                parameters
                    .push((self.string(id.unit, child, dw::DW_AT_name).unwrap_or("").to_owned(), type_id));
            }
        });
        parameters
    }
}

fn number(entry: &Entry, name: gimli::DwAt) -> Option<u64> {
    let value = entry.attr_value(name)?;
    value.udata_value().or_else(|| value.sdata_value().map(|value| value as u64))
}

/// A constant as an unsigned number of `width` bytes; debug information writes negative ones with their sign.
fn wide_number(value: Attribute, width: u64) -> Option<u128> {
    let value = match value {
        Attribute::Data16(value) => value,
        Attribute::Block(block) if block.len() == 16 => u128::from_le_bytes(block.slice().try_into().ok()?),
        other => match other.sdata_value() {
            Some(signed) => i128::from(signed) as u128,
            None => u128::from(other.udata_value()?),
        },
    };
    Some(mask(value, width))
}

/// Keeps the lowest `width` bytes.
#[must_use]
pub fn mask(value: u128, width: u64) -> u128 {
    if width >= 16 { value } else { value & ((1u128 << (width * 8)) - 1) }
}

fn variant_values(entry: &Entry, width: u64) -> Vec<(u128, u128)> {
    if let Some(value) = entry.attr_value(dw::DW_AT_discr_value).and_then(|value| wide_number(value, width)) {
        return vec![(value, value)];
    }
    match entry.attr_value(dw::DW_AT_discr_list) {
        Some(Attribute::Block(block)) => discriminant_list(block.slice(), width),
        _ => Vec::new(),
    }
}

/// DWARF 5 section 5.7.10: descriptors, each one value (0) or two (1, a range), as unsigned LEB128.
fn discriminant_list(bytes: &[u8], width: u64) -> Vec<(u128, u128)> {
    let mut at = 0;
    let mut next = || {
        let mut value = 0u128;
        let mut shift = 0;
        loop {
            let byte = *bytes.get(at)?;
            at += 1;
            value |= u128::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(mask(value, width));
            }
        }
    };
    let mut values = Vec::new();
    while let Some(descriptor) = next() {
        let Some(low) = next() else { break };
        let high = if descriptor == 1 { next() } else { Some(low) };
        let Some(high) = high else { break };
        values.push((low, high));
    }
    values
}

fn scalar_kind(entry: &Entry, bytes: u64) -> ScalarKind {
    if bytes == 0 {
        return ScalarKind::Empty;
    }
    match entry.attr_value(dw::DW_AT_encoding) {
        Some(Attribute::Encoding(dw::DW_ATE_boolean)) => ScalarKind::Bool,
        Some(Attribute::Encoding(dw::DW_ATE_UTF)) => ScalarKind::Char,
        Some(Attribute::Encoding(dw::DW_ATE_signed | dw::DW_ATE_signed_char)) => ScalarKind::Signed,
        Some(Attribute::Encoding(dw::DW_ATE_float)) => ScalarKind::Float,
        _ => ScalarKind::Unsigned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(name: &str, values: &[(u128, u128)]) -> Variant {
        let type_id = TypeId { unit: UnitIndex(0), entry: gimli::UnitOffset(0) };
        Variant {
            values: values.to_vec(),
            member: Member { name: name.to_owned(), offset: 0, type_id, bits: None, line: 0, file: None },
        }
    }

    #[test]
    fn a_niche_falls_back_to_the_variant_without_a_value() {
        let part = VariantPart {
            discriminant: None,
            variants: vec![variant("None", &[(0, 0)]), variant("Some", &[])],
        };
        assert_eq!(part.variant_of(Some(0)).unwrap().member.name, "None");
        assert_eq!(part.variant_of(Some(0x7fff_0000)).unwrap().member.name, "Some");
    }

    #[test]
    fn bits_are_numbers_with_and_without_a_sign() {
        let bits = |first, count| Bits { first, count };
        assert_eq!(bits(0, 3).taken_from(&[0xed, 0, 0, 0], false), [5, 0, 0, 0]);
        assert_eq!(bits(3, 5).taken_from(&[0xed, 0, 0, 0], true), (-3i32).to_le_bytes());
        assert_eq!(bits(3, 5).taken_from(&[0xed], false), [29]);
        assert_eq!(bits(0, 64).taken_from(&[0xff; 8], true), [0xff; 8]);
        assert_eq!(bits(200, 3).taken_from(&[1], false), [0]);
    }

    #[test]
    fn a_tag_without_a_variant_is_no_variant() {
        let part = VariantPart {
            discriminant: None,
            variants: vec![variant("A", &[(0, 0)]), variant("B", &[(1, 3)])],
        };
        assert_eq!(part.variant_of(Some(2)).unwrap().member.name, "B");
        assert!(part.variant_of(Some(7)).is_none());
        assert!(part.variant_of(None).is_none());
    }

    #[test]
    fn discriminant_lists_have_values_and_ranges() {
        assert_eq!(discriminant_list(&[0, 5, 1, 7, 0x81, 0x01], 8), vec![(5, 5), (7, 129)]);
        assert_eq!(discriminant_list(&[1, 7], 8), vec![]);
        assert_eq!(mask(u128::MAX, 1), 255);
    }
}
