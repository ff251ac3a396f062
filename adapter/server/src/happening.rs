//! What the edges tell the task that runs the session.

use manta_proto::ids::{Incarnation, ProcessId};
use manta_session::Event;
use tokio::sync::mpsc;

/// Something that an edge has to tell.
pub(crate) enum Happening {
    /// For the session.
    Event(Event),
    /// How the cluster is reached, for the driver that is started later.
    Access(Access),
    /// Which incarnations the session means from now on.
    Incarnations(Vec<(ProcessId, Option<Incarnation>)>),
}

/// How a cluster is reached.
#[derive(Clone)]
pub(crate) struct Access {
    pub address: String,
    pub token: manta_proto::token::Token,
}

/// The edges' way to the session. A full channel makes the sender wait.
#[derive(Clone)]
pub(crate) struct Events(mpsc::Sender<Happening>);

impl Events {
    pub fn new(events_max: usize) -> (Self, mpsc::Receiver<Happening>) {
        let (sender, receiver) = mpsc::channel(events_max);
        (Self(sender), receiver)
    }

    /// False when the session is over, so that there is nobody left to tell.
    pub async fn send(&self, event: Event) -> bool {
        self.0.send(Happening::Event(event)).await.is_ok()
    }

    /// Waits for room for one event. `None` when the session is over.
    pub async fn room(&self) -> Option<Room<'_>> {
        self.0.reserve().await.ok().map(Room)
    }

    /// Which incarnation of each of these targets the session means after all events so far; none of one that is gone.
    pub async fn tell_incarnations(&self, of: Vec<(ProcessId, Option<Incarnation>)>) -> bool {
        of.is_empty() || self.0.send(Happening::Incarnations(of)).await.is_ok()
    }

    pub async fn tell_access(&self, access: Access) -> bool {
        self.0.send(Happening::Access(access)).await.is_ok()
    }
}

/// Room for one event, which is then sent without waiting.
pub(crate) struct Room<'a>(mpsc::Permit<'a, Happening>);

impl Room<'_> {
    pub fn send(self, event: Event) {
        self.0.send(Happening::Event(event));
    }
}
