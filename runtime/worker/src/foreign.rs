//! What the languages have agreed on for values that go from one to another.

/// The MessagePack extension type of an object ref: its wire form.
pub const REF_TAG: i8 = 1;
/// The MessagePack extension type of an actor handle: its wire form, then its description.
pub const ACTOR_TAG: i8 = 2;
/// A handle's description begins with this when it is MessagePack: a map of `language`, `class`, `max_task_retries` and
/// `max_pending_calls`. Python's own handles have a pickle.
pub const DESCRIPTION_PREFIX: &[u8] = b"manta-actor-1\n";
