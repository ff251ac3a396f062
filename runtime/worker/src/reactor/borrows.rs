//! Who else has refs of an object: the counting between processes.
//!
//! An owner counts, for each process that borrows an object, the *grants* that it has; a borrower gives all of them back with its last
//! ref. A ref on its way is never the only one: whoever sends it keeps its own until the receiver says that the owner knows of it
//! (*settled*). What came with a task is kept by the task's owner until the task ends; what its worker keeps longer, the end of the task
//! says. A borrower that dies is subtracted after a while, in which what it had sent on still arrives.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use manta_proto::{
    ids::{ObjectId, ProcessId, TaskId},
    v1::{Borrowed, Ref, RefChange, RefsSettled, TaskDone, Value, peer_message},
};

use super::{
    ConnId, FastMap, State,
    objects::{Object, error_value},
    slots::Running,
};
use crate::{SystemErrorKind, object_ref::RefAddress};

/// What a process that died had sent arrives within this time.
const DEPARTED_TIME: Duration = Duration::from_secs(2);

/// What few objects have.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// Values that this object is inside of.
    captures: u32,
    /// The objects inside this one.
    captured: Vec<ObjectId>,
    /// Owner: the grants of each process. Below zero for a moment, when one is given back before the message that grants it was read.
    borrowers: Vec<(ProcessId, i32)>,
    /// Borrower: the grants of this process.
    granted: i32,
}

impl Sharing {
    pub fn is_needed(&self) -> bool {
        self.captures > 0 || !self.borrowers.is_empty()
    }

    fn grant(&mut self, process: ProcessId, delta: i32) {
        match self.borrowers.iter_mut().find(|(other, _)| *other == process) {
            Some((_, grants)) => *grants += delta,
            None => self.borrowers.push((process, delta)),
        }
        self.borrowers.retain(|(_, grants)| *grants != 0);
    }
}

impl Object {
    fn sharing(&mut self) -> &mut Sharing {
        self.sharing.get_or_insert_default()
    }

    /// The number of values that it is inside of, and of processes that borrow it.
    pub fn shared_with(&self) -> (u32, u32) {
        let of = |sharing: &Sharing| {
            (sharing.captures, u32::try_from(sharing.borrowers.len()).unwrap_or(u32::MAX))
        };
        self.sharing.as_deref().map_or((0, 0), of)
    }

    fn granted(&self) -> i32 {
        self.sharing.as_ref().map_or(0, |sharing| sharing.granted)
    }

    /// Sets what is inside the object, and answers with what was before.
    pub fn set_captured(&mut self, captured: Vec<ObjectId>) -> Vec<ObjectId> {
        if captured.is_empty() && self.sharing.is_none() {
            return captured;
        }
        std::mem::replace(&mut self.sharing().captured, captured)
    }

    pub fn into_captured(self) -> Vec<ObjectId> {
        self.sharing.map(|sharing| sharing.captured).unwrap_or_default()
    }
}

/// To whom it is said that refs are settled.
#[derive(Clone, Copy)]
enum Tell {
    /// Who sent a value.
    Hold(u64),
    /// The owner of a task that has ended.
    Task(TaskId),
}

/// Refs that came in, of which the owners of some are still to be asked.
struct Arrival {
    conn: ConnId,
    tell: Tell,
    missing: usize,
}

#[derive(Default)]
pub(super) struct Borrows {
    /// Sent with a value, and kept until the receiver has settled.
    holds: FastMap<u64, (ConnId, Vec<ObjectId>)>,
    /// Kept for workers of tasks that have ended, until they have settled.
    kept: Vec<(TaskId, ConnId, Vec<ObjectId>)>,
    arrivals: FastMap<u64, Arrival>,
    /// Owners that were asked for a grant, and the arrivals that wait for it.
    asking: FastMap<ObjectId, (ConnId, Vec<u64>)>,
    departed: VecDeque<(Instant, ProcessId)>,
}

impl Borrows {
    pub fn is_asking(&self, id: ObjectId) -> bool {
        self.asking.contains_key(&id)
    }

