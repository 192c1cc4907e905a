//! What the included modules name of the floor of the dialects.

/// A number in the place of a message.
pub struct OwnedDelivery(pub usize);
