//! Message types and errors of all dialects in one row each, as the metrics count them.

use super::{binary, broadcast, calls, devices, rooms};

/// What a message is called in the metrics: its position in [`MESSAGE_LABELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLabel(pub u8);

type Label = (&'static str, &'static str);

const MESSAGES: [&[Label]; 5] = [
    binary::MESSAGE_LABELS,
    rooms::MESSAGE_LABELS,
    devices::MESSAGE_LABELS,
    calls::MESSAGE_LABELS,
    broadcast::MESSAGE_LABELS,
];

const ERRORS: [&[Label]; 5] = [
    binary::ERROR_LABELS,
    rooms::ERROR_LABELS,
    devices::ERROR_LABELS,
    calls::ERROR_LABELS,
    broadcast::ERROR_LABELS,
];

/// Dialect and message type, by [`MessageLabel`].
pub const MESSAGE_LABELS: &[Label] = &row::<{ first(&MESSAGES, 5) as usize }>(&MESSAGES);

/// Dialect and error, by the number that [`Surroundings::count_error`](super::Surroundings::count_error) takes.
pub const ERROR_LABELS: &[Label] = &row::<{ first(&ERRORS, 5) as usize }>(&ERRORS);

/// Where each dialect's message labels begin.
pub(super) const ROOMS_MESSAGES: u8 = first(&MESSAGES, 1);
pub(super) const DEVICES_MESSAGES: u8 = first(&MESSAGES, 2);
pub(super) const CALLS_MESSAGES: u8 = first(&MESSAGES, 3);
pub(super) const BROADCAST_MESSAGES: u8 = first(&MESSAGES, 4);

/// Where each dialect's errors begin.
pub(super) const ROOMS_ERRORS: u8 = first(&ERRORS, 1);
pub(super) const DEVICES_ERRORS: u8 = first(&ERRORS, 2);
pub(super) const CALLS_ERRORS: u8 = first(&ERRORS, 3);
pub(super) const BROADCAST_ERRORS: u8 = first(&ERRORS, 4);

const fn first(lists: &[&[Label]; 5], before: usize) -> u8 {
    let (mut total, mut list) = (0, 0);
    while list < before {
        total += lists[list].len();
        list += 1;
    }
    assert!(total <= crate::observe::LABELS_MAX);
    total as u8
}

const fn row<const N: usize>(lists: &[&[Label]; 5]) -> [Label; N] {
    let mut row = [("", ""); N];
    let (mut at, mut list) = (0, 0);
    while list < lists.len() {
        let mut index = 0;
        while index < lists[list].len() {
            row[at] = lists[list][index];
            at += 1;
            index += 1;
        }
        list += 1;
    }
    row
}
