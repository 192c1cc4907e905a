// The `ws` package against the `devices` dialect: drones, cameras and operators.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { Engine } from './engine.mjs';
import { JsonSocket } from './json_socket.mjs';

const engine = await Engine.start();

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const offerSdp = 'v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n';
const answerSdp = 'v=0\r\na=answer\r\n';
const candidate = { candidate: 'candidate:1 1 UDP 2122252543 127.0.0.1 50000 typ host', sdpMLineIndex: 0, sdpMid: '0' };

async function registered(id, url = engine.ws()) {
  const device = await JsonSocket.open(url);
  device.send({ type: 'register', id });
  const { timestamp, ...reply } = await device.receive('registered');
  assert.deepEqual(reply, { type: 'registered', id });
  assert.match(timestamp, rfc3339);
  return device;
}

async function closeAll(...sockets) {
  await Promise.all(sockets.map((socket) => socket.close()));
}

/** What was sent before has been carried out when this resolves. */
async function settled(socket) {
  socket.send({ type: 'ping' });
  await socket.receive('pong');
}

async function refused(socket, message) {
  const { details, ...error } = await socket.receive('error');
  assert.deepEqual(error, { type: 'error', message });
  return details;
}

test('a client registers and is told its id and the time', async () => {
  const drone = await registered('drone-alpha-001');
  await drone.close();
});

test('an offer, an answer and candidates pass with sender, session id and time', async () => {
  const [operator, drone] = [await registered('op-1'), await registered('drone-1')];
  operator.send({ type: 'offer', target: 'drone-1', sdp: offerSdp, sessionId: 'session-abc123' });
  const offer = await drone.receive('offer');
  assert.match(offer.timestamp, rfc3339);
  assert.deepEqual(offer, {
    type: 'offer', from: 'op-1', sdp: offerSdp, sessionId: 'session-abc123', timestamp: offer.timestamp,
  });

  drone.send({ type: 'answer', target: offer.from, sdp: answerSdp, sessionId: offer.sessionId });
  const answer = await operator.receive('answer');
  assert.deepEqual(answer, {
    type: 'answer', from: 'drone-1', sdp: answerSdp, sessionId: 'session-abc123', timestamp: answer.timestamp,
  });

  drone.send({ type: 'ice', target: 'op-1', candidate, sessionId: offer.sessionId });
  const ice = await operator.receive('ice');
  assert.deepEqual(ice, {
    type: 'ice', from: 'drone-1', candidate, sessionId: 'session-abc123', timestamp: ice.timestamp,
  });
  await closeAll(operator, drone);
});

test('an offer without a session id gets one; answers and candidates without one stay so', async () => {
  const [operator, drone] = [await registered('op-2'), await registered('drone-2')];
  operator.send({ type: 'offer', target: 'drone-2', sdp: offerSdp });
  assert.match((await drone.receive('offer')).sessionId, /^session-\d{13}-[0-9a-z]{9}$/);
  drone.send({ type: 'answer', target: 'op-2', sdp: answerSdp });
  assert.ok(!('sessionId' in (await operator.receive('answer'))));
  drone.send({ type: 'ice', target: 'op-2', candidate });
  assert.ok(!('sessionId' in (await operator.receive('ice'))));
  await closeAll(operator, drone);
});

test('signals arrive in the order they were sent', async () => {
  const [operator, drone] = [await registered('op-3'), await registered('drone-3')];
  for (let sdpMLineIndex = 0; sdpMLineIndex < 500; sdpMLineIndex += 1) {
    operator.send({ type: 'ice', target: 'drone-3', candidate: { ...candidate, sdpMLineIndex } });
  }
  for (let sdpMLineIndex = 0; sdpMLineIndex < 500; sdpMLineIndex += 1) {
    assert.equal((await drone.receive('ice')).candidate.sdpMLineIndex, sdpMLineIndex);
  }
  await closeAll(operator, drone);
});

