//! Channels as the messages that wait in them, the oldest first.
//!
//! Those of the standard library and of `crossbeam-channel` are one design: blocks of slots, or a ring of slots where the channel has a
//! limit. Those of tokio are blocks with a bit for each slot that is filled. All of it is read while senders may run.

use super::Value;
use super::collections::{List, Start};
use crate::address::Address;
use crate::dwarf::evaluate::Place;
use crate::dwarf::types::TypeKind;
use crate::limits::LIST_NODES_MAX;
use crate::target::Memory;

const NAMES: [&str; 7] = [
    "std::sync::mpsc::Receiver<",
    "std::sync::mpsc::Sender<",
    "std::sync::mpsc::SyncSender<",
    "std::sync::mpmc::Receiver<",
    "std::sync::mpmc::Sender<",
    "crossbeam_channel::channel::Receiver<",
    "crossbeam_channel::channel::Sender<",
];
const TOKIO_NAMES: [&str; 4] = [
    "tokio::sync::mpsc::bounded::Receiver<",
    "tokio::sync::mpsc::bounded::Sender<",
    "tokio::sync::mpsc::unbounded::UnboundedReceiver<",
    "tokio::sync::mpsc::unbounded::UnboundedSender<",
];

/// Positions count in twos: the last bit has a meaning of its own.
const SHIFT: u64 = 1;
/// Positions of a block; the last has no slot.
const LAP: u64 = 32;
/// The bit of a slot that says that its message was written.
const WRITTEN: u64 = 1;
/// Slots of a block of tokio's.
const TOKIO_SLOTS: u64 = 32;

/// The messages that wait; `None` for what is no channel, or none that is known.
#[must_use]
pub fn waiting(value: &Value, memory: &dyn Memory) -> Option<List> {
    let is = |names: &[&str]| names.iter().any(|start| value.of.name.starts_with(start));
    if is(&NAMES) {
        let flavor = value.find(2, &|part| part.of.member("flavor").is_some())?.field("flavor")?;
        let (kind, fields) = flavor.variant(memory)?;
        let channel = fields.first_pointer()?.pointee(memory)?.field("chan")?;
        return match kind.as_str() {
            "List" => of_blocks(value, &channel, memory),
            "Array" => of_ring(value, &channel, memory),
            // A message goes from hand to hand.
            "Zero" => listed(value, Vec::new()),
            _ => None,
        };
    }
    if is(&TOKIO_NAMES) { of_tokio(value, memory) } else { None }
}

fn listed(value: &Value, messages: Vec<Address>) -> Option<List> {
    let len = messages.len() as u64;
    List::new(value, value.of.parameter("T")?, Start::Linked(messages.into()), len)
}

/// The first number of eight bytes in a part.
fn number(value: &Value, memory: &dyn Memory) -> Option<u64> {
    let is_number = |part: &Value| matches!(part.of.kind, TypeKind::Scalar(_)) && part.of.bytes == 8;
    value.find(5, &is_number)?.word(memory)
}

fn address_of(value: &Value) -> Option<Address> {
    match value.place {
        Place::Memory(address) => Some(address),
        _ => None,
    }
}

fn of_blocks(value: &Value, channel: &Value, memory: &dyn Memory) -> Option<List> {
    let position = |name: &str| channel.field(name)?.find(3, &|part| part.of.member("index").is_some());
    let (head, tail) = (position("head")?, position("tail")?);
    let mut at = number(&head.field("index")?, memory)? >> SHIFT;
    let end = number(&tail.field("index")?, memory)? >> SHIFT;
    let mut block = head.field("block")?.first_pointer()?;
    let mut messages = Vec::new();
    // A block is made with its first message.
    while at < end && messages.len() < LIST_NODES_MAX && block.word(memory)? != 0 {
        let slots = block.pointee(memory)?;
        let slot = at % LAP;
        at += 1;
        if slot == LAP - 1 {
            block = slots.field("next")?.first_pointer()?;
            continue;
        }
        let slot = List::of(&slots.field("slots")?, memory)?.get(slot)?;
        if number(&slot.field("state")?, memory)? & WRITTEN != 0 {
            messages.push(address_of(&slot.field("msg")?)?);
        }
    }
    listed(value, messages)
}

fn of_ring(value: &Value, channel: &Value, memory: &dyn Memory) -> Option<List> {
    let part = |name: &str| number(&channel.field(name)?, memory);
    let (head, tail) = (part("head")?, part("tail")?);
    let (capacity, mark) = (part("cap")?, part("mark_bit")?);
    let places = mark.checked_sub(1)?;
    let (first, behind) = (head & places, tail & places);
    let len = match behind.checked_sub(first) {
        Some(0) if tail & !mark == head => 0,
        Some(0) => capacity,
        Some(len) => len,
        None => (capacity + behind).checked_sub(first)?,
    };
    let slots = List::of(&channel.field("buffer")?, memory)?;
    let mut messages = Vec::new();
    for index in 0..len.min(LIST_NODES_MAX as u64) {
        let slot = slots.get((first + index) % capacity.max(1))?;
        messages.push(address_of(&slot.field("msg")?)?);
    }
    listed(value, messages)
}

fn of_tokio(value: &Value, memory: &dyn Memory) -> Option<List> {
    let shared = value.find(3, &|part| part.of.name.starts_with("alloc::sync::Arc<"))?;
    let channel = super::view::counted(&shared, memory)?;
    let receiver = channel
        .field("rx_fields")?
        .find(4, &|part| part.of.member("index").is_some() && part.of.member("head").is_some())?;
    let mut at = number(&receiver.field("index")?, memory)?;
    let mut block = receiver.field("head")?.first_pointer()?;
    let mut messages = Vec::new();
    while messages.len() < LIST_NODES_MAX && block.word(memory)? != 0 {
        let now = block.pointee(memory)?;
        let header = now.find(1, &|part| part.of.member("ready_slots").is_some())?;
        let start = number(&header.field("start_index")?, memory)?;
        let (own, slot) = (at & !(TOKIO_SLOTS - 1), at % TOKIO_SLOTS);
        if start != own {
            // Blocks that were read wait to be used again.
            block = header.field("next")?.first_pointer()?;
            if start > own {
                break;
            }
            continue;
        }
        if number(&header.field("ready_slots")?, memory)? & 1 << slot == 0 {
            break;
        }
        let values = now.field("values")?.find(3, &|part| matches!(part.of.kind, TypeKind::Array { .. }))?;
        messages.push(address_of(&List::of(&values, memory)?.get(slot)?)?);
        at += 1;
        if at.is_multiple_of(TOKIO_SLOTS) {
            block = header.field("next")?.first_pointer()?;
        }
    }
    listed(value, messages)
}
