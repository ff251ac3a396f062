//! Requests that engines may lack: passed on with their ids translated, or refused in the target's words.

mod sim;

use serde_json::{Value, json};

use sim::Sim;

/// Two tasks, each paused on a target of its own, and the innermost frame of each.
fn paused() -> (Sim, [Value; 2]) {
    let mut sim = Sim::attached(json!({}));
    let id = sim.set_lines(&[10])[0];
    sim.stop("t1", 4, "a-1", &[id]);
    sim.stop("t2", 4, "b-2", &[id]);
    sim.advance(std::time::Duration::from_millis(100));
    sim.inbox.clear();
    let frames = [1, 2].map(|thread| {
        let stack = sim.request("stackTrace", json!({"threadId": thread, "levels": 1}));
        stack["stackFrames"][0]["id"].clone()
    });
    (sim, frames)
}

#[test]
fn an_expression_is_set_and_text_is_completed_in_its_own_task() {
    let (mut sim, [a, b]) = paused();
    let set = sim.request("setExpression", json!({"expression": "x.y", "value": "7", "frameId": a}));
    assert_eq!(set["value"], "7");
    let children = sim.request("variables", json!({"variablesReference": set["variablesReference"]}));
    assert_eq!(children["variables"][0]["value"], "a-1");
    for (frame, task) in [(&a, "a-1"), (&b, "b-2")] {
        let found = sim.request("completions", json!({"text": "x", "column": 2, "frameId": frame}));
        assert_eq!(found["targets"], json!([{"label": task, "start": 2, "length": 1}]));
    }
    assert!(sim.refused("completions", json!({"text": "x", "column": 2})).contains("select a frame"));
    sim.request("continue", json!({"threadId": 1}));
    let stale = sim.refused("setExpression", json!({"expression": "x", "value": "7", "frameId": a}));
    assert!(stale.contains("has run on"), "{stale}");
    sim.finish();
}

#[test]
fn columns_count_from_where_the_client_counts() {
    let mut sim = Sim::new();
    sim.request(
        "initialize",
        json!({"adapterID": "manta", "columnsStartAt1": false, "linesStartAt1": false}),
    );
    let attach = sim.send("attach", json!({}));
    sim.connected();
    sim.response(attach);
    sim.event("initialized");
    sim.target_up("t1", "node-1");
    sim.others.clear();
    sim.stop_for("t1", 4, "a-1", "pause", &[]);
    sim.event("stopped");
    let stack = sim.request("stackTrace", json!({"threadId": 1, "levels": 1}));
    let frame = &stack["stackFrames"][0]["id"];
    let found = sim.request("completions", json!({"text": "x", "column": 1, "frameId": frame}));
    assert_eq!(found["targets"][0]["start"], 1, "the target was told 2 and answered 2");
    let places = sim.request("gotoTargets", json!({"source": {"path": "/job/job.py"}, "line": 11}));
    sim.request("goto", json!({"threadId": 1, "targetId": places["targets"][0]["id"]}));
    assert_eq!(sim.targets["t1"].jumped_to, Some(12));
    sim.finish();
}

#[test]
fn a_step_goes_into_the_chosen_call_of_its_own_task() {
    let (mut sim, [a, b]) = paused();
    let of_a = sim.request("stepInTargets", json!({"frameId": a}))["targets"].clone();
    let of_b = sim.request("stepInTargets", json!({"frameId": b}))["targets"].clone();
    assert_eq!((&of_a[1]["label"], &of_a[1]["line"]), (&json!("outer()"), &json!(10)));
    let wrong = sim.refused("stepIn", json!({"threadId": 1, "targetId": of_b[0]["id"]}));
    assert!(wrong.contains("of another task"), "{wrong}");
    sim.request("stepIn", json!({"threadId": 1, "targetId": of_a[1]["id"]}));
    assert_eq!(sim.targets["t1"].stepped_into, Some(1002));
    assert_eq!(sim.event("stopped")["reason"], "step");
    let stale = sim.refused("stepIn", json!({"threadId": 1, "targetId": of_a[1]["id"]}));
    assert!(stale.contains("of an earlier stop"), "{stale}");
    sim.request("stepIn", json!({"threadId": 2}));
    assert_eq!(sim.targets["t2"].stepped_into, None);
    sim.finish();
}

#[test]
fn a_task_goes_on_from_another_line_and_the_others_stay() {
    let (mut sim, [a, b]) = paused();
    let places = sim.request("gotoTargets", json!({"source": {"path": "/job/job.py"}, "line": 12}));
    let place = &places["targets"][0];
    assert_eq!((&place["label"], &place["line"]), (&json!("line 12"), &json!(12)));
    sim.request("goto", json!({"threadId": 2, "targetId": place["id"]}));
    assert_eq!((sim.targets["t2"].jumped_to, sim.targets["t1"].jumped_to), (Some(12), None));
    let stopped = sim.event("stopped");
    assert_eq!((&stopped["threadId"], &stopped["reason"]), (&json!(2), &json!("goto")));
    assert!(sim.refused("scopes", json!({"frameId": b})).contains("of an earlier stop"));
    sim.request("scopes", json!({"frameId": a}));
    let nowhere = sim.request("gotoTargets", json!({"source": {"path": "/job/job.py"}, "line": 99}));
    let refused = sim.refused("goto", json!({"threadId": 1, "targetId": nowhere["targets"][0]["id"]}));
    assert!(refused.contains("cannot go on from this line"), "{refused}");
    assert!(sim.refused("goto", json!({"threadId": 1, "targetId": 77})).contains("no goto target 77"));
    assert_eq!(sim.threads(), [1, 2]);
    sim.check_empty();
    sim.finish();
}

