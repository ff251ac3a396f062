//! What a node says about the machine that it runs on.

use std::{fs, path::Path};

/// Equal for all nodes on one machine: the boot's id and the host's name, and the namespace in which sockets are found.
#[must_use]
pub fn machine_id() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{}-{host}", boot.trim())
}

/// GPUs of the vendor whose devices `CUDA_VISIBLE_DEVICES` counts; those that this process may see, when that variable says so.
#[must_use]
pub fn gpus() -> f64 {
    if let Ok(visible) = std::env::var("CUDA_VISIBLE_DEVICES") {
        #[expect(clippy::cast_precision_loss, reason = "no machine has so many GPUs")]
        return visible.split(',').filter(|name| !name.trim().is_empty()).count() as f64;
    }
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let devices = fs::read_dir("/dev").into_iter().flatten().flatten();
    #[expect(clippy::cast_precision_loss, reason = "no machine has so many GPUs")]
    let count = devices.filter(|device| device.file_name().to_str().is_some_and(is_gpu)).count() as f64;
    count
}

/// The memory that tasks of a node may ask for together, in bytes: seven tenths of what the machine, or this process' control group,
/// has; the rest is for objects and for who does not ask.
#[must_use]
pub fn memory_for_tasks() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no machine has so much memory")]
    let bytes = memory_bytes() as f64;
    (bytes * 0.7).floor()
}

/// The shared memory that a node's objects may have, in bytes: three tenths of what the machine, or this process' control group, has, and
/// no more than its memory file system.
#[must_use]
pub fn object_store_bytes() -> u64 {
    let share = memory_bytes() / 10 * 3;
    let shared =
        nix::sys::statvfs::statvfs("/dev/shm").map_or(u64::MAX, |data| data.blocks() * data.fragment_size());
    share.min(shared)
}

/// The memory of the machine, or of this process' control group when that is less.
fn memory_bytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = meminfo
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
        .map_or(0, |kibibytes| kibibytes * 1024);
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").trim();
    let limits = Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/'));
    // A group has the limits of all those above it.
    let limits = limits.ancestors().take_while(|path| path.starts_with("/sys/fs/cgroup"));
    let limit =
        limits.filter_map(|group| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok());
    limit.min().map_or(machine, |limit: u64| limit.min(machine))
}

/// CPUs that this process may use.
#[must_use]
pub fn cpus() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no machine has so many CPUs")]
    std::thread::available_parallelism().map_or(1.0, |cpus| cpus.get() as f64)
}
