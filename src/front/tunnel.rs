//! One connection's bytes as a stream: what hyper reads from and writes to in place of a socket.
//!
//! ```text
//!            poll_read takes                       Bytes                 at most one window
//! hyper ◄──────────────── intake ◄──────────────────────────── shard     that is not credited
//!            Credit, a quarter window at a time ──────────────►          yet, each way
//!
//!            poll_write                            Bytes
//! hyper ──────► as much as the window has room for ──────────► shard ──► socket
//!            Pending when there is none; wakes with ◄── Credit
//! ```
//!
//! How a tunnel ends on this side, each exactly once and as its last step:
//!
//! | the stream | step | the shard |
//! |---|---|---|
//! | was shut down, then dropped | `End` | sends what it has, then closes |
//! | was dropped without it, all bytes taken | `Reset` | closes at once |
//! | was dropped without it, bytes on their way | `End` | sends what it has, then closes |
//! | was given back | `Return` | keeps the connection as a WebSocket |
//!
//! What the shard sends behind that comes back as `Unused`.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::intake::Intake;
use super::outbound::{Outbound, Outgoing};
use crate::base::PeerKey;
use crate::mesh::{Returned, TunnelStep, Upgrade};
use crate::wire::http::HeadError;

/// The connection's end that libraries live on. It may go to another thread.
pub struct TunnelStream {
    tunnel: Arc<Tunnel>,
}

/// What the stream, the pump and the exchange's task share of one tunnel.
pub(super) struct Tunnel {
    peer: PeerKey,
    window_bytes: usize,
    outbound: Arc<Outbound>,
    state: Mutex<State>,
    reset: Notify,
}

struct State {
    /// From the shard and not read yet.
    intake: Intake,
    /// Everything that has come from the shard.
    received_bytes: u64,
    /// Read, but the shard has not been credited for it. Below zero: bytes of a cut head, for which
    /// it was credited before they can be read, since the whole head might not fit in the window.
    uncredited_bytes: i64,
    input: Input,
    reader: Option<Waker>,
    /// Written, but the shard has not credited it.
    outstanding_bytes: usize,
    output: Output,
    writer: Option<Waker>,
    /// Counts what moves in either direction.
    progress: u64,
}

#[derive(Default, PartialEq, Eq, Clone, Copy)]
enum Input {
    #[default]
    Open,
    Ended,
    Reset,
}

#[derive(Default, PartialEq, Eq, Clone, Copy)]
enum Output {
    #[default]
    Open,
    /// `End` has been sent.
    Ended,
    /// The stream is gone or given back: nothing is sent any more, and nothing taken.
    Closed,
}

impl TunnelStream {
    pub(super) fn new(
        peer: PeerKey,
        window_bytes: usize,
        head_bytes_max: usize,
        outbound: Arc<Outbound>,
    ) -> TunnelStream {
        let state = Mutex::new(State::new(head_bytes_max));
        let tunnel = Tunnel { peer, window_bytes, outbound, state, reset: Notify::new() };
        TunnelStream { tunnel: Arc::new(tunnel) }
    }

    /// The connection that this stream carries.
    pub fn peer(&self) -> PeerKey {
        self.tunnel.peer
    }

    pub(super) fn tunnel(&self) -> Arc<Tunnel> {
        self.tunnel.clone()
    }

    /// Ends the stream as a WebSocket of its shard. `read_ahead` is what the library had read and
    /// not used.
    pub(super) fn give_back(self, read_ahead: &[u8], upgrade: Upgrade) {
        let mut state = self.tunnel.state.lock();
        if state.output != Output::Open || state.input == Input::Reset {
            return;
        }
        state.output = Output::Closed;
        let mut rest = BytesMut::from(read_ahead);
        for bytes in state.intake.drain() {
            rest.extend_from_slice(&bytes);
        }
        let returned = Returned { received_bytes: state.received_bytes, rest: rest.freeze(), upgrade };
        self.tunnel.send(TunnelStep::Return(Box::new(returned)));
    }
}

impl State {
    fn new(head_bytes_max: usize) -> State {
        State {
            intake: Intake::new(head_bytes_max),
            received_bytes: 0,
            uncredited_bytes: 0,
            input: Input::default(),
            reader: None,
            outstanding_bytes: 0,
            output: Output::default(),
            writer: None,
            progress: 0,
        }
    }

    fn may_become_ready(&self) -> bool {
        self.intake.is_held() || self.input == Input::Open && !self.intake.has_ended()
    }
}

