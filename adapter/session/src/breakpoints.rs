//! The logical breakpoints: what the user set, and what nodes and targets have said about it.
//!
//! A breakpoint is *verified* when every task that starts afterwards and reaches it will stop: every node has armed it and no target
//! has refused it.

use std::collections::{BTreeMap, BTreeSet};

use dap::{BreakpointId, BreakpointReason, DataBreakpoint, FunctionBreakpoint, Source, SourceBreakpoint};

use crate::{
    ids::{Counter, Generation, IdsExhausted, TargetId},
    limits::BREAKPOINTS_MAX,
    profile::{
        Configuration, Configured, ConfiguredData, ConfiguredFunction, ConfiguredLine, ConfiguredSource,
        ExceptionOption,
    },
};

/// Where the user set breakpoints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file of this client path (or name, for a file that only the cluster has).
    File(String),
    /// At functions.
    Functions,
    /// On values of single processes.
    Data,
}

/// What the user set.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// A line of a file.
    Line(SourceBreakpoint),
    /// A function.
    Function(FunctionBreakpoint),
    /// A value of one process.
    Data(DataBreakpoint),
}

/// What a client is told about a breakpoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// Whether every task that reaches it from now on stops.
    pub verified: bool,
    /// Where it landed.
    pub line: Option<i64>,
    /// Why it is not verified.
    pub reason: Option<BreakpointReason>,
    /// A sentence.
    pub message: Option<String>,
}

impl Verdict {
    /// Not verified, and why.
    #[must_use]
    pub fn refused(reason: BreakpointReason, message: impl Into<String>) -> Self {
        Self { verified: false, line: None, reason: Some(reason), message: Some(message.into()) }
    }

    /// Whether a client that was told `other` needs to be told this. The message of a verified breakpoint is only an aside.
    fn differs(&self, other: &Self) -> bool {
        let said = |verdict: &Self| (!verdict.verified).then(|| verdict.message.clone());
        (self.verified, self.line, &self.reason, said(self))
            != (other.verified, other.line, &other.reason, said(other))
    }
}

/// What the nodes have said about the newest set of breakpoints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Armed {
    /// How many nodes run under it.
    pub nodes: usize,
    /// Why it is not in force everywhere, as a sentence that names the node.
    pub failure: Option<String>,
}

#[derive(Debug)]
struct Breakpoint {
    id: i32,
    spec: Spec,
    bound_line: Option<i64>,
    /// What a target that has bound it wants known.
    note: Option<String>,
    /// The first stays first, so that the client is not told of each further one.
    refusals: Vec<(TargetId, String)>,
    told: Option<Verdict>,
}

impl Breakpoint {
    fn refuse(&mut self, target: &TargetId, why: String) {
        match self.refusals.iter_mut().find(|(refuser, _)| refuser == target) {
            Some((_, before)) => *before = why,
            None => self.refusals.push((target.clone(), why)),
        }
    }

    fn withdraw(&mut self, target: &TargetId) {
        self.refusals.retain(|(refuser, _)| refuser != target);
    }
}

#[derive(Debug)]
struct Group {
    source: Source,
    paths: Vec<String>,
    sha256: Option<String>,
    client_has_file: bool,
    breakpoints: Vec<Breakpoint>,
}

impl Group {
    fn ids(&self) -> Vec<i32> {
        self.breakpoints.iter().map(|breakpoint| breakpoint.id).collect()
    }
}

/// The files' part of a request that sets breakpoints.
#[derive(Debug, Clone, Default)]
pub struct FileOfBreakpoints {
    /// As targets shall see it.
    pub source: Source,
    /// The names under which a target may know it, best first.
    pub paths: Vec<String>,
    /// The hash of its content on the client's machine, by which a target knows it under any path.
    pub sha256: Option<String>,
    /// Whether the client's machine has it.
    pub client_has_file: bool,
}

/// Says why breakpoints could not be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Too many.
    #[error(
        "this would be more than {BREAKPOINTS_MAX} breakpoints in one session; remove some and try again"
    )]
    TooMany,
    /// No ids are left.
    #[error(transparent)]
    Exhausted(#[from] IdsExhausted),
}

/// All logical breakpoints of a session.
#[derive(Debug, Default)]
pub struct Breakpoints {
    groups: BTreeMap<Place, Group>,
    ids: Counter,
    known: BTreeSet<i32>,
    filters: Vec<String>,
    filter_options: Vec<ExceptionOption>,
}

