//! What the cluster is and does, row by row, for `manta list`, `get` and `summary`. Filters come before limits.

use std::collections::BTreeMap;

use manta_proto::{
    ids::{NodeId, ProcessId},
    v1::{self, ListStateRequest, ListStateResponse, Resources, StateFilter, StateKind, TaskEvents},
    version_conflict,
};
use serde_json::{Map, Value, json};

use crate::{
    core::Core,
    tasks::{Place, TaskRecord},
};

/// Rows of one answer.
pub(crate) const ROWS_MAX: usize = 10_000;
/// Filters of one question.
const FILTERS_MAX: usize = 32;

pub(crate) type Row = Map<String, Value>;

impl Core {
    /// An owner tells of its tasks.
    pub(crate) fn on_task_events(&mut self, batch: TaskEvents) {
        let job_runs = self.job_runs(&batch.job_id);
        let (nodes, targets) = (&self.nodes, &self.targets);
        self.tasks.on_events(batch, job_runs, |node: Option<NodeId>, worker: Option<ProcessId>| Place {
            node_name: node
                .and_then(|id| nodes.get(&id))
                .map(|node| node.info.name.clone())
                .unwrap_or_default(),
            worker_pid: worker.and_then(|id| targets.get(&id)).map_or(0, |(_, target)| target.pid),
        });
    }

    /// Rows or counts of one kind of thing.
    ///
    /// # Errors
    /// With the sentence to refuse the question with.
    pub fn list_state(&self, request: &ListStateRequest) -> Result<ListStateResponse, String> {
        let limit = checked_limit(request)?;
        let mut answer = match request.kind() {
            StateKind::StateTasks if request.summary => self.count_tasks(request)?,
            StateKind::StateTasks => self.list_tasks(request, limit)?,
            StateKind::StateNodes => answer(request, limit, &self.node_rows(), &["state"])?,
            StateKind::StateJobs => answer(request, limit, &self.job_rows(), &["state"])?,
            StateKind::StateWorkers => answer(request, limit, &self.worker_rows(), &["kind", "node_name"])?,
            StateKind::StatePlacementGroups => answer(request, limit, &self.group_rows(), &["state"])?,
            StateKind::StateSubmittedJobs => answer(request, limit, &self.submitted_rows(), &["status"])?,
            StateKind::StateActors => answer(request, limit, &self.actor_rows(), &["state"])?,
            StateKind::StateObjects | StateKind::StateRuntimeEnvs => {
                return Err("that is asked of the nodes, and not of the head alone".to_owned());
            }
            StateKind::StateUnknown => {
                return Err("this head cannot list that; install the same release everywhere".to_owned());
            }
        };
        if request.kind() == StateKind::StateTasks {
            if request.summary {
                answer.notes.push(format!(
                    "{} tasks have not ended, as their owners count them.",
                    self.tasks.live_count()
                ));
            }
            answer.notes.extend(self.missing_tasks());
        }
        Ok(answer)
    }

    fn list_tasks(&self, request: &ListStateRequest, limit: usize) -> Result<ListStateResponse, String> {
        check_keys(&request.filters, TASK_KEYS)?;
        let before = match &*request.page {
            "" => None,
            page => Some(page.parse().map_err(|_| bad_page(page))?),
        };
        let (mut rows, mut total, mut last, mut more) = (Vec::new(), 0, 0, false);
        self.tasks.newest_first(before, |number, record| {
            if !request.filters.iter().all(|filter| holds(filter, &task_field(record, &filter.key))) {
                return;
            }
            total += 1;
            if rows.len() < limit {
                rows.push(task_row(record).to_string());
                last = number;
            } else {
                more = true;
            }
        });
        let next_page = if more { last.to_string() } else { String::new() };
        Ok(ListStateResponse { rows, total, next_page, notes: Vec::new() })
    }

    fn count_tasks(&self, request: &ListStateRequest) -> Result<ListStateResponse, String> {
        check_keys(&request.filters, TASK_KEYS)?;
        let mut counts: BTreeMap<String, BTreeMap<&str, u64>> = BTreeMap::new();
        let mut total = 0;
        self.tasks.newest_first(None, |_, record| {
            if request.filters.iter().all(|filter| holds(filter, &task_field(record, &filter.key))) {
                let state = record.state.as_str_name();
                match counts.get_mut(&record.name) {
                    Some(states) => *states.entry(state).or_default() += 1,
                    None => {
                        counts.insert(record.name.clone(), BTreeMap::from([(state, 1)]));
                    }
                }
                total += 1;
            }
        });
        let rows = counts.iter().map(|(name, states)| json!({"name": name, "states": states}).to_string());
        Ok(ListStateResponse { rows: rows.take(ROWS_MAX).collect(), total, ..ListStateResponse::default() })
    }

