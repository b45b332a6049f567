//! How many threads a command works with: those of the processor, fewer where there is little memory.

use std::path::Path;

/// What one thread may need: chunks of the largest size on their way through it.
const BYTES_PER_THREAD: u64 = 96 << 20;

/// How many threads there are to work with, at most `most`.
pub(super) fn workers(most: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let by_memory = free_memory().map_or(most, |bytes| usize::try_from(bytes / BYTES_PER_THREAD).unwrap_or(most));
    processors.min(by_memory).clamp(1, most)
}

/// Bytes that may still be used: of the machine, and of the group of processes that this one is in.
fn free_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let of_machine = available(&meminfo)?;
    let group = std::fs::read_to_string("/proc/self/cgroup").ok();
    let of_group = group.as_deref().and_then(|text| left_in_group(Path::new("/sys/fs/cgroup"), text));
    Some(of_group.map_or(of_machine, |left| left.min(of_machine)))
}

/// `MemAvailable` of proc_meminfo(5), in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// What the tightest of the groups above still allows (cgroups(7), version 2), in bytes.
fn left_in_group(root: &Path, cgroup: &str) -> Option<u64> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let read = |folder: &Path, name: &str| {
        std::fs::read_to_string(folder.join(name)).ok().and_then(|text| text.trim().parse::<u64>().ok())
    };
    let folders = Path::new(path).ancestors().map(|below| root.join(below));
    let limits = folders.filter_map(|folder| {
        let limit = ["memory.high", "memory.max"].iter().filter_map(|name| read(&folder, name)).min()?;
        Some(limit.saturating_sub(read(&folder, "memory.current").unwrap_or(0)))
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_that_is_available_is_read_from_the_system() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   24 kB\n"), Some(24 << 10));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("system.slice/bk.service");
        std::fs::create_dir_all(&inner).unwrap();
        let write = |path: &str, text: &str| std::fs::write(root.path().join(path), text).unwrap();
        write("system.slice/memory.max", "1000\n");
        write("system.slice/memory.current", "900\n");
        write("system.slice/bk.service/memory.max", "max\n");
        write("system.slice/bk.service/memory.high", "500\n");
        write("system.slice/bk.service/memory.current", "100\n");
        assert_eq!(left_in_group(root.path(), "0::/system.slice/bk.service\n"), Some(100));
        assert_eq!(left_in_group(root.path(), "1:name=systemd:/x\n"), None);
    }

    #[test]
    fn there_is_always_one_thread_and_never_too_many() {
        assert!((1..=3).contains(&workers(3)));
    }
}