/// The pump's and the task's side. The outbound queue is pushed to under the state's lock, so that
/// the steps of one tunnel keep their order.
impl Tunnel {
    /// Takes bytes from the shard, or hands them back when nobody is there to read them.
    pub(super) fn receive(&self, bytes: Bytes) -> Result<(), Bytes> {
        let state = &mut *self.state.lock();
        if state.output == Output::Closed {
            return Err(bytes);
        }
        state.received_bytes += bytes.len() as u64;
        state.progress += 1;
        self.feed(state, |intake| intake.take(bytes));
        state.reader.take().into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// The response to the request of this number, counted from 0, is on its way to hyper.
    pub(super) fn answered(&self, number: u64, is_switching: bool) {
        let state = &mut *self.state.lock();
        self.feed(state, |intake| intake.answered(number, is_switching));
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Why the request of this number is not served.
    pub(super) fn refusal(&self, number: u64) -> Option<HeadError> {
        self.state.lock().intake.refusal(number)
    }

    pub(super) fn credit(&self, bytes: u32) {
        let mut state = self.state.lock();
        debug_assert!(state.outstanding_bytes >= bytes as usize, "a shard credits what it was sent");
        state.outstanding_bytes = state.outstanding_bytes.saturating_sub(bytes as usize);
        state.progress += 1;
        state.writer.take().into_iter().for_each(Waker::wake);
    }

    pub(super) fn end_input(&self) {
        let mut state = self.state.lock();
        if state.input == Input::Open {
            state.input = Input::Ended;
            state.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    /// The connection is gone: whoever uses the stream sees an error, and [`Tunnel::was_reset`]
    /// resolves.
    pub(super) fn reset(&self) {
        let mut state = self.state.lock();
        state.input = Input::Reset;
        state.intake.drain().for_each(drop);
        state.reader.take().into_iter().for_each(Waker::wake);
        state.writer.take().into_iter().for_each(Waker::wake);
        self.reset.notify_one();
    }

    /// For one waiter.
    pub(super) async fn was_reset(&self) {
        self.reset.notified().await;
    }

    /// As if the stream had been shut down: dropping it now closes the connection in good order.
    pub(super) fn end_output(&self) {
        let mut state = self.state.lock();
        if state.output == Output::Open && state.input != Input::Reset {
            state.output = Output::Ended;
            self.send(TunnelStep::End);
        }
    }

    /// Differs between two calls when a byte has moved in between.
    pub(super) fn progress(&self) -> u64 {
        self.state.lock().progress
    }

    /// Whether hyper has not read all that has come, be it the beginning of a head.
    pub(super) fn has_unread(&self) -> bool {
        !self.state.lock().intake.is_empty()
    }

    fn send(&self, step: TunnelStep) {
        self.outbound.push(self.peer, Outgoing::Step(step));
    }

    /// Credits in steps, so that a stream read byte by byte does not cost a parcel a byte. What is
    /// held back is less than a quarter of the window: the shard never waits for it.
    fn note_read(&self, state: &mut State, bytes: i64) {
        state.uncredited_bytes += bytes;
        // `End` is the last step, whatever is thrown away behind it.
        if state.output == Output::Open && state.uncredited_bytes >= self.window_bytes.div_ceil(4) as i64 {
            // A window fits in a u32, and this is not more.
            self.send(TunnelStep::Credit(state.uncredited_bytes as u32));
            state.uncredited_bytes = 0;
        }
    }

    /// Credits what is thrown away, and a cut head for as long as it is one.
    fn feed(&self, state: &mut State, what: impl FnOnce(&mut Intake) -> usize) {
        let cut_before = state.intake.cut_bytes();
        let thrown_bytes = what(&mut state.intake);
        let cut_more = state.intake.cut_bytes() as i64 - cut_before as i64;
        self.note_read(state, thrown_bytes as i64 + cut_more);
    }

    /// Room in the window, or why there is none.
    fn poll_room(&self, state: &mut State, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        if state.input == Input::Reset {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        if state.output != Output::Open {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let room = self.window_bytes.saturating_sub(state.outstanding_bytes);
        if room == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(room))
    }

    fn write(&self, state: &mut State, bytes: Bytes) -> usize {
        let written = bytes.len();
        state.outstanding_bytes += written;
        self.send(TunnelStep::Bytes(bytes));
        written
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tunnel = &*self.tunnel;
        let state = &mut *tunnel.state.lock();
        if state.input == Input::Reset {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        let taken = state.intake.read(buf.remaining(), |bytes| buf.put_slice(bytes));
        if taken > 0 {
            tunnel.note_read(state, taken as i64);
        } else if buf.remaining() > 0 && state.may_become_ready() {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tunnel = &*self.tunnel;
        let state = &mut *tunnel.state.lock();
        let offered = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if offered == 0 {
            return Poll::Ready(Ok(0));
        }
        let room = std::task::ready!(tunnel.poll_room(state, cx))?;
        let mut bytes = BytesMut::with_capacity(room.min(offered));
        for buf in bufs {
            let part = buf.len().min(room - bytes.len());
            bytes.extend_from_slice(&buf[..part]);
        }
        Poll::Ready(Ok(tunnel.write(state, bytes.freeze())))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written is in the pump's queue, and on its way.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tunnel.end_output();
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        let mut state = self.tunnel.state.lock();
        let before = std::mem::replace(&mut state.output, Output::Closed);
        state.intake.drain().for_each(drop);
        let last = match (before, state.input) {
            (Output::Closed, _) => return,
            (Output::Open, Input::Open | Input::Ended) if state.outstanding_bytes > 0 => {
                // Whole answers may be among what the client has not taken yet.
                self.tunnel.send(TunnelStep::End);
                Outgoing::Gone
            }
            (Output::Open, Input::Open | Input::Ended) => Outgoing::Step(TunnelStep::Reset),
            (Output::Ended, _) | (_, Input::Reset) => Outgoing::Gone,
        };
        self.tunnel.outbound.push(self.tunnel.peer, last);
    }
}
