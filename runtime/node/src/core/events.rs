//! Where each message of a process and of the head goes.

use manta_proto::{
    ids::{JobId, LeaseId, NodeId, ObjectId, ProcessId},
    v1::{self, HeadToNode, ProcessToNode, head_to_node, node_to_head, node_to_process, process_to_node},
};

use super::{Core, Effect, Timer};

impl Core {
    /// A message of an attached process.
    pub fn on_process_message(&mut self, from: ProcessId, message: ProcessToNode) {
        use process_to_node::Message;
        match message.message {
            Some(Message::RequestLease(request)) => self.on_lease_request(from, request),
            Some(Message::CancelLease(cancel)) => self.on_lease_cancel(from, cancel.request_id),
            Some(Message::ReturnLease(returned)) => self.on_lease_return_message(&returned),
            Some(Message::Blocked(blocked)) => {
                if let Ok(lease) = LeaseId::try_from(&blocked.lease_id) {
                    self.on_lease_blocked(lease, blocked.blocked);
                }
            }
            Some(Message::Fate(request)) => self.on_fate_request(from, &request),
            Some(Message::Pull(pull)) => self.on_pull(from, &pull),
            Some(Message::Sealed(sealed)) => {
                if let Ok(object) = ObjectId::try_from(&sealed.object_id) {
                    self.on_sealed(from, object, &sealed);
                }
            }
            Some(Message::NeedRoom(need)) => self.on_need_room(from, &need),
            Some(Message::Recycled(recycled)) => self.on_recycled(&recycled.object_ids),
            Some(Message::Free(free)) => self.on_free(&free.object_ids),
            Some(Message::FromTarget(dap)) => self.on_target_message(from, dap),
            Some(Message::Output(output)) => self.on_task_output(from, output),
            Some(Message::TaskEvents(batch)) => self.tell_head(node_to_head::Message::TaskEvents(batch)),
            Some(Message::TaskEnded(ended)) => self.on_paused_task_ended(from, ended),
            Some(Message::RegisterActor(request)) => self.on_register_actor(from, request),
            Some(Message::GetActor(request)) => self.on_get_actor(from, request),
            Some(Message::ActorUpdate(state)) => self.on_actor_update(from, state),
            Some(Message::ActorListed(entry)) => self.on_actor_listed(from, entry),
            Some(Message::ActorReady(ready)) => self.on_actor_ready(&ready.lease_id),
            Some(Message::ActorExit(exit)) => self.on_actor_exit(&exit),
            Some(Message::UserMetrics(mut report)) => {
                report.process_id = from.to_bytes();
                self.tell_head(node_to_head::Message::UserMetrics(report));
            }
            // A worker's own word that it has nothing to do is for later uses; a second hello has no meaning.
            Some(Message::Idle(_) | Message::Hello(_) | Message::Stacks(_) | Message::Objects(_)) | None => {}
        }
    }

    /// A message of the head.
    pub fn on_head_message(&mut self, message: HeadToNode) {
        use head_to_node::Message;
        match message.message {
            Some(Message::Registered(registered)) => {
                self.cluster_id = registered.cluster_id;
                self.me.name = registered.name;
                self.announce();
                self.on_view(registered.view.unwrap_or_default());
                self.on_head_found();
                if let Some(config) = registered.config {
                    self.on_config(config);
                }
            }
            Some(Message::View(view)) => self.on_view(view),
            Some(Message::Config(config)) => self.on_config(config),
            Some(Message::ToTarget(message)) => self.on_message_for_target(message),
            Some(Message::SessionEnded(ended)) => self.on_session_ended(&ended),
            Some(Message::JobEnded(ended)) => {
                if let Ok(job) = JobId::try_from(&ended.job_id) {
                    self.end_job(job);
                }
            }
            Some(Message::Shutdown(shutdown)) => self.effects.push(Effect::Exit { cause: shutdown.cause }),
            Some(Message::Output(output)) => self.output_to_driver(output),
            Some(Message::ReserveBundles(request)) => self.on_reserve_bundles(request),
            Some(Message::CommitBundles(commit)) => self.on_commit_bundles(&commit),
            Some(Message::ReturnBundles(back)) => self.on_return_bundles(&back),
            Some(Message::HopelessGroup(news)) => self.on_hopeless_group(news),
            Some(Message::Actor(reply)) => self.on_actor_reply(reply),
            Some(Message::StartDriver(start)) => self.on_start_driver(start),
            Some(Message::StopDriver(stop)) => self.on_stop_driver(&stop.submission_id),
            Some(Message::Drain(drain)) => self.on_drain(drain),
            // The edge answers questions.
            Some(Message::Ask(_) | Message::More(_)) => {}
            None => {}
        }
    }

    /// A moment that the core asked for has come.
    pub fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::WorkerStart(worker) => self.on_worker_start_timeout(worker),
            Timer::Config(generation) => self.on_config_timeout(generation),
            Timer::TargetConfig(target, generation) => self.on_target_config_timeout(target, generation),
            Timer::Grace { loss } => self.on_grace_over(loss),
            Timer::Resumed { worker, task, times } => self.on_resumed_timer(worker, task, times),
            Timer::WindUp(worker) => self.on_wind_up_timer(worker),
            Timer::Idle(worker) => self.on_idle_timeout(worker),
            Timer::Fate(worker) => self.on_fate_timeout(worker),
            Timer::Detached(worker) => self.on_detached_timeout(worker),
            Timer::Spill => self.on_spill_timer(),
            Timer::Room => self.on_room_timer(),
            Timer::Infeasible { pending, since } => self.on_infeasible_timer(pending, since),
            Timer::Drain => self.on_drain_deadline(),
            Timer::Move => self.on_move_deadline(),
            Timer::DebugFile(target, file) => self.on_debug_file_late(target, &file),
        }
    }

    /// What a worker wrote to its pipes, or a task printed.
    pub fn on_task_output(&mut self, from: ProcessId, mut output: v1::TaskOutput) {
        let Some(worker) = self.workers.get(&from) else { return };
        output.pid = worker.pid().unwrap_or(0);
        output.job_id = worker.job().to_bytes();
        output.node_id = self.me.id.to_bytes();
        output.node_name.clone_from(&self.me.name);
        self.output_to_driver(output.clone());
        self.tell_head(node_to_head::Message::Output(output));
    }

    pub(super) fn output_to_driver(&mut self, output: v1::TaskOutput) {
        let driver = self.drivers.iter().find(|(_, driver)| driver.config.job_id == output.job_id);
        if let Some((process, _)) = driver {
            let process = *process;
            self.tell_process(process, node_to_process::Message::Output(output));
        }
    }

    /// After a registration: what a head that has just started does not know yet.
    fn announce(&mut self) {
        let mut jobs: Vec<_> = self.drivers.values().map(super::jobs::Driver::started).collect();
        jobs.sort_by_key(|job| job.started_unix_ms);
        for job in jobs {
            self.tell_head(node_to_head::Message::JobStarted(job));
        }
        let mut targets: Vec<_> =
            self.workers.iter().filter_map(|(id, worker)| worker.target_up(*id, &self.me)).collect();
        targets.sort_by(|a, b| a.target_id.cmp(&b.target_id));
        for target in targets {
            self.tell_head(node_to_head::Message::TargetUp(target));
        }
        self.tell_of_actors_again();
        self.tell_of_drivers_again();
    }

    /// What people call this node.
    #[must_use]
    pub fn name(&self) -> String {
        self.me.name.clone()
    }

    /// The id of this node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.me.id
    }
}
