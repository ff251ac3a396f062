//! Room in the store: who waits, what is evicted, what is spilled and restored.

use std::{collections::HashSet, time::Duration};

use manta_proto::{
    ids::{ObjectId, ProcessId, TaskId},
    v1::{self, node_to_process, process_to_node},
};

use super::Stage;
use crate::core::{Effect, RoomAsker, Timer};

fn object(byte: u8) -> ObjectId {
    ObjectId::of(TaskId([byte; 16]), 0)
}

/// A driver with stored objects of 10 bytes each.
fn stage(objects: &[u8]) -> (Stage, ProcessId) {
    let mut stage = Stage::new(1.0);
    let (driver, _) = stage.driver(2, "python");
    for byte in objects {
        let sealed = v1::ObjectSealed { object_id: object(*byte).to_bytes(), size: 10, spilled: false };
        stage.say(driver, process_to_node::Message::Sealed(sealed));
    }
    (stage, driver)
}

fn need(stage: &mut Stage, driver: ProcessId, request_id: u64) -> RoomAsker {
    stage.say(driver, process_to_node::Message::NeedRoom(v1::NeedRoom { request_id, bytes: 10 }));
    RoomAsker::Process(driver, request_id)
}

fn taken(stage: &mut Stage, asker: RoomAsker, taken: Result<(), u64>) {
    stage.expect(|effect| *effect == Effect::TakeRoom { asker, bytes: 10 });
    stage.core.on_room_taken(asker, 10, taken);
    stage.settle();
}

fn mapped(stage: &mut Stage, mapped: &[u8], missing: u64) {
    stage.expect(|effect| *effect == Effect::FindMapped { missing });
    let mapped: HashSet<_> = mapped.iter().map(|byte| object(*byte)).collect();
    stage.core.on_mapped(&mapped, missing);
    stage.settle();
}

fn expect_room(stage: &mut Stage, driver: ProcessId, wanted: (u64, bool)) {
    stage.expect_process(driver, |message| {
        matches!(message, node_to_process::Message::Room(room) if (room.request_id, room.granted) == wanted)
    });
}

fn pull(stage: &mut Stage, driver: ProcessId, byte: u8) {
    let node_id = stage.core.id().to_bytes();
    let pull = v1::PullObject { request_id: 9, object_id: object(byte).to_bytes(), node_id };
    stage.say(driver, process_to_node::Message::Pull(pull));
}

#[test]
fn the_longest_unused_is_spilled_and_what_is_mapped_stays() {
    let (mut stage, driver) = stage(&[1, 2, 3]);
    let asker = need(&mut stage, driver, 7);
    taken(&mut stage, asker, Err(10));
    mapped(&mut stage, &[1], 10);
    stage.expect(|effect| *effect == Effect::SpillObject { object: object(2) });
    stage.core.on_spilled(object(2), Ok(()));
    stage.settle();
    stage.expect(|effect| *effect == Effect::DeleteObjects(vec![object(2)]));
    taken(&mut stage, asker, Ok(()));
    expect_room(&mut stage, driver, (7, true));
    // It comes back when somebody wants it, and is freed wherever it is.
    pull(&mut stage, driver, 2);
    stage.expect(|effect| *effect == Effect::Restore { object: object(2), size: 10 });
    stage.core.on_restored(object(2), &Ok(true));
    stage.settle();
    stage.expect(|effect| *effect == Effect::DeleteSpilled(vec![object(2)]));
    stage.expect_process(driver, |message| {
        matches!(message, node_to_process::Message::Pulled(pulled) if pulled.error.is_empty() && !pulled.spilled)
    });
}

#[test]
fn what_is_wanted_while_it_is_spilled_stays_in_memory() {
    let (mut stage, driver) = stage(&[1]);
    let asker = need(&mut stage, driver, 7);
    taken(&mut stage, asker, Err(10));
    mapped(&mut stage, &[], 10);
    stage.expect(|effect| *effect == Effect::SpillObject { object: object(1) });
    pull(&mut stage, driver, 1);
    stage.expect_process(driver, |message| matches!(message, node_to_process::Message::Pulled(_)));
    stage.core.on_spilled(object(1), Ok(()));
    stage.settle();
    stage.expect(|effect| *effect == Effect::DeleteSpilled(vec![object(1)]));
    taken(&mut stage, asker, Ok(()));
    expect_room(&mut stage, driver, (7, true));
}

#[test]
fn when_all_is_mapped_processes_are_asked_and_nobody_waits_for_ever() {
    let (mut stage, driver) = stage(&[1]);
    let asker = need(&mut stage, driver, 7);
    for look in 0..20 {
        taken(&mut stage, asker, Err(10));
        mapped(&mut stage, &[1], 10);
        if look == 0 {
            stage.expect_process(driver, |message| matches!(message, node_to_process::Message::TrimStore(_)));
        }
        stage.expect(|effect| *effect == Effect::Timer(Timer::Room, Duration::from_millis(50)));
        stage.core.on_timer(Timer::Room);
        stage.settle();
    }
    taken(&mut stage, asker, Err(10));
    mapped(&mut stage, &[1], 10);
    expect_room(&mut stage, driver, (7, false));
}

#[test]
fn a_disk_that_fails_is_found_out_by_who_waits() {
    let (mut stage, driver) = stage(&[1]);
    let asker = need(&mut stage, driver, 7);
    taken(&mut stage, asker, Err(10));
    mapped(&mut stage, &[], 10);
    stage.expect(|effect| *effect == Effect::SpillObject { object: object(1) });
    stage.core.on_spilled(object(1), Err("the disk is full".to_owned()));
    stage.settle();
    expect_room(&mut stage, driver, (7, false));
    pull(&mut stage, driver, 1);
    stage.expect_process(
        driver,
        |message| matches!(message, node_to_process::Message::Pulled(pulled) if pulled.error.is_empty()),
    );
}

#[test]
fn a_spilled_object_whose_file_is_damaged_is_lost_with_the_cause() {
    let (mut stage, driver) = stage(&[]);
    let sealed = v1::ObjectSealed { object_id: object(1).to_bytes(), size: 10, spilled: true };
    stage.say(driver, process_to_node::Message::Sealed(sealed));
    pull(&mut stage, driver, 1);
    stage.expect(|effect| *effect == Effect::Restore { object: object(1), size: 10 });
    stage.core.on_restored(object(1), &Err("its checksum is wrong".to_owned()));
    stage.settle();
    stage.expect(|effect| *effect == Effect::DeleteSpilled(vec![object(1)]));
    stage.expect_process(driver, |message| {
        matches!(message, node_to_process::Message::Pulled(pulled) if pulled.error.contains("its checksum is wrong"))
    });
}

#[test]
fn who_is_gone_waits_for_no_room() {
    let (mut stage, driver) = stage(&[1]);
    let asker = need(&mut stage, driver, 7);
    stage.expect(|effect| *effect == Effect::TakeRoom { asker, bytes: 10 });
    stage.core.forget_rooms_of(driver);
    stage.core.on_room_taken(asker, 10, Ok(()));
    stage.settle();
    stage.expect(|effect| *effect == Effect::GiveRoom(10));
}