#[test]
fn a_frame_is_started_again() {
    let (mut sim, [a, _]) = paused();
    sim.request("restartFrame", json!({"frameId": a}));
    let stopped = sim.event("stopped");
    assert_eq!((&stopped["threadId"], &stopped["reason"]), (&json!(1), &json!("restart")));
    sim.check_empty();
    sim.finish();
}

#[test]
fn memory_is_that_of_the_process_that_showed_it() {
    let (mut sim, frames) = paused();
    let references = frames.map(|frame| {
        let set = sim.request("setExpression", json!({"expression": "x", "value": "7", "frameId": frame}));
        set["memoryReference"].as_str().unwrap().to_owned()
    });
    assert_ne!(references[0], references[1], "the same address in two processes");
    let read = sim.request("readMemory", json!({"memoryReference": references[1], "count": 3}));
    assert_eq!(read, json!({"address": "0x10", "data": "AAAA"}));
    let write = json!({"memoryReference": references[0], "data": "AAAA"});
    assert_eq!(sim.request("writeMemory", write)["bytesWritten"], 3);
    let code = sim.request("disassemble", json!({"memoryReference": references[0], "instructionCount": 1}));
    let instruction = &code["instructions"][0];
    assert_eq!(instruction["instruction"], "nop at \"0x10\"");
    assert!(instruction["location"]["sourceReference"].as_i64().unwrap() > 0);
    for wrong in ["0x10", "9:0x10", "0:0x10"] {
        let refused = sim.refused("readMemory", json!({"memoryReference": wrong, "count": 3}));
        assert!(refused.contains("no memory"), "{refused}");
    }
    let much = sim.refused("readMemory", json!({"memoryReference": references[0], "count": 1 << 30}));
    assert!(much.contains("at a time"), "{much}");
    sim.target_down("t1", "it was killed by signal 9 (SIGKILL)");
    sim.inbox.clear();
    let gone = sim.refused("readMemory", json!({"memoryReference": references[0], "count": 3}));
    assert!(gone.contains("process is gone"), "{gone}");
    sim.finish();
}

#[test]
fn a_target_that_lacks_a_request_refuses_it_in_its_own_words() {
    let (mut sim, [a, _]) = paused();
    sim.targets.get_mut("t1").unwrap().lacks_optional = true;
    let places = sim.request("gotoTargets", json!({"source": {"path": "/job/job.py"}, "line": 12}));
    for (command, arguments) in [
        ("setExpression", json!({"expression": "x", "value": "7", "frameId": a})),
        ("completions", json!({"text": "x", "column": 2, "frameId": a})),
        ("stepInTargets", json!({"frameId": a})),
        ("goto", json!({"threadId": 1, "targetId": places["targets"][0]["id"]})),
    ] {
        assert_eq!(sim.refused(command, arguments), "the engine does not know this request");
    }
    assert_eq!(sim.threads(), [1, 2]);
    sim.finish();
}

#[test]
fn what_several_targets_know_is_put_together() {
    let (mut sim, _) = paused();
    let body = sim.request("loadedSources", json!({}));
    let paths: Vec<_> = body["sources"].as_array().unwrap().iter().map(|source| &source["path"]).collect();
    assert_eq!(paths, ["/job/job.py", "/venv/t1.py", "/venv/t2.py"]);
    assert!(body["sources"][1]["sourceReference"].as_i64().unwrap() > 0);
    let places = json!({"source": {"path": "/job/job.py"}, "line": 10, "endLine": 20});
    let body = sim.request("breakpointLocations", places.clone());
    assert_eq!(
        body["breakpoints"],
        json!([{"line": 10}, {"line": 12}]),
        "one of the two targets lacks the file"
    );
    sim.target_down("t1", "it was killed by signal 9 (SIGKILL)");
    sim.inbox.clear();
    assert_eq!(sim.refused("breakpointLocations", places.clone()), "there is no such file here");

    sim.holds_targets = true;
    let waits = sim.send("loadedSources", json!({}));
    let cancelled = sim.send("breakpointLocations", places.clone());
    sim.request("cancel", json!({"requestId": cancelled}));
    assert_eq!(sim.refusal(cancelled), "cancelled");
    sim.target_down("t2", "it was killed by signal 9 (SIGKILL)");
    sim.inbox.retain(|message| message["type"] == "response");
    assert!(sim.refusal(waits).contains("SIGKILL"));
    assert_eq!(sim.request("breakpointLocations", places), json!({"breakpoints": []}));
    let last = sim.send("loadedSources", json!({}));
    sim.response(last);
    sim.check_empty();
    sim.finish();
}