    #[cfg(test)]
    pub fn leftovers(&self) -> Vec<String> {
        let counts = [
            (self.holds.len(), "holds"),
            (self.kept.len(), "kept"),
            (self.arrivals.len(), "arrivals"),
            (self.asking.len(), "asking"),
        ];
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }
}

fn refs_in(values: &[Value]) -> impl Iterator<Item = RefAddress> {
    values.iter().flat_map(|value| &value.contained).filter_map(RefAddress::from_ref)
}

impl State {
    /// Counts a value as holding the refs inside it.
    pub(super) fn capture(&mut self, value: &Value) -> Vec<ObjectId> {
        let addresses: Vec<_> = refs_in(std::slice::from_ref(value)).collect();
        for address in &addresses {
            self.known(*address).sharing().captures += 1;
            self.on_read(address.object);
        }
        addresses.into_iter().map(|address| address.object).collect()
    }

    pub(super) fn uncapture(&mut self, id: ObjectId) {
        if let Some(object) = self.objects.get_mut(&id) {
            let captures = &mut object.sharing().captures;
            *captures = captures.saturating_sub(1);
        }
    }

    pub(super) fn release_captured(&mut self, captured: Vec<ObjectId>) {
        for id in captured {
            self.uncapture(id);
            self.free_if_unused(id);
        }
    }

    /// Values are about to be sent: their refs live until the receiver has settled. Answers with what its message says of it.
    pub(super) fn hold_refs(&mut self, conn: ConnId, values: &[Value]) -> u64 {
        let Some(receiver) = self.process_of(conn) else { return 0 };
        let mut kept = Vec::new();
        for address in refs_in(values) {
            // A worker may be given tasks of its own.
            if address.owner == self.me.process && receiver != self.me.process {
                self.known(address).sharing().grant(receiver, 1);
            } else {
                self.pin(address);
                kept.push(address.object);
            }
        }
        if kept.is_empty() {
            return 0;
        }
        let hold = self.number();
        self.borrows.holds.insert(hold, (conn, kept));
        hold
    }

    /// Values came with refs inside. They are pinned, so that whoever keeps a value counts them before they can go: to be unpinned then.
    pub(super) fn on_refs_arrive(&mut self, conn: ConnId, hold: u64, values: &[Value]) -> Vec<ObjectId> {
        if hold == 0 && values.iter().all(|value| value.contained.is_empty()) {
            return Vec::new();
        }
        let sender = self.process_of(conn);
        let (mut arrived, mut unknown) = (Vec::new(), Vec::new());
        for address in refs_in(values) {
            self.pin(address);
            arrived.push(address.object);
            if address.owner == self.me.process {
                continue;
            }
            if Some(address.owner) == sender {
                self.known(address).sharing().granted += 1;
            } else {
                unknown.push(address);
            }
        }
        if hold != 0 {
            self.settle(conn, Tell::Hold(hold), &unknown);
        }
        arrived
    }

    /// Sees that the owners of refs know of this process, and then says so.
    fn settle(&mut self, conn: ConnId, tell: Tell, refs: &[RefAddress]) {
        let number = self.number();
        let mut missing = 0;
        for address in refs {
            if self.ask_for_grant(*address)
                && let Some((_, waiting)) = self.borrows.asking.get_mut(&address.object)
            {
                waiting.push(number);
                missing += 1;
            }
        }
        if missing == 0 {
            return self.tell_settled(conn, tell);
        }
        self.borrows.arrivals.insert(number, Arrival { conn, tell, missing });
    }

    fn tell_settled(&mut self, conn: ConnId, tell: Tell) {
        let settled = match tell {
            Tell::Hold(hold) => RefsSettled { hold, ..RefsSettled::default() },
            Tell::Task(task) => RefsSettled { task_id: task.to_bytes(), ..RefsSettled::default() },
        };
        self.send(conn, peer_message::Message::RefsSettled(settled));
    }

