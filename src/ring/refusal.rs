//! Why the kernel refused a ring, told apart so that an operator can lift it.
//!
//! io_uring answers with few error numbers for many causes. What tells them apart stands in
//! `/proc`: [`Facts`] is one reading of it, and [`classify`] judges without looking further.

use std::error::Error;
use std::fmt;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// What was asked of the kernel when it refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `io_uring_setup` and the mapping of its queues.
    Setup,
    /// `io_uring_register` with the ring of provided buffers.
    BufferRing,
    /// Anonymous memory for the receive buffers.
    Memory,
}

/// What this machine says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Kernel release, major and minor; 0.0 if it could not be read.
    pub kernel: (u16, u16),
    /// `kernel.io_uring_disabled`; `None` where the kernel (before 6.6) has no such switch.
    pub io_uring_disabled: Option<u8>,
    /// `kernel.io_uring_group`; `None` where unset.
    pub io_uring_group: Option<u32>,
    /// The process has CAP_SYS_ADMIN or is in that group, so that level 1 does not bind it.
    pub exempt: bool,
    /// The process runs under a seccomp filter.
    pub seccomp: bool,
    /// RLIMIT_MEMLOCK, soft; `None` = unlimited.
    pub memlock_bytes: Option<u64>,
    /// RLIMIT_NOFILE, soft; `None` = unlimited.
    pub open_files: Option<u64>,
    /// RLIMIT_AS, soft; `None` = unlimited.
    pub address_space_bytes: Option<u64>,
}

/// Why there is no ring. Every cause is the machine's or the operator's; nothing was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// A size in the configuration is out of range.
    Settings(&'static str),
    /// The kernel is older than 6.1 or lacks an operation.
    KernelTooOld {
        kernel: (u16, u16),
        missing: &'static str,
    },
    /// The kernel was built without io_uring.
    NotBuiltIn,
    /// `kernel.io_uring_disabled` is 1 or 2.
    Disabled {
        level: u8,
        group: Option<u32>,
    },
    /// A seccomp filter refuses the system call, as containers do by default.
    Seccomp,
    /// A security module (SELinux, AppArmor) or something else without a name refused.
    Forbidden,
    /// RLIMIT_MEMLOCK is used up.
    MemoryLocked {
        limit_bytes: u64,
        needed_bytes: u64,
    },
    /// RLIMIT_AS leaves no room for the receive buffers.
    AddressSpace {
        limit_bytes: u64,
    },
    OutOfMemory,
    /// RLIMIT_NOFILE is used up.
    OpenFiles {
        limit: Option<u64>,
    },
    Other(Errno),
}

/// Judges a refusal. Pure, so that each cause can be tested on any machine.
pub fn classify(step: Step, errno: Errno, facts: &Facts, needed_bytes: u64) -> SetupError {
    let old = facts.kernel < KERNEL_MIN && facts.kernel != (0, 0);
    match errno {
        // A filter may answer ENOSYS to look like an old kernel.
        Errno::NOSYS if facts.seccomp && !old => SetupError::Seccomp,
        Errno::NOSYS if !old => SetupError::NotBuiltIn,
        Errno::NOSYS => too_old(facts, "io_uring with DEFER_TASKRUN"),
        Errno::INVAL if step == Step::BufferRing => too_old(facts, "rings of provided buffers"),
        Errno::INVAL if step == Step::Setup => {
            too_old(facts, "the set-up flags SINGLE_ISSUER and DEFER_TASKRUN")
        }
        Errno::PERM | Errno::ACCESS => match facts.io_uring_disabled {
            Some(level @ 2..) => SetupError::Disabled { level, group: facts.io_uring_group },
            Some(1) if !facts.exempt => SetupError::Disabled { level: 1, group: facts.io_uring_group },
            _ if facts.seccomp => SetupError::Seccomp,
            _ => SetupError::Forbidden,
        },
        // Pages for the receive buffers are not locked, so there the limit cannot be the cause.
        Errno::NOMEM if step != Step::Memory => match facts.memlock_bytes {
            Some(limit_bytes) => SetupError::MemoryLocked { limit_bytes, needed_bytes },
            None => SetupError::OutOfMemory,
        },
        Errno::NOMEM => match facts.address_space_bytes {
            Some(limit_bytes) => SetupError::AddressSpace { limit_bytes },
            None => SetupError::OutOfMemory,
        },
        Errno::MFILE | Errno::NFILE => SetupError::OpenFiles { limit: facts.open_files },
        other => SetupError::Other(other),
    }
}

