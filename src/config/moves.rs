//! Listeners that flags and variables move to another address, or add.
//!
//! Where two of them want the same listener, the one of the higher [`Rank`] has its way, and a
//! warning names the other.

use super::bind::{HOSTS, addresses, bind_of, host_addresses};
use super::certificates::TlsChoice;
use super::environment::{PORT, Rank};
use super::listeners::{Decision, Door, Draft, MAIN, services, shared};
use super::problem::Place;
use super::reader::Reader;
use super::{Address, Listener, Origins, Service};

/// A whole address for one service.
pub(super) struct Move {
    pub(super) bind: String,
    pub(super) addresses: Vec<Address>,
    /// A variable or a flag.
    pub(super) place: Place,
    pub(super) rank: Rank,
}

/// Variables for host, port and services of `[server]` hold for the listener called `main`.
pub(super) fn move_main(reader: &mut Reader, drafts: &mut [Draft], door: &Door) {
    for (key, place) in
        [("host", &door.host.place), ("port", &door.port.place), ("serves", &door.serves.place)]
    {
        if let Place::Line(_) = place {
            reader.warn(format!("`{key}` in [server] has no effect, since the file has [[listener]]"));
        }
    }
    let decisions = [door.host.decision(), door.port.decision(), door.serves.decision()];
    let Some(main) = drafts.iter_mut().find(|draft| draft.listener.name == MAIN) else {
        for decision in decisions.into_iter().flatten() {
            let name = decision.name;
            reader.warn(format!("{name} has no effect, since no [[listener]] is called `{MAIN}`"));
        }
        return;
    };
    let [host, port, serves] = decisions;
    if let (Some(_), Some(names)) = (serves, &door.serves.value) {
        main.wanted = services(reader, "listener main", names, &door.serves.place);
    }
    let Some(decision) = host.clone().max(port.clone()) else { return };
    let (old_host, old_port) = main.listener.bind.rsplit_once(':').unwrap_or_default();
    let new_host = if host.is_some() { &door.host.value } else { old_host };
    let new_port = if port.is_some() { door.port.value } else { old_port.parse().unwrap_or_default() };
    let Some(found) = host_addresses(new_host, new_port) else {
        reader.problem(door.host.place.clone(), format!("`host` in [server] must be {HOSTS}"));
        return;
    };
    let bind = bind_of(new_host, new_port);
    main.place = if port.is_some() { door.port.place.clone() } else { door.host.place.clone() };
    main.listener.bind = bind;
    main.listener.addresses = found;
    main.decision = Some(decision);
}

/// Moves the listener that serves `service` alone, else the first one that serves it, else adds
/// one.
pub(super) fn move_service(
    reader: &mut Reader,
    drafts: &mut Vec<Draft>,
    service: Service,
    wish: Option<&Move>,
    tls: &TlsChoice,
) {
    let Some(wish) = wish else { return };
    let Place::Variable(name) = &wish.place else { return };
    let decision = Decision { rank: wish.rank, name: name.clone() };
    let alone = drafts.iter().position(|draft| draft.wanted == [service]);
    let found = alone.or_else(|| drafts.iter().position(|draft| draft.wanted.contains(&service)));
    let Some(draft) = found.and_then(|index| drafts.get_mut(index)) else {
        drafts.push(Draft {
            listener: Listener {
                name: service.name().to_owned(),
                bind: wish.bind.clone(),
                addresses: wish.addresses.clone(),
                serves: Vec::new(),
                expose_shard: false,
                origins: Origins::Any,
                tls: TlsChoice::Silent.or(tls),
                proxy_protocol: false,
            },
            wanted: vec![service],
            place: wish.place.clone(),
            decision: Some(decision),
        });
        return;
    };
    let listener = draft.listener.name.clone();
    match &draft.decision {
        Some(earlier) if earlier.rank > decision.rank => {
            let (lost, won) = (&decision.name, &earlier.name);
            reader.warn(format!("{lost} has no effect, since {won} moves listener {listener}"));
            return;
        }
        Some(earlier) => {
            let (lost, won) = (&earlier.name, &decision.name);
            reader.warn(format!("{lost} has no effect, since {won} moves listener {listener}"));
        }
        None => {}
    }
    draft.listener.bind = wish.bind.clone();
    draft.listener.addresses = wish.addresses.clone();
    draft.place = wish.place.clone();
    draft.decision = Some(decision);
}

/// `PORT`, as the documentation of `devices` has it. Platforms set it for whatever they run, so it
/// moves only a listener that is there for `devices`, and stops nothing that works without it.
pub(super) fn move_devices(reader: &mut Reader, drafts: &mut [Draft]) {
    let Some((text, place)) = reader.plain(PORT) else { return };
    let Place::Variable(name) = &place else { return };
    let is_ours = |draft: &Draft| {
        draft.wanted.contains(&Service::Devices)
            && draft.wanted.iter().all(|service| matches!(service, Service::Devices | Service::DevicesHealth))
    };
    let Some(index) = drafts.iter().position(is_ours) else {
        reader.warn(format!("{name} has no effect, since no listener serves `devices` alone"));
        return;
    };
    let listener = &drafts[index].listener;
    if let Some(earlier) = &drafts[index].decision {
        let (won, listener) = (&earlier.name, &listener.name);
        reader.warn(format!("{name} has no effect, since {won} moves listener {listener}"));
        return;
    }
    let host = listener.bind.rsplit_once(':').map_or("", |(host, _)| host);
    let bind = format!("{host}:{}", text.trim());
    let Some(found) = addresses(&bind) else {
        reader.problem(place, "it must be a port, a number from 0 to 65535".to_owned());
        return;
    };
    let moved = Listener { bind, addresses: found, ..listener.clone() };
    let taken = drafts.iter().enumerate().find(|(other, draft)| {
        *other != index
            && draft.wanted.contains(&Service::Devices)
            && shared(&draft.listener, &moved).is_some()
    });
    if let Some((_, draft)) = taken {
        let other = &draft.listener.name;
        reader.warn(format!("{name} has no effect, since listener {other} serves `devices` there already"));
        return;
    }
    let draft = &mut drafts[index];
    draft.decision = Some(Decision { rank: Rank::Plain, name: name.clone() });
    draft.listener = moved;
    draft.place = place;
}
