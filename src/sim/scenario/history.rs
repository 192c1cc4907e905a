//! Every relayed message of a run, and what became of it.
//!
//! ```text
//!            ┌─► delivered to each whom it was for, once, in order
//! recorded ──┼─► came back: its sender is told, and an event is published
//!            └─► never accepted: its connection ended before it was read
//! ```
//!
//! A message carries its serial number, so that a delivery names its message. What came back names
//! it too in `binary`; the texts of the others name kind and target, so those are counted.

use std::collections::BTreeMap;

use super::oracle::{Promise, Violation};
use crate::observe::{Detail, Event};

/// Who sends, or hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A connection.
    Actor(usize),
    /// A socket of Socket.IO.
    Station(usize),
    /// A seat that sends by requests.
    Session(usize),
}

/// A space of ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    Realm(u16),
    Room(usize),
    /// A group of stations.
    Group(usize),
    /// By its name.
    Call(String),
}

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub space: Space,
    pub id: String,
}

/// What events and errors call a message: dialect, type, target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    pub dialect: &'static str,
    pub kind: &'static str,
    pub target: String,
}

impl Label {
    fn words(&self) -> [String; 3] {
        [self.dialect.to_owned(), self.kind.to_owned(), self.target.clone()]
    }
}

#[derive(Debug)]
pub struct Message {
    pub from: Party,
    /// The ids that its sender may truly have when it is carried out.
    pub senders: Vec<String>,
    /// More than one where that depends on what its sender is called by then. The id is empty where
    /// everybody in the space but its sender is meant.
    pub to: Vec<Address>,
    /// A `binary` frame: what comes back names it.
    pub is_exact: bool,
    /// Its sender may be refused it for not having joined, or for sending too much.
    pub is_loose: bool,
    /// There may be no room in its frame for the sender's name.
    pub is_long: bool,
    /// The kind by which its sender is told when it comes back, in a text that does not name it;
    /// `None` where it is not told.
    pub told_as: Option<&'static str>,
    /// One for each whom it is for, who is named where there are several.
    pub copies: Vec<(Label, Option<Party>)>,
    pub delivered: Vec<Party>,
    /// Errors that named it.
    pub told: u32,
    /// It was refused before it was carried out.
    pub refused: u32,
    /// Events that named it.
    pub published: u32,
}

/// A kind and target, of one sender.
type OwnLabel = (Party, Label);

#[derive(Default)]
pub struct History {
    messages: Vec<Message>,
    /// The last that a sender's target has heard.
    last: BTreeMap<(Party, Party), u64>,
    /// By sender: what it sent before this one, the server has read.
    read_before: BTreeMap<Party, u64>,
    told: BTreeMap<OwnLabel, u64>,
    /// By dialect, type and target.
    published: BTreeMap<[String; 3], u64>,
    pub deliveries: u64,
    /// Those to connections.
    pub actor_deliveries: u64,
    /// Events of calls that carry no number.
    peers_came: u64,
}

impl History {
    /// The number that the next message is to carry.
    pub fn next_serial(&self) -> u64 {
        self.messages.len() as u64
    }

    pub fn record(&mut self, message: Message) -> u64 {
        self.messages.push(message);
        self.messages.len() as u64 - 1
    }

    pub fn message_mut(&mut self, serial: u64) -> Option<&mut Message> {
        self.messages.get_mut(usize::try_from(serial).ok()?)
    }

    /// `sender` is what the message says of itself.
    pub fn delivered(
        &mut self,
        serial: u64,
        hearer: Party,
        sender: Option<&str>,
    ) -> Result<&Message, Violation> {
        let Some(message) = self.messages.get_mut(serial as usize) else {
            return Err(
                Promise::NoCrossTalk.broken(format!("{hearer:?} got {serial}, which nobody has sent"))
            );
        };
        if message.delivered.contains(&hearer) {
            return Err(Promise::AtMostOnce.broken(format!("{hearer:?} got {serial} twice: {message:?}")));
        }
        if let Some(sender) = sender
            && !message.senders.iter().any(|id| id == sender)
        {
            let words = format!("{serial} says that {sender:?} has sent it: {message:?}");
            return Err(Promise::NoImpersonation.broken(words));
        }
        message.delivered.push(hearer);
        self.deliveries += 1;
        self.actor_deliveries += u64::from(matches!(hearer, Party::Actor(_)));
        let last = self.last.insert((message.from, hearer), serial);
        if last.is_some_and(|last| last > serial) {
            let words = format!("{hearer:?} got {serial} behind {last:?} of {:?}", message.from);
            return Err(Promise::Order.broken(words));
        }
        Ok(&self.messages[serial as usize])
    }

    /// A question that was asked before the message of this number has been answered, and input is
    /// used in its order.
    pub fn read_before(&mut self, sender: Party, next_serial: u64) {
        self.read_before.insert(sender, next_serial);
    }

    pub fn peer_came(&mut self) {
        self.peers_came += 1;
    }

    /// An error of `binary`, which names its message.
    pub fn told_exactly(&mut self, serial: u64, hearer: Party, is_refusal: bool) -> Result<(), Violation> {
        let Some(message) = self.message_mut(serial).filter(|message| message.from == hearer) else {
            let words = format!("{hearer:?} was told of {serial}, which it has not sent");
            return Err(Promise::NoCrossTalk.broken(words));
        };
        if is_refusal {
            message.refused += 1;
        } else {
            message.told += 1;
        }
        Ok(())
    }

    /// An error of a text dialect, which names kind and target.
    pub fn told(&mut self, hearer: Party, label: Label) {
        *self.told.entry((hearer, label)).or_default() += 1;
    }