impl Breakpoints {
    /// Replaces the breakpoints of `place`; those that stay as they were keep their ids, and with them their hit counts.
    /// Gives their ids, in order, and whether that changed anything.
    ///
    /// # Errors
    /// When there would be too many; the old ones stay then.
    pub fn set(
        &mut self,
        place: Place,
        file: FileOfBreakpoints,
        specs: Vec<Spec>,
    ) -> Result<(Vec<i32>, bool), SetError> {
        let before =
            self.groups.get(&place).map(|group| (group.ids(), group.paths.clone(), group.sha256.clone()));
        let mut old = self.groups.remove(&place).map(|group| group.breakpoints).unwrap_or_default();
        if self.known.len() - old.len() + specs.len() > BREAKPOINTS_MAX {
            self.restore(place, file, old);
            return Err(SetError::TooMany);
        }
        let mut breakpoints = Vec::with_capacity(specs.len());
        for spec in specs {
            let kept = old.iter().position(|breakpoint| breakpoint.spec == spec);
            breakpoints.push(match kept {
                Some(index) => old.swap_remove(index),
                None => Breakpoint {
                    id: self.ids.next()?,
                    spec,
                    bound_line: None,
                    note: None,
                    refusals: Vec::new(),
                    told: None,
                },
            });
        }
        for breakpoint in old {
            self.known.remove(&breakpoint.id);
        }
        let ids: Vec<i32> = breakpoints.iter().map(|breakpoint| breakpoint.id).collect();
        self.known.extend(&ids);
        let is_changed = match before {
            Some(before) => before != (ids.clone(), file.paths.clone(), file.sha256.clone()),
            None => !ids.is_empty(),
        };
        self.restore(place, file, breakpoints);
        Ok((ids, is_changed))
    }

    fn restore(&mut self, place: Place, file: FileOfBreakpoints, breakpoints: Vec<Breakpoint>) {
        if breakpoints.is_empty() {
            return;
        }
        let FileOfBreakpoints { source, paths, sha256, client_has_file } = file;
        self.groups.insert(place, Group { source, paths, sha256, client_has_file, breakpoints });
    }

    /// Gives each of the client's files the names that `names` has for it now. Whether that changed anything.
    pub fn rename(&mut self, names: impl Fn(&str) -> Vec<String>) -> bool {
        let mut is_changed = false;
        for (place, group) in &mut self.groups {
            // Files that only the cluster has are named by their path there.
            if let Place::File(path) = place
                && group.client_has_file
            {
                let now = names(path);
                is_changed |= now != group.paths;
                group.paths = now;
            }
        }
        is_changed
    }

    /// The client's path of the file that breakpoint `id` is in, where `other` is none of the names that targets were told for it.
    #[must_use]
    pub fn unnamed(&self, id: i32, other: &str) -> Option<&str> {
        self.groups.iter().find_map(|(place, group)| match place {
            Place::File(path) if group.breakpoints.iter().any(|breakpoint| breakpoint.id == id) => {
                let is_known = group.paths.iter().any(|known| known == other) || !group.client_has_file;
                (!is_known).then_some(path.as_str())
            }
            _ => None,
        })
    }

    /// Replaces the exception filters. Whether that changed anything.
    pub fn set_exceptions(&mut self, filters: Vec<String>, options: Vec<ExceptionOption>) -> bool {
        let is_changed = self.filters != filters || self.filter_options != options;
        self.filters = filters;
        self.filter_options = options;
        is_changed
    }

