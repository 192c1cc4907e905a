// The `ws` package and Node's `fetch` against the `calls` dialect: callers in seats.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { Engine } from './engine.mjs';
import { JsonSocket } from './json_socket.mjs';

const engine = await Engine.start();

async function takeSeat(call, at = engine) {
  const response = await fetch(at.http(`/call/${call}`));
  assert.equal(response.status, 200);
  const handshake = await response.json();
  assert.deepEqual(handshake, { kind: 'JOIN', call, session: handshake.session });
  assert.match(handshake.session, /^[0-9A-Za-z]{27}$/);
  return handshake;
}

async function present(handshake, at = engine, options = {}) {
  const caller = await JsonSocket.open(at.ws('/ws'), options);
  caller.send(handshake);
  assert.deepEqual(await caller.receive('WELCOME'), { kind: 'WELCOME', call: handshake.call });
  return caller;
}

function post(body, headers = { 'Content-Type': 'application/json' }) {
  return fetch(engine.http('/signal'), { method: 'POST', headers, body });
}

async function publish({ call, session }, kind, body) {
  const response = await post(JSON.stringify({ kind, call, session, body }));
  assert.equal(response.status, 200);
  assert.equal(await response.text(), '');
}

async function closeAll(...callers) {
  await Promise.all(callers.map((caller) => caller.close()));
}

test('two callers meet and exchange an offer, an answer and candidates', async () => {
  const alice = await takeSeat('meeting');
  const aliceSocket = await present(alice);
  const bob = await takeSeat('meeting');
  assert.deepEqual(await aliceSocket.receive('PEER'), { kind: 'PEER', call: 'meeting' });
  assert.notEqual(alice.session, bob.session);
  const bobSocket = await present(bob);

  // The session of the sender is a secret: whoever has it holds the seat.
  await publish(alice, 'OFFER', 'v=0 of alice');
  assert.deepEqual(await bobSocket.receive('OFFER'), { kind: 'OFFER', call: 'meeting', body: 'v=0 of alice' });
  await publish(bob, 'ANSWER', '{"sdp":"v=0 \\"of bob\\""}');
  assert.deepEqual(await aliceSocket.receive('ANSWER'), { kind: 'ANSWER', call: 'meeting', body: '{"sdp":"v=0 \\"of bob\\""}' });
  await publish(alice, 'CANDIDATE', 'candidate:1');
  assert.deepEqual(await bobSocket.receive('CANDIDATE'), { kind: 'CANDIDATE', call: 'meeting', body: 'candidate:1' });
  await publish(bob, 'CANDIDATE', 'candidate:2');
  await aliceSocket.receive('CANDIDATE', ({ body }) => body === 'candidate:2');
  assert.ok(!aliceSocket.has('OFFER') && !aliceSocket.has('CANDIDATE'), 'alice does not hear herself');
  assert.ok(!bobSocket.has('ANSWER') && !bobSocket.has('CANDIDATE'), 'bob does not hear himself');
  await closeAll(aliceSocket, bobSocket);
});

test('a third caller finds no seat, also after a disconnect', async () => {
  const [alice] = [await takeSeat('full'), await takeSeat('full')];
  assert.equal((await fetch(engine.http('/call/full'))).status, 409);
  const socket = await present(alice);
  await socket.close();
  assert.equal((await fetch(engine.http('/call/full'))).status, 409);
  const back = await present(alice);
  await back.close();
});

test('calls are apart from each other', async () => {
  const [alice, bob, carol] = [await takeSeat('one'), await takeSeat('one'), await takeSeat('two')];
  const [bobSocket, carolSocket] = [await present(bob), await present(carol)];
  const dave = await takeSeat('two');
  await publish(alice, 'OFFER', 'for one');
  await bobSocket.receive('OFFER');
  await publish(dave, 'OFFER', 'for two');
  assert.equal((await carolSocket.receive('OFFER')).body, 'for two', 'nothing of the other call came before');
  await closeAll(bobSocket, carolSocket);
});

test('a session may open several sockets, and each hears everything', async () => {
  const [alice, bob] = [await takeSeat('twice'), await takeSeat('twice')];
  const sockets = [await present(bob), await present(bob)];
  await publish(alice, 'OFFER', 'v=0');
  for (const socket of sockets) {
    assert.equal((await socket.receive('OFFER')).body, 'v=0');
  }
  await closeAll(...sockets);
});

test('signals that are posted one after the other arrive in that order', async () => {
  const [alice, bob] = [await takeSeat('order'), await takeSeat('order')];
  const socket = await present(bob);
  for (let number = 0; number < 50; number += 1) {
    await publish(alice, 'CANDIDATE', `${number}`);
  }
  for (let number = 0; number < 50; number += 1) {
    assert.equal((await socket.receive('CANDIDATE')).body, `${number}`);
  }
  await socket.close();
});

test('a real session description fits', async () => {
  const [alice, bob] = [await takeSeat('large'), await takeSeat('large')];
  const socket = await present(bob);
  const body = 'a=candidate\r\n'.repeat(2000);
  await publish(alice, 'OFFER', body);
  assert.equal((await socket.receive('OFFER')).body, body);
  await socket.close();
});

test('POST /signal refuses what it cannot publish', async () => {
  const good = { ...(await takeSeat('refusals')), kind: 'OFFER', body: 'v=0' };
  const attempts = [
    ['not json', 400],
    ['', 400],
    [JSON.stringify({ ...good, call: '' }), 400],
    [JSON.stringify({ ...good, session: '' }), 400],
    [JSON.stringify({ ...good, body: '' }), 400],
    [JSON.stringify({ ...good, body: undefined }), 400],
    [JSON.stringify({ ...good, kind: 'JOIN' }), 400],
    [JSON.stringify({ ...good, kind: 'SHOUT' }), 400],
    [JSON.stringify({ ...good, session: '0'.repeat(27) }), 409],
    [JSON.stringify({ ...good, call: 'another' }), 409],
    [JSON.stringify(good), 200],
  ];
  for (const [body, status] of attempts) {
    assert.equal((await post(body)).status, status, body);
  }
});

