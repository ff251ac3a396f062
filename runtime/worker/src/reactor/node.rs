//! Messages from this process's node.

use bytes::Bytes;
use manta_proto::{
    ids::{LeaseId, TaskId},
    v1::{NodeToProcess, TaskOutput, node_to_process},
};

use super::{Effect, State};

impl State {
    /// A message came from the node. What tasks printed comes back, for the binding.
    pub fn on_node_message(&mut self, message: NodeToProcess) -> Option<TaskOutput> {
        match message.message? {
            node_to_process::Message::Lease(reply) => self.on_lease_reply(reply),
            node_to_process::Message::Fate(reply) => self.on_fate(&reply),
            node_to_process::Message::Pulled(pulled) => self.on_pulled(&pulled),
            node_to_process::Message::Room(room) => self.on_room(&room),
            node_to_process::Message::TrimStore(_) => self.effects.push(Effect::TrimStore),
            node_to_process::Message::ToTarget(dap) => self.on_debug(dap),
            node_to_process::Message::TaskPaused(paused) => {
                if let Ok(task) = TaskId::try_from(&paused.task_id) {
                    self.on_debugger_paused(task, paused.paused);
                }
            }
            node_to_process::Message::AllowTracer(allow) => self.effects.push(Effect::AllowTracer(allow.pid)),
            node_to_process::Message::Slot(slot) => {
                if let Ok(lease) = LeaseId::try_from(&slot.lease_id) {
                    self.on_slot_assigned(lease, slot.slot);
                }
            }
            node_to_process::Message::SlotReleased(slot) => {
                if let Ok(lease) = LeaseId::try_from(&slot.lease_id) {
                    self.on_slot_released(lease);
                }
            }
            node_to_process::Message::Output(output) => return Some(output),
            node_to_process::Message::Exit(exit) => self.on_exit(exit.cause),
            node_to_process::Message::View(view) => {
                self.view = view;
                // A larger cluster may serve more requests at once.
                for class in 0..self.classes.len() {
                    self.mark_dirty(super::ids::ClassId(class));
                }
            }
            node_to_process::Message::ListObjects(_) => self.on_list_objects(),
            node_to_process::Message::DumpStacks(_) => self.effects.push(Effect::DumpStacks),
            node_to_process::Message::Job(job) => self.job = Some(job),
            node_to_process::Message::Actor(reply) => self.on_actor_reply(reply),
            // The welcome was read before there was a reactor; a second one says nothing new.
            node_to_process::Message::Welcome(_) => {}
        }
        None
    }

    fn on_debug(&mut self, dap: Bytes) {
        self.effects.push(Effect::Debug(dap));
    }
}