    /// What is published of a message that did not arrive. `serial_of` reads the number in a uuid.
    pub fn published(
        &mut self,
        event: &Event,
        serial_of: impl Fn(&str) -> Option<u64>,
    ) -> Result<(), Violation> {
        let text = |name: &str| match event.details.iter().find(|(key, _)| *key == name) {
            Some((_, Detail::Text(text))) => text.as_str(),
            _ => "",
        };
        if let Some(serial) = serial_of(text("uuid")) {
            let Some(message) = self.message_mut(serial) else {
                let words = format!("published of a message that nobody has sent: {event:?}");
                return Err(Promise::NoSilentLoss.broken(words));
            };
            message.published += 1;
            return Ok(());
        }
        let label = ["dialect", "message_type", "target"].map(|name| text(name).to_owned());
        *self.published.entry(label).or_default() += 1;
        Ok(())
    }

    /// Whether everything is accounted for, once nothing moves any more. `is_open` tells of a sender
    /// whether its connection has lasted to the end.
    pub fn check(&self, is_open: impl Fn(Party) -> bool) -> Result<(), Violation> {
        let known_to = self.last_accepted();
        let is_read = |sender: &Party, serial: u64| {
            known_to.get(sender).is_some_and(|last| serial <= *last)
                || self.read_before.get(sender).is_some_and(|next| serial < *next)
        };
        let mut counts: BTreeMap<&Label, Count> = BTreeMap::new();
        let mut own: BTreeMap<OwnLabel, Count> = BTreeMap::new();
        for (serial, message) in self.messages.iter().enumerate() {
            let serial = serial as u64;
            let is_accepted = !message.is_loose && (is_open(message.from) || is_read(&message.from, serial));
            if message.is_exact {
                message.check_exact(serial, is_accepted, is_open(message.from))?;
                continue;
            }
            for (index, (label, hearer)) in message.copies.iter().enumerate() {
                let is_delivered = match hearer {
                    Some(hearer) => message.delivered.contains(hearer),
                    None => index < message.delivered.len(),
                };
                let add = |count: &mut Count| {
                    count.sent += 1;
                    count.accepted += u64::from(is_accepted);
                    count.delivered += u64::from(is_delivered);
                };
                add(counts.entry(label).or_default());
                if let Some(kind) = message.told_as.filter(|_| is_open(message.from)) {
                    let count = own.entry((message.from, Label { kind, ..label.clone() })).or_default();
                    // Of a group, its sender is told of one at most.
                    match hearer {
                        None => add(count),
                        Some(_) => count.perhaps += u64::from(!is_delivered),
                    }
                }
            }
        }
        let mut published = self.published.clone();
        for (label, mut count) in counts {
            if label.kind == "PEER" {
                count.delivered = self.peers_came;
            }
            let came_back = published.remove(&label.words()).unwrap_or(0);
            count.check(came_back, &format!("{label:?}, by events"))?;
        }
        if let Some((label, times)) = published.pop_first() {
            let words = format!("published {times} times, and nobody has sent it: {label:?}");
            return Err(Promise::AtMostOnce.broken(words));
        }
        let mut told = self.told.clone();
        told.retain(|(party, _), _| is_open(*party));
        for (own_label, count) in own {
            let which = format!("{own_label:?}, as it was told");
            count.check(told.remove(&own_label).unwrap_or(0), &which)?;
        }
        if let Some((own_label, times)) = told.pop_first() {
            let words = format!("told {times} times, and nothing was sent: {own_label:?}");
            return Err(Promise::NoCrossTalk.broken(words));
        }
        Ok(())
    }

    /// By sender: input is used in its order, so what came before a message that had an outcome was
    /// accepted too.
    fn last_accepted(&self) -> BTreeMap<Party, u64> {
        let mut last = BTreeMap::new();
        for (serial, message) in self.messages.iter().enumerate() {
            if !message.delivered.is_empty() || message.told + message.refused + message.published > 0 {
                last.insert(message.from, serial as u64);
            }
        }
        last
    }
}

impl Message {
    fn check_exact(&self, serial: u64, is_accepted: bool, is_open: bool) -> Result<(), Violation> {
        let broken =
            |promise: Promise, words: &str| Err(promise.broken(format!("{serial} {words}: {self:?}")));
        let arrivals = self.delivered.len() as u32;
        if arrivals > 0 && self.told + self.published > 0 {
            return broken(Promise::AtMostOnce, "was delivered, and came back");
        }
        if self.told > 1 || self.published > 1 || self.refused > 1 {
            return broken(Promise::AtMostOnce, "came back twice");
        }
        if is_accepted && arrivals + self.published + self.refused == 0 {
            return broken(Promise::NoSilentLoss, "is lost");
        }
        if is_open && self.told != self.published {
            return broken(Promise::NoSilentLoss, "came back, and its sender was not told");
        }
        Ok(())
    }
}

/// Of messages that errors and events cannot tell apart.
#[derive(Default)]
struct Count {
    sent: u64,
    /// At least so many of them were read by the server.
    accepted: u64,
    delivered: u64,
    /// Further ones that may have come back too.
    perhaps: u64,
}

impl Count {
    fn check(&self, came_back: u64, which: &str) -> Result<(), Violation> {
        let Count { sent, accepted, delivered, perhaps } = self;
        let outcomes = delivered + came_back;
        let words = || {
            format!(
                "{sent} sent, {accepted} accepted for certain, {delivered} delivered, {came_back} came back: {which}"
            )
        };
        if outcomes > *sent + perhaps {
            return Err(Promise::AtMostOnce.broken(words()));
        }
        if outcomes < *accepted {
            return Err(Promise::NoSilentLoss.broken(words()));
        }
        Ok(())
    }
}