#[test]
fn an_evaluation_that_is_given_up_is_given_up_in_its_target_too() {
    let (mut sim, [a, _]) = paused();
    sim.holds_targets = true;
    let seq = sim.send("evaluate", json!({"expression": "slow()", "frameId": a, "context": "repl"}));
    let (_, asked) = sim.to_targets.pop_front().unwrap();
    let dap::Message::Request(asked) = asked else { panic!("{asked:?}") };
    sim.request("cancel", json!({"requestId": seq}));
    assert_eq!(sim.refusal(seq), "cancelled");
    let (target, message) = sim.to_targets.pop_front().unwrap();
    sim.deliver_to_target(&target, &message);
    assert_eq!(sim.targets["t1"].cancelled, Some(asked.seq));
    sim.deliver_from_target();
    sim.check_empty();
    sim.finish();
}

#[test]
fn a_value_is_watched_in_its_own_process() {
    let (mut sim, [a, b]) = paused();
    let scopes = sim.request("scopes", json!({"frameId": a}));
    let locals = &scopes["scopes"][0]["variablesReference"];
    let of_a = sim.request("dataBreakpointInfo", json!({"name": "x", "variablesReference": locals}));
    assert_eq!(of_a["description"], "\"x\" of 1001 or null");
    let of_b = sim.request("dataBreakpointInfo", json!({"name": "x.y", "frameId": b}));
    assert_eq!(
        (&of_b["dataId"], &of_b["description"]),
        (&json!("t2:x.y"), &json!("\"x.y\" of null or 1000"))
    );
    let watched = json!({"breakpoints": [
        {"dataId": of_a["dataId"], "accessType": "write"},
        {"dataId": of_b["dataId"], "accessType": "readWrite", "condition": "x > 3"},
        {"dataId": "t9:x"},
    ]});
    let set = sim.request("setDataBreakpoints", watched);
    let verified: Vec<_> = set["breakpoints"].as_array().unwrap().iter().map(|b| &b["verified"]).collect();
    assert_eq!(verified, [true, true, false]);
    assert!(set["breakpoints"][2]["message"].as_str().unwrap().contains("does not watch it"), "{set}");
    let sent = &sim.published.last().unwrap().1["dataBreakpoints"];
    let id = set["breakpoints"][1]["id"].as_i64().unwrap();
    assert_eq!(
        sent[1],
        json!({"id": id, "dataId": "t2:x.y", "accessType": "readWrite", "condition": "x > 3"})
    );
    sim.request("continue", json!({"threadId": 2}));
    sim.stop_for("t2", 4, "b-2", "data breakpoint", &[id as i32]);
    let stopped = sim.event("stopped");
    assert_eq!((&stopped["threadId"], &stopped["reason"]), (&json!(2), &json!("data breakpoint")));
    assert_eq!(stopped["hitBreakpointIds"], json!([id]));
    let nothing = sim.refused("dataBreakpointInfo", json!({"name": "x"}));
    assert!(nothing.contains("select a frame"), "{nothing}");
    sim.request("setDataBreakpoints", json!({"breakpoints": []}));
    assert_eq!(sim.published.last().unwrap().1.get("dataBreakpoints"), None);
    sim.finish();
}

#[test]
fn conditions_of_exception_filters_travel_and_panics_have_none() {
    let mut sim = Sim::attached(json!({}));
    let with = |filter: &str| json!({"filters": [], "filterOptions": [{"filterId": filter, "condition": "KeyError"}]});
    sim.request("setExceptionBreakpoints", with("uncaught"));
    let sent = &sim.published.last().unwrap().1["exceptionOptions"];
    assert_eq!(sent, &json!([{"filterId": "uncaught", "condition": "KeyError"}]));
    for filter in ["panic", "signal"] {
        assert!(sim.refused("setExceptionBreakpoints", with(filter)).contains("takes no condition"));
    }
    sim.request("setExceptionBreakpoints", json!({"filters": ["signal"]}));
    sim.finish();
}

#[test]
fn what_is_promised_is_what_some_engine_does() {
    let mut sim = Sim::new();
    let promised = sim.request("initialize", json!({"adapterID": "manta"}));
    for yes in [
        "supportsValueFormattingOptions",
        "supportsGotoTargetsRequest",
        "supportsDataBreakpoints",
        "supportsDisassembleRequest",
    ] {
        assert_eq!(promised[yes], true, "{yes}");
    }
    for no in [
        "supportsModulesRequest",
        "supportsInstructionBreakpoints",
        "supportsTerminateThreadsRequest",
        "supportsStepBack",
    ] {
        assert_eq!(promised.get(no), None, "{no}");
    }
    let filters = promised["exceptionBreakpointFilters"].as_array().unwrap();
    assert!(
        filters.iter().all(|filter| filter["default"] == false),
        "no failing task waits for a client by default"
    );
    sim.finish();
}
