//! Which tasks stand in a debugger, and who waits for them: such waits do not run out.

use manta_proto::{
    ids::{ObjectId, TaskId},
    v1::{ObjectReply, TaskPaused, peer_message},
};

use super::{ConnId, State, WaiterId, Watcher};

impl State {
    /// A worker says that a task of ours is paused, or that it runs on.
    pub(super) fn on_task_paused(&mut self, id: TaskId, paused: bool) {
        if let Some(task) = self.tasks.get_mut(&id) {
            let changed = task.paused_at_worker != paused;
            task.paused_at_worker = paused;
            if changed {
                self.note_task(id);
            }
            self.task_pause_changed(id);
        }
    }

    /// Passes a task's state on to its results.
    fn task_pause_changed(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let paused = task.paused_at_worker || task.paused_dependencies > 0;
        for index in 0..task.num_returns {
            self.set_object_paused(ObjectId::of(id, index), paused);
        }
    }

    /// An object's task is paused or runs on: all who wait for the object learn of it. Tasks that wait for it, and those that wait
    /// for them, follow one by one, not by recursion: such a chain may be long.
    pub(super) fn set_object_paused(&mut self, id: ObjectId, paused: bool) {
        self.pause_changes.push_back((id, paused));
        if self.pause_changes.len() > 1 {
            return;
        }
        while let Some(&(id, paused)) = self.pause_changes.front() {
            self.set_one_paused(id, paused);
            self.pause_changes.pop_front();
        }
    }

    fn set_one_paused(&mut self, id: ObjectId, paused: bool) {
        let Some(object) = self.objects.get_mut(&id).filter(|object| object.paused != paused) else { return };
        object.paused = paused;
        let (mut waiters, mut dependents, mut remotes) = (Vec::new(), Vec::new(), Vec::new());
        for watcher in &object.watchers {
            match watcher {
                Watcher::Wait(waiter) => waiters.push(*waiter),
                Watcher::Dependent(task) => dependents.push(*task),
                Watcher::Remote(conn, request_id) => remotes.push((*conn, *request_id)),
                Watcher::Callback(_) => {}
            }
        }
        for waiter in waiters {
            self.change_waiter_pause(waiter, paused);
        }
        for (conn, request_id) in remotes {
            self.send_pause_state(conn, request_id, paused);
        }
        for task in dependents {
            self.change_dependency_pause(task, paused);
        }
    }

    pub(super) fn change_dependency_pause(&mut self, id: TaskId, paused: bool) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.paused_dependencies =
            if paused { task.paused_dependencies + 1 } else { task.paused_dependencies.saturating_sub(1) };
        self.task_pause_changed(id);
    }

    /// One more or one fewer of the objects that a thread waits for is paused. A task that waits so is itself as good as paused.
    pub(super) fn change_waiter_pause(&mut self, id: WaiterId, paused: bool) {
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        let before = waiter.paused > 0;
        waiter.paused = if paused { waiter.paused + 1 } else { waiter.paused.saturating_sub(1) };
        let after = waiter.paused > 0;
        if before != after {
            waiter.parking.notify_one();
            if let Some((slot, task)) = waiter.task {
                self.on_wait_paused(slot, task, after);
            }
        }
    }

    pub(super) fn send_pause_state(&mut self, conn: ConnId, request_id: u64, paused: bool) {
        let reply = ObjectReply { request_id, paused, ..ObjectReply::default() };
        self.send(conn, peer_message::Message::Object(reply));
    }

    /// Tells a task's owner.
    pub(super) fn send_task_paused(&mut self, conn: ConnId, task: TaskId, paused: bool) {
        self.send(conn, peer_message::Message::Paused(TaskPaused { task_id: task.to_bytes(), paused }));
    }
}
