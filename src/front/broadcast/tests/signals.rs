//! Who gets which event.

use super::client::Client;
use super::{REALM, Server};
use crate::base::{NodeId, PeerKey};
use crate::dialect::{
    Body, Delivery, Dialect, MESSAGE_LABELS, MessageLabel, MessageRef, Parts, Text, TextDialect,
    Undeliverable,
};
use crate::hub::OnDuplicate;

const ROOMY: usize = 1 << 20;

const DRONE: PeerKey = PeerKey { node: NodeId::FRONT, slot: 0, generation: 0 };

fn drone() -> PeerKey {
    PeerKey { node: NodeId::shard(0), ..DRONE }
}

fn label(message_type: &str) -> MessageLabel {
    let index = MESSAGE_LABELS.iter().position(|label| *label == ("broadcast", message_type)).unwrap();
    MessageLabel(index as u8)
}

fn sent(server: &Server, message_type: &str) -> u64 {
    server.metrics.messages_sent[usize::from(label(message_type).0)].get()
}

#[tokio::test]
async fn everybody_else_of_the_group_hears_of_who_comes_and_what_is_signalled() {
    let server = Server::new();
    let mut a = Client::polling(&server, "").await;
    let mut b = Client::websocket(&server, "", ROOMY).await;
    assert_eq!(a.expect("peer_joined").await, format!(r#"{{"peer_id":"{}"}}"#, b.sid));
    let mut c = Client::polling(&server, "").await;
    a.expect("peer_joined").await;
    b.expect("peer_joined").await;

    a.signal(r#"{ "type":"offer", "data":{"sdp":"v=0","z":1.50},"from":"me","x":12345678901234567890123}"#)
        .await;
    let expected = format!(
        r#"{{ "type":"offer", "data":{{"sdp":"v=0","z":1.50}},"from":"{}","x":12345678901234567890123}}"#,
        a.sid
    );
    assert_eq!(b.expect("signal").await, expected);
    assert_eq!(c.expect("signal").await, expected);

    // The sender does not hear itself: this is the next that it gets.
    b.signal(&format!(r#"{{"type":"answer","to":"{}"}}"#, a.sid)).await;
    let expected = format!(r#"{{"type":"answer","to":"{}","from":"{}"}}"#, a.sid, b.sid);
    assert_eq!(a.expect("signal").await, expected);
    // And nobody else has heard the answer.
    a.signal(r#"{"type":"ice-candidate"}"#).await;
    assert!(c.expect("signal").await.contains("ice-candidate"));
    assert_eq!((sent(&server, "offer"), sent(&server, "answer"), sent(&server, "ice-candidate")), (2, 1, 2));
    assert_eq!(server.metrics.delivered.get(), 5);
}

#[tokio::test]
async fn groups_hear_and_reach_only_their_own() {
    let server = Server::new();
    let mut outsider = Client::polling(&server, "").await;
    let mut a = Client::polling(&server, "&room=a%20b%E2%82%AC+").await;
    let mut b = Client::open(&server, "").await;
    b.join(r#"{"room":"a b€ "}"#).await;
    assert_eq!(a.expect("peer_joined").await, format!(r#"{{"peer_id":"{}"}}"#, b.sid));
    a.signal(r#"{"type":"offer"}"#).await;
    b.expect("signal").await;
    outsider.signal(&format!(r#"{{"type":"offer","to":"{}"}}"#, a.sid)).await;
    assert_eq!(outsider.expect("error").await, format!(r#"{{"message":"Peer {} not found"}}"#, a.sid));
    b.send("41").await;
    a.expect("peer_left").await;
    // Had the outsider heard anything, it would come before this.
    outsider.signal("[]").await;
    outsider.expect("error").await;
}

#[tokio::test]
async fn a_room_that_is_no_name_is_refused() {
    let server = Server::new();
    let mut client = Client::open(&server, "").await;
    client.send(r#"40{"room":{"a":1}}"#).await;
    assert_eq!(client.packet("44").await, r#"{"message":"room has to be a string"}"#);
    client.send(&format!(r#"40{{"room":"{}"}}"#, "x".repeat(200))).await;
    assert_eq!(client.packet("44").await, r#"{"message":"room is too long"}"#);
    assert_eq!(server.events_of("client_rejected", "reason").len(), 2);
    client.join(r#"{"room":"fine"}"#).await;
}

#[tokio::test]
async fn whatever_is_wrong_is_told_to_the_sender_alone_and_acknowledged_after_it() {
    let server = Server::new();
    let mut other = Client::polling(&server, "").await;
    let mut client = Client::polling(&server, "").await;
    other.expect("peer_joined").await;
    let types = r#""valid_types":["offer","answer","ice-candidate"]"#;
    for (argument, error) in [
        ("7", r#"{"message":"Invalid message format"}"#.to_owned()),
        ("[]", r#"{"message":"Invalid message format"}"#.to_owned()),
        ("null", r#"{"message":"Invalid message format"}"#.to_owned()),
        (r#"{"type":"bye"}"#, format!(r#"{{"message":"Invalid message type: bye",{types}}}"#)),
        ("{}", format!(r#"{{"message":"Invalid message type: None",{types}}}"#)),
        (r#"{"type":"offer","to":"ghost"}"#, r#"{"message":"Peer ghost not found"}"#.to_owned()),
        (r#"{"type":"offer","to":5}"#, r#"{"message":"Peer 5 not found"}"#.to_owned()),
    ] {
        client.send(&format!("4217[\"signal\",{argument}]")).await;
        assert_eq!(client.expect("error").await, error);
        assert_eq!(client.packet("4317").await, "[]");
    }
    client.send("425[\"signal\"]").await;
    client.expect("error").await;
    assert_eq!(client.packet("435").await, "[]");
    client.send(r#"420["signal",{"type":"offer"},"and","more"]"#).await;
    assert_eq!(client.packet("430").await, "[]");
    assert!(other.expect("signal").await.contains("offer"), "nothing of the refused has come before it");
    assert_eq!(server.events_of("signal_undeliverable", "target").len(), 2);
}

#[tokio::test]
async fn other_events_are_ignored() {
    let server = Server::new();
    let mut client = Client::polling(&server, "").await;
    client.emit("chat", r#"{"type":"offer"}"#).await;
    client.send("421[\"disconnect\"]").await;
    client.signal("0").await;
    client.expect("error").await;
    assert_eq!(server.metrics.messages_received[usize::from(label("unknown").0)].get(), 3);
}

#[tokio::test]
async fn attachments_pass_over_both_transports() {
    let server = Server::new();
    let mut by_polling = Client::polling(&server, "").await;
    let mut by_websocket = Client::websocket(&server, "", ROOMY).await;
    by_polling.expect("peer_joined").await;
    let argument = r#"{"type":"offer","n":1.50,"data":[{"_placeholder":true,"num":0}]}"#;
    let expected = |sid| {
        format!(
            r#"["signal",{{"type":"offer","n":1.50,"data":[{{"_placeholder":true,"num":0}}],"from":"{sid}"}}]"#
        )
    };
    by_websocket.send(&format!("451-[\"signal\",{argument}]")).await;
    by_websocket.send_binary(b"\x01\x02\x03").await;
    assert_eq!(by_polling.packet("451-").await, expected(by_websocket.sid.clone()));
    assert_eq!(by_polling.packet("b").await, "AQID");

    by_polling.send(&format!("451-[\"signal\",{argument}]\x1ebAQID")).await;
    assert_eq!(by_websocket.packet("451-").await, expected(by_polling.sid.clone()));
    assert_eq!(by_websocket.packet("binary ").await, r#"b"\x01\x02\x03""#);

    // One that is named twice could make a small message large.
    let twice = r#"{"type":"offer","a":{"_placeholder":true,"num":0},"b":{"_placeholder":true,"num":0}}"#;
    by_polling.send(&format!("451-[\"signal\",{twice}]\x1ebAQID")).await;
    assert_eq!(by_polling.expect("error").await, r#"{"message":"Invalid message format"}"#);
}

#[tokio::test]
async fn a_peer_of_another_dialect_is_reached_through_the_directory_and_hears_come_back() {
    let server = Server::new();
    let mut client = Client::polling(&server, "").await;
    server.directory.join(REALM, "drone 1", drone(), Dialect::Devices.id(), OnDuplicate::Replace).unwrap();
    client.signal(r#"{"type":"offer","to":"drone 1","data":{"sdp":"v=0"}}"#).await;
    let (to, delivery) = server.sent.lock().pop().expect("it is on its way");
    assert_eq!(to, drone());
    let delivery = delivery.borrow();
    assert_eq!(server.directory.lookup(REALM, &client.sid), Some(delivery.from));
    let reference = delivery.reference();
    assert_eq!(reference, MessageRef::Text { label: label("offer"), target: "drone 1".into() });
    let Body::Text(Text { dialect: TextDialect::Broadcast, parts: Parts::One(text), .. }) = delivery.body
    else {
        panic!("a text of this dialect")
    };
    let expected =
        format!(r#"{{"type":"offer","to":"drone 1","data":{{"sdp":"v=0"}},"from":"{}"}}"#, client.sid);
    assert_eq!(text, expected.as_bytes());

    server.broadcast.bounced(delivery.from, &reference, Undeliverable::NotConnected);
    assert_eq!(client.expect("error").await, r#"{"message":"Peer drone 1 not found"}"#);
    server.broadcast.bounced(delivery.from, &reference, Undeliverable::Unconvertible);
    assert_eq!(client.expect("error").await, r#"{"message":"Peer drone 1 cannot take this message"}"#);
    assert_eq!(server.events_of("signal_undeliverable", "target").len(), 2);

    client.send("451-[\"signal\",{\"type\":\"offer\",\"to\":\"drone 1\",\"data\":{\"_placeholder\":true,\"num\":0}}]\x1ebAQID").await;
    assert_eq!(client.expect("error").await, r#"{"message":"Peer drone 1 cannot take this message"}"#);
    assert!(server.sent.lock().is_empty());
}

#[tokio::test]
async fn a_message_from_a_shard_reaches_its_socket_and_nobody_who_has_taken_the_place() {
    let server = Server::new();
    let mut client = Client::polling(&server, "&room=closed").await;
    let to = server.directory.lookup(REALM, &client.sid).expect("the socket is in the directory");
    assert!(to.node.is_front());
    let reference = MessageRef::Text { label: MessageLabel(0), target: client.sid.as_str().into() };
    let text = br#"{"type":"answer","data":"v=0","from":"drone 1"}"#;
    let text = Text {
        dialect: TextDialect::Broadcast,
        reference: &reference,
        label: MessageLabel(0),
        parts: Parts::Many(&[&text[..10], &text[10..]]),
    };
    let delivery = Delivery { from: drone(), body: Body::Text(text) };
    assert_eq!(server.broadcast.deliver(to, &delivery), Ok(()));
    assert_eq!(client.expect("signal").await, r#"{"type":"answer","data":"v=0","from":"drone 1"}"#);

    let closed = Text { dialect: TextDialect::Rooms, ..text };
    let closed = Delivery { from: drone(), body: Body::Text(closed) };
    assert_eq!(server.broadcast.deliver(to, &closed), Err(Undeliverable::Unconvertible));

    client.send("41").await;
    let _next = Client::polling(&server, "").await;
    assert_eq!(server.broadcast.deliver(to, &delivery), Err(Undeliverable::NotConnected));
    server.broadcast.bounced(to, &reference, Undeliverable::NotConnected);
    assert_eq!(server.events_of("signal_undeliverable", "target")[0].0, "");
}
