//! What a listener can serve, and the HTTP paths that each service claims.

use std::fmt;

/// A dialect, or an HTTP service beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    Binary,
    Rooms,
    Broadcast,
    Calls,
    Devices,
    RoomsApi,
    DevicesHealth,
    CallsHealth,
    Metrics,
    Admin,
    Echo,
}

impl Service {
    /// Those that one port tells apart, in the order of their documents.
    pub const DIALECTS: [Service; 5] =
        [Service::Binary, Service::Rooms, Service::Broadcast, Service::Calls, Service::Devices];

    pub const ALL: [Service; 11] = [
        Service::Binary,
        Service::Rooms,
        Service::Broadcast,
        Service::Calls,
        Service::Devices,
        Service::RoomsApi,
        Service::DevicesHealth,
        Service::CallsHealth,
        Service::Metrics,
        Service::Admin,
        Service::Echo,
    ];

    /// As in `serves`.
    pub fn name(self) -> &'static str {
        match self {
            Service::Binary => "binary",
            Service::Rooms => "rooms",
            Service::Broadcast => "broadcast",
            Service::Calls => "calls",
            Service::Devices => "devices",
            Service::RoomsApi => "rooms-api",
            Service::DevicesHealth => "devices-health",
            Service::CallsHealth => "calls-health",
            Service::Metrics => "metrics",
            Service::Admin => "admin",
            Service::Echo => "echo",
        }
    }

    pub fn from_name(name: &str) -> Option<Service> {
        Service::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Whether this version has it. What is known but not available is left out with a warning.
    pub fn is_available(self) -> bool {
        self != Service::Admin
    }

    /// Paths that this service alone can answer on a listener. A trailing slash stands for all
    /// paths below. WebSocket paths are no claims: there the first message decides. Nor is the line
    /// of text that `broadcast` has at `/`, which yields to anything else.
    fn paths(self) -> &'static [&'static str] {
        match self {
            Service::Binary | Service::Devices => &[],
            Service::Rooms | Service::RoomsApi => &[
                "/anonymous-signin",
                "/create-room",
                "/delete-peers-and-room",
                "/delete-peer",
                "/.well-known/jwks.json",
                "/health",
                "/metrics",
            ],
            Service::Broadcast => &["/socket.io/"],
            Service::Calls => &["/call/", "/signal"],
            Service::DevicesHealth => &["/health"],
            Service::CallsHealth => &["/healthz", "/debug/pprof/profile"],
            Service::Metrics => &["/metrics", "/health", "/ready"],
            Service::Admin => &["/admin/"],
            Service::Echo => &["/"],
        }
    }

    /// A path that both would answer. The HTTP API of `rooms` is the same thing under two names.
    pub(super) fn clash(self, other: Service) -> Option<&'static str> {
        if matches!((self, other), (Service::Rooms | Service::RoomsApi, Service::Rooms | Service::RoomsApi)) {
            return None;
        }
        // The echo answers whatever comes, the first WebSocket message too.
        if self == Service::Echo || other == Service::Echo {
            return Some("/");
        }
        self.paths().iter().copied().find(|path| other.paths().contains(path))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for service in Service::ALL {
            assert_eq!(Service::from_name(service.name()), Some(service));
        }
        assert_eq!(Service::from_name("Binary"), None);
    }

    #[test]
    fn the_five_dialects_share_a_listener() {
        let dialects = [
            Service::Binary,
            Service::Rooms,
            Service::Broadcast,
            Service::Calls,
            Service::Devices,
            Service::RoomsApi,
        ];
        for left in dialects {
            for right in dialects {
                assert!(left == right || left.clash(right).is_none(), "{left} {right}");
            }
        }
    }

    #[test]
    fn two_owners_of_one_path_clash_either_way_round() {
        for (left, right, path) in [
            (Service::Metrics, Service::DevicesHealth, "/health"),
            (Service::Metrics, Service::RoomsApi, "/metrics"),
            (Service::Rooms, Service::DevicesHealth, "/health"),
            (Service::Echo, Service::Binary, "/"),
        ] {
            assert_eq!(left.clash(right), Some(path), "{left} {right}");
            assert!(right.clash(left).is_some(), "{right} {left}");
        }
        assert_eq!(Service::Metrics.clash(Service::CallsHealth), None);
    }
}