    /// What the table of tasks does not have.
    fn missing_tasks(&self) -> Option<String> {
        let totals = self.tasks.totals;
        let missing = totals.not_recorded + totals.evicted;
        (missing > 0).then(|| {
            format!(
                "{missing} attempts that ended are not listed: {} came too many at a time to be recorded, {} made room for newer ones. \
                 In all, {} tasks were submitted; {} attempts finished and {} failed.",
                totals.not_recorded, totals.evicted, totals.submitted, totals.finished, totals.failed
            )
        })
    }

    fn node_rows(&self) -> Vec<Row> {
        let alive = self.nodes.values().map(|node| {
            let mut row = node_row(&node.info, "ALIVE");
            row.insert("available".to_owned(), amounts(node.load.available.as_ref()));
            row.insert("workers".to_owned(), json!(node.load.workers));
            row.insert("running_tasks".to_owned(), json!(node.load.running_tasks));
            row.insert("pending_leases".to_owned(), json!(node.load.pending_leases));
            let measures = node.load.measures.unwrap_or_default();
            row.insert("store_bytes".to_owned(), json!(measures.store_bytes));
            row.insert("store_objects".to_owned(), json!(measures.objects));
            row
        });
        alive.chain(self.lost_nodes.iter().map(|info| node_row(info, "DEAD"))).collect()
    }

    fn job_rows(&self) -> Vec<Row> {
        let row = |job: v1::JobStatus| {
            let name = NodeId::try_from(&job.node_id).ok().and_then(|id| self.nodes.get(&id));
            object(json!({
                "job_id": hex(&job.job_id), "name": job.name, "state": if job.running { "RUNNING" } else { "ENDED" },
                "driver_pid": job.driver_pid, "node_id": hex(&job.node_id),
                "node_name": name.map(|node| node.info.name.clone()), "started_unix_ms": job.started_unix_ms,
                "ended_unix_ms": job.ended_unix_ms, "submission_id": job.submission_id,
            }))
        };
        self.status().jobs.into_iter().map(row).collect()
    }

    fn submitted_rows(&self) -> Vec<Row> {
        let row = |job: &v1::SubmittedJob| {
            let node = NodeId::try_from(&job.node_id).ok().and_then(|id| self.nodes.get(&id));
            object(json!({
                "submission_id": job.submission_id, "status": job.state().as_str_name(), "entrypoint": job.entrypoint,
                "message": job.message, "job_id": hex(&job.job_id), "driver_pid": job.driver_pid,
                "node_id": hex(&job.node_id), "node_name": node.map(|node| node.info.name.clone()),
                "submitted_unix_ms": job.submitted_unix_ms, "started_unix_ms": job.started_unix_ms,
                "ended_unix_ms": job.ended_unix_ms, "exit_code": job.exit_code,
                "metadata": job.metadata.iter().collect::<BTreeMap<_, _>>(), "runtime_env": job.runtime_env,
                "environment_failed": job.environment_failed,
            }))
        };
        self.submitted_jobs().into_iter().map(row).collect()
    }

    /// Living ones first, and of those the ones with a name.
    fn actor_rows(&self) -> Vec<Row> {
        let row = |entry: &v1::ActorEntry| {
            let state = entry.state.as_ref();
            let phase = state.map_or("UNKNOWN", |state| match state.phase() {
                v1::actor_state::Phase::Pending => "PENDING_CREATION",
                other => other.as_str_name(),
            });
            object(json!({
                "actor_id": hex(&entry.actor_id), "class_name": entry.class_name, "name": entry.name, "ray_namespace": entry.namespace, "state": phase,
                "is_detached": entry.detached, "job_id": hex(&entry.job_id),
                "node_id": state.map(|state| hex(&state.node_id)), "worker_id": state.map(|state| hex(&state.worker_id)),
                "node_name": state.and_then(|state| self.nodes.get(&NodeId::try_from(&state.node_id).ok()?)).map(|node| &node.info.name),
                "pid": state.and_then(|state| self.targets.get(&ProcessId::try_from(&state.worker_id).ok()?)).map(|(_, target)| target.pid),
                "death_cause": state.map(|state| state.cause.clone()),
            }))
        };
        let mut rows: Vec<_> = self.actor_entries().map(row).collect();
        rows.sort_by_cached_key(|row| {
            (row["state"] == "DEAD", row["name"] == "", row["actor_id"].to_string())
        });
        rows
    }

