//! The debug session in the head: who may open one, where its messages go, and what follows from its end.

use manta_proto::{
    ids::{ProcessId, SessionId},
    v1::{
        self, HeadToSession, SessionOpen, SessionStatus, SessionToHead, head_to_node, head_to_session,
        session_to_head,
    },
    version_conflict,
};

use crate::core::{Core, Effect, LinkId, down};

/// The longest grace that a session may ask for.
const GRACE_MS_MAX: u32 = 10 * 60 * 1000;

/// The cluster's session. Without a link it is lost, and its paused tasks wait for the end of the grace.
pub(crate) struct Session {
    pub id: SessionId,
    pub client: String,
    pub grace_ms: u32,
    pub link: Option<LinkId>,
}

impl Core {
    /// A session's first message. The answer goes down as the link's first message.
    pub fn on_session_open(&mut self, link: LinkId, open: SessionOpen) -> Result<SessionId, String> {
        if let Some(conflict) = version_conflict("the debug adapter", open.protocol_version) {
            return Err(conflict);
        }
        let id = SessionId::try_from(&open.session_id).map_err(|error| error.to_string())?;
        match &self.session {
            // The same session is back: what it paused stays paused. Its link before may not have been found broken yet.
            Some(known) if known.id == id => {}
            Some(Session { link: Some(_), client, .. }) => {
                return Err(format!(
                    "{client} is debugging this cluster already, and a cluster takes one debug session at a time; \
                     end that session first"
                ));
            }
            Some(lost) => {
                let lost = lost.id;
                self.end_session(lost, 0);
            }
            None => {}
        }
        let client = if open.client.is_empty() { "a debug client".to_owned() } else { open.client };
        self.session =
            Some(Session { id, client, grace_ms: open.grace_ms.min(GRACE_MS_MAX), link: Some(link) });
        let mut targets: Vec<_> = self.targets.values().map(|(_, target)| target.clone()).collect();
        targets.sort_by(|a, b| a.target_id.cmp(&b.target_id));
        let opened = v1::SessionOpened {
            cluster_id: self.cluster_id().to_owned(),
            view: Some(self.view()),
            targets,
            jobs: self.running_jobs(),
        };
        self.tell_session(head_to_session::Message::Opened(opened));
        Ok(id)
    }

    /// Everything that the session says after its opening. False: the session is over, its link is to be closed.
    pub fn on_session_message(&mut self, link: LinkId, message: SessionToHead) -> bool {
        use session_to_head::Message;
        let Some(session) = self.session.as_ref().filter(|session| session.link == Some(link)) else {
            return false;
        };
        let id = session.id;
        match message.message {
            Some(Message::Config(mut config)) => {
                config.session_id = id.to_bytes();
                self.tell_nodes(&head_to_node::Message::Config(config.clone()));
                self.config = Some(config);
            }
            Some(Message::ToTarget(mut message)) => {
                message.session_id = id.to_bytes();
                self.route(message);
            }
            Some(Message::Close(_)) => {
                self.end_session(id, 0);
                self.session = None;
                return false;
            }
            Some(Message::Open(_)) | None => {}
        }
        true
    }

    /// The session's connection ended without a close.
    pub fn on_session_lost(&mut self, link: LinkId) {
        let Some(session) = self.session.as_mut().filter(|session| session.link == Some(link)) else {
            return;
        };
        session.link = None;
        let (id, grace_ms) = (session.id, session.grace_ms);
        self.end_session(id, grace_ms);
        self.losses += 1;
        self.effects.push(Effect::GraceTimer { loss: self.losses, grace_ms });
    }

    /// The grace of a lost session is over; its nodes resume its tasks by their own clocks.
    pub fn on_grace_over(&mut self, loss: u64) {
        // A session that came back and was lost again has a grace of its own.
        if loss == self.losses && self.session.as_ref().is_some_and(|session| session.link.is_none()) {
            self.session = None;
        }
    }

    fn end_session(&mut self, id: SessionId, grace_ms: u32) {
        self.config = None;
        let ended = v1::SessionEnded { session_id: id.to_bytes(), grace_ms };
        self.tell_nodes(&head_to_node::Message::SessionEnded(ended));
    }

    fn route(&mut self, message: v1::ToTarget) {
        let node = ProcessId::try_from(&message.target_id)
            .ok()
            .and_then(|target| self.targets.get(&target))
            .and_then(|(node, _)| self.nodes.get(node));
        if let Some(node) = node {
            let link = node.link;
            self.effects.push(Effect::ToNode(link, down(head_to_node::Message::ToTarget(message))));
        } else {
            // The session may not have read of its end yet; saying it twice does no harm.
            let cause = "this target is not there any more".to_owned();
            let gone = v1::TargetDown { target_id: message.target_id, cause };
            self.tell_session(head_to_session::Message::TargetDown(gone));
        }
    }

    pub(crate) fn on_config_ack(&mut self, ack: v1::ConfigAck) {
        let current = self.session.as_ref().is_some_and(|session| session.id.to_bytes() == ack.session_id);
        if current {
            self.tell_session(head_to_session::Message::ConfigAck(ack));
        }
    }

    pub(crate) fn tell_session(&mut self, message: head_to_session::Message) {
        if let Some(link) = self.session.as_ref().and_then(|session| session.link) {
            self.effects.push(Effect::ToSession(link, HeadToSession { message: Some(message) }));
        }
    }

    pub(crate) fn session_status(&self) -> Vec<SessionStatus> {
        let generation = self.config.as_ref().map_or(0, |config| config.generation);
        let status = |session: &Session| SessionStatus {
            session_id: session.id.to_bytes(),
            client: session.client.clone(),
            generation,
            breakpoints: 0,
        };
        self.session.iter().map(status).collect()
    }
}
