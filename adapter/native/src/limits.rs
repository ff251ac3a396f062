//! Every limit of the native engine. What is cut says that it was cut.

use std::time::Duration;

/// How long it may take in a cluster until it is told that a thread runs on: a step is over by then, and its stop goes along.
pub const SOON: Duration = Duration::from_micros(300);
/// How long the node waits for what the client has on a line already.
pub const BEHIND: Duration = Duration::from_millis(5);
/// How long what is told of a stop ahead of being asked leaves the processor to those that carry the stop.
pub const GIVE_WAY: Duration = Duration::from_micros(60);
/// A thread that has given way for a shorter time than this has found nobody that waits for its processor.
pub const NOBODY_RAN: Duration = Duration::from_micros(4);
/// How long an agent with a line looks again and again for what happens next before it sleeps.
pub const LINGER: Duration = Duration::from_micros(300);
/// Frames of a stack that are walked at first; more when the client asks for them.
pub const FRAMES_MAX: usize = 1000;
/// Frames of a stack that are walked at most.
pub const FRAMES_DEEPEST_MAX: usize = 500_000;
/// Children that one `variables` answer carries when the client names no count.
pub const CHILDREN_MAX: usize = 500;
/// Frames that are told of a stop ahead of being asked.
pub const LOOK_FRAMES_MAX: i32 = 50;
/// A frame with more variables than this shows them when it is asked.
pub const LOOK_VARIABLES_MAX: usize = 100;
/// Addresses of one program file of which what was looked up is kept.
pub const ADDRESSES_KEPT_MAX: usize = 1 << 14;
/// Pages of the program's memory that are kept during one request: 16 MiB.
pub const KEPT_PAGES_MAX: usize = 4096;
/// Bytes of a string that are shown.
pub const TEXT_BYTES_MAX: u64 = 4096;
/// Bytes of a string inside another value's one-line summary.
pub const TEXT_IN_SUMMARY_BYTES_MAX: u64 = 64;
/// Levels of nesting in a one-line summary.
pub const SUMMARY_DEPTH_MAX: usize = 3;
/// Elements or fields in a one-line summary.
pub const SUMMARY_ITEMS_MAX: usize = 6;
/// Characters of a one-line summary.
pub const SUMMARY_CHARS_MAX: usize = 400;
/// Characters of a value that is copied whole.
pub const CLIPBOARD_CHARS_MAX: usize = 1 << 20;
/// Elements or fields of each part of it.
pub const CLIPBOARD_ITEMS_MAX: usize = 100_000;
/// Levels of nesting in it: a circle ends there.
pub const CLIPBOARD_DEPTH_MAX: usize = 32;
/// The largest value that is read whole.
pub const VALUE_BYTES_MAX: u64 = 1 << 20;
/// A length above this is not believed: the memory is not (yet) what its type says.
pub const LENGTH_BELIEVED_MAX: u64 = 1 << 40;
/// Control bytes of a hash table that are read.
pub const HASH_BUCKETS_MAX: u64 = 1 << 22;
/// Entries of an ordered map that are read.
pub const TREE_ENTRIES_MAX: usize = 10_000;
/// Levels of an ordered map; six keys a node make 2^30 entries in twelve.
pub const TREE_HEIGHT_MAX: u64 = 24;
/// Addresses at which one line breakpoint is set.
pub const LOCATIONS_MAX: usize = 256;
/// Single steps and temporary stops of one step request before the thread is shown where it is.
pub const STEP_STOPS_MAX: u32 = 200_000;
/// Steps that wait for their async functions at one time; the oldest are given up.
pub const SUSPENDED_STEPS_MAX: usize = 16;
/// Calls of one line that a step can choose from.
pub const LINE_CALLS_MAX: usize = 200;
/// Instructions that are read to find them.
pub const LINE_INSTRUCTIONS_MAX: usize = 100_000;
/// Lines that the client may have asked about to go on from; the oldest are forgotten.
pub const JUMPS_MAX: usize = 1000;
/// Operations of one DWARF expression.
pub const DWARF_OPERATIONS_MAX: u32 = 1000;
/// Nesting of an expression that a user typed.
pub const EXPRESSION_DEPTH_MAX: usize = 64;
/// Characters of an expression that a user typed.
pub const EXPRESSION_CHARS_MAX: usize = 4096;
/// Handles (frames and variables) of one stop.
pub const HANDLES_MAX: usize = 200_000;
/// Bytes of a source file that `source` gives out.
pub const SOURCE_BYTES_MAX: u64 = 2 << 20;
/// Bytes that wait for a slow client before reading its requests pauses.
pub const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// Bytes of one `readMemory` or `writeMemory`.
pub const MEMORY_BYTES_MAX: u64 = 1 << 20;
/// Instructions of one `disassemble`.
pub const INSTRUCTIONS_MAX: usize = 10_000;
/// Files of one `loadedSources`.
pub const SOURCES_MAX: usize = 10_000;
/// Lines of one `breakpointLocations`.
pub const BREAKPOINT_LOCATIONS_MAX: usize = 10_000;
/// Names of one `completions`.
pub const COMPLETIONS_MAX: usize = 500;
/// One message from the client.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// One compressed section, unpacked.
pub const SECTION_BYTES_MAX: u64 = 2 << 30;
/// All compressed sections of one file, unpacked.
pub const UNPACKED_BYTES_MAX: u64 = 3 << 30;
/// Debug information of fewer bytes is read as fast as an index of it.
pub const INDEX_WORTH_BYTES: u64 = 1 << 20;
/// Units at the beginning of a program that are looked at to see whether their split parts are there.
pub const SPLIT_UNITS_LOOKED_AT: usize = 32;
/// Threads that make an index when somebody waits for it.
pub const INDEX_THREADS_MAX: usize = 8;
/// Bytes of all indices of a user on the disk.
pub const SYMBOL_CACHE_BYTES_MAX: u64 = 1 << 30;
/// Bytes that one byte of a compressed section is believed to stand for; zlib gets to 1032, debug information to five.
pub const UNPACKED_RATIO_MAX: u64 = 1100;
/// Bytes of each thread's stack, from its top, that a partial core file keeps.
pub const CORE_STACK_BYTES_MAX: u64 = 64 << 10;
/// Bytes of each file's writable data that a partial core file keeps.
pub const CORE_DATA_BYTES_MAX: u64 = 1 << 20;
/// Pages of a partial core file: 16 MiB.
pub const CORE_PAGES_MAX: usize = 4096;
/// How many pointers in a row lead to what a partial core file keeps.
pub const CORE_POINTER_LEVELS: usize = 2;
/// Pages of a whole core file: 16 GiB.
pub const CORE_WHOLE_PAGES_MAX: usize = 4 << 20;
/// Futures that wait for one another, of one task.
pub const AWAITS_MAX: usize = 256;
/// Tasks of one tokio runtime that are listed.
pub const TOKIO_TASKS_MAX: usize = 20_000;
/// Tasks that wait for one another, behind a stack.
pub const TOKIO_AWAITERS_MAX: usize = 16;
/// Nodes of a linked list that are looked for.
pub const LIST_NODES_MAX: usize = 2000;
/// Frames, and values in each, that are looked through for what a function was called with.
pub const ENTRY_VALUES_DEPTH_MAX: usize = 8;
/// Bytes of a calling function's code that are read for that.
pub const CALLER_BYTES_MAX: usize = 1 << 16;
/// Steps of the routine that gives the trap guard its handler back: twenty, and some for what interrupts it.
pub const REPAIR_STEPS_MAX: usize = 64;
/// How long each of those steps may take.
pub const REPAIR_TIME_MAX: Duration = Duration::from_secs(1);
