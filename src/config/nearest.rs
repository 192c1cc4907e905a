//! The known name that someone most likely meant.

/// The closest of `known`, or nothing if there is none.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Jaro-Winkler finds what begins the same and was cut short, Damerau-Levenshtein a slip of the
    // finger; neither does well alone.
    let likeness = |candidate: &str| {
        strsim::jaro_winkler(name, candidate) + strsim::normalized_damerau_levenshtein(name, candidate)
    };
    known.into_iter().max_by(|left, right| likeness(left).total_cmp(&likeness(right)))
}

/// The end of a complaint about an unknown name.
pub(super) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|found| format!(", did you mean `{found}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_key() {
        let known = ["host", "port", "max_connections", "max_message_bytes", "heartbeat_interval"];
        for (typed, meant) in [
            ("prot", "port"),
            ("hots", "host"),
            ("maxconnections", "max_connections"),
            ("max_message_byte", "max_message_bytes"),
            ("heartbeat", "heartbeat_interval"),
            ("max_conns", "max_connections"),
        ] {
            assert_eq!(nearest(typed, known), Some(meant), "{typed}");
        }
        assert_eq!(nearest("port", []), None);
    }
}
