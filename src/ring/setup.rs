//! Asking the kernel for a ring.

use std::io;

use io_uring::{IoUring, Probe, opcode};
use rustix::io::Errno;

use super::buffers::{BUFFER_GROUP, Buffers};
use super::refusal::{Facts, SetupError, Step, classify};
use super::settings::Settings;

/// A ring with its receive buffers registered, on the thread that will drive it: SINGLE_ISSUER
/// binds it there.
pub(super) fn create(settings: &Settings) -> Result<(IoUring, Buffers), SetupError> {
    settings.check().map_err(SetupError::Settings)?;
    let refused = |step, error| classify(step, errno_of(&error), &Facts::read(), settings.locked_bytes());

    let mut builder = IoUring::builder();
    // One thread submits and reaps, and it wants the kernel's deferred work only when it asks for
    // completions: no interrupt of the turn, and whole batches at a time.
    builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun();
    // One operation on a dead socket must not hold up those queued behind it.
    builder.setup_submit_all();
    builder.setup_cqsize(settings.cq_entries);
    if settings.busy_poll_us > 0 {
        // A flag in shared memory says that work is waiting, so spinning needs no system call.
        builder.setup_taskrun_flag();
    }
    let uring = builder.build(settings.sq_entries).map_err(|error| refused(Step::Setup, error))?;
    check_offers(&uring)?;

    let buffers = Buffers::map(settings.buffers_count, settings.buffer_bytes)
        .map_err(|errno| refused(Step::Memory, errno.into()))?;
    // SAFETY: the address is the page-aligned start of a mapping of `buffers_count` entries. It
    // lives in `Buffers`, which `Ring` unmaps only after it has closed the ring, or never.
    unsafe {
        uring.submitter().register_buf_ring(buffers.ring_address(), settings.buffers_count, BUFFER_GROUP)
    }
    .map_err(|error| refused(Step::BufferRing, error))?;
    Ok((uring, buffers))
}

/// The kernel's error number; what is none (the crate made the error itself) counts as EINVAL.
pub(super) fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::INVAL)
}

/// Operations, and the name that an operator finds in the manual.
const OPERATIONS: [(u8, &str); 6] = [
    (opcode::RecvMulti::CODE, "IORING_OP_RECV"),
    (opcode::Send::CODE, "IORING_OP_SEND"),
    (opcode::AcceptMulti::CODE, "IORING_OP_ACCEPT"),
    (opcode::AsyncCancel2::CODE, "IORING_OP_ASYNC_CANCEL"),
    (opcode::MsgRingData::CODE, "IORING_OP_MSG_RING"),
    (opcode::Timeout::CODE, "IORING_OP_TIMEOUT"),
];

fn check_offers(uring: &IoUring) -> Result<(), SetupError> {
    let too_old = |missing| {
        let kernel = Facts::read().kernel;
        Err(SetupError::KernelTooOld { kernel, missing })
    };
    let params = uring.params();
    // No completion is ever dropped, a submission's parameters are read at once, and a bell that
    // rang needs no answer.
    if !(params.is_feature_nodrop() && params.is_feature_submit_stable()) {
        return too_old("IORING_FEAT_NODROP and IORING_FEAT_SUBMIT_STABLE");
    }
    if !params.is_feature_skip_cqe_on_success() {
        return too_old("IORING_FEAT_CQE_SKIP");
    }
    let mut probe = Probe::new();
    if uring.submitter().register_probe(&mut probe).is_err() {
        return too_old("IORING_REGISTER_PROBE");
    }
    match OPERATIONS.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => too_old(name),
        None => Ok(()),
    }
}
