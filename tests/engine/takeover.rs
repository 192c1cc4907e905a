//! The same client id twice: who stays, who goes, and that no ghost is left.

use crate::harness::*;

#[tokio::test]
async fn the_newer_connection_wins_and_the_older_is_told_409_then_1008() {
    let server = Setup::new().start().await;
    for form in Form::ALL {
        let mut older = Client::login(server.main(), Via::WebSocket, form, "alice").await;
        let mut newer = Client::login(server.main(), Via::WebSocket, form, "alice").await;
        older.error(409).await;
        assert_eq!(older.closed().await.expect("a Close").0, 1008, "{form:?}");
        newer.is_quiet_and_alive().await;
        newer.leave().await;
    }
}

#[tokio::test]
async fn over_tcp_the_older_is_told_409_and_closed() {
    let server = Setup::new().start().await;
    for (older, newer) in [(Via::Tcp, Via::Tcp), (Via::Tcp, Via::WebSocket), (Via::WebSocket, Via::Tcp)] {
        let mut older = Client::login(server.main(), older, Form::FlatJson, "alice").await;
        let mut newer = Client::login(server.main(), newer, Form::TaggedJson, "alice").await;
        older.error(409).await;
        older.closed().await;
        newer.is_quiet_and_alive().await;
        newer.leave().await;
    }
}

#[tokio::test]
async fn the_end_of_the_older_never_removes_the_newer() {
    let server = Setup::new().start().await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    for round in 0..40 {
        let via = Via::BOTH[round % 2];
        let newer = Client::login(server.main(), via, Form::FlatJson, "alice").await;
        let mut older = std::mem::replace(&mut alice, newer);
        if round % 4 < 2 {
            older.error(409).await;
            older.closed().await;
        }
        // Dropped here at the latest, with or without having read its farewell.
        drop(older);
        let offer = bob.signal(OFFER, "alice", &format!("round {round}")).await;
        assert_eq!(alice.delivered(&offer).await.data, format!("round {round}"));
    }
    bob.is_quiet_and_alive().await;
}

#[tokio::test]
async fn the_newer_wins_on_the_same_shard_and_across_shards() {
    let server = Setup::new().start().await;
    for same in [true, false] {
        for _ in 0..5 {
            let pair = [(Form::FlatJson, "alice"), (Form::FlatJson, "alice")];
            let (mut older, mut newer) = if same {
                on_one_shard(&server, pair[0], pair[1]).await
            } else {
                across_shards(&server, pair[0], pair[1]).await
            };
            older.error(409).await;
            assert_eq!(older.closed().await.expect("a Close").0, 1008);
            let own = newer.signal(OFFER, "alice", "to myself").await;
            newer.delivered(&own).await;
            newer.leave().await;
        }
    }
}

#[tokio::test]
async fn with_reject_the_newcomer_is_told_409_and_the_older_notices_nothing() {
    let server = Setup::new().section("[binary]\non_duplicate = 'reject'").start().await;
    for via in Via::BOTH {
        for form in Form::ALL {
            let mut older = Client::login(server.main(), via, form, "alice").await;
            let mut newcomer = Client::open(server.main(), via).await;
            newcomer.form = form;
            newcomer.refused(&form.connect("alice", &token_of("alice")), 409).await;
            older.is_quiet_and_alive().await;
            // The connection stays open, so another id may log in on it.
            newcomer.connect(form, "bob").await;
            let offer = newcomer.signal(OFFER, "alice", "v=0").await;
            older.delivered(&offer).await;
            older.leave().await;
            newcomer.leave().await;
        }
    }
}

#[tokio::test]
async fn with_reject_an_id_is_free_once_its_connection_is_gone() {
    let server = Setup::new().section("[binary]\non_duplicate = 'reject'").start().await;
    // An id for each, since the second would find the first one's last connection still going.
    for (via, id) in Via::BOTH.into_iter().zip(["alice", "bob"]) {
        drop(Client::login(server.main(), via, Form::FlatJson, id).await);
        until("the id is free", async || {
            let mut again = Client::open(server.main(), via).await;
            again.send(&Form::FlatJson.connect(id, &token_of(id))).await;
            let answer = again.frame().await;
            (answer.kind == CONNECT_ACK).then_some(())
        })
        .await;
    }
}

/// A bad token is no reason to end somebody's session.
#[tokio::test]
async fn a_refused_newcomer_takes_nothing_over() {
    let server = Setup::new().start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    let mut thief = Client::open(server.main(), Via::WebSocket).await;
    thief.form = Form::FlatJson;
    thief.refused(&Form::FlatJson.connect("alice", "wrong"), 401).await;
    let own = alice.signal(OFFER, "alice", "still here").await;
    alice.delivered(&own).await;
}

/// Thirty connections want one id at the same moment: one is left, and signals reach that one.
#[tokio::test]
async fn of_many_that_log_in_at_once_exactly_one_is_left() {
    let server = Setup::new().start().await;
    let addr = server.main();
    let mut logins = Vec::new();
    for index in 0..30 {
        let via = Via::BOTH[index % 2];
        logins.push(tokio::spawn(async move { Client::login(addr, via, Form::FlatJson, "alice").await }));
    }
    let mut clients = Vec::new();
    for login in logins {
        clients.push(login.await.expect("the login succeeds"));
    }
    let mut bob = Client::login(addr, Via::WebSocket, Form::FlatJson, "bob").await;
    let offer = bob.signal(OFFER, "alice", "who is left?").await;
    let (mut left, mut told) = (0, 0);
    for client in &mut clients {
        let frame = client.frame().await;
        if frame.uuid == offer.uuid {
            left += 1;
        } else {
            assert_eq!(Form::FlatJson.read_error(&frame).0, 409);
            client.closed().await;
            told += 1;
        }
    }
    assert_eq!((left, told), (1, 29));
}
