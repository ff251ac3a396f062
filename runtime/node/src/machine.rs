//! What a node says about the machine that it runs on.

use std::fs;

/// Equal for all nodes on one machine: the boot's id and the host's name, and the namespace in which sockets are found.
#[must_use]
pub fn machine_id() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{}-{host}", boot.trim())
}

/// CPUs that this process may use.
#[must_use]
pub fn cpus() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no machine has so many CPUs")]
    std::thread::available_parallelism().map_or(1.0, |cpus| cpus.get() as f64)
}
