//! What `#[manta::task]` makes of a function, as far as it needs no cluster.

use std::collections::BTreeMap;

mod inner {
    /// Adds up.
    #[manta::task(name = "adder", num_cpus = 0.5, max_retries = 0, retry_errors = true)]
    pub fn add(mut a: i32, b: i32) -> i32 {
        a += b;
        a
    }
}

#[manta::task]
fn swap((a, b): (u8, String), _unused: Option<u8>) -> (String, u8) {
    (b, a)
}

#[manta::task]
fn count(words: Vec<String>, text: String) -> Result<BTreeMap<String, usize>, std::fmt::Error> {
    Ok(words.into_iter().map(|word| (word.clone(), text.matches(&word).count())).collect())
}

#[manta::task]
fn countdown(from: u32) -> u32 {
    // Inside its body the name is the task: it can be called here, and submitted.
    if from == 0 { 0 } else { countdown(from - 1) }
}

#[manta::task]
fn nothing() {}

#[test]
fn a_task_is_still_a_function() {
    assert_eq!(inner::add(1, 2), 3);
    assert_eq!(swap((1, "b".to_owned()), None), ("b".to_owned(), 1));
    assert_eq!(count(vec!["a".to_owned()], "banana".to_owned()).unwrap()["a"], 3);
    assert_eq!(countdown(3), 0);
    let () = nothing();
    let as_pointer: fn(i32, i32) -> i32 = *inner::add;
    assert_eq!([(1, 2), (3, 4)].map(|(a, b)| as_pointer(a, b)), [3, 7]);
}

#[test]
fn without_a_cluster_the_ref_says_what_to_do() {
    let reference: manta::ObjectRef<i32> = inner::add.remote(1, 2);
    let error = manta::get(&reference).unwrap_err();
    assert!(error.to_string().contains("call manta::init() first"), "{error}");
    // The error is that of the first task, not one about its ref.
    let dependent = inner::add.options().num_cpus(2.0).name("second").remote(&reference, 1);
    assert_eq!(manta::get(&dependent).unwrap_err().to_string(), error.to_string());
    assert_eq!(manta::put(&1).unwrap_err().to_string(), error.to_string());
}

#[test]
fn borrowed_arguments_stand_for_owned_ones() {
    let words = ["a".to_owned()];
    let reference = count.remote(&words[..], "text");
    assert!(manta::get(&reference).is_err());
    let nested: manta::ObjectRef<(String, u8)> = swap.remote((1, "b".to_owned()), Some(1));
    assert!(format!("{nested:?}").starts_with("ObjectRef("));
}

#[test]
fn a_value_that_cannot_be_written_says_which() {
    #[derive(serde::Deserialize)]
    struct Unwritable;
    impl serde::Serialize for Unwritable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it is made of glass"))
        }
    }
    let error = manta::put(&Unwritable).unwrap_err().to_string();
    assert!(error.contains("Unwritable cannot be written as MessagePack: it is made of glass"), "{error}");
}
