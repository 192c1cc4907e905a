//! What a token's role allows: which messages, and to whom.

use super::message::MessageType;

/// What the operator allows one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    /// `None`: everything.
    may_send: Option<Vec<MessageType>>,
    /// Roles of those whom it may send to; `None`: everybody.
    to: Option<Vec<String>>,
}

/// No message of a client is called so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMessageType(pub String);

impl Role {
    /// `may_send` names message types.
    ///
    /// # Errors
    /// [`UnknownMessageType`] with the first name that is none.
    pub fn new(
        name: String,
        may_send: Option<&[String]>,
        to: Option<Vec<String>>,
    ) -> Result<Role, UnknownMessageType> {
        let read = |word: &String| MessageType::of_word(word).ok_or_else(|| UnknownMessageType(word.clone()));
        let may_send = may_send.map(|words| words.iter().map(read).collect()).transpose()?;
        Ok(Role { name, may_send, to })
    }

    /// Nobody could do what a role allows without being registered, and a `ping` does nothing: these
    /// two are always allowed.
    pub(super) fn may_send(&self, message_type: MessageType) -> bool {
        matches!(message_type, MessageType::Register | MessageType::Ping)
            || self.may_send.as_ref().is_none_or(|types| types.contains(&message_type))
    }

    /// The roles to which it may send; `None` for everybody.
    pub(super) fn to(&self) -> Option<&[String]> {
        self.to.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_names_message_types_of_clients_only() {
        let role = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            Role::new("operator".to_owned(), Some(&words), None)
        };
        assert!(role(&["register", "offer", "answer", "ice", "list", "ping"]).is_ok());
        for word in ["Offer", "pong", "registered", "candidate", ""] {
            assert_eq!(role(&["offer", word]), Err(UnknownMessageType(word.to_owned())));
        }
    }
}