    fn group_rows(&self) -> Vec<Row> {
        let row = |group: v1::PlacementGroup| {
            let bundle = |bundle: &v1::Bundle| {
                json!({
                    "index": bundle.index, "resources": amounts(bundle.resources.as_ref()), "node_id": hex(&bundle.node_id),
                })
            };
            object(json!({
                "placement_group_id": hex(&group.group_id), "name": group.name, "state": group.state().as_str_name(),
                "strategy": group.strategy().as_str_name(), "job_id": hex(&group.job_id), "detached": group.detached,
                "bundles": group.bundles.iter().map(bundle).collect::<Vec<_>>(), "waits_for": group.waits_for,
            }))
        };
        self.list_groups().into_iter().map(row).collect()
    }

    fn worker_rows(&self) -> Vec<Row> {
        let row = |(_, target): &(NodeId, v1::TargetUp)| {
            object(json!({
                "worker_id": hex(&target.target_id), "kind": target.kind, "pid": target.pid,
                "node_id": hex(&target.node_id), "node_name": target.node_name, "job_id": hex(&target.job_id),
                "description": target.description, "debug_level": target.debug_level,
            }))
        };
        let mut rows: Vec<_> = self.targets.values().map(row).collect();
        rows.sort_by_key(|row| (row["node_name"].to_string(), row["pid"].as_u64()));
        rows
    }
}

fn node_row(info: &v1::NodeInfo, state: &str) -> Row {
    object(json!({
        "node_id": hex(&info.node_id), "name": info.name, "state": state, "pid": info.pid, "version": info.version,
        "peer_address": info.peer_address, "total": amounts(info.total.as_ref()), "labels": info.labels,
    }))
}

/// Checks a question, and answers with how many rows it wants.
pub(crate) fn checked_limit(request: &ListStateRequest) -> Result<usize, String> {
    if let Some(conflict) = version_conflict("the client", request.protocol_version) {
        return Err(conflict);
    }
    if request.filters.len() > FILTERS_MAX {
        return Err(format!("a question has at most {FILTERS_MAX} filters"));
    }
    let asked = usize::try_from(request.limit).unwrap_or(ROWS_MAX);
    Ok(if asked == 0 { ROWS_MAX } else { asked.min(ROWS_MAX) })
}

/// Filters, pages and cuts rows of which there are few; or counts them by some of their keys.
pub(crate) fn answer(
    request: &ListStateRequest,
    limit: usize,
    rows: &[Row],
    counted_by: &[&str],
) -> Result<ListStateResponse, String> {
    let keys: Vec<&str> =
        rows.first().map(|row| row.keys().map(String::as_str).collect()).unwrap_or_default();
    if !rows.is_empty() {
        check_keys(&request.filters, &keys)?;
    }
    let field = |row: &Row, key: &str| row.get(key).map(text).unwrap_or_default();
    let meant = |row: &&Row| request.filters.iter().all(|filter| holds(filter, &field(row, &filter.key)));
    let rows: Vec<&Row> = rows.iter().filter(meant).collect();
    let total = rows.len() as u64;
    if request.summary {
        let mut counts: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        for row in rows {
            *counts.entry(counted_by.iter().map(|key| field(row, key)).collect()).or_default() += 1;
        }
        let counted = |(values, count): (Vec<String>, u64)| {
            let mut row: Row = counted_by
                .iter()
                .map(|key| (*key).to_owned())
                .zip(values.into_iter().map(Value::from))
                .collect();
            row.insert("count".to_owned(), json!(count));
            Value::Object(row).to_string()
        };
        let rows = counts.into_iter().map(counted).collect();
        return Ok(ListStateResponse { rows, total, ..ListStateResponse::default() });
    }
    let from: usize = match &*request.page {
        "" => 0,
        page => page.parse().map_err(|_| bad_page(page))?,
    };
    let to = from.saturating_add(limit);
    let next_page = if to < rows.len() { to.to_string() } else { String::new() };
    let rows = rows.into_iter().skip(from).take(limit).map(|row| Value::Object(row.clone()).to_string());
    Ok(ListStateResponse { rows: rows.collect(), total, next_page, notes: Vec::new() })
}

