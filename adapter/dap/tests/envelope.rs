//! The envelope and the types: nothing is lost, absent means absent, and a refusal always has its number and command.

use dap::{
    BreakpointReason, Capabilities, DataBreakpointInfoResponseBody, DisconnectArguments, Empty, ErrorMessage,
    EventMessage, Malformed, Message, ModuleId, OutputEventBody, RequestMessage, ResponseMessage, Source,
    StackFrame, StoppedEventBody, StoppedEventReason, ThreadId, VariablesArguments, events, requests,
};
use serde_json::{Value, json};

fn request(text: &str) -> RequestMessage {
    match Message::from_slice(text.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{text} is read as {other:?}"),
    }
}

fn value(message: impl Into<Message>) -> Value {
    serde_json::from_slice(&message.into().to_vec()).unwrap()
}

#[test]
fn absent_null_and_empty_arguments_are_the_same() {
    for arguments in ["", r#","arguments":null"#, r#","arguments":{}"#] {
        let message = |command: &str| {
            request(&format!(r#"{{"seq":4,"type":"request","command":"{command}"{arguments}}}"#))
        };
        assert_eq!(
            message("disconnect").arguments::<DisconnectArguments>().unwrap(),
            DisconnectArguments::default()
        );
        assert_eq!(message("threads").arguments::<Empty>().unwrap(), Empty);
        assert_eq!(message("launch").arguments::<Value>().unwrap(), json!({}));
    }
}

#[test]
fn null_in_an_optional_field_is_absent() {
    let read: VariablesArguments =
        request(r#"{"seq":4,"type":"request","command":"variables","arguments":{"variablesReference":3,"start":null}}"#)
            .arguments()
            .unwrap();
    assert_eq!(read, VariablesArguments { variables_reference: 3.into(), ..Default::default() });
}

#[test]
fn bad_arguments_give_a_refusal_with_number_and_command() {
    let bad = request(r#"{"seq":9,"type":"request","command":"next","arguments":{"threadId":"one"}}"#);
    let malformed = bad.arguments::<dap::NextArguments>().unwrap_err();
    let refusal = value(malformed.refusal().unwrap());
    assert_eq!(refusal["request_seq"], 9);
    assert_eq!(refusal["command"], "next");
    assert_eq!(refusal["success"], false);
    assert!(
        refusal["message"].as_str().unwrap().contains("threadId")
            || refusal["message"].as_str().unwrap().contains("one")
    );
    assert_eq!(refusal["body"]["error"]["id"], 1);
}

#[test]
fn a_message_that_cannot_be_read_keeps_what_its_refusal_needs() {
    let text = br#"{"seq":5,"type":"request","command":"next","arguments":{},"success":"yes"}"#;
    let malformed = Message::from_slice(text).unwrap_err();
    assert_eq!((malformed.seq, malformed.command.as_deref()), (Some(5), Some("next")));
    for (text, key) in [
        (r#"{"seq":1,"type":"request"}"#, "command"),
        (r#"{"type":"request","command":"x"}"#, "seq"),
        (r#"{"seq":1,"command":"x"}"#, "type"),
        (r#"{"seq":1,"type":"response","command":"x","success":true}"#, "request_seq"),
        (r#"{"seq":1,"type":"event"}"#, "event"),
    ] {
        let Malformed { reason, .. } = Message::from_slice(text.as_bytes()).unwrap_err();
        assert!(reason.contains(&format!("`{key}`")), "{text}: {reason}");
    }
}

#[test]
fn an_unknown_command_loses_nothing() {
    let text = r#"{"seq":6,"type":"request","command":"mantaTasks","arguments":{"a":[1,null,"é"]}}"#;
    assert_eq!(Message::Request(request(text)).to_vec(), text.as_bytes());
}

#[test]
fn what_is_absent_is_not_written() {
    let stopped = StoppedEventBody {
        reason: StoppedEventReason::Breakpoint,
        thread_id: Some(ThreadId(4)),
        ..Default::default()
    };
    let event = value(EventMessage::new::<events::Stopped>(&stopped));
    assert_eq!(
        event,
        json!({"seq": 0, "type": "event", "event": "stopped", "body": {"reason": "breakpoint", "threadId": 4}})
    );
    let initialized = value(EventMessage::new::<events::Initialized>(&Empty));
    assert_eq!(initialized, json!({"seq": 0, "type": "event", "event": "initialized"}));
    let next = value(ResponseMessage::ok::<requests::Next>(3, &Empty));
    assert_eq!(
        next,
        json!({"seq": 0, "type": "response", "request_seq": 3, "success": true, "command": "next"})
    );
    let initialize = value(ResponseMessage::ok::<requests::Initialize>(1, &Capabilities::default()));
    assert_eq!(initialize["body"], json!({}));
}

#[test]
fn the_one_null_that_the_protocol_has_is_written() {
    let nothing = DataBreakpointInfoResponseBody { description: "not here".into(), ..Default::default() };
    let response = value(ResponseMessage::ok::<requests::DataBreakpointInfo>(1, &nothing));
    assert_eq!(response["body"], json!({"dataId": null, "description": "not here"}));
}

#[test]
fn names_are_the_protocols_own() {
    let frame = StackFrame {
        instruction_pointer_reference: Some("0x1".into()),
        module_id: Some(ModuleId::Text("m".into())),
        source: Some(Source { source_reference: Some(3.into()), ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(
        serde_json::to_value(&frame).unwrap(),
        json!({"id": 0, "name": "", "line": 0, "column": 0, "instructionPointerReference": "0x1", "moduleId": "m",
               "source": {"sourceReference": 3}})
    );
    let capabilities = Capabilities { supports_ansi_styling: Some(true), ..Default::default() };
    assert_eq!(serde_json::to_value(&capabilities).unwrap(), json!({"supportsANSIStyling": true}));
}

#[test]
fn unknown_values_survive_in_open_and_in_closed_enumerations() {
    for reason in ["breakpoint", "function breakpoint", "task failed"] {
        let body = json!({ "reason": reason });
        let read: StoppedEventBody = serde_json::from_value(body.clone()).unwrap();
        assert_eq!(read.reason.as_str(), reason);
        assert_eq!(serde_json::to_value(&read).unwrap(), body);
    }
    let read: BreakpointReason = serde_json::from_value(json!("later")).unwrap();
    assert_eq!(read, BreakpointReason::Other("later".into()));
    assert_eq!(serde_json::to_value(&read).unwrap(), json!("later"));
}

#[test]
fn a_body_may_be_absent_where_the_protocol_says_so() {
    let response = ResponseMessage::ok::<requests::ReadMemory>(1, &None);
    assert!(response.body.is_none());
    assert_eq!(response.body::<Option<dap::ReadMemoryResponseBody>>().unwrap(), None);
    let body = dap::ReadMemoryResponseBody { address: "0x1".into(), ..Default::default() };
    let response = ResponseMessage::ok::<requests::ReadMemory>(1, &Some(body.clone()));
    assert_eq!(response.body::<Option<dap::ReadMemoryResponseBody>>().unwrap(), Some(body));
}

#[test]
fn an_error_is_one_sentence_in_both_places() {
    let refusal =
        request(r#"{"seq":2,"type":"request","command":"evaluate"}"#).err("`{x}` is not {known} here.");
    let sent = value(refusal.clone());
    assert_eq!(sent["message"], "`{x}` is not {known} here.");
    assert_eq!(sent["body"]["error"]["format"], "{text}");
    assert_eq!(refusal.error().unwrap().text(), "`{x}` is not {known} here.");
    let shown = ErrorMessage::new(3, "No cluster answers.").shown();
    assert_eq!(
        serde_json::to_value(&shown).unwrap(),
        json!({"id": 3, "format": "No cluster answers.", "showUser": true})
    );
}

#[test]
fn an_errors_variables_are_filled_in() {
    let read = |error: Value| serde_json::from_value::<ErrorMessage>(error).unwrap().text();
    let both =
        read(json!({"id": 1, "format": "{a} and {b}, not {c} {", "variables": {"a": "1", "b": "{a}"}}));
    assert_eq!(both, "1 and {a}, not {c} {");
    assert_eq!(read(json!({"id": 1, "format": "plain"})), "plain");
}

#[test]
fn an_error_without_details_falls_back_to_its_message() {
    let text = br#"{"seq":1,"type":"response","request_seq":1,"success":false,"command":"next","message":"notStopped"}"#;
    let Ok(Message::Response(response)) = Message::from_slice(text) else { panic!("not a response") };
    assert_eq!(response.error().unwrap().text(), "notStopped");
    assert_eq!(ResponseMessage::ok::<requests::Next>(1, &Empty).error(), None);
}

#[test]
fn an_events_body_is_read_by_its_type() {
    let output = OutputEventBody { output: "hello\n".into(), ..Default::default() };
    let event = EventMessage::new::<events::Output>(&output);
    assert_eq!(event.body::<OutputEventBody>().unwrap(), output);
    assert!(event.body::<StoppedEventBody>().unwrap_err().reason.contains("`output`"));
}
