//! The check finds nothing in a conversation that has every message of the protocol, and finds each single wrong in it.

use dap::{Conversation, Direction, Finding, Log, Message};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A right conversation in which every request and every event of the protocol occurs.
const SAMPLES: &str = include_str!("samples.jsonl");

fn rows() -> Vec<(Direction, Value)> {
    let row = |line: &str| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let direction = if row["dir"] == "in" { Direction::In } else { Direction::Out };
        (direction, row["msg"].take())
    };
    SAMPLES.lines().map(row).collect()
}

fn check(rows: &[(Direction, Value)]) -> Vec<Finding> {
    let mut conversation = Conversation::new().allow_prefix("manta");
    for (direction, message) in rows {
        conversation.observe(*direction, &message.to_string());
    }
    conversation.finish()
}

/// A conversation after the handshake, given as what follows it.
fn after_handshake(rest: &[(Direction, Value)]) -> Vec<String> {
    let mut rows = vec![
        (
            Direction::In,
            json!({"seq": 1, "type": "request", "command": "initialize", "arguments": {"adapterID": "manta"}}),
        ),
        (
            Direction::Out,
            json!({"seq": 1, "type": "response", "request_seq": 1, "success": true, "command": "initialize"}),
        ),
    ];
    let mut seq = 1;
    for (direction, message) in rest {
        seq += 1;
        let mut message = message.clone();
        if message.get("seq").is_none() {
            message["seq"] = json!(seq);
        }
        rows.push((*direction, message));
    }
    check(&rows).into_iter().map(|finding| finding.to_string()).collect()
}

fn event(name: &str, body: Value) -> (Direction, Value) {
    let mut message = json!({"type": "event", "event": name});
    message["body"] = body;
    (Direction::Out, message)
}

fn assert_one(found: &[String], part: &str) {
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains(part), "{found:?} does not say {part:?}");
}

#[test]
fn a_right_conversation_has_no_finding() {
    let findings = check(&rows());
    assert!(findings.is_empty(), "{findings:#?}");
    let mut conversation = Conversation::new().allow_prefix("manta");
    conversation.observe_log(SAMPLES);
    assert_eq!(conversation.message_count(), rows().len());
    assert_eq!(conversation.finish(), []);
}

#[test]
fn every_sample_survives_the_envelope_unchanged() {
    for (_, message) in rows() {
        let read = Message::from_slice(message.to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&read.to_vec()).unwrap(), message);
    }
}

