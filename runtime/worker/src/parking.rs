//! Where threads wait for the reactor, and how they are woken.

use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::reactor::State;

/// Wakes the thread that waits for the peers' sockets, among which it is watched.
pub(crate) struct Bell(EventFd);

impl Bell {
    pub fn new() -> nix::Result<Self> {
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(Self)
    }

    pub fn fd(&self) -> &EventFd {
        &self.0
    }

    /// Wakes it.
    pub fn ring(&self) {
        // It fails only when it has been rung 2^64 - 2 times and nobody came.
        let _ = self.0.write(1);
    }

    /// Whoever was to be woken is awake.
    pub fn silence(&self) {
        // It fails when another reader was first.
        let _ = self.0.read();
    }
}

/// A thread that waits in a [`Parking`] and reads what peers send meanwhile.
#[derive(Default)]
enum Reader {
    #[default]
    Nobody,
    /// It waits for the peers' sockets.
    Asleep(Arc<Bell>),
    /// It gives the reactor what it has read, and looks afterwards whether its wait is over.
    Awake,
    /// As both before, and it knows of something to look for: what is more is for others.
    Told,
}

/// Where threads wait for one thing. Everything about it happens under the reactor's lock.
#[derive(Default)]
pub(crate) struct Parking {
    condvar: Condvar,
    reader: Mutex<Reader>,
}

impl Parking {
    /// Wakes one of those that wait.
    pub fn notify_one(&self) {
        if !self.tell_reader() {
            self.condvar.notify_one();
        }
    }

    pub fn notify_all(&self) {
        self.tell_reader();
        self.condvar.notify_all();
    }

    /// `false` if none reads here, or it was told before.
    fn tell_reader(&self) -> bool {
        let mut reader = self.reader.lock();
        match &*reader {
            Reader::Nobody | Reader::Told => return false,
            Reader::Asleep(bell) => bell.ring(),
            Reader::Awake => {}
        }
        *reader = Reader::Told;
        true
    }

    /// Waits without reading, until somebody notifies.
    pub fn wait(&self, state: &mut MutexGuard<'_, State>, deadline: Option<std::time::Instant>) {
        match deadline {
            None => self.condvar.wait(state),
            Some(deadline) => {
                self.condvar.wait_until(state, deadline);
            }
        }
    }

    /// The calling thread, which reads for all, is about to wait for the sockets.
    pub fn reader_sleeps(&self, bell: &Arc<Bell>) {
        *self.reader.lock() = Reader::Asleep(Arc::clone(bell));
    }

    /// It is about to give the reactor what it has read.
    pub fn reader_wakes(&self) {
        let mut reader = self.reader.lock();
        if matches!(*reader, Reader::Asleep(_)) {
            *reader = Reader::Awake;
        }
    }

    /// It looks now whether its wait is over.
    pub fn reader_looks(&self) {
        *self.reader.lock() = Reader::Nobody;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_rung(bell: &Bell) -> bool {
        bell.0.read().is_ok()
    }

    #[test]
    fn a_reader_is_told_once_and_only_while_it_sleeps_by_the_bell() {
        let bell = Arc::new(Bell::new().unwrap());
        let parking = Parking::default();
        parking.notify_one();
        assert!(!is_rung(&bell), "nobody reads");
        parking.reader_sleeps(&bell);
        assert!(parking.tell_reader());
        assert!(is_rung(&bell));
        assert!(!parking.tell_reader(), "the next is for others");
        parking.reader_wakes();
        assert!(!parking.tell_reader() && !is_rung(&bell), "it still knows");
        parking.reader_looks();
        parking.reader_sleeps(&bell);
        parking.reader_wakes();
        assert!(parking.tell_reader() && !is_rung(&bell), "it is awake and will look");
        assert!(!parking.tell_reader());
        parking.reader_looks();
        assert!(!parking.tell_reader(), "it has looked, and reads no more");
    }
}
