//! A head that is lost and comes back: the session goes on with its breakpoints and its paused tasks.
//!
//! Meanwhile tasks stay paused for their nodes' grace, and nodes keep the stops that nobody could be told of. When the session is back, its
//! nodes get its breakpoints again and tell of all stops that last; what nobody tells of within a time has run on.

use std::collections::{BTreeSet, HashMap};

use dap::RequestMessage;

use crate::{
    effect::Effect,
    event::{Node, Target, TimerId},
    ids::TargetId,
    limits::RETURN_WITHIN,
    pending::Purpose,
    session::{Phase, Session},
};

/// What a session does not know of again yet.
#[derive(Debug, Default)]
pub(crate) struct Returning {
    /// The head is away.
    pub is_away: bool,
    /// How often it was.
    times: u64,
    /// Threads that stood before, and have not been told of since.
    threads: BTreeSet<i32>,
    /// Targets that were there before, and what they are to be asked when they are told of again: until then the head does not know
    /// where they are.
    targets: HashMap<TargetId, Vec<RequestMessage>>,
}

impl Returning {
    /// Keeps a request for a target that was not told of again; else it comes back.
    pub fn keep(&mut self, target: &TargetId, message: RequestMessage) -> Option<RequestMessage> {
        match self.targets.get_mut(target) {
            Some(kept) => {
                kept.push(message);
                None
            }
            None => Some(message),
        }
    }

    /// A thread stands. True if that was in doubt.
    pub fn has_thread(&mut self, id: i32) -> bool {
        self.threads.remove(&id)
    }
}

impl Session {
    /// The connection to the head broke, and is being made anew.
    pub(crate) fn on_cluster_away(&mut self, cause: &str) {
        if self.phase != Phase::Attached {
            return;
        }
        let cause = cause.trim_end_matches('.');
        self.returning.is_away = true;
        self.returning.targets.clear();
        self.important(&format!(
            "The connection to the cluster is lost: {cause}. Paused tasks stay paused for a while, and the session goes on when the head \
             is back."
        ));
        let sentence =
            format!("the connection to the cluster is lost: {cause}; try again when the head is back");
        for (_, pending) in self.requests.take_all() {
            match (pending.purpose, pending.origin) {
                (Purpose::Resume { thread, stop }, _) => {
                    self.on_resumed(thread, stop, Some(sentence.clone()));
                }
                (Purpose::Gather(id), _) => {
                    self.on_gathered(id, &pending.target, Err(sentence.as_str().into()));
                }
                (_, Some(origin)) => self.refuse(&origin, &sentence),
                (_, None) => {}
            }
        }
        self.settle_looks();
    }

    /// The head is back.
    pub(crate) fn on_cluster_back(&mut self, nodes: Vec<Node>, targets: Vec<Target>) {
        self.returning.is_away = false;
        self.returning.times += 1;
        self.returning.threads = self.threads.iter_held().map(|thread| thread.id).collect();
        self.returning.targets = self.targets.keys().map(|target| (target.clone(), Vec::new())).collect();
        targets.into_iter().for_each(|target| self.on_target_up(target));
        self.important("The cluster is back. Its breakpoints are set again.");
        self.publisher.set_nodes(nodes);
        self.publisher.change();
        self.publisher.skip_wait();
        self.publish_if_due();
        let timer = TimerId::Returned(self.returning.times);
        self.effects.push(Effect::SetTimer { id: timer, after: RETURN_WITHIN });
    }

    /// A target is there, or there again: it gets what waited for that.
    pub(crate) fn on_target_up(&mut self, target: Target) {
        for message in self.returning.targets.remove(&target.id).unwrap_or_default() {
            self.effects.push(Effect::ToTarget { target: target.id.clone(), message: message.into() });
        }
        self.targets.insert(target.id.clone(), target);
    }

    /// A target is not there any more. Its requests are answered by whoever says so.
    pub(crate) fn forget_returning(&mut self, target: &TargetId) {
        self.returning.targets.remove(target);
    }

    /// Whoever has not been told of by now is not there any more.
    pub(crate) fn on_return_over(&mut self, times: u64) {
        if times != self.returning.times || self.returning.is_away {
            return;
        }
        for target in std::mem::take(&mut self.returning.targets).into_keys() {
            self.on_target_down(&target, "it did not come back with its head");
        }
        for id in std::mem::take(&mut self.returning.threads) {
            if let Some(name) = self.threads.get(id).map(|thread| thread.name.clone()) {
                self.console(&format!("{name} has run on while the head was away."));
                self.end_thread(id, Some("the task has run on while the head was away"));
            }
        }
    }
}
