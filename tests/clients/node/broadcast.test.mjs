// `socket.io-client` against the `broadcast` dialect: polling, WebSocket, and the upgrade between
// them, which is what a client does that asks for nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Engine } from './engine.mjs';
import { Station } from './station.mjs';

const engine = await Engine.start();

const offer = { type: 'offer', data: { sdp: 'v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n', type: 'offer' } };
const answer = { type: 'answer', data: { sdp: 'v=0\r\ns=-\r\n', type: 'answer' } };
const candidate = {
  type: 'ice-candidate',
  data: { candidate: 'candidate:1 1 UDP 2122252543 127.0.0.1 50000 typ host', sdpMid: '0', sdpMLineIndex: 0 },
};

const ways = [
  ['polling', { transports: ['polling'] }],
  ['websocket', { transports: ['websocket'] }],
  ['upgrade', {}],
];

let rooms = 0;
/** Options of a group in which a test is alone. */
function group(options = {}) {
  rooms += 1;
  return { ...options, query: { room: `group-${rooms}` } };
}

/** A node that was there first, and a station that has joined it. */
async function pair(options = group()) {
  const node = await Station.connect(engine.http(), options);
  const station = await Station.connect(engine.http(), options);
  assert.deepEqual(await node.receive('peer_joined'), { peer_id: station.id });
  return [node, station];
}

for (const [way, options] of ways) {
  test(`${way}: an offer, an answer and candidates reach the other, with the sender's id`, async () => {
    const [node, station] = await pair(group(options));
    node.signal(offer);
    assert.deepEqual(await station.receive('signal'), { ...offer, from: node.id });
    station.signal(answer);
    assert.deepEqual(await node.receive('signal'), { ...answer, from: station.id });
    for (const [sender, receiver] of [[node, station], [station, node]]) {
      sender.signal(candidate);
      assert.deepEqual(await receiver.receive('signal'), { ...candidate, from: sender.id });
    }
    const { id } = station;
    station.leave();
    assert.deepEqual(await node.receive('peer_left'), { peer_id: id });
    node.leave();
  });

  test(`${way}: signals arrive in the order they were sent`, async () => {
    const [node, station] = await pair(group(options));
    const count = 300;
    for (let number = 0; number < count; number += 1) {
      node.signal({ ...candidate, number });
    }
    for (let number = 0; number < count; number += 1) {
      assert.equal((await station.receive('signal')).number, number);
    }
    node.leave();
    station.leave();
  });

  test(`${way}: an acknowledgement that was asked for is given, for a refused message too`, async () => {
    const [node, station] = await pair(group(options));
    await node.signalAcknowledged(offer);
    assert.deepEqual(await station.receive('signal'), { ...offer, from: node.id });
    await node.signalAcknowledged({ type: 'shout' });
    assert.equal((await node.receive('error')).message, 'Invalid message type: shout');
    node.leave();
    station.leave();
  });

  test(`${way}: a session description of 200 kB passes`, async () => {
    const [node, station] = await pair(group(options));
    const large = { type: 'offer', data: { type: 'offer', sdp: 'a=x\r\n'.repeat(40_000) } };
    node.signal(large);
    assert.deepEqual(await station.receive('signal'), { ...large, from: node.id });
    node.leave();
    station.leave();
  });
}

test('a client that asks for nothing upgrades to WebSocket, and signals pass before and after', async () => {
  const [node, station] = await pair();
  node.signal({ ...offer, number: 1 });
  await Promise.all([node.upgraded(), station.upgraded()]);
  assert.equal(node.transport, 'websocket');
  node.signal({ ...offer, number: 2 });
  assert.equal((await station.receive('signal')).number, 1);
  assert.equal((await station.receive('signal')).number, 2);
  node.leave();
  station.leave();
});

test('clients of different transports talk to each other', async () => {
  const options = group();
  const polling = await Station.connect(engine.http(), { ...options, transports: ['polling'] });
  const websocket = await Station.connect(engine.http(), { ...options, transports: ['websocket'] });
  polling.signal(offer);
  assert.deepEqual(await websocket.receive('signal'), { ...offer, from: polling.id });
  websocket.signal(answer);
  assert.deepEqual(await polling.receive('signal'), { ...answer, from: websocket.id });
  polling.leave();
  websocket.leave();
});

test('with more than two clients a signal reaches all others, and never its sender', async () => {
  const options = group();
  const [first, second] = await pair(options);
  const others = [second, await Station.connect(engine.http(), options), await Station.connect(engine.http(), options)];
  first.signal(offer);
  for (const other of others) {
    assert.deepEqual(await other.receive('signal'), { ...offer, from: first.id });
  }
  second.signal(answer);
  assert.deepEqual(await first.receive('signal'), { ...answer, from: second.id }, 'nothing of its own came before');
  for (const station of [first, ...others]) {
    station.leave();
  }
});

test('with `to` a signal reaches that client alone', async () => {
  const options = group();
  const [first, second] = await pair(options);
  const third = await Station.connect(engine.http(), options);
  first.signal({ ...offer, to: second.id });
  assert.deepEqual(await second.receive('signal'), { ...offer, to: second.id, from: first.id });
  first.signal(candidate);
  assert.deepEqual(await third.receive('signal'), { ...candidate, from: first.id }, 'the offer was not for it');
  for (const station of [first, second, third]) {
    station.leave();
  }
});

