//! The reactor against a simulated cluster: a node that grants leases, and any number of processes, in one thread and without a
//! clock. Messages travel through the same frames as outside.

mod actors;
mod borrows;
mod cancel;
mod events;
mod lineage;
mod objects;
mod pausing;
mod series;
mod sim;
mod storms;
mod streams;
mod tasks;
mod unhandled;
