//! One folder, and several processes that use it.

use std::os::unix::fs::PermissionsExt;

use manta_proto::ids::TaskId;

use super::*;

fn store() -> (tempfile::TempDir, ObjectStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = ObjectStore::create(folder.path().join("objects"), 1 << 20).unwrap();
    (folder, store)
}

fn names(store: &ObjectStore) -> Vec<String> {
    fs::read_dir(store.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != crate::usage::FILE)
        .collect()
}

#[test]
fn a_sealed_object_is_read_and_outlives_its_file() {
    let (_folder, store) = store();
    let id = ObjectId::of(TaskId::random(), 0);
    assert!(store.open(id).unwrap().is_none());
    let mut writer = store.writer(id, 5).unwrap();
    writer.bytes_mut().copy_from_slice(b"bytes");
    assert!(!store.contains(id), "an object that is being written is not visible");
    writer.seal().unwrap();
    assert_eq!(names(&store), [id.to_string()]);
    let mapped = store.open(id).unwrap().unwrap();
    assert!(store.delete(id).unwrap());
    assert!(!store.delete(id).unwrap());
    assert_eq!(&mapped[..], b"bytes");
    assert_eq!(fs::metadata(store.folder()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn an_empty_object_is_an_object() {
    let (_folder, store) = store();
    let id = ObjectId::of(TaskId::random(), 1);
    store.writer(id, 0).unwrap().seal().unwrap();
    assert_eq!(store.open(id).unwrap().unwrap().len(), 0);
}

#[test]
fn an_abandoned_writer_leaves_nothing() {
    let (_folder, store) = store();
    drop(store.writer(ObjectId::of(TaskId::random(), 0), 4096).unwrap());
    assert!(names(&store).is_empty());
}

#[test]
fn a_full_file_system_is_a_sentence_and_leaves_nothing() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
    let store = ObjectStore::create(folder.path().join("objects"), u64::MAX).unwrap();
    let error = store.writer(ObjectId::of(TaskId::random(), 0), 1 << 50).unwrap_err();
    assert!(error.to_string().contains("no room for 1125899906842624 more bytes"), "{error}");
    assert!(names(&store).is_empty());
}

#[test]
fn what_is_in_use_is_counted_for_all_processes_together() {
    let (_folder, store) = store();
    let other = ObjectStore::attach(store.folder());
    let used = || other.usage().unwrap().used();
    let ids: Vec<_> = (0..3).map(|index| ObjectId::of(TaskId::random(), index)).collect();
    store.writer(ids[0], 600_000).unwrap().seal().unwrap();
    assert_eq!(used(), 600_000);
    let error = other.writer(ids[1], 600_000).unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { .. }), "{error}");
    let error = other.writer(ids[1], 2_000_000).unwrap_err();
    assert!(error.to_string().contains("can never fit"), "{error}");
    drop(other.writer(ids[1], 400_000).unwrap());
    other.writer(ids[0], 400_000).unwrap().seal().unwrap();
    store.announced(ids[0], std::process::id());
    assert_eq!(used(), 400_000, "a replaced object is counted once");
    other.delete(ids[0]).unwrap();
    assert_eq!(used(), 0);
    std::mem::forget(store.writer(ids[2], 4096).unwrap());
    assert_eq!(used(), 4096);
    other.sweep(std::process::id());
    assert_eq!((used(), names(&store).len()), (0, 0));
}

#[test]
fn a_file_that_nobody_else_saw_is_written_again() {
    let (_folder, store) = store();
    let ids: Vec<_> = (0..4).map(|index| ObjectId::of(TaskId::random(), index)).collect();
    let put = |id, byte| {
        let mut writer = store.writer(id, 256 * 1024).unwrap();
        writer.bytes_mut().fill(byte);
        let place = writer.bytes_mut().as_ptr();
        writer.seal_and_keep().unwrap();
        place
    };
    let first = put(ids[0], 1);
    assert!(store.recycle(ids[0]));
    assert_eq!(put(ids[1], 2), first, "the pages are used again");
    let read = store.open(ids[1]).unwrap().unwrap();
    assert!(!store.recycle(ids[1]), "somebody here reads it");
    assert!(store.delete(ids[1]).unwrap());
    put(ids[2], 3);
    assert!(read.iter().all(|byte| *byte == 2));
    assert!(store.recycle(ids[2]));
    assert_eq!(store.usage().unwrap().used(), 256 * 1024);
    store.trim();
    assert_eq!((store.usage().unwrap().used(), names(&store).len()), (0, 0));
    put(ids[3], 4);
    store.delete(ids[3]).unwrap();
    assert!(!store.recycle(ids[3]), "its node was faster");
}

#[test]
fn what_a_killed_process_took_for_nothing_is_given_back() {
    let (_folder, store) = store();
    let id = ObjectId::of(TaskId::random(), 0);
    store.writer(id, 1000).unwrap().seal().unwrap();
    let (usage, now) = (store.usage().unwrap(), Instant::now());
    usage.take(5000).unwrap();
    store.sweep(1);
    store.recount(now);
    assert_eq!(usage.used(), 6000, "its file may come in a moment");
    store.recount(now + crate::recount::WINDOW);
    assert_eq!(usage.used(), 1000);
}

#[test]
fn what_a_killed_process_sealed_and_never_announced_goes_with_it() {
    let (_folder, node) = store();
    let process = ObjectStore::attach(node.folder());
    let me = std::process::id();
    let seal = |id| {
        let mut writer = process.writer(id, 1000).unwrap();
        writer.bytes_mut().fill(1);
        writer.seal().unwrap();
    };
    let [announced, silent, again] = [0, 1, 2].map(|index| ObjectId::of(TaskId::random(), index));
    [announced, silent, again].into_iter().for_each(seal);
    node.announced(announced, me);
    node.recount(Instant::now());
    assert_eq!(node.usage().unwrap().used(), 3000, "a mark takes no room");
    // Its task ran on this node once more, in another process.
    let mut writer = node.writer(again, 1000).unwrap();
    writer.bytes_mut().fill(2);
    writer.seal().unwrap();
    node.sweep(me);
    assert_eq!(node.usage().unwrap().used(), 2000);
    let mut left = [announced, again].map(|id| id.to_string());
    left.sort();
    let mut there = names(&node);
    there.sort();
    assert_eq!(there, left);
    assert!(node.delete(announced).unwrap() && node.delete(again).unwrap());
    assert_eq!(node.usage().unwrap().used(), 0);
}

#[test]
fn an_object_that_was_freed_before_its_mark_is_counted_once() {
    let (_folder, node) = store();
    let process = ObjectStore::attach(node.folder());
    let id = ObjectId::of(TaskId::random(), 0);
    process.writer(id, 1000).unwrap().seal().unwrap();
    assert!(node.delete(id).unwrap());
    node.announced(id, std::process::id());
    assert_eq!((node.usage().unwrap().used(), names(&node).len()), (0, 0));
}

#[test]
fn mapped_objects_are_found() {
    let (_folder, store) = store();
    let id = ObjectId::of(TaskId::random(), 0);
    store.writer(id, 4096).unwrap().seal().unwrap();
    assert_eq!(store.mapped_by(std::process::id()).unwrap(), []);
    let read = store.open(id).unwrap();
    assert_eq!(store.mapped_by(std::process::id()).unwrap(), [id]);
    drop(read);
}
