//! What a process asks of its machine beside sockets: descriptors and cores.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Raises the soft limit of open files to the hard one. Returns how many files may be open;
/// `u64::MAX` = no limit. Where it cannot be raised, the present limit stands.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    };
    current.unwrap_or(u64::MAX)
}

/// Cores that this process may run on, which can be fewer than the machine has.
pub fn allowed_cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        Err(_) => Vec::new(),
    }
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// EINVAL: not one of [`allowed_cores`].
pub fn pin_to_core(core: usize) -> Result<(), Errno> {
    if core >= CpuSet::MAX_CPU {
        return Err(Errno::INVAL);
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_rise_to_the_hard_limit() {
        let raised = raise_open_files();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(raised, now.current.unwrap_or(u64::MAX));
        assert_eq!(now.current, now.maximum);
    }

    #[test]
    fn a_pinned_thread_has_one_core() {
        let cores = allowed_cores();
        let last = *cores.last().expect("a thread runs somewhere");
        std::thread::spawn(move || {
            pin_to_core(last).unwrap();
            assert_eq!(allowed_cores(), [last]);
            assert_eq!(pin_to_core(usize::MAX), Err(Errno::INVAL));
        })
        .join()
        .unwrap();
    }
}
