//! A target that answers the target profile from a script: what it says tells which task and which stop it belongs to, so that a leak from
//! one task to another shows.

use std::collections::BTreeMap;

use dap::{EventMessage, Message, RequestMessage};
use serde_json::{Value, json, value::to_raw_value};

use super::answer;

struct Stopped {
    task: String,
    stop: i64,
}

pub struct FakeTarget {
    pub name: String,
    stops: i64,
    stopped: BTreeMap<i32, Stopped>,
    /// Tasks that ran off their end, or on, by `continue`.
    pub continued: Vec<String>,
    /// What a step does.
    pub step: StepOutcome,
    /// Whether files are loaded, so that breakpoints bind.
    pub is_loaded: bool,
    /// Why it refuses all that resumes.
    pub refuses: Option<&'static str>,
    /// So many bytes are added to what `evaluate` answers.
    pub padding: usize,
    /// It knows the profile's own requests only.
    pub lacks_optional: bool,
    pub stepped_into: Option<i64>,
    pub jumped_to: Option<i64>,
    pub cancelled: Option<i64>,
    /// Whether it tells of a stop what it was asked to tell ahead.
    pub looks: bool,
    /// And the stack ahead of the variables.
    pub looks_twice: bool,
    /// What it was asked.
    pub asked: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// Stops again at once.
    Stops,
    /// Runs off the end of the task.
    Ends,
    /// Does not stop yet.
    Runs,
}

