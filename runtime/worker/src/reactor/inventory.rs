//! What this process knows of objects, for people who ask. It changes nothing.

use manta_proto::{
    ids::ObjectId,
    v1::{ObjectList, ObjectRow, process_to_node, task_event},
};

use super::{State, objects::Object};

/// Objects of one process in one answer.
const OBJECTS_LISTED_MAX: usize = 10_000;

impl State {
    /// The node asks for this process's objects.
    pub(super) fn on_list_objects(&mut self) {
        let list = self.object_list(OBJECTS_LISTED_MAX);
        self.tell_node(process_to_node::Message::Objects(list));
    }

    /// The objects that this process owns or has refs of; of more than `most`, the largest.
    pub(super) fn object_list(&self, most: usize) -> ObjectList {
        let size = |object: &Object| object.value.as_deref().map(size_of).unwrap_or(0);
        let mut meant: Vec<(u64, ObjectId)> =
            self.objects.iter().map(|(id, object)| (size(object), *id)).collect();
        let mut of_series: Vec<_> = self.series.results().collect();
        let left_out = (meant.len() + of_series.len()).saturating_sub(most);
        // They are small, and all much the same.
        of_series.truncate(most.saturating_sub(meant.len()));
        if meant.len() > most {
            meant.select_nth_unstable_by(most, |a, b| b.cmp(a));
            meant.truncate(most);
        }
        let rows =
            meant.iter().filter_map(|(_, id)| self.objects.get(id).map(|object| self.row(*id, object)));
        let others = of_series.into_iter().map(|(id, name, size)| self.row_of_series(id, name, size));
        ObjectList { rows: rows.chain(others).collect(), left_out: left_out as u64 }
    }

    fn row_of_series(&self, id: ObjectId, name: &str, size: Option<u64>) -> ObjectRow {
        let state =
            if size.is_some() { task_event::State::Finished } else { task_event::State::SubmittedToWorker };
        ObjectRow {
            object_id: id.to_bytes(),
            owner_id: self.me.process.to_bytes(),
            size,
            in_memory: size.is_some(),
            local_refs: 1,
            task_name: name.to_owned(),
            task_status: state.as_str_name().to_owned(),
            ..ObjectRow::default()
        }
    }

    fn row(&self, id: ObjectId, object: &Object) -> ObjectRow {
        let (captures, borrowers) = object.shared_with();
        let (task_name, task_status) = self.maker_of(id);
        ObjectRow {
            object_id: id.to_bytes(),
            owner_id: object.owner().unwrap_or(self.me.process).to_bytes(),
            size: object.value.as_deref().map(size_of),
            in_memory: object.value.as_ref().is_some_and(|value| value.in_store.is_none()),
            node_ids: object
                .value
                .as_ref()
                .and_then(|value| value.in_store.as_ref())
                .map(|location| location.node_ids.clone())
                .unwrap_or_default(),
            local_refs: object.refs,
            pins: object.pins,
            captures,
            borrowers,
            escaped: object.escaped,
            task_name,
            task_status,
        }
    }

    /// The name of the task that makes an object, and how it is.
    fn maker_of(&self, id: ObjectId) -> (String, String) {
        if id.is_put() {
            return (String::new(), String::new());
        }
        let task = id.task();
        if let Some(task) = self.tasks.get(&task) {
            return (task.name.to_string(), task.event_state().as_str_name().to_owned());
        }
        let finished = task_event::State::Finished.as_str_name().to_owned();
        (self.kept_name(task), finished)
    }
}

fn size_of(value: &manta_proto::v1::Value) -> u64 {
    value.in_store.as_ref().map_or(value.data.len() as u64, |location| location.size)
}
