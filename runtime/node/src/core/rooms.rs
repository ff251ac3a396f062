//! Making room in the object store: who waits for some, what is evicted, and what is spilled to disk.
//!
//! Copies of what other nodes have go first, then objects are written to disk, the longest unused first. What a process has mapped
//! would stay in memory all the same, so it is left alone. Who still finds no room, because all is mapped, is told so after a while, and
//! works on disk: nobody waits for ever. (`spill.rs` beside this is about leases that other nodes serve.)

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use manta_proto::{
    ids::{ObjectId, ProcessId},
    v1::{NeedRoom, Room, TrimStore, node_to_process},
};

use super::{Core, Effect, ReplyId, Timer, objects::Place};

/// What is mapped is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// So many looks in a row without any room.
const LOOKS_MAX: u32 = 20;
/// Requests for room that wait.
const WAITING_MAX: usize = 65_536;

/// Who waits for room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoomAsker {
    /// A process that writes an object.
    Process(ProcessId, u64),
    /// This node, which fetches or restores one.
    Edge(ReplyId),
}

struct Waiting {
    asker: RoomAsker,
    bytes: u64,
}

#[derive(Default)]
pub(super) struct Rooms {
    waiting: VecDeque<Waiting>,
    /// A look at what is mapped, or a try to take room, is under way.
    busy: bool,
    spilling: usize,
    looks: u32,
    timer_runs: bool,
}

impl Core {
    pub(super) fn on_need_room(&mut self, from: ProcessId, need: &NeedRoom) {
        self.on_room_wanted(RoomAsker::Process(from, need.request_id), need.bytes);
    }

    /// Somebody needs room that is not there at this moment.
    pub fn on_room_wanted(&mut self, asker: RoomAsker, bytes: u64) {
        if self.rooms.waiting.len() >= WAITING_MAX {
            return self.answer_room(asker, false);
        }
        self.rooms.waiting.push_back(Waiting { asker, bytes });
        self.serve_rooms();
    }

    /// A process that is gone waits for nothing.
    pub(super) fn forget_rooms_of(&mut self, process: ProcessId) {
        let of_it = |waiting: &Waiting| matches!(waiting.asker, RoomAsker::Process(of, _) if of == process);
        self.rooms.waiting.retain(|waiting| !of_it(waiting));
    }

    fn answer_room(&mut self, asker: RoomAsker, granted: bool) {
        match asker {
            RoomAsker::Process(process, request_id) => {
                let room = Room { request_id, granted };
                self.tell_process(process, node_to_process::Message::Room(room));
            }
            RoomAsker::Edge(reply) => self.effects.push(Effect::AnswerRoom(reply, granted)),
        }
    }

    /// Has room taken for the first who waits.
    pub(super) fn serve_rooms(&mut self) {
        if let Some(first) = self.rooms.waiting.front().filter(|_| !self.rooms.busy) {
            self.effects.push(Effect::TakeRoom { asker: first.asker, bytes: first.bytes });
            self.rooms.busy = true;
        }
    }

    /// The room was taken, or so many bytes are missing for it.
    pub fn on_room_taken(&mut self, asker: RoomAsker, bytes: u64, taken: Result<(), u64>) {
        self.rooms.busy = false;
        let is_first = self.rooms.waiting.front().is_some_and(|first| first.asker == asker);
        match taken {
            Ok(()) if is_first => {
                self.rooms.waiting.pop_front();
                self.rooms.looks = 0;
                self.answer_room(asker, true);
                self.serve_rooms();
            }
            // Who wanted it is gone.
            Ok(()) => {
                self.effects.push(Effect::GiveRoom(bytes));
                self.serve_rooms();
            }
            Err(_) if !is_first => self.serve_rooms(),
            // What is being spilled may be enough.
            Err(_) if self.rooms.spilling > 0 => {}
            Err(missing) => {
                self.rooms.busy = true;
                self.effects.push(Effect::FindMapped { missing });
            }
        }
    }

    /// What processes have mapped: the rest may go to make room for `missing` bytes.
    pub fn on_mapped(&mut self, mapped: &HashSet<ObjectId>, missing: u64) {
        self.rooms.busy = false;
        let in_memory = self.objects.stored.iter().filter(|(_, stored)| stored.place == Place::Memory);
        let mut candidates: Vec<_> = in_memory
            .filter(|(object, stored)| stored.size > 0 && !mapped.contains(object))
            .map(|(object, stored)| (stored.primary, stored.used, *object, stored.size))
            .collect();
        candidates.sort_unstable();
        let (mut missing, mut evicted) = (missing, Vec::new());
        for (primary, _, object, size) in candidates {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(size);
            if primary {
                if let Some(stored) = self.objects.stored.get_mut(&object) {
                    stored.place = Place::Spilling;
                }
                self.rooms.spilling += 1;
                self.effects.push(Effect::SpillObject { object });
            } else {
                self.objects.stored.remove(&object);
                evicted.push(object);
            }
        }
        if !evicted.is_empty() {
            self.effects.push(Effect::DeleteObjects(evicted));
            return self.serve_rooms();
        }
        if self.rooms.spilling == 0 {
            self.no_room_now();
        }
    }

    /// Nothing can go at this moment.
    fn no_room_now(&mut self) {
        self.rooms.looks += 1;
        if self.rooms.looks > LOOKS_MAX {
            self.rooms.looks = 0;
            if let Some(first) = self.rooms.waiting.pop_front() {
                self.answer_room(first.asker, false);
            }
            return self.serve_rooms();
        }
        if self.rooms.looks == 1 {
            let mut processes: Vec<_> = self.drivers.keys().copied().collect();
            processes
                .extend(self.workers.iter().filter(|(_, worker)| worker.is_attached()).map(|(id, _)| *id));
            processes.sort_unstable();
            for process in processes {
                self.tell_process(process, node_to_process::Message::TrimStore(TrimStore {}));
            }
        }
        if !self.rooms.timer_runs {
            self.rooms.timer_runs = true;
            self.effects.push(Effect::Timer(Timer::Room, LOOK_AGAIN));
        }
    }

    pub(super) fn on_room_timer(&mut self) {
        self.rooms.timer_runs = false;
        self.serve_rooms();
    }

    /// An object is on disk too, or could not be written there.
    pub fn on_spilled(&mut self, object: ObjectId, result: Result<(), String>) {
        self.rooms.spilling = self.rooms.spilling.saturating_sub(1);
        let stored = self.objects.stored.get_mut(&object);
        let is_wanted = stored.as_ref().is_some_and(|stored| stored.place == Place::Spilling);
        match (result, stored) {
            (Ok(()), Some(stored)) if is_wanted => {
                stored.place = Place::Disk;
                self.effects.push(Effect::DeleteObjects(vec![object]));
            }
            // It was freed, or is needed in memory.
            (Ok(()), _) => self.effects.push(Effect::DeleteSpilled(vec![object])),
            (Err(cause), stored) => {
                if let Some(stored) = stored.filter(|_| is_wanted) {
                    stored.place = Place::Memory;
                }
                tracing::warn!(%object, cause, "an object could not be spilled");
                // Whoever waits tries the disk itself, and says what is wrong with it.
                if let Some(first) = self.rooms.waiting.pop_front() {
                    self.answer_room(first.asker, false);
                }
            }
        }
        self.serve_rooms();
    }
}