    /// Whether there is nothing to stop at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.filters.is_empty() && self.filter_options.is_empty()
    }

    /// Whether the session has a breakpoint of this id now.
    #[must_use]
    pub fn has(&self, id: i32) -> bool {
        self.known.contains(&id)
    }

    /// The arguments of `mantaConfigure`, as JSON.
    #[must_use]
    pub fn configuration(&self, generation: Generation, session_id: &str, into_framework: bool) -> String {
        let mut sources = Vec::new();
        let mut function_breakpoints = Vec::new();
        let mut data_breakpoints = Vec::new();
        for group in self.groups.values() {
            let mut lines = Vec::new();
            for Breakpoint { id, spec, .. } in &group.breakpoints {
                match spec {
                    Spec::Line(spec) => lines.push(ConfiguredLine { id: *id, spec }),
                    Spec::Function(spec) => function_breakpoints.push(ConfiguredFunction { id: *id, spec }),
                    Spec::Data(spec) => data_breakpoints.push(ConfiguredData { id: *id, spec }),
                }
            }
            if !lines.is_empty() {
                sources.push(ConfiguredSource {
                    source: &group.source,
                    paths: &group.paths,
                    sha256: group.sha256.as_deref(),
                    breakpoints: lines,
                });
            }
        }
        let configuration = Configuration {
            generation: generation.0,
            session_id,
            sources,
            function_breakpoints,
            data_breakpoints,
            exception_filters: &self.filters,
            exception_options: &self.filter_options,
            step_into_framework: into_framework,
        };
        // Texts and numbers only: there is nothing in here that could fail to be written.
        serde_json::to_string(&configuration).expect("a set of breakpoints is always written")
    }

    /// Notes what a target said about the whole set. `named` is the target for people.
    pub fn on_configured(&mut self, target: &TargetId, named: &str, answer: &Configured) {
        for breakpoint in &answer.breakpoints {
            self.on_breakpoint(target, named, breakpoint);
        }
    }

    /// Notes what a target said about one breakpoint.
    pub fn on_breakpoint(&mut self, target: &TargetId, named: &str, said: &dap::Breakpoint) {
        let Some(BreakpointId(id)) = said.id else { return };
        let Some(breakpoint) = self.find_mut(id) else { return };
        if said.verified {
            breakpoint.withdraw(target);
            breakpoint.note.clone_from(&said.message);
            if let Spec::Line(spec) = &breakpoint.spec {
                breakpoint.bound_line.get_or_insert(said.line.unwrap_or(spec.line));
            } else {
                breakpoint.bound_line = breakpoint.bound_line.or(said.line).or(Some(0));
            }
        } else if said.reason == Some(BreakpointReason::Failed) {
            let why = said.message.as_deref().unwrap_or("it could not be set");
            breakpoint.refuse(target, format!("{} ({named})", why.trim_end_matches('.')));
        } else {
            breakpoint.withdraw(target);
        }
    }

    /// Notes that a target could not take the set at all.
    pub fn on_target_failed(&mut self, target: &TargetId, named: &str, why: &str) {
        for breakpoint in self.groups.values_mut().flat_map(|group| &mut group.breakpoints) {
            breakpoint.refuse(target, format!("{} ({named})", why.trim_end_matches('.')));
        }
    }

    /// Forgets what a target said that is gone.
    pub fn on_target_down(&mut self, target: &TargetId) {
        for breakpoint in self.groups.values_mut().flat_map(|group| &mut group.breakpoints) {
            breakpoint.withdraw(target);
        }
    }

    fn find_mut(&mut self, id: i32) -> Option<&mut Breakpoint> {
        if !self.known.contains(&id) {
            return None;
        }
        self.groups.values_mut().flat_map(|group| &mut group.breakpoints).find(|b| b.id == id)
    }

    /// What the client is told about `id` in a response; remembered, so that only changes are told later.
    pub fn tell(&mut self, id: i32, armed: &Armed) -> dap::Breakpoint {
        for group in self.groups.values_mut() {
            let client_has_file = group.client_has_file;
            if let Some(breakpoint) = group.breakpoints.iter_mut().find(|b| b.id == id) {
                let verdict = verdict(breakpoint, client_has_file, armed);
                breakpoint.told = Some(verdict.clone());
                return shown(breakpoint, verdict);
            }
        }
        let replaced =
            Verdict::refused(BreakpointReason::Failed, "a later request has replaced this breakpoint");
        dap::Breakpoint {
            id: Some(BreakpointId(id)),
            verified: false,
            reason: replaced.reason,
            message: replaced.message,
            ..Default::default()
        }
    }

    /// Every breakpoint about which the client was told something that is no longer so.
    pub fn changes(&mut self, armed: &Armed) -> Vec<dap::Breakpoint> {
        let mut changes = Vec::new();
        for group in self.groups.values_mut() {
            for breakpoint in &mut group.breakpoints {
                let now = verdict(breakpoint, group.client_has_file, armed);
                if breakpoint.told.as_ref().is_some_and(|told| now.differs(told)) {
                    breakpoint.told = Some(now.clone());
                    changes.push(shown(breakpoint, now));
                }
            }
        }
        changes
    }
}

fn verdict(breakpoint: &Breakpoint, client_has_file: bool, armed: &Armed) -> Verdict {
    if let Some(failure) = &armed.failure {
        return Verdict::refused(BreakpointReason::Pending, failure.clone());
    }
    if let Some((_, refusal)) = breakpoint.refusals.first() {
        return Verdict::refused(BreakpointReason::Failed, refusal.clone());
    }
    let nodes = match armed.nodes {
        0 => "armed for every node that joins".to_owned(),
        1 => "armed on 1 node".to_owned(),
        many => format!("armed on {many} nodes"),
    };
    match (&breakpoint.spec, breakpoint.bound_line) {
        (Spec::Line(_), Some(line)) => {
            Verdict { verified: true, line: Some(line), reason: None, message: breakpoint.note.clone() }
        }
        (Spec::Function(_) | Spec::Data(_), Some(_)) => {
            Verdict { verified: true, message: breakpoint.note.clone(), ..Verdict::default() }
        }
        (Spec::Line(spec), None) if client_has_file => Verdict {
            verified: true,
            line: Some(spec.line),
            reason: None,
            message: Some(format!("{nodes}; no task has loaded this file yet")),
        },
        (Spec::Line(_), None) => Verdict::refused(
            BreakpointReason::Pending,
            format!(
                "{nodes}, but neither this machine nor any task so far has this file; check the path, or set 'pathMappings' \
                 if the cluster knows the folder under another name"
            ),
        ),
        (Spec::Function(_), None) => Verdict::refused(
            BreakpointReason::Pending,
            format!("{nodes}; no task has loaded a function of this name yet"),
        ),
        (Spec::Data(_), None) => Verdict::refused(
            BreakpointReason::Pending,
            format!("{nodes}, but the process that has this value does not watch it; it may have ended"),
        ),
    }
}