impl Facts {
    /// Reads `/proc` and the limits of this process. What cannot be read counts as absent.
    pub fn read() -> Facts {
        let io_uring_group = number("/proc/sys/kernel/io_uring_group").and_then(|n| u32::try_from(n).ok());
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Facts {
            kernel: kernel_release(),
            io_uring_disabled: number("/proc/sys/kernel/io_uring_disabled").map(|n| n.clamp(0, 2) as u8),
            io_uring_group,
            exempt: is_exempt(&status, io_uring_group),
            seccomp: field(&status, "Seccomp:").is_some_and(|mode| mode.trim() == "2"),
            memlock_bytes: getrlimit(Resource::Memlock).current,
            open_files: getrlimit(Resource::Nofile).current,
            address_space_bytes: getrlimit(Resource::As).current,
        }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Settings(rule) => write!(f, "the ring's settings are out of range: {rule}"),
            SetupError::KernelTooOld { kernel: (major, minor), missing } => write!(
                f,
                "this kernel ({major}.{minor}) does not offer {missing}. sigmux needs Linux 6.1 or newer"
            ),
            SetupError::NotBuiltIn => f.write_str(
                "this kernel was built without io_uring. Use one with CONFIG_IO_URING=y, as all \
                 common distributions ship",
            ),
            SetupError::Disabled { level: 1, group } => {
                f.write_str("io_uring is closed to ordinary users (kernel.io_uring_disabled = 1). ")?;
                match group {
                    Some(gid) => write!(f, "Run sigmux in group {gid} (kernel.io_uring_group)"),
                    None => f.write_str("Set kernel.io_uring_group to a group of sigmux's user"),
                }?;
                f.write_str(", or run `sysctl kernel.io_uring_disabled=0`")
            }
            SetupError::Disabled { level, .. } => write!(
                f,
                "io_uring is switched off for everyone (kernel.io_uring_disabled = {level}). Run \
                 `sysctl kernel.io_uring_disabled=0` as root on the host"
            ),
            SetupError::Seccomp => f.write_str(
                "a seccomp filter forbids io_uring, as container runtimes do by default. Allow \
                 io_uring_setup, io_uring_enter and io_uring_register in the profile (Docker: \
                 --security-opt seccomp=profile.json; systemd: SystemCallFilter=@io-event io_uring_setup \
                 io_uring_enter io_uring_register)",
            ),
            SetupError::Forbidden => f.write_str(
                "the kernel forbids io_uring to this process, though neither seccomp nor \
                 kernel.io_uring_disabled does. Look for a denial of SELinux or AppArmor in the kernel's log",
            ),
            SetupError::MemoryLocked { limit_bytes, needed_bytes } => write!(
                f,
                "locked memory is used up: RLIMIT_MEMLOCK is {} KiB for all processes of this user, and one \
                 ring takes about {} KiB. Raise it (`ulimit -l`, LimitMEMLOCK= of systemd, --ulimit memlock of \
                 Docker), or use fewer shards",
                limit_bytes / 1024,
                needed_bytes.div_ceil(1024)
            ),
            SetupError::AddressSpace { limit_bytes } => write!(
                f,
                "no address space is left for the receive buffers of a ring: RLIMIT_AS is {} KiB. Raise it \
                 (`ulimit -v`, LimitAS= of systemd), or use fewer shards or buffers",
                limit_bytes / 1024
            ),
            SetupError::OutOfMemory => f.write_str("the machine has no memory left for a ring"),
            SetupError::OpenFiles { limit: Some(limit) } => write!(
                f,
                "no descriptor is left for a ring: RLIMIT_NOFILE is {limit}. Raise it (`ulimit -n`, \
                 LimitNOFILE= of systemd)"
            ),
            SetupError::OpenFiles { limit: None } => f.write_str(
                "no descriptor is left for a ring: the machine's limit fs.file-max or fs.nr_open is reached",
            ),
            SetupError::Other(errno) => write!(f, "io_uring could not be set up: {errno}"),
        }
    }
}

impl Error for SetupError {}

/// DEFER_TASKRUN came with 6.1, and every other thing that a ring uses came before.
const KERNEL_MIN: (u16, u16) = (6, 1);
/// CAP_SYS_ADMIN in the capability masks of `/proc/self/status`.
const CAP_SYS_ADMIN_BIT: u64 = 1 << 21;

fn too_old(facts: &Facts, missing: &'static str) -> SetupError {
    SetupError::KernelTooOld { kernel: facts.kernel, missing }
}

fn number(path: &str) -> Option<i64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

fn is_exempt(status: &str, group: Option<u32>) -> bool {
    let capable = field(status, "CapEff:")
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & CAP_SYS_ADMIN_BIT != 0);
    let member = group.is_some_and(|group| {
        ["Gid:", "Groups:"]
            .iter()
            .filter_map(|name| field(status, name))
            .flat_map(str::split_whitespace)
            .any(|gid| gid.parse() == Ok(group))
    });
    capable || member
}