test('the content type may carry a charset', async () => {
  const seat = await takeSeat('charset');
  const body = JSON.stringify({ ...seat, kind: 'OFFER', body: 'v=0' });
  assert.equal((await post(body, { 'Content-Type': 'application/json; charset=utf-8' })).status, 200);
});

test('paths and methods that do not exist are 404 and 405', async () => {
  for (const target of ['/call/', '/call/a/b']) {
    assert.equal((await fetch(engine.http(target))).status, 404, target);
  }
  for (const [method, target] of [['POST', '/call/a'], ['DELETE', '/call/a'], ['GET', '/signal'], ['PUT', '/signal']]) {
    assert.equal((await fetch(engine.http(target), { method })).status, 405, `${method} ${target}`);
  }
});

test('pages of the configured origin may call', async () => {
  const origin = 'http://localhost:8080';
  for (const [method, target] of [['GET', '/call/cors'], ['POST', '/signal']]) {
    const preflight = await fetch(engine.http(target), {
      method: 'OPTIONS',
      headers: { Origin: origin, 'Access-Control-Request-Method': method, 'Access-Control-Request-Headers': 'content-type' },
    });
    assert.equal(preflight.status, 204, target);
    assert.equal(preflight.headers.get('access-control-allow-origin'), origin);
  }
  const seat = await fetch(engine.http('/call/cors'), { headers: { Origin: origin } });
  assert.equal(seat.headers.get('access-control-allow-origin'), origin);
});

test('/ws closes with 1000 and the reason when the handshake is none', async () => {
  const seat = await takeSeat('handshakes');
  const attempts = [
    ['not json', 'bad handshake'],
    [JSON.stringify({ kind: 'HELLO' }), 'bad handshake'],
    [JSON.stringify({ ...seat, session: '0'.repeat(27) }), 'bad seat'],
    [JSON.stringify({ ...seat, call: 'another' }), 'bad seat'],
  ];
  for (const [text, reason] of attempts) {
    const socket = await JsonSocket.open(engine.ws('/ws'));
    socket.sendText(text);
    assert.deepEqual(await socket.closed(), { code: 1000, reason }, text);
  }
});

test('what a caller sends over its WebSocket is ignored', async () => {
  const [alice, bob] = [await takeSeat('ignored'), await takeSeat('ignored')];
  const [aliceSocket, bobSocket] = [await present(alice), await present(bob)];
  aliceSocket.send({ ...alice, kind: 'OFFER', body: 'over the socket' });
  aliceSocket.sendText('not json');
  await publish(alice, 'OFFER', 'over HTTP');
  assert.equal((await bobSocket.receive('OFFER')).body, 'over HTTP');
  await publish(bob, 'ANSWER', 'still there');
  await aliceSocket.receive('ANSWER');
  await closeAll(aliceSocket, bobSocket);
});

test('a seat lapses unless its pings are answered', async () => {
  const brief = await Engine.start({ env: { SIGNALS_SEAT_TIMEOUT: '2s', SIGNALS_WS_PING_INTERVAL: '250ms' } });
  const [alice, bob] = [await takeSeat('lapse', brief), await takeSeat('lapse', brief)];
  const socket = await present(alice, brief);
  // Bob never shows up. His seat, and none before it, is free after 2 s.
  let carol;
  const deadline = Date.now() + 8000;
  do {
    assert.ok(Date.now() < deadline, 'the seat did not lapse');
    carol = await fetch(brief.http('/call/lapse'));
    await carol.arrayBuffer();
    await setTimeout(20);
  } while (carol.status === 409);
  assert.equal(carol.status, 200);
  await socket.receive('PEER');
  const late = await JsonSocket.open(brief.ws('/ws'));
  late.send(bob);
  assert.deepEqual(await late.closed(), { code: 1000, reason: 'bad seat' });
  assert.equal((await fetch(brief.http('/call/lapse'))).status, 409, "alice's seat was renewed");
  await socket.close();
  await brief.stop();
});

test('a caller that answers no ping is let go', async () => {
  const brief = await Engine.start({ args: ['--seat-timeout', '1s', '--ws-ping-interval', '250ms', '--ws-read-timeout', '1s'] });
  const silent = await present(await takeSeat('silent', brief), brief, { autoPong: false });
  assert.equal((await silent.closed()).code, 1000);
  await brief.stop();
});

test('/healthz is 200, and a CPU profile is what pprof reads', async () => {
  assert.equal((await fetch(engine.http('/healthz', 'calls-health'))).status, 200);
  const response = await fetch(engine.http('/debug/pprof/profile?seconds=1', 'calls-health'));
  assert.equal(response.status, 200);
  const bytes = Buffer.from(await response.arrayBuffer());
  // pprof reads it compressed or not.
  const profile = bytes[0] === 0x1f ? gunzipSync(bytes) : bytes;
  // Field 1 of the Profile message, length-delimited: the types of its samples.
  assert.equal(profile[0], 0x0a);
});

test('SIGTERM closes with 1001, and the engine ends with 0', async () => {
  const caller = await present(await takeSeat('drain'));
  const ended = engine.stop();
  assert.deepEqual(await caller.closed(), { code: 1001, reason: 'Server shutting down' });
  assert.deepEqual(await ended, { code: 0, signal: null });
});