const TASK_KEYS: &[&str] = &[
    "task_id",
    "attempt",
    "name",
    "state",
    "language",
    "type",
    "actor_id",
    "job_id",
    "owner_id",
    "parent_task_id",
    "node_id",
    "node_name",
    "worker_id",
    "worker_pid",
    "error",
];

fn task_field(record: &TaskRecord, key: &str) -> String {
    match key {
        "task_id" => record.id.to_string(),
        "attempt" => record.attempt.to_string(),
        "name" => record.name.clone(),
        "state" => record.state.as_str_name().to_owned(),
        "language" => record.language.clone(),
        "type" => record.r#type.as_str_name().to_owned(),
        "actor_id" => record.actor.clone(),
        "job_id" => record.job.map(|id| id.to_string()).unwrap_or_default(),
        "owner_id" => record.owner.map(|id| id.to_string()).unwrap_or_default(),
        "parent_task_id" => record.parent.map(|id| id.to_string()).unwrap_or_default(),
        "node_id" => record.node.map(|id| id.to_string()).unwrap_or_default(),
        "node_name" => record.node_name.clone(),
        "worker_id" => record.worker.map(|id| id.to_string()).unwrap_or_default(),
        "worker_pid" => record.worker_pid.to_string(),
        // The keys were checked before.
        _ => record.error.clone(),
    }
}

fn task_row(record: &TaskRecord) -> Value {
    json!({
        "task_id": record.id.to_string(), "attempt": record.attempt, "name": record.name,
        "state": record.state.as_str_name(), "language": record.language, "type": record.r#type.as_str_name(),
        "actor_id": Some(&record.actor).filter(|id| !id.is_empty()),
        "job_id": record.job.map(|id| id.to_string()), "owner_id": record.owner.map(|id| id.to_string()),
        "parent_task_id": record.parent.map(|id| id.to_string()), "node_id": record.node.map(|id| id.to_string()),
        "node_name": record.node_name, "worker_id": record.worker.map(|id| id.to_string()),
        "worker_pid": record.worker_pid, "submitted_unix_us": record.submitted_unix_us,
        "started_unix_us": record.started_unix_us, "ended_unix_us": record.ended_unix_us,
        "error": record.error, "required_resources": amounts(Some(&record.resources)),
        "waits_for": record.waits_for,
    })
}

fn check_keys(filters: &[StateFilter], keys: &[&str]) -> Result<(), String> {
    match filters.iter().find(|filter| !keys.contains(&&*filter.key)) {
        Some(filter) => {
            Err(format!("there is no '{}' to filter by; there are {}", filter.key, keys.join(", ")))
        }
        None => Ok(()),
    }
}

/// Ids may be given by their beginning, as tables show them.
fn holds(filter: &StateFilter, value: &str) -> bool {
    let equal = if filter.key.ends_with("_id") && !filter.value.is_empty() {
        value.starts_with(&filter.value.to_ascii_lowercase())
    } else {
        value.eq_ignore_ascii_case(&filter.value)
    };
    equal != filter.differs
}