    /// Asks an object's owner to count this process in, unless it does; `false` if it does.
    fn ask_for_grant(&mut self, address: RefAddress) -> bool {
        let id = address.object;
        if address.owner == self.me.process || self.known(address).granted() > 0 {
            return false;
        }
        if !self.borrows.asking.contains_key(&id) {
            let conn = self.conn_to(address.owner, address.owner_node, None);
            self.borrows.asking.insert(id, (conn, Vec::new()));
            let change = RefChange { object_id: id.to_bytes(), delta: 1 };
            self.send(conn, peer_message::Message::RefChange(change));
        }
        true
    }

    /// A ref came from where nobody counts, such as a function's pickle: whether it comes too late, its owner says.
    pub fn borrow_if_uncounted(&mut self, address: RefAddress) {
        let is_only = |object: &Object| object.refs == 1 && object.pins == 0 && object.sharing.is_none();
        if self.objects.get(&address.object).is_some_and(is_only) {
            self.ask_for_grant(address);
        }
    }

    /// Owner: a process asks to be counted in, or gives its grants back.
    pub(super) fn on_ref_change(&mut self, conn: ConnId, change: &RefChange) {
        let (Ok(id), Some(process)) = (ObjectId::try_from(&change.object_id), self.process_of(conn)) else {
            return;
        };
        self.unfold_result(id);
        let known = self.objects.get_mut(&id).filter(|object| !object.is_foreign());
        let lost = known.is_none();
        if let Some(object) = known {
            object.sharing().grant(process, change.delta);
        }
        if change.delta > 0 {
            let borrowed = Borrowed { object_id: change.object_id.clone(), lost };
            self.send(conn, peer_message::Message::Borrowed(borrowed));
        }
        self.free_if_unused(id);
    }

    /// Borrower: the owner has counted this process in, or knows the object no longer.
    pub(super) fn on_borrowed(&mut self, borrowed: &Borrowed) {
        let Ok(id) = ObjectId::try_from(&borrowed.object_id) else { return };
        let Some((_, waiting)) = self.borrows.asking.remove(&id) else { return };
        if !borrowed.lost {
            if let Some(object) = self.objects.get_mut(&id) {
                object.sharing().granted += 1;
            }
        } else if self.objects.get(&id).is_some_and(|object| object.value.is_none()) {
            let sentence = format!(
                "object {id} is no longer known to its owner: it was freed after its last counted ref was dropped"
            );
            self.set_value(id, error_value(SystemErrorKind::Forgotten, sentence));
        }
        self.one_less_missing(&waiting);
        self.free_if_unused(id);
    }

    fn one_less_missing(&mut self, arrivals: &[u64]) {
        for number in arrivals {
            let Some(arrival) = self.borrows.arrivals.get_mut(number) else { continue };
            arrival.missing -= 1;
            if arrival.missing == 0
                && let Some(Arrival { conn, tell, .. }) = self.borrows.arrivals.remove(number)
            {
                self.tell_settled(conn, tell);
            }
        }
    }

    /// Borrower: the last ref is gone.
    pub(super) fn give_back_grants(&mut self, id: ObjectId, owner: ProcessId, object: &Object) {
        // Without a connection, the owner has subtracted this process, or is gone itself.
        if let (granted @ 1.., Some(&conn)) = (object.granted(), self.conn_of.get(&owner)) {
            let change = RefChange { object_id: id.to_bytes(), delta: -granted };
            self.send(conn, peer_message::Message::RefChange(change));
        }
    }

    /// Worker: what a task that ends leaves behind of the refs inside its arguments. The task's owner counts its own at once; for
    /// others' it keeps its refs until this process has settled.
    pub(super) fn refs_kept(&mut self, running: &Running) -> (Vec<Ref>, Vec<Ref>) {
        let owner = self.process_of(running.conn);
        let (mut borrowed, mut unsettled) = (Vec::new(), Vec::new());
        for address in &running.contained {
            let Some(object) = self.objects.get_mut(&address.object) else { continue };
            if !object.is_foreign() || object.granted() > 0 {
                continue;
            }
            if Some(address.owner) == owner {
                object.sharing().granted += 1;
                borrowed.push(address.to_ref());
            } else {
                unsettled.push(*address);
            }
        }
        if !unsettled.is_empty() {
            self.settle(running.conn, Tell::Task(running.task), &unsettled);
        }
        (borrowed, unsettled.into_iter().map(RefAddress::to_ref).collect())
    }