fn kernel_release() -> (u16, u16) {
    let name = rustix::system::uname();
    parse_release(name.release().to_str().unwrap_or_default()).unwrap_or_default()
}

/// `6.1.0-13-amd64` → (6, 1)
fn parse_release(release: &str) -> Option<(u16, u16)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN: Facts = Facts {
        kernel: (6, 8),
        io_uring_disabled: Some(0),
        io_uring_group: None,
        exempt: false,
        seccomp: false,
        memlock_bytes: Some(8 << 20),
        open_files: Some(1024),
        address_space_bytes: None,
    };

    fn setup(errno: Errno, facts: Facts) -> SetupError {
        classify(Step::Setup, errno, &facts, 200 << 10)
    }

    #[test]
    fn a_switch_is_told_from_a_filter() {
        let off = |level| Facts { io_uring_disabled: Some(level), ..MODERN };
        assert_eq!(setup(Errno::PERM, off(2)), SetupError::Disabled { level: 2, group: None });
        assert_eq!(setup(Errno::PERM, off(1)), SetupError::Disabled { level: 1, group: None });
        assert_eq!(setup(Errno::PERM, Facts { seccomp: true, ..MODERN }), SetupError::Seccomp);
        assert_eq!(setup(Errno::ACCESS, Facts { seccomp: true, ..MODERN }), SetupError::Seccomp);
        assert_eq!(setup(Errno::PERM, MODERN), SetupError::Forbidden);
    }

    #[test]
    fn level_1_does_not_bind_the_exempt() {
        let facts = Facts { io_uring_disabled: Some(1), exempt: true, seccomp: true, ..MODERN };
        assert_eq!(setup(Errno::PERM, facts), SetupError::Seccomp);
    }

    #[test]
    fn an_absent_system_call_has_three_causes() {
        assert_eq!(setup(Errno::NOSYS, Facts { seccomp: true, ..MODERN }), SetupError::Seccomp);
        assert_eq!(setup(Errno::NOSYS, MODERN), SetupError::NotBuiltIn);
        let old = Facts { kernel: (4, 19), seccomp: true, ..MODERN };
        assert!(matches!(setup(Errno::NOSYS, old), SetupError::KernelTooOld { kernel: (4, 19), .. }));
    }

    #[test]
    fn unknown_flags_and_commands_mean_an_old_kernel() {
        let old = Facts { kernel: (5, 15), ..MODERN };
        assert!(matches!(setup(Errno::INVAL, old), SetupError::KernelTooOld { kernel: (5, 15), .. }));
        let refused = classify(Step::BufferRing, Errno::INVAL, &old, 0);
        assert!(refused.to_string().contains("provided buffers") && refused.to_string().contains("6.1"));
    }

    #[test]
    fn the_limit_of_locked_memory_is_printed_with_the_need() {
        let refused = setup(Errno::NOMEM, Facts { memlock_bytes: Some(64 << 10), ..MODERN });
        assert_eq!(refused, SetupError::MemoryLocked { limit_bytes: 64 << 10, needed_bytes: 200 << 10 });
        let text = refused.to_string();
        assert!(text.contains("RLIMIT_MEMLOCK is 64 KiB") && text.contains("200 KiB"), "{text}");
        assert_eq!(setup(Errno::NOMEM, Facts { memlock_bytes: None, ..MODERN }), SetupError::OutOfMemory);
        assert_eq!(classify(Step::Memory, Errno::NOMEM, &MODERN, 0), SetupError::OutOfMemory);
        let narrow = Facts { address_space_bytes: Some(64 << 20), ..MODERN };
        let refused = classify(Step::Memory, Errno::NOMEM, &narrow, 0);
        assert!(refused.to_string().contains("RLIMIT_AS is 65536 KiB"), "{refused}");
    }

    #[test]
    fn other_limits_keep_their_name() {
        assert_eq!(setup(Errno::MFILE, MODERN), SetupError::OpenFiles { limit: Some(1024) });
        assert_eq!(setup(Errno::FAULT, MODERN), SetupError::Other(Errno::FAULT));
    }

    #[test]
    fn proc_is_read_as_the_kernel_prints_it() {
        assert_eq!(parse_release("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(parse_release("5.15-generic"), Some((5, 15)));
        assert_eq!(parse_release("strange"), None);
        let status = "Gid:\t100\t100\t100\t100\nGroups:\t4 27 \nCapEff:\t0000000000200000\nSeccomp:\t2\n";
        assert!(is_exempt(status, None));
        let plain = "Gid:\t100\t100\t100\t100\nGroups:\t4 27 \nCapEff:\t0000000000000000\n";
        assert!(is_exempt(plain, Some(27)) && is_exempt(plain, Some(100)));
        assert!(!is_exempt(plain, Some(7)) && !is_exempt(plain, None));
        assert!(Facts::read().kernel > (0, 0));
    }
}