fn bad_page(page: &str) -> String {
    format!("'{page}' is no page; take the one that the answer before named")
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

fn object(value: Value) -> Row {
    match value {
        Value::Object(row) => row,
        other => Row::from_iter([("value".to_owned(), other)]),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn amounts(resources: Option<&Resources>) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^52")]
    let whole = |amount: u64| amount as f64 / 10_000.0;
    let named = resources.into_iter().flat_map(|resources| &resources.amounts);
    named.map(|(name, amount)| (name.clone(), json!(whole(*amount)))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use manta_proto::{
        PROTOCOL_VERSION,
        ids::{JobId, TaskId},
        v1::{NodeToHead, TaskEvent, node_to_head, task_event::State},
    };

    use super::*;
    use crate::core::LinkId;

    const NODE: NodeId = NodeId([1; 16]);
    const JOB: JobId = JobId([2; 16]);

    /// A node, a job, and tasks f 1 to f 5, of which the odd ones failed.
    fn core() -> Core {
        let mut core = Core::new("cluster".into());
        let info = v1::NodeInfo { node_id: NODE.to_bytes(), ..v1::NodeInfo::default() };
        let register = v1::NodeRegister {
            protocol_version: PROTOCOL_VERSION,
            info: Some(info),
            ..v1::NodeRegister::default()
        };
        core.on_node_register(LinkId(1), register).unwrap();
        let mut say = |message| core.on_node_message(NODE, NodeToHead { message: Some(message) });
        let job_id = JOB.to_bytes();
        say(node_to_head::Message::JobStarted(v1::JobStarted {
            job_id: job_id.clone(),
            ..Default::default()
        }));
        let event = |byte: u8| TaskEvent {
            task_id: TaskId([byte; 16]).to_bytes(),
            name: "f".into(),
            state: if byte % 2 == 1 { State::Failed } else { State::Running }.into(),
            node_id: NODE.to_bytes(),
            error: if byte % 2 == 1 { format!("ValueError: {byte}") } else { String::new() },
            ..TaskEvent::default()
        };
        let events = (1..=5).map(event).collect();
        let batch = TaskEvents { job_id, events, not_recorded: 3, ..TaskEvents::default() };
        say(node_to_head::Message::TaskEvents(batch));
        core
    }

    fn request(kind: StateKind, filters: &[(&str, &str, bool)]) -> ListStateRequest {
        let filter = |(key, value, differs): &(&str, &str, bool)| StateFilter {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            differs: *differs,
        };
        ListStateRequest {
            protocol_version: PROTOCOL_VERSION,
            kind: kind.into(),
            filters: filters.iter().map(filter).collect(),
            ..ListStateRequest::default()
        }
    }

    fn rows(answer: &ListStateResponse) -> Vec<Value> {
        answer.rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
    }

    #[test]
    fn filters_come_before_limits_and_pages_go_on() {
        let core = core();
        let mut request =
            request(StateKind::StateTasks, &[("state", "failed", false), ("job_id", "0202", false)]);
        request.limit = 2;
        let first = core.list_state(&request).unwrap();
        let errors = |answer: &ListStateResponse| {
            rows(answer).iter().map(|row| row["error"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(errors(&first), ["ValueError: 5", "ValueError: 3"]);
        assert_eq!(first.total, 3);
        assert!(first.notes[0].contains("3 attempts that ended are not listed"), "{:?}", first.notes);
        let second = core.list_state(&ListStateRequest { page: first.next_page, ..request }).unwrap();
        assert_eq!((errors(&second), second.next_page), (vec!["ValueError: 1".to_owned()], String::new()));
    }

    #[test]
    fn a_filter_by_what_is_not_there_is_refused_with_what_is() {
        let core = core();
        let refused =
            core.list_state(&request(StateKind::StateTasks, &[("status", "x", false)])).unwrap_err();
        assert!(refused.contains("no 'status' to filter by; there are task_id, "), "{refused}");
        let refused = core.list_state(&request(StateKind::StateNodes, &[("x", "x", true)])).unwrap_err();
        assert!(refused.contains("there are available, "), "{refused}");
        let paged = ListStateRequest { page: "?".into(), ..request(StateKind::StateTasks, &[]) };
        assert!(core.list_state(&paged).unwrap_err().contains("'?' is no page"));
    }

    #[test]
    fn counts_are_by_name_and_state() {
        let mut core = core();
        let summary = ListStateRequest { summary: true, ..request(StateKind::StateTasks, &[]) };
        let answer = core.list_state(&summary).unwrap();
        assert_eq!(rows(&answer), [json!({"name": "f", "states": {"FAILED": 3, "RUNNING": 2}})]);
        core.on_node_lost(LinkId(1));
        let summary = ListStateRequest { summary: true, ..request(StateKind::StateNodes, &[]) };
        assert_eq!(rows(&core.list_state(&summary).unwrap()), [json!({"state": "DEAD", "count": 1})]);
        let jobs = core.list_state(&request(StateKind::StateJobs, &[])).unwrap();
        assert_eq!(rows(&jobs)[0]["state"], "ENDED");
        let running =
            core.list_state(&request(StateKind::StateTasks, &[("state", "RUNNING", false)])).unwrap();
        assert_eq!(running.total, 0, "the job's end was its tasks' end");
    }
}