    /// Worker: who kept the refs inside a running task's arguments is gone. The code may have any of them.
    pub(super) fn borrow_all(&mut self, refs: Vec<RefAddress>) {
        for address in refs {
            self.ask_for_grant(address);
        }
    }

    /// Owner of a task: its worker keeps refs that came inside its arguments.
    pub(super) fn on_refs_kept(&mut self, conn: ConnId, done: &TaskDone) {
        let addresses = |refs: &[Ref]| refs.iter().filter_map(RefAddress::from_ref).collect::<Vec<_>>();
        if let Some(process) = self.process_of(conn) {
            for address in addresses(&done.borrowed) {
                self.unfold_result(address.object);
                if let Some(object) = self.objects.get_mut(&address.object) {
                    object.sharing().grant(process, 1);
                }
            }
        }
        let (Ok(task), false) = (TaskId::try_from(&done.task_id), done.unsettled.is_empty()) else { return };
        let mut kept: Vec<_> = addresses(&done.unsettled).into_iter().map(|address| address.object).collect();
        kept.retain(|object| self.pin_known(*object));
        self.borrows.kept.push((task, conn, kept));
    }

    /// The receiver of refs has settled: they are no longer kept for it.
    pub(super) fn on_refs_settled(&mut self, conn: ConnId, settled: &RefsSettled) {
        if let Some((_, kept)) = self.borrows.holds.remove(&settled.hold) {
            return self.unpin_all(kept);
        }
        let is_meant = |of: &(TaskId, ConnId, Vec<ObjectId>)| of.0.0[..] == settled.task_id && of.1 == conn;
        if let Some(position) = self.borrows.kept.iter().position(is_meant) {
            let (.., kept) = self.borrows.kept.swap_remove(position);
            self.unpin_all(kept);
        }
    }

    /// A connection is lost: nothing is kept for the process behind it, and nothing comes from it any more.
    pub(super) fn on_borrower_lost(&mut self, conn: ConnId, process: Option<ProcessId>) {
        let mut given_up = Vec::new();
        let mut is_kept = |to: ConnId, kept: &mut Vec<ObjectId>| {
            if to == conn {
                given_up.append(kept);
            }
            to != conn
        };
        self.borrows.holds.retain(|_, (to, kept)| is_kept(*to, kept));
        self.borrows.kept.retain_mut(|(_, to, kept)| is_kept(*to, kept));
        self.unpin_all(given_up);
        let asked: Vec<_> =
            self.borrows.asking.iter().filter(|(_, (of, _))| *of == conn).map(|(id, _)| *id).collect();
        for id in asked {
            // Who needs the value asks for it, and then hears what became of its owner.
            if let Some((_, waiting)) = self.borrows.asking.remove(&id) {
                self.one_less_missing(&waiting);
            }
            self.free_if_unused(id);
        }
        if let Some(process) = process {
            let at = self.now + DEPARTED_TIME;
            self.borrows.departed.push_back((at, process));
            self.arm(at);
        }
    }

    /// Subtracts the processes that are gone for a while.
    pub(super) fn forget_departed(&mut self) {
        while let Some((at, process)) = self.borrows.departed.front().copied() {
            if at > self.now {
                return self.arm(at);
            }
            self.borrows.departed.pop_front();
            if self.conn_of.contains_key(&process) {
                continue;
            }
            let mut had = Vec::new();
            for (id, object) in &mut self.objects {
                let Some(sharing) = &mut object.sharing else { continue };
                let count = sharing.borrowers.len();
                sharing.borrowers.retain(|(borrower, _)| *borrower != process);
                if sharing.borrowers.len() < count {
                    had.push(*id);
                }
            }
            had.sort_unstable();
            had.into_iter().for_each(|id| self.free_if_unused(id));
        }
    }
}
