//! Tasks on their way to workers, encoded from what their attempts share and what is each one's own.

use bytes::BytesMut;
use manta_proto::{
    frame::FrameError,
    ids::{LeaseId, TaskId},
    v1::TaskArgument,
};

use crate::reactor::EncodedTask;

/// A task on its way to a worker.
pub(super) struct Push<'a> {
    pub id: TaskId,
    pub task: &'a EncodedTask,
    pub lease: LeaseId,
    pub attempt: u32,
    pub made_again: bool,
    pub arguments: &'a [TaskArgument],
}

impl Push<'_> {
    /// Writes one frame with `PeerMessage { push: TaskSpec }`, whose fields come from several parts: a protobuf message may be written
    /// in pieces, one after the other, and its fields in any order.
    pub fn write(&self, buffer: &mut BytesMut) -> Result<(), FrameError> {
        use bytes::BufMut;
        use prost::encoding::{self, WireType, bool, encoded_len_varint, key_len, message, uint32};

        const PUSH_FIELD: u32 = 3;
        const TASK_ID_FIELD: u32 = 1;
        const ATTEMPT_FIELD: u32 = 2;
        const LEASE_FIELD: u32 = 3;
        const ARGUMENTS_FIELD: u32 = 7;
        const PARENT_FIELD: u32 = 10;
        const MADE_AGAIN_FIELD: u32 = 16;
        /// An id with its field's key and length.
        const ID_FIELD_BYTES: usize = 18;

        let put_id = |field, id: &[u8; 16], buffer: &mut BytesMut| {
            encoding::encode_key(field, WireType::LengthDelimited, buffer);
            buffer.put_u8(16);
            buffer.put_slice(id);
        };
        let EncodedTask { shared, arguments, parent } = self.task;
        let ids = 2 + usize::from(parent.is_some());
        let attempt = if self.attempt == 0 { 0 } else { uint32::encoded_len(ATTEMPT_FIELD, &self.attempt) };
        let spec = shared.len()
            + arguments.len()
            + ids * ID_FIELD_BYTES
            + attempt
            + if self.made_again { bool::encoded_len(MADE_AGAIN_FIELD, &true) } else { 0 }
            + self.arguments.iter().map(|one| message::encoded_len(ARGUMENTS_FIELD, one)).sum::<usize>();
        let length = key_len(PUSH_FIELD) + encoded_len_varint(spec as u64) + spec;
        if length > manta_proto::limits::MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLarge(length));
        }
        buffer.reserve(length + 4);
        #[expect(clippy::cast_possible_truncation, reason = "checked against the limit above")]
        buffer.put_u32_le(length as u32);
        encoding::encode_key(PUSH_FIELD, WireType::LengthDelimited, buffer);
        encoding::encode_varint(spec as u64, buffer);
        buffer.put_slice(shared);
        buffer.put_slice(arguments);
        put_id(TASK_ID_FIELD, &self.id.0, buffer);
        put_id(LEASE_FIELD, &self.lease.0, buffer);
        if let Some(parent) = parent {
            put_id(PARENT_FIELD, &parent.0, buffer);
        }
        if self.attempt != 0 {
            uint32::encode(ATTEMPT_FIELD, &self.attempt, buffer);
        }
        if self.made_again {
            bool::encode(MADE_AGAIN_FIELD, &true, buffer);
        }
        for argument in self.arguments {
            message::encode(ARGUMENTS_FIELD, argument, buffer);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use manta_proto::{
        frame,
        v1::{TaskSpec, peer_message},
    };
    use prost::Message;

    use super::*;

    #[test]
    fn a_task_in_parts_is_read_as_one() {
        let argument = |keyword: &str| TaskArgument { keyword: keyword.into(), ..TaskArgument::default() };
        for (parent, attempt, made_again) in [(None, 0, false), (Some(TaskId([4; 16])), 300, true)] {
            let shared = TaskSpec { name: "f".into(), num_returns: 2, ..TaskSpec::default() };
            let own = TaskSpec { arguments: vec![argument("a")], ..TaskSpec::default() };
            let task = EncodedTask {
                shared: shared.encode_to_vec().into(),
                arguments: own.encode_to_vec().into(),
                parent,
            };
            let (id, lease) = (TaskId([1; 16]), LeaseId([2; 16]));
            let push = Push { id, task: &task, lease, attempt, made_again, arguments: &[argument("b")] };
            let mut buffer = BytesMut::new();
            push.write(&mut buffer).unwrap();
            push.write(&mut buffer).unwrap();
            let expected = TaskSpec {
                task_id: id.to_bytes(),
                lease_id: lease.to_bytes(),
                parent_task_id: parent.map(TaskId::to_bytes).unwrap_or_default(),
                attempt,
                made_again,
                arguments: vec![argument("a"), argument("b")],
                ..shared
            };
            for _ in 0..2 {
                let message = frame::read(&mut buffer).unwrap().unwrap();
                assert_eq!(message.message, Some(peer_message::Message::Push(Box::new(expected.clone()))));
            }
            assert!(buffer.is_empty());
        }
    }
}