test('an unknown `to` is an error to the sender alone', async () => {
  const [node, station] = await pair();
  node.signal({ ...offer, to: 'nobody' });
  assert.deepEqual(await node.receive('error'), { message: 'Peer nobody not found' });
  node.signal(candidate);
  assert.deepEqual(await station.receive('signal'), { ...candidate, from: node.id });
  assert.ok(!station.has('error'));
  node.leave();
  station.leave();
});

test('a `to` that names a client who has left is an error to the sender', async () => {
  const [node, station] = await pair();
  const { id } = station;
  station.leave();
  await node.receive('peer_left');
  node.signal({ ...offer, to: id });
  assert.deepEqual(await node.receive('error'), { message: `Peer ${id} not found` });
  node.leave();
});

test('what is not an object is an invalid message format', async () => {
  const [node, station] = await pair();
  for (const wrong of ['offer', 7, true, null]) {
    node.signal(wrong);
    assert.deepEqual(await node.receive('error'), { message: 'Invalid message format' }, `for ${wrong}`);
  }
  node.signal(offer);
  assert.deepEqual(await station.receive('signal'), { ...offer, from: node.id });
  assert.ok(!station.has('error'));
  node.leave();
  station.leave();
});

test('an invalid type is refused with the list of valid ones', async () => {
  const [node, station] = await pair();
  node.signal({ type: 'candidate', data: {} });
  assert.deepEqual(await node.receive('error'), {
    message: 'Invalid message type: candidate',
    valid_types: ['offer', 'answer', 'ice-candidate'],
  });
  node.signal(offer);
  assert.deepEqual(await station.receive('signal'), { ...offer, from: node.id });
  node.leave();
  station.leave();
});

test('a forged `from` never passes', async () => {
  const [node, station] = await pair();
  node.signal({ ...offer, from: station.id });
  assert.deepEqual(await station.receive('signal'), { ...offer, from: node.id });
  node.leave();
  station.leave();
});

test('further keys, texts of all scripts and nested values pass unchanged', async () => {
  const [node, station] = await pair();
  const rich = { ...offer, camera: 'северная', data: { ...offer.data, list: [1, 2.5, null, { deep: '🛰️' }] } };
  node.signal(rich);
  assert.deepEqual(await station.receive('signal'), { ...rich, from: node.id });
  node.leave();
  station.leave();
});

test('`?room=` separates groups', async () => {
  const [node, station] = await pair();
  const [otherNode, otherStation] = await pair();
  node.signal(offer);
  assert.deepEqual(await station.receive('signal'), { ...offer, from: node.id });
  otherNode.signal(answer);
  assert.deepEqual(await otherStation.receive('signal'), { ...answer, from: otherNode.id });
  assert.ok(!node.has('peer_joined'), 'those who join another group are not announced');
  for (const each of [node, station, otherNode, otherStation]) {
    each.leave();
  }
});

test('`auth.room` names the same group as `?room=`', async () => {
  const byQuery = await Station.connect(engine.http(), { query: { room: 'shared' } });
  const byAuth = await Station.connect(engine.http(), { auth: { room: 'shared' } });
  assert.deepEqual(await byQuery.receive('peer_joined'), { peer_id: byAuth.id });
  byAuth.signal(offer);
  assert.deepEqual(await byQuery.receive('signal'), { ...offer, from: byAuth.id });
  byQuery.leave();
  byAuth.leave();
});

test('clients that name no room share one', async () => {
  const [node, station] = await pair({});
  node.signal(offer);
  assert.deepEqual(await station.receive('signal'), { ...offer, from: node.id });
  node.leave();
  station.leave();
});

test('a client that lost its connection comes back under a new id', async () => {
  const options = { ...group(), reconnection: true, reconnectionDelay: 10 };
  const [node, station] = await pair(options);
  const before = station.id;
  const lost = station.disconnected();
  station.socket.io.engine.close();
  await lost;
  assert.deepEqual(await node.receive('peer_left'), { peer_id: before });
  await station.connected();
  assert.deepEqual(await node.receive('peer_joined'), { peer_id: station.id });
  assert.notEqual(station.id, before);
  node.signal(offer);
  assert.deepEqual(await station.receive('signal'), { ...offer, from: node.id });
  node.leave();
  station.leave();
});

test('the Engine.IO handshake says what is documented, to every origin', async () => {
  const response = await fetch(engine.http('/socket.io/?EIO=4&transport=polling'), {
    headers: { Origin: 'https://ground.example' },
  });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('access-control-allow-origin'), '*');
  const packet = await response.text();
  assert.equal(packet[0], '0', 'an open packet');
  const { sid, ...settings } = JSON.parse(packet.slice(1));
  assert.equal(typeof sid, 'string');
  assert.deepEqual(settings, {
    upgrades: ['websocket'],
    pingInterval: 25_000,
    pingTimeout: 20_000,
    maxPayload: 1_000_000,
  });
});

test('Engine.IO 3 is refused', async () => {
  const response = await fetch(engine.http('/socket.io/?EIO=3&transport=polling'));
  assert.equal(response.status, 400);
});

test('GET / answers the health check with a line of text', async () => {
  const response = await fetch(engine.http('/'));
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^text\//);
  assert.match(await response.text(), /^.+\n?$/);
});

test('SIGTERM disconnects the clients, and the engine ends with 0', async () => {
  const [node, station] = await pair();
  await Promise.all([node.upgraded(), station.upgraded()]);
  const polling = await Station.connect(engine.http(), { ...group(), transports: ['polling'] });
  const told = [node, station, polling].map((client) => client.disconnected());
  const [ended] = await Promise.all([engine.stop(), ...told]);
  assert.deepEqual(ended, { code: 0, signal: null });
});
