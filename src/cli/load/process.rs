//! What `/proc` says of a process: its CPU time and its memory.

use std::fs;

use serde::Serialize;

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub resident: u64,
    /// The same, with a page that n processes share counted as 1/n of it.
    pub proportional: u64,
    /// The proportional part that no file stands behind. A server that is the same program as the
    /// generator shares pages of it, and the more the longer both run; none of these are here.
    pub anonymous: u64,
}

/// CPU time of the calling thread in nanoseconds; 0 where the kernel does not count it.
pub fn own_cpu_ns() -> u64 {
    run_ns("/proc/thread-self/schedstat").unwrap_or_default()
}

/// CPU time of all threads of a process in nanoseconds; `None` when it is gone.
pub fn cpu_ns(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread that has just ended is left out.
        let path = thread.ok()?.path().join("schedstat");
        sum += path.to_str().and_then(run_ns).unwrap_or_default();
    }
    Some(sum)
}

/// `None` when the process is gone or belongs to somebody else.
pub fn memory(pid: u32) -> Option<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(Memory {
        resident: bytes(&text, "Rss:")?,
        proportional: bytes(&text, "Pss:")?,
        anonymous: bytes(&text, "Pss_Anon:")?,
    })
}

/// The first number of a schedstat: nanoseconds on a core.
fn run_ns(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.split(' ').next()?.parse().ok()
}

/// A line such as `Pss:   123 kB`.
fn bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_missing_one_has_nothing() {
        let own = memory(std::process::id()).expect("this process is there");
        assert!(
            own.resident >= own.proportional && own.proportional >= own.anonymous && own.anonymous > 0,
            "{own:?}"
        );
        assert!(cpu_ns(std::process::id()).is_some());
        assert_eq!((memory(u32::MAX), cpu_ns(u32::MAX)), (None, None));
    }
}
