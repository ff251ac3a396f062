//! `manta._manta`: the extension module under the Python package `manta`.
//!
//! It turns Python values into bytes and back, and hands everything else to [`manta_worker::Core`]. Whatever blocks does so with
//! the GIL released. It must hold no policy: options, messages to people and the order of things are the package's.

mod actor;
mod buffer;
mod connection;
mod debug;
mod decode;
mod encode;
mod head;
mod msgpack;
mod object_ref;
mod objects;
mod output;
mod placement_groups;
mod prepared;
mod stream;
mod telemetry;
mod worker;

/// Everything that `import manta._manta` offers.
#[pyo3::pymodule]
mod _manta {
    #[pymodule_export]
    use super::{
        actor::{PyActorRef, actor_from_wire, exit_actor, find_actor, kill_actor, new_actor},
        connection::{
            connect_driver, connect_worker, context, current_task, forget, is_connected, is_worker, job,
            namespace, nodes, shutdown,
        },
        debug::{debug_receive, debug_send},
        head::{PyAnswer, PyHead, PyPackage, current_head, make_package},
        msgpack::{msgpack_dumps, msgpack_loads},
        object_ref::{PyObjectRef, object_ref_from_wire},
        objects::{get, next_ready, notify_ready, put, put_error, register_function, wait, wait_refs},
        output::{next_output, send_output},
        placement_groups::{create_placement_group, placement_groups, remove_placement_group},
        prepared::PreparedTask,
        stream::{PyStream, cancel, is_interrupted, keep_interrupted_calls, take_interrupted_calls},
        telemetry::report_measures,
        worker::{Task, function_code, next_calls, next_task},
    };

    /// How the description of a handle begins that other languages can read.
    #[pymodule_export]
    const DESCRIPTION_PREFIX: &[u8] = manta_worker::foreign::DESCRIPTION_PREFIX;

    /// The bytes of a handle's wire form, which its description follows.
    #[pymodule_export]
    const ACTOR_WIRE_BYTES: usize = manta_worker::ActorRef::WIRE_BYTES;

    /// The longest line that travels whole.
    #[pymodule_export]
    const OUTPUT_LINE_BYTES_MAX: usize = manta_proto::limits::OUTPUT_LINE_BYTES_MAX;
}