test('list names the others and leaves out the asker', async () => {
  const [operator, drone, camera] = [await registered('op-4'), await registered('drone-4'), await registered('camera-4')];
  operator.send({ type: 'list' });
  const list = await operator.receive('clients');
  assert.ok(list.clients.includes('drone-4') && list.clients.includes('camera-4'), `${list.clients}`);
  assert.ok(!list.clients.includes('op-4'));
  assert.equal(list.count, list.clients.length);
  await closeAll(operator, drone, camera);
});

test('an unregistered client may ask for the list and ping', async () => {
  const [visitor, drone] = [await JsonSocket.open(engine.ws()), await registered('drone-5')];
  visitor.send({ type: 'ping' });
  assert.match((await visitor.receive('pong')).timestamp, rfc3339);
  visitor.send({ type: 'list' });
  assert.ok((await visitor.receive('clients')).clients.includes('drone-5'));
  await closeAll(visitor, drone);
});

test('an unregistered client may not signal', async () => {
  const [visitor, drone] = [await JsonSocket.open(engine.ws()), await registered('drone-6')];
  for (const message of [
    { type: 'offer', target: 'drone-6', sdp: offerSdp },
    { type: 'answer', target: 'drone-6', sdp: answerSdp },
    { type: 'ice', target: 'drone-6', candidate },
  ]) {
    visitor.send(message);
    await refused(visitor, 'Not registered');
  }
  await settled(drone);
  assert.ok(!drone.has('offer') && !drone.has('answer') && !drone.has('ice'));
  await closeAll(visitor, drone);
});

test('each error of the protocol names what is wrong, and the connection goes on', async () => {
  const operator = await registered('op-7');
  operator.send({ type: 'offer', sdp: offerSdp });
  await refused(operator, 'No target specified');
  operator.send({ type: 'offer', target: 'ghost', sdp: offerSdp });
  await refused(operator, 'Target ghost not found or offline');
  operator.send({ type: 'answer', target: 'ghost', sdp: answerSdp });
  await refused(operator, 'Caller ghost not found or offline');
  operator.send({ type: 'dance' });
  await refused(operator, 'Unknown message type: dance');
  operator.sendText('{"type":');
  assert.equal(typeof (await refused(operator, 'Invalid message format')), 'string');
  // A candidate that comes too late is nobody's mistake.
  operator.send({ type: 'ice', target: 'ghost', candidate });
  await settled(operator);
  assert.ok(!operator.has('error'));
  await operator.close();
});

test('the same id again: the newer wins, the older is closed with 1008', async () => {
  const [operator, older] = [await registered('op-8'), await registered('drone-8')];
  const newer = await registered('drone-8');
  assert.equal((await older.closed()).code, 1008);
  operator.send({ type: 'offer', target: 'drone-8', sdp: offerSdp });
  assert.equal((await newer.receive('offer')).from, 'op-8', 'the end of the older has not removed the newer');
  await closeAll(operator, newer);
});

test('a socket that registers under a second id gives up the first', async () => {
  const [operator, drone] = [await registered('op-9'), await registered('drone-9')];
  drone.send({ type: 'register', id: 'drone-9b' });
  assert.equal((await drone.receive('registered')).id, 'drone-9b');
  operator.send({ type: 'offer', target: 'drone-9', sdp: offerSdp });
  await refused(operator, 'Target drone-9 not found or offline');
  operator.send({ type: 'offer', target: 'drone-9b', sdp: offerSdp });
  await drone.receive('offer');
  await closeAll(operator, drone);
});

for (const [how, leave] of [['closes', (drone) => drone.close()], ['is cut off', (drone) => drone.cut()]]) {
  test(`when a client ${how}, the rest are told who is left`, async () => {
    // Where nobody else comes and goes.
    const quiet = await Engine.start();
    const operator = await registered('op-10', quiet.ws());
    const camera = await registered('camera-10', quiet.ws());
    const drone = await registered('drone-10', quiet.ws());
    await leave(drone);
    for (const other of [operator, camera]) {
      const { clients, count, timestamp } = await other.receive('client_list_update');
      assert.deepEqual(clients.sort(), ['camera-10', 'op-10']);
      assert.equal(count, 2);
      assert.match(timestamp, rfc3339);
    }
    await closeAll(operator, camera);
    await quiet.stop();
  });
}