impl FakeTarget {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            stops: 0,
            stopped: BTreeMap::new(),
            continued: Vec::new(),
            step: StepOutcome::Stops,
            is_loaded: false,
            refuses: None,
            padding: 0,
            lacks_optional: false,
            stepped_into: None,
            jumped_to: None,
            cancelled: None,
            looks: false,
            looks_twice: false,
            asked: Vec::new(),
        }
    }

    pub fn configure(&mut self, arguments: &Value) -> Value {
        let mut answers = Vec::new();
        for source in arguments["sources"].as_array().unwrap() {
            for breakpoint in source["breakpoints"].as_array().unwrap() {
                let id = &breakpoint["id"];
                answers.push(if self.is_loaded {
                    json!({"id": id, "verified": true, "line": breakpoint["line"]})
                } else {
                    json!({"id": id, "verified": false, "reason": "pending"})
                });
            }
        }
        for watched in arguments["dataBreakpoints"].as_array().into_iter().flatten() {
            let is_own = watched["dataId"].as_str().unwrap().starts_with(&self.name);
            answers.push(if is_own {
                json!({"id": watched["id"], "verified": true})
            } else {
                json!({"id": watched["id"], "verified": false, "reason": "pending"})
            });
        }
        json!({"generation": arguments["generation"], "breakpoints": answers})
    }

    /// The task `task` ("NAME-ID") stops on the target's thread.
    pub fn stop(&mut self, thread: i32, task: &str, reason: &str, hits: &[i32]) -> Message {
        self.stops += 1;
        let stop = self.stops;
        self.stopped.insert(thread, Stopped { task: task.to_owned(), stop });
        let (name, id) = task.split_once('-').unwrap();
        event(
            "mantaStopped",
            json!({
                "threadId": thread, "reason": reason, "description": format!("Paused on {reason}"), "stop": stop,
                "hitBreakpointIds": hits, "generation": 1, "allThreadsStopped": false,
                "task": {"taskId": format!("{id:0>32}"), "attempt": 0, "name": name, "jobId": "00ff"},
                "topFrame": frame(task, stop, 0),
            }),
        )
    }

    /// What it has said of a thread that still stands.
    pub fn tell_again(&self, thread: i32) -> Message {
        let Stopped { task, stop } = &self.stopped[&thread];
        let (name, id) = task.split_once('-').unwrap();
        let task_id = format!("{id:0>32}");
        event(
            "mantaStopped",
            json!({"threadId": thread, "reason": "breakpoint", "stop": stop, "task": {"taskId": task_id, "name": name},
                   "topFrame": frame(task, *stop, 0)}),
        )
    }

    pub fn is_stopped(&self, thread: i32) -> bool {
        self.stopped.contains_key(&thread)
    }

    pub fn stopped_threads(&self) -> usize {
        self.stopped.len()
    }

    pub fn on(&mut self, message: &Message) -> Vec<Message> {
        let Message::Request(request) = message else { panic!("a target gets requests only: {message:?}") };
        let arguments: Value = request.arguments().unwrap();
        let thread = arguments["threadId"].as_i64().unwrap_or(0) as i32;
        self.asked.push(request.command.clone());
        let result = match request.command.as_str() {
            "continue" | "next" | "stepOut" => return self.resume(request, thread),
            "stepIn" => {
                self.stepped_into = arguments["targetId"].as_i64();
                return self.resume(request, thread);
            }
            "goto" => return self.jump(request, thread, arguments["targetId"].as_i64()),
            "restartFrame" => {
                let frame = arguments["frameId"].as_i64().unwrap();
                let thread = self.stopped.iter().find(|(_, stopped)| stopped.stop == frame / 1000);
                let thread = thread.map_or(0, |(thread, _)| *thread);
                return self.stop_again(request, thread, "restart");
            }
            "stackTrace" => self.stack_trace(thread, &arguments),
            "scopes" => self.of_handle(&arguments["frameId"], |stopped, of| {
                json!({"scopes": [{"name": "Locals", "variablesReference": of + 1, "expensive": false,
                                   "source": {"path": format!("/remote/{}.py", stopped.task)}}]})
            }),
            "variables" => self.of_handle(&arguments["variablesReference"], |stopped, of| {
                json!({"variables": [
                    {"name": "task", "value": stopped.task, "type": "str", "variablesReference": 0},
                    {"name": "more", "value": "...", "variablesReference": of + 1},
                ]})
            }),
            "setVariable" => {
                let value = arguments["value"].clone();
                self.of_handle(&arguments["variablesReference"], |_, _| json!({"value": value}))
            }
            "evaluate" => self.of_handle(
                &arguments["frameId"],
                |stopped, of| json!({"result": format!("{}{}", stopped.task, " ".repeat(self.padding)), "type": "str", "variablesReference": of + 7}),
            ),
            "exceptionInfo" => match self.stopped.get(&thread) {
                Some(stopped) => Ok(json!({"exceptionId": stopped.task, "breakMode": "unhandled"})),
                None => Err("this thread is not stopped"),
            },
            "source" => Ok(json!({"content": format!("text of {}", arguments["source"]["path"])})),
            "pause" => Ok(json!({})),
            "cancel" => {
                self.cancelled = arguments["requestId"].as_i64();
                Ok(json!({}))
            }
            "breakpointLocations" if self.name == "t2" => Err("there is no such file here"),
            "breakpointLocations" => Ok(json!({"breakpoints": [{"line": arguments["line"]}, {"line": 12}]})),
            "loadedSources" => {
                Ok(json!({"sources": [{"path": "/job/job.py"}, {"path": format!("/venv/{}.py", self.name)}]}))
            }
            _ => self.optional(request.command.as_str(), &arguments),
        };
        vec![answer(request, result)]
    }

    /// Requests that not every engine knows.
    fn optional(&self, command: &str, arguments: &Value) -> Result<Value, &'static str> {
        if self.lacks_optional {
            return Err("the engine does not know this request");
        }
        match command {
            "setExpression" => self.of_handle(
                &arguments["frameId"],
                |_, of| json!({"value": arguments["value"], "variablesReference": of + 8, "memoryReference": "0x10"}),
            ),
            "completions" => self.of_handle(&arguments["frameId"], |stopped, _| {
                json!({"targets": [{"label": stopped.task, "start": arguments["column"], "length": 1}]})
            }),
            "stepInTargets" => self.of_handle(&arguments["frameId"], |_, of| {
                json!({"targets": [{"id": of + 1, "label": "inner()"}, {"id": of + 2, "label": "outer()", "line": 10}]})
            }),
            "gotoTargets" if arguments["line"] == 99 => Ok(json!({"targets": []})),
            "gotoTargets" => {
                let label = arguments["source"]["path"].clone();
                Ok(json!({"targets": [{"id": arguments["line"], "label": label, "line": arguments["line"]}]}))
            }
            "dataBreakpointInfo" => Ok(json!({
                "dataId": format!("{}:{}", self.name, arguments["name"].as_str().unwrap()),
                "description": format!("{} of {} or {}", arguments["name"], arguments["variablesReference"], arguments["frameId"]),
            })),
            "readMemory" => Ok(json!({"address": arguments["memoryReference"], "data": "AAAA"})),
            "writeMemory" => Ok(json!({"bytesWritten": 3})),
            "disassemble" => Ok(json!({"instructions": [
                {"address": "0x10", "instruction": format!("nop at {}", arguments["memoryReference"]), "line": 10,
                 "location": {"path": "/venv/lib.py"}},
            ]})),
            other => panic!("the target profile has no '{other}'"),
        }
    }

    /// The thread goes on from another line.
    fn jump(&mut self, request: &RequestMessage, thread: i32, line: Option<i64>) -> Vec<Message> {
        self.jumped_to = line;
        self.stop_again(request, thread, "goto")
    }

    /// The thread stands somewhere else, without having run.
    fn stop_again(&mut self, request: &RequestMessage, thread: i32, reason: &str) -> Vec<Message> {
        match self.stopped.remove(&thread) {
            Some(stopped) => {
                let continued = json!({"threadId": thread, "stop": stopped.stop});
                let again = self.stop(thread, &stopped.task, reason, &[]);
                vec![answer(request, Ok(json!({}))), event("mantaContinued", continued), again]
            }
            None => vec![answer(request, Err("this thread is not stopped"))],
        }
    }

    fn resume(&mut self, request: &RequestMessage, thread: i32) -> Vec<Message> {
        if let Some(why) = self.refuses {
            return vec![answer(request, Err(why))];
        }
        let Some(stopped) = self.stopped.remove(&thread) else {
            return vec![answer(request, Err("this thread is not stopped"))];
        };
        let is_step = request.command != "continue";
        let body = if is_step { json!({}) } else { json!({"allThreadsContinued": false}) };
        let ended = is_step && self.step == StepOutcome::Ends;
        let continued = json!({"threadId": thread, "stop": stopped.stop, "ended": ended});
        let mut messages = vec![answer(request, Ok(body)), event("mantaContinued", continued)];
        let arguments: Value = request.arguments().unwrap();
        if is_step && self.step == StepOutcome::Stops {
            if self.looks && arguments["mantaLook"].is_object() {
                messages.extend(self.stop_with_looks(thread, &stopped.task, &arguments["mantaLook"]));
            } else {
                messages.push(self.stop(thread, &stopped.task, "step", &[]));
            }
        } else {
            self.continued.push(stopped.task);
        }
        messages
    }

    fn stop_with_looks(&mut self, thread: i32, task: &str, wanted: &Value) -> Vec<Message> {
        let Message::Event(stopped) = self.stop(thread, task, "step", &[]) else { unreachable!("it is one") };
        let mut body: Value = stopped.body().unwrap();
        body["look"] = json!(true);
        let stop = self.stops;
        let stack = self.stack_trace(thread, &json!({"levels": wanted["levels"]})).unwrap();
        let mut look = json!({"threadId": thread, "stop": stop, "stackTrace": stack});
        let mut messages = vec![event("mantaStopped", body)];
        if wanted["variables"] == true {
            if self.looks_twice {
                look["more"] = json!(true);
                messages.push(event("mantaLook", look));
                look = json!({"threadId": thread, "stop": stop});
            }
            look["frame"] = json!(stop * 1000);
            look["scopes"] = json!({"scopes": [{"name": "Locals", "variablesReference": stop * 1000 + 1, "expensive": false}]});
            look["scope"] = json!(stop * 1000 + 1);
            look["variables"] =
                json!({"variables": [{"name": "ahead", "value": task, "variablesReference": 0}]});
        }
        messages.push(event("mantaLook", look));
        messages
    }

    fn stack_trace(&self, thread: i32, arguments: &Value) -> Result<Value, &'static str> {
        let stopped = self.stopped.get(&thread).ok_or("this thread is not stopped")?;
        let start = arguments["startFrame"].as_i64().unwrap_or(0);
        let levels = arguments["levels"].as_i64().unwrap_or(5);
        let frames: Vec<_> =
            (start..5.min(start + levels)).map(|index| frame(&stopped.task, stopped.stop, index)).collect();
        Ok(json!({"stackFrames": frames, "totalFrames": 5}))
    }

    /// Frames and references of a stop lie in the thousand of the stop's number.
    fn of_handle(
        &self,
        handle: &Value,
        tell: impl FnOnce(&Stopped, i64) -> Value,
    ) -> Result<Value, &'static str> {
        let handle = handle.as_i64().unwrap();
        let stopped = self.stopped.values().find(|stopped| stopped.stop == handle / 1000);
        stopped.map(|stopped| tell(stopped, handle)).ok_or("the thread of this id has run on")
    }
}

fn frame(task: &str, stop: i64, index: i64) -> Value {
    json!({"id": stop * 1000 + index, "name": format!("{task} {index}"), "line": 10 + index, "column": 1, "moduleId": 3,
           "source": {"path": if index == 0 { "/job/job.py".to_owned() } else { format!("/venv/lib{index}.py") }}})
}

pub fn event(name: &str, body: Value) -> Message {
    Message::Event(EventMessage { seq: 0, event: name.to_owned(), body: Some(to_raw_value(&body).unwrap()) })
}
