//! Every limit of a session. What is cut says that it was cut.

use std::time::Duration;

/// Tasks that a session holds paused at one time, unless `maxPaused` says otherwise.
pub const PAUSED_TASKS: usize = 16;
/// The most that `maxPaused` can ask for: the editor's list of threads is of no use beyond.
pub const PAUSED_TASKS_MAX: usize = 10_000;
/// Different sentences about how well targets can be debugged.
pub const LEVELS_TOLD: usize = 16;
/// Breakpoints of one session, over all files.
pub const BREAKPOINTS_MAX: usize = 4_096;
/// Frames and variables that one stop can hand out.
pub const HANDLES_OF_A_STOP_MAX: usize = 200_000;
/// Folders of the client whose other name in the cluster the session has found out; the newest count.
pub const LEARNED_FOLDERS_MAX: usize = 64;
/// Sources that the client lacks and that the session has a reference for.
pub const SOURCES_MAX: usize = 100_000;
/// Requests that wait for targets at one time.
pub const PENDING_REQUESTS_MAX: usize = 4_096;
/// Frames that one `stackTrace` asks a target for.
pub const FRAMES_MAX: i32 = 1_000;
/// Frames that a target sends of a stop ahead of being asked.
pub const LOOK_FRAMES_MAX: i32 = 50;
/// Variables that one `variables` asks a target for.
pub const VARIABLES_MAX: i32 = 10_000;
/// Targets that are asked what all of them together can say: the processes of a job have loaded the same.
pub const GATHER_TARGETS_MAX: usize = 16;
/// Sources, or places in a file, that are put together for one answer.
pub const GATHERED_MAX: usize = 10_000;
/// Texts that one `completions` answers.
pub const COMPLETIONS_MAX: usize = 500;
/// Lines that `gotoTargets` has answered and that `goto` still knows.
pub const JUMPS_MAX: usize = 1_000;
/// Bytes that one `readMemory` asks a target for; as text they are a third more.
pub const MEMORY_BYTES_MAX: i64 = 1024 * 1024;
/// Instructions that one `disassemble` asks a target for.
pub const INSTRUCTIONS_MAX: i32 = 10_000;
/// One answer of a target. There are clients that read no longer message.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024 - 4096;
/// One text that is shown as output.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Stops that follow each other within this time are announced together.
pub const ANNOUNCE_WINDOW: Duration = Duration::from_millis(50);
/// How long a step's answer waits for the step's stop.
pub const STEP_HOLD: Duration = Duration::from_secs(3);
/// How long a change of breakpoints waits for the nodes. Nodes give up on their targets after 5 s and say so.
pub const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(6);
/// While a change of breakpoints is on its way, further ones wait this long to travel together.
pub const PUBLISH_GATE: Duration = Duration::from_millis(100);
/// How often the session says how many tasks ran on because of the break budget.
pub const PASSED_REPORT_EVERY: Duration = Duration::from_millis(500);
/// How often requests that wait for a target grow older.
pub const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// After so many sweeps a request fails.
pub const SWEEPS_MAX: u8 = 3;
/// After so many sweeps an `evaluate` fails: an expression may be slow.
pub const EVALUATE_SWEEPS_MAX: u8 = 30;
/// How long after a head's return its nodes may take to tell of what was paused before.
pub const RETURN_WITHIN: Duration = Duration::from_secs(15);
/// How long paused tasks wait for a client that is lost, unless `graceSeconds` says otherwise.
pub const GRACE: Duration = Duration::from_secs(5);
/// The most that `graceSeconds` can ask for.
pub const GRACE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
