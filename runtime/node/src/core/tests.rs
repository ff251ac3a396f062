//! The reactor alone: events in, effects out.