/// Every place in a message that is an object, as a JSON pointer, where the schema declares the properties.
fn objects(message: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.push(path.to_owned());
                for (key, value) in map {
                    // These hold whatever their owner likes.
                    if !matches!(
                        key.as_str(),
                        "adapterData" | "data" | "env" | "variables" | "configuration" | "__restart"
                    ) {
                        walk(value, &format!("{path}/{key}"), found);
                    }
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    walk(value, &format!("{path}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let name = message["command"].as_str().or(message["event"].as_str()).unwrap();
    let mut found = Vec::new();
    walk(message, "", &mut found);
    let is_raw = matches!(name, "attach" | "launch" | "restart")
        || name.starts_with("manta")
        || name == "somethingElse";
    // What takes and gives nothing declares nothing.
    let is_empty = matches!(name, "configurationDone" | "threads" | "loadedSources" | "next");
    found
        .retain(|path| path.is_empty() || !(is_raw || is_empty && message.pointer(path) == Some(&json!({}))));
    found
}

/// What is found in one message by itself; part of it is about what is missing around it.
fn alone(direction: Direction, message: &Value) -> Vec<String> {
    let mut conversation = Conversation::new().allow_prefix("manta").without_handshake();
    conversation.observe(direction, &message.to_string());
    conversation.finish().into_iter().map(|finding| finding.text).collect()
}

#[test]
fn a_misspelt_property_is_found_wherever_it_stands() {
    let mut count = 0;
    for (direction, right) in rows() {
        for path in objects(&right) {
            let mut message = right.clone();
            message.pointer_mut(&path).unwrap()["misSpelt"] = json!(1);
            let found = alone(direction, &message);
            let is_found = found.iter().any(|text| text.contains("misSpelt"));
            assert!(is_found, "{path} of {right} has a misspelt property: {found:?}");
            count += 1;
        }
    }
    assert!(count > 150, "only {count} places were tried");
}

#[test]
fn a_null_is_found_wherever_it_stands() {
    for (direction, right) in rows() {
        let before = alone(direction, &right);
        for path in objects(&right) {
            let keys: Vec<String> =
                right.pointer(&path).unwrap().as_object().unwrap().keys().cloned().collect();
            for key in keys.into_iter().filter(|key| key != "dataId") {
                let mut message = right.clone();
                message.pointer_mut(&path).unwrap()[&key] = Value::Null;
                let found = alone(direction, &message);
                let is_found = found.iter().any(|text| !before.contains(text));
                assert!(is_found, "{path}/{key} of {right} is null: {found:?}");
            }
        }
    }
}

#[test]
fn values_that_the_schema_forbids_are_found() {
    let source = json!({"path": "a.py"});
    for (name, body, part) in [
        ("output", json!({"output": "x", "group": "middle"}), "body.group: \"middle\""),
        ("output", json!({"output": "x", "variablesReference": -1}), "body.variablesReference: -1"),
        ("output", json!({"output": "x", "line": 9_007_199_254_740_992_i64}), "body.line"),
        ("module", json!({"reason": "odd", "module": {"id": 1, "name": "m"}}), "body.reason"),
        (
            "progressStart",
            json!({"progressId": "p", "title": "t", "percentage": 101}),
            "body.percentage: 101",
        ),
        (
            "loadedSource",
            json!({"reason": "new", "source": {"presentationHint": "deEmphasize"}}),
            "presentationHint",
        ),
        ("stopped", json!({"reason": "", "threadId": 1}), "body.reason: the value is empty"),
        ("stopped", json!({"reason": "step", "threadId": 3_000_000_000_i64}), "body"),
        ("breakpoint", json!({"reason": "new", "breakpoint": {"source": source}}), "verified"),
        ("continued", json!({"threadId": 1.5}), "body"),
        ("stopped", json!({"reason": "step", "threadId": 1, "hitBreakpointIds": [1, "2"]}), "body"),
    ] {
        let end = event("terminated", json!({}));
        let found = after_handshake(&[event(name, body.clone()), end]);
        assert_one(&found, part);
    }
}

#[test]
fn what_the_protocol_needs_is_missed() {
    let missing = |message: Value| after_handshake(&[(Direction::Out, message)]);
    assert_one(&missing(json!({"type": "event", "event": "stopped"})).as_slice()[..1], "body: is missing");
    let next = (Direction::In, json!({"type": "request", "command": "next"}));
    let answer =
        (Direction::Out, json!({"type": "response", "request_seq": 2, "success": true, "command": "next"}));
    assert_one(&after_handshake(&[next, answer]), "arguments: is missing");
}

#[test]
fn unknown_events_and_reverse_requests_need_the_prefix() {
    assert_one(&after_handshake(&[event("debugpyAttach", json!({}))]), "does not know");
    assert_one(
        &after_handshake(&[(Direction::Out, json!({"type": "request", "command": "attach2"}))]),
        "does not know",
    );
    assert!(after_handshake(&[event("mantaStopped", json!({"any": null}))]).is_empty());
}

#[test]
fn the_order_of_the_handshake_is_kept() {
    let initialized = json!({"seq": 1, "type": "event", "event": "initialized"});
    let found = check(&[(Direction::Out, initialized.clone())]);
    assert!(found[0].text.contains("before the initialize response"), "{found:?}");
    let output = json!({"seq": 1, "type": "event", "event": "output", "body": {"output": "x"}});
    assert!(check(&[(Direction::Out, output)]).is_empty());
    let twice = (Direction::Out, json!({"type": "event", "event": "initialized"}));
    assert_one(&after_handshake(&[twice.clone(), twice]), "initialized twice");
    let again =
        (Direction::In, json!({"type": "request", "command": "initialize", "arguments": {"adapterID": "m"}}));
    let refused = json!({"type": "response", "request_seq": 2, "success": false, "command": "initialize", "message": "Once is enough."});
    assert_one(&after_handshake(&[again, (Direction::Out, refused)]), "a second time");
    let mut without = Conversation::new().without_handshake();
    without.observe(Direction::Out, &initialized.to_string());
    assert_eq!(without.finish(), []);
}

#[test]
fn answers_fit_their_requests() {
    let threads = (Direction::In, json!({"type": "request", "command": "threads"}));
    let answer = |request_seq: i64, command: &str| {
        (
            Direction::Out,
            json!({"type": "response", "request_seq": request_seq, "success": true, "command": command,
                                "body": {"threads": []}}),
        )
    };
    assert!(after_handshake(&[threads.clone(), answer(2, "threads")]).is_empty());
    assert_one(
        &after_handshake(&[threads.clone(), answer(2, "threads"), answer(2, "threads")]),
        "a second time",
    );
    assert_one(&after_handshake(&[answer(9, "threads")]), "never asked");
    assert_one(&after_handshake(&[threads.clone(), answer(2, "pause")]), "answers \"threads\" as \"pause\"");
    assert_one(&after_handshake(std::slice::from_ref(&threads)), "never answered");
    let disconnect = (Direction::In, json!({"type": "request", "command": "disconnect"}));
    assert!(after_handshake(&[disconnect]).is_empty());
    let mute = (
        Direction::Out,
        json!({"type": "response", "request_seq": 2, "success": false, "command": "threads"}),
    );
    assert_one(&after_handshake(&[threads, mute]), "without a message");
}

#[test]
fn numbers_rise_on_each_side() {
    let numbered = |seq: i64| {
        (Direction::Out, json!({"seq": seq, "type": "event", "event": "output", "body": {"output": "x"}}))
    };
    assert!(after_handshake(&[numbered(2), numbered(9)]).is_empty());
    assert_one(&after_handshake(&[numbered(3), numbered(3)]), "does not rise");
    assert_one(&after_handshake(&[numbered(0)]), "not a positive");
}

#[test]
fn threads_and_stops_follow_vs_code() {
    let thread = |reason: &str| event("thread", json!({"reason": reason, "threadId": 1}));
    assert_one(&after_handshake(&[thread("started"), thread("exited"), thread("started")]), "used again");
    let stopped = event("stopped", json!({"reason": "step", "threadId": 1}));
    assert_one(&after_handshake(&[thread("exited"), stopped]), "has exited");
    assert_one(&after_handshake(&[event("stopped", json!({"reason": "step"}))]), "without a threadId");
    assert_one(&after_handshake(&[event("invalidated", json!({}))]), "beyond variables");
    assert_one(
        &after_handshake(&[event("invalidated", json!({"areas": ["variables", "stacks"]}))]),
        "beyond variables",
    );
}

#[test]
fn nothing_but_an_end_follows_terminated() {
    let end = event("terminated", json!({}));
    let fine =
        [end.clone(), event("output", json!({"output": "x"})), event("exited", json!({"exitCode": 1}))];
    assert!(after_handshake(&fine).is_empty());
    assert_one(&after_handshake(&[end, event("continued", json!({"threadId": 1}))]), "after terminated");
}

#[test]
fn progress_reports_begin_and_end() {
    let start = event("progressStart", json!({"progressId": "p", "title": "t"}));
    let end = event("progressEnd", json!({"progressId": "p"}));
    assert!(after_handshake(&[start.clone(), end.clone()]).is_empty());
    assert_one(&after_handshake(std::slice::from_ref(&start)), "never ended");
    assert_one(&after_handshake(&[end]), "has not started");
}

#[test]
fn texts_that_are_no_messages_are_findings() {
    for text in ["", "[]", "{", "{\"seq\": 1}", "\"x\""] {
        let mut conversation = Conversation::new();
        conversation.observe(Direction::In, text);
        assert_eq!(conversation.finish().len(), 1, "{text:?}");
    }
    let mut conversation = Conversation::new();
    conversation.observe_log("nonsense\n{\"dir\":\"up\",\"msg\":{}}\n");
    assert_eq!(conversation.finish().len(), 2);
}

#[test]
fn the_log_is_what_the_check_reads() {
    let mut log = Log::new(Vec::new());
    for (direction, message) in rows() {
        // A client may send its JSON over several lines.
        log.record(direction, serde_json::to_string_pretty(&message).unwrap().as_bytes()).unwrap();
    }
    let written = String::from_utf8(log.into_inner()).unwrap();
    assert_eq!(written.lines().count(), rows().len());
    let mut conversation = Conversation::new().allow_prefix("manta");
    conversation.observe_log(&written);
    assert_eq!(conversation.finish(), []);
}

#[test]
fn the_log_keeps_what_is_no_message() {
    let mut log = Log::new(Vec::new());
    log.record(Direction::In, b"{\"seq\":\xff").unwrap();
    log.record(Direction::In, &vec![b'x'; 100_000]).unwrap();
    let written = String::from_utf8(log.into_inner()).unwrap();
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["msg"]["malformed"].as_str().unwrap().starts_with("{\"seq\":"));
    assert_eq!(lines[1]["msg"]["malformed"].as_str().unwrap().len(), dap::limits::MALFORMED_BYTES_KEPT);
}

/// Any JSON, with texts that the protocol uses among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,4}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("source".to_owned()),
        Just("threadId".to_owned()),
        Just("reason".to_owned()),
        "[a-z]{1,3}"
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn anything_in_any_place_is_judged_without_a_panic(index in 0_usize..1000, place in 0_usize..1000, odd in any_json()) {
        let mut rows = rows();
        let index = index % rows.len();
        let message = &mut rows[index].1;
        let paths = objects(message);
        let target = message.pointer_mut(&paths[place % paths.len()]).unwrap();
        let keys: Vec<String> = target.as_object().unwrap().keys().cloned().collect();
        if let Some(key) = keys.get(place % keys.len().max(1)) {
            target[key] = odd;
        }
        let before = message.to_string();
        check(&rows);
        // What can be read is written again so that it reads the same.
        if let Ok(read) = Message::from_slice(before.as_bytes()) {
            prop_assert_eq!(Message::from_slice(&read.to_vec()).unwrap(), read);
        }
    }
}