test('ids that are empty or too long are refused', async () => {
  const device = await JsonSocket.open(engine.ws());
  for (const id of ['', 'x'.repeat(129)]) {
    device.send({ type: 'register', id });
    await device.receive('error');
  }
  device.send({ type: 'register', id: 'x'.repeat(128) });
  assert.equal((await device.receive('registered')).id, 'x'.repeat(128));
  await device.close();
});

test('/health says how many are there', async () => {
  const drone = await registered('drone-11');
  const response = await fetch(engine.http('/health', 'devices-health'));
  assert.equal(response.status, 200);
  const { status, clients, uptime, memory } = await response.json();
  assert.equal(status, 'healthy');
  assert.ok(clients >= 1, `${clients} clients`);
  assert.equal(typeof uptime, 'number');
  assert.equal(typeof memory, 'object');
  await drone.close();
});

test('SIGTERM closes with 1001, and the engine ends with 0', async () => {
  const drone = await registered('drone-12');
  const ended = engine.stop();
  assert.deepEqual(await drone.closed(), { code: 1001, reason: 'Server shutting down' });
  assert.deepEqual(await ended, { code: 0, signal: null });
});

const secret = 'a secret of forty bytes, as tests use it';
const guarded = await Engine.start({
  env: { JWT_SECRET: secret },
  toml: `
[[listener]]
name = "devices"
bind = "127.0.0.1:0"
serves = ["devices"]
[devices]
require_token = true
[devices.roles.operator]
may_send = ["offer", "list"]
to = ["drone"]
`,
});

function token(claims, key = secret) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + 600;
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ exp, ...claims })}`;
  return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
}

test('with require_token a missing or bad token is refused before the upgrade', async () => {
  assert.equal(await JsonSocket.refused(guarded.ws('/', 'devices')), 401);
  const bad = token({ sub: 'drone-13' }, 'another secret, also forty bytes long ..');
  assert.equal(await JsonSocket.refused(guarded.ws(`/?token=${bad}`, 'devices')), 401);
});

test('where other dialects share the port, a bad token closes with 1008', async () => {
  const bad = token({ sub: 'drone-13' }, 'another secret, also forty bytes long ..');
  for (const target of ['/', `/?token=${bad}`]) {
    const device = await JsonSocket.open(guarded.ws(target));
    device.send({ type: 'register', id: 'drone-13' });
    assert.deepEqual(await device.closed(), { code: 1008, reason: 'Unauthorized' });
  }
});

test('a token lets its own subject in, by query or by header', async () => {
  const byQuery = await registered('drone-14', guarded.ws(`/?token=${token({ userId: 'drone-14', role: 'drone' })}`));
  const headers = { Authorization: `Bearer ${token({ sub: 'op-14', role: 'operator' })}` };
  const byHeader = await JsonSocket.open(guarded.ws('/', 'devices'), { headers });
  byHeader.send({ type: 'register', id: 'somebody-else' });
  await byHeader.receive('error');
  byHeader.send({ type: 'register', id: 'op-14' });
  await byHeader.receive('registered');
  await closeAll(byQuery, byHeader);
});

test('a role may send what its rule lists, to the roles that it lists', async () => {
  const as = (id, role) => registered(id, guarded.ws(`/?token=${token({ sub: id, role })}`));
  const [operator, drone, camera] = [
    await as('op-15', 'operator'), await as('drone-15', 'drone'), await as('camera-15', 'camera'),
  ];
  operator.send({ type: 'offer', target: 'drone-15', sdp: offerSdp });
  assert.equal((await drone.receive('offer')).from, 'op-15');
  operator.send({ type: 'offer', target: 'camera-15', sdp: offerSdp });
  await refused(operator, 'Not allowed');
  operator.send({ type: 'answer', target: 'drone-15', sdp: answerSdp });
  await refused(operator, 'Not allowed');
  await closeAll(operator, drone, camera);
});

test('the guarded engine ends with 0', async () => {
  assert.deepEqual(await guarded.stop(), { code: 0, signal: null });
});