fn shown(breakpoint: &Breakpoint, verdict: Verdict) -> dap::Breakpoint {
    let line = verdict.line.or(match &breakpoint.spec {
        Spec::Line(spec) => Some(spec.line),
        Spec::Function(_) | Spec::Data(_) => None,
    });
    dap::Breakpoint {
        id: Some(BreakpointId(breakpoint.id)),
        verified: verdict.verified,
        line,
        reason: verdict.reason,
        message: verdict.message,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: i64) -> Spec {
        Spec::Line(SourceBreakpoint { line, ..Default::default() })
    }

    fn file(client_has_file: bool) -> FileOfBreakpoints {
        FileOfBreakpoints { client_has_file, ..Default::default() }
    }

    fn set(breakpoints: &mut Breakpoints, specs: Vec<Spec>) -> Vec<i32> {
        breakpoints.set(Place::File("a.py".to_owned()), file(true), specs).unwrap().0
    }

    #[test]
    fn what_stays_keeps_its_id_and_what_goes_never_comes_back() {
        let mut breakpoints = Breakpoints::default();
        assert_eq!(set(&mut breakpoints, vec![line(1), line(2)]), [1, 2]);
        assert_eq!(set(&mut breakpoints, vec![line(2), line(3)]), [2, 3]);
        assert_eq!(set(&mut breakpoints, vec![line(1)]), [4]);
        assert!(breakpoints.has(4) && !breakpoints.has(1));
        set(&mut breakpoints, vec![]);
        assert!(breakpoints.is_empty());
    }

    #[test]
    fn verified_needs_all_nodes_and_no_refusal() {
        let mut breakpoints = Breakpoints::default();
        let id = set(&mut breakpoints, vec![line(10)])[0];
        let armed = Armed { nodes: 2, failure: None };
        let told = breakpoints.tell(id, &armed);
        assert!(told.verified && told.message.unwrap().starts_with("armed on 2 nodes"));
        let target = TargetId::new("t1");
        let says = |verified, reason, line| dap::Breakpoint {
            id: Some(BreakpointId(id)),
            verified,
            reason,
            line,
            ..Default::default()
        };
        breakpoints.on_breakpoint(&target, "worker 1", &says(true, None, Some(11)));
        assert_eq!(breakpoints.changes(&armed)[0].line, Some(11));
        assert!(breakpoints.changes(&armed).is_empty());
        breakpoints.on_breakpoint(&target, "worker 1", &says(false, Some(BreakpointReason::Failed), None));
        let change = breakpoints.changes(&armed).remove(0);
        assert!(!change.verified && change.message.unwrap().contains("worker 1"));
        breakpoints.on_target_down(&target);
        assert!(breakpoints.changes(&armed)[0].verified);
        let unarmed = Armed { nodes: 1, failure: Some("node-2 did not answer".to_owned()) };
        assert!(!breakpoints.changes(&unarmed)[0].verified);
    }

    #[test]
    fn a_file_that_nobody_has_is_not_verified() {
        let mut breakpoints = Breakpoints::default();
        let id = breakpoints.set(Place::File("x.py".to_owned()), file(false), vec![line(1)]).unwrap().0[0];
        let told = breakpoints.tell(id, &Armed { nodes: 1, failure: None });
        assert!(!told.verified && told.message.unwrap().contains("pathMappings"));
    }

    #[test]
    fn too_many_leave_the_old_ones() {
        let mut breakpoints = Breakpoints::default();
        set(&mut breakpoints, vec![line(1)]);
        let many = (0..=BREAKPOINTS_MAX).map(|n| line(n as i64)).collect();
        let refused = breakpoints.set(Place::File("a.py".to_owned()), file(true), many);
        assert_eq!(refused, Err(SetError::TooMany));
        assert!(breakpoints.has(1));
    }
}
