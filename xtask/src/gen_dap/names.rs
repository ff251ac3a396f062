//! From the protocol's names to Rust's.

use super::SPECIFICATION;

pub(super) fn last_part(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}

/// The protocol's `Message` is an error's text; the crate keeps that name for the envelope.
pub(super) fn rust_name(name: &str) -> String {
    if name == "Message" { "ErrorMessage".to_owned() } else { name.to_owned() }
}

pub(super) fn type_doc(name: &str) -> String {
    let (group, anchor) = if name == "ErrorResponse" {
        ("Base_Protocol", name)
    } else if let Some(request) = name.strip_suffix("Response") {
        ("Requests", request)
    } else if let Some(event) = name.strip_suffix("Event") {
        ("Events", event)
    } else if let Some(request) =
        name.strip_suffix("RequestArguments").or_else(|| name.strip_suffix("Arguments"))
    {
        ("Requests", request)
    } else {
        ("Types", name)
    };
    format!("/// [`{name}`]({SPECIFICATION}#{group}_{anchor}).\n")
}

/// An enumeration in place is named after its owner and its property.
pub(super) fn enum_name(owner: &str, wire: &str) -> String {
    let owner = owner.strip_suffix("Body").unwrap_or(owner);
    let owner =
        owner.strip_suffix("RequestArguments").or_else(|| owner.strip_suffix("Arguments")).unwrap_or(owner);
    format!("{owner}{}", variant_name(wire))
}

pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let characters: Vec<char> = name.chars().collect();
    for (index, character) in characters.iter().enumerate() {
        if !character.is_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let after_lower = index > 0 && !characters[index - 1].is_uppercase() && character.is_uppercase();
        let before_lower = index > 0
            && characters[index - 1].is_uppercase()
            && character.is_uppercase()
            && characters.get(index + 1).is_some_and(|next| next.is_lowercase());
        if words.is_empty() || after_lower || before_lower {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(character.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

pub(super) fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

pub(super) fn variant_name(value: &str) -> String {
    words(value).iter().map(|word| capitalised(word)).collect()
}

pub(super) fn field_name(wire: &str) -> String {
    let name = words(wire).join("_");
    if matches!(name.as_str(), "type" | "static" | "enum" | "virtual") { format!("{name}_") } else { name }
}

/// What serde's `camelCase` makes of a field's name.
pub(super) fn camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &capitalised(word))
}
