//! What may be given to `.remote(..)`.

use serde::Serialize;

use crate::{
    Error, ObjectRef,
    object_ref::{self, Serialized},
};

/// An argument on its way to a task.
pub struct Arg(pub(crate) Result<Given, Error>);

pub(crate) enum Given {
    Value(Serialized),
    Ref(manta_worker::ObjectRef),
}

/// The arguments of one submission, or the first that cannot be sent.
pub(crate) fn given(arguments: Vec<(Option<String>, Arg)>) -> Result<Vec<(Option<String>, Given)>, Error> {
    arguments.into_iter().map(|(name, argument)| argument.0.map(|given| (name, given))).collect()
}

/// What can be given where a task takes a `T`: a `T`, or the ref of one, which is resolved before the task starts.
#[diagnostic::on_unimplemented(
    message = "a task that takes `{T}` cannot be given `{Self}`",
    note = "give a `{T}` (which must be `serde::Serialize`) or an `ObjectRef<{T}>`"
)]
pub trait IntoArg<T> {
    /// The argument, serialized if it is a value.
    fn into_arg(self) -> Arg;
}

impl<T: Serialize> IntoArg<T> for T {
    fn into_arg(self) -> Arg {
        Arg(object_ref::serialize(&self).map(Given::Value))
    }
}

impl<T> IntoArg<T> for ObjectRef<T> {
    fn into_arg(self) -> Arg {
        Arg(self.inner().map(Given::Ref))
    }
}

impl<T> IntoArg<T> for &ObjectRef<T> {
    fn into_arg(self) -> Arg {
        Arg(self.inner().map(Given::Ref))
    }
}

impl IntoArg<String> for &str {
    fn into_arg(self) -> Arg {
        Arg(object_ref::serialize(&self).map(Given::Value))
    }
}

impl<T: Serialize> IntoArg<Vec<T>> for &[T] {
    fn into_arg(self) -> Arg {
        Arg(object_ref::serialize(&self).map(Given::Value))
    }
}
