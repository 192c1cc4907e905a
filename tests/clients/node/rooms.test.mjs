// The `ws` package and Node's `fetch` against the `rooms` dialect: workers, and those who look for
// them.

import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { test } from 'node:test';
import { Engine } from './engine.mjs';
import { JsonSocket } from './json_socket.mjs';
import { createRoom, post, signIn } from './rooms_api.mjs';

const engine = await Engine.start();

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const gpu = {
  tags: ['gpu', 'training', 'inference'],
  properties: { gpu_memory_mb: 16384, cuda_version: '11.8', sleap_version: '1.3.0', supported_models: ['base', 'centroid'] },
};

async function joined(room, peerId, more = {}) {
  const peer = await JsonSocket.open(engine.ws());
  await register(peer, room, peerId, more);
  return peer;
}

async function register(peer, { room_id, token, id_token }, peerId, more = {}) {
  peer.send({ type: 'register', peer_id: peerId, room_id, token, id_token, ...more });
  assert.deepEqual(await peer.receive('registered_auth'), { type: 'registered_auth', room_id, token, peer_id: peerId });
}

async function closeAll(...peers) {
  await Promise.all(peers.map((peer) => peer.close()));
}

async function discovered(peer, peerId, filters) {
  peer.send({ type: 'discover_peers', from_peer_id: peerId, filters });
  const list = await peer.receive('peer_list');
  assert.equal(list.to_peer_id, peerId);
  assert.equal(list.count, list.peers.length);
  return list.peers.map(({ peer_id }) => peer_id).sort();
}

async function refused(peer, code) {
  const error = await peer.receive('error');
  assert.equal(error.code, code, JSON.stringify(error));
  assert.equal(typeof error.message, 'string');
}

/** What was sent before has been carried out when this resolves. */
async function settled(peer) {
  peer.send({ type: 'ping' });
  await peer.receive('pong');
}

for (const listener of ['rooms-api', 'main']) {
  test(`an anonymous user signs in and creates a room on ${listener}`, async () => {
    const room = await createRoom(engine, listener);
    assert.match(room.room_id, /^[a-z0-9]{8}$/);
    assert.match(room.token, /^[a-z0-9]{6}$/);
  });
}

test('an id token is signed with a key of the published set', async () => {
  const [head, claims, signature] = (await signIn(engine)).split('.');
  const { kid, alg } = JSON.parse(Buffer.from(head, 'base64url'));
  assert.equal(alg, 'RS256');
  const { keys } = await (await fetch(engine.http('/.well-known/jwks.json', 'rooms-api'))).json();
  const key = createPublicKey({ key: keys.find((jwk) => jwk.kid === kid), format: 'jwk' });
  assert.ok(verify('RSA-SHA256', Buffer.from(`${head}.${claims}`), key, Buffer.from(signature, 'base64url')));
  assert.ok(JSON.parse(Buffer.from(claims, 'base64url')).exp > Date.now() / 1000);
});

test('creating a room needs an identity, with or without Bearer', async () => {
  const url = engine.http('/create-room', 'rooms-api');
  const missing = await post(url, {});
  assert.equal(missing.status, 422);
  assert.ok('detail' in missing.body);
  const bad = await post(url, {}, 'not.a.token');
  assert.equal(bad.status, 401);
  assert.ok('detail' in bad.body);
  const bare = await fetch(url, { method: 'POST', headers: { Authorization: await signIn(engine) } });
  assert.equal(bare.status, 200);
});

test('/health and /metrics answer everybody as documented', async () => {
  const health = await (await fetch(engine.http('/health', 'rooms-api'))).json();
  assert.match(health.timestamp, rfc3339);
  assert.deepEqual(health, { status: 'healthy', timestamp: health.timestamp, version: '2.0.0' });

  const before = await (await fetch(engine.http('/metrics', 'rooms-api'))).json();
  const room = await createRoom(engine);
  const worker = await joined(room, 'Worker-1', { role: 'metrics-worker' });
  const { timestamp, ...metrics } = await (await fetch(engine.http('/metrics', 'rooms-api'))).json();
  assert.match(timestamp, rfc3339);
  assert.deepEqual(Object.keys(metrics).sort(), [
    'active_connections', 'active_rooms', 'peers_by_role', 'rooms_created', 'total_connections', 'total_messages',
  ]);
  assert.equal(metrics.peers_by_role['metrics-worker'], 1);
  assert.equal(metrics.rooms_created, before.rooms_created + 1);
  assert.ok(metrics.active_connections >= 1 && metrics.active_rooms >= 1);
  await worker.close();
});

test('a page of any origin may use the HTTP API', async () => {
  const origin = { Origin: 'https://lab.example' };
  const preflight = await fetch(engine.http('/create-room', 'rooms-api'), {
    method: 'OPTIONS',
    headers: { ...origin, 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'authorization' },
  });
  assert.ok(preflight.ok, `${preflight.status}`);
  assert.equal(preflight.headers.get('access-control-allow-origin'), '*');
  // A browser does not count Authorization among what `*` allows.
  assert.match(preflight.headers.get('access-control-allow-headers'), /authorization/i);
  const health = await fetch(engine.http('/health', 'rooms-api'), { headers: origin });
  assert.equal(health.headers.get('access-control-allow-origin'), '*');
});

test('a call is set up between a client and the worker that it has discovered', async () => {
  const room = await createRoom(engine);
  const worker = await joined(room, 'Worker-3108', { role: 'worker', metadata: gpu });
  const client = await joined({ ...room, id_token: await signIn(engine) }, 'Client-1489', { role: 'client' });

  client.send({ type: 'discover_peers', from_peer_id: 'Client-1489', filters: { role: 'worker', tags: ['gpu'] } });
  const list = await client.receive('peer_list');
  const { connected_at } = list.peers[0];
  assert.equal(typeof connected_at, 'number');
  assert.deepEqual(list, {
    type: 'peer_list',
    to_peer_id: 'Client-1489',
    count: 1,
    peers: [{ peer_id: 'Worker-3108', role: 'worker', metadata: gpu, connected_at }],
  });

  const offer = { type: 'offer', sender: 'Client-1489', target: 'Worker-3108', sdp: 'v=0\r\no=- 1\r\n', attempt: 1 };
  client.send(offer);
  assert.deepEqual(await worker.receive('offer'), offer);
  const answer = { type: 'answer', sender: 'Worker-3108', target: 'Client-1489', sdp: 'v=0\r\no=- 2\r\n' };
  worker.send(answer);
  assert.deepEqual(await client.receive('answer'), answer);
  const candidate = {
    type: 'candidate', sender: 'Worker-3108', target: 'Client-1489', candidate: 'candidate:1 1 UDP 1 127.0.0.1 5 typ host', sdpMid: '0',
  };
  worker.send(candidate);
  assert.deepEqual(await client.receive('candidate'), candidate);
  await closeAll(worker, client);
});

test('filters find by role, by any of the tags, and by every operator of every property', async () => {
  const room = await createRoom(engine);
  const small = { tags: ['gpu', 'old'], properties: { gpu_memory_mb: 8192, sleap_version: '1.2.9' } };
  const peers = [
    await joined(room, 'big', { role: 'worker', metadata: gpu }),
    await joined(room, 'small', { role: 'worker', metadata: small }),
    await joined(room, 'plain'),
  ];
  const asker = await joined(room, 'asker', { role: 'client' });
  const expected = [
    [{}, ['big', 'plain', 'small']],
    [{ role: 'worker' }, ['big', 'small']],
    [{ role: 'peer' }, ['plain']],
    [{ role: 'nobody' }, []],
    [{ tags: ['training'] }, ['big']],
    [{ tags: ['training', 'old'] }, ['big', 'small']],
    [{ properties: { gpu_memory_mb: { $gte: 8192 } } }, ['big', 'small']],
    [{ properties: { gpu_memory_mb: { $gte: 8193 } } }, ['big']],
    [{ properties: { gpu_memory_mb: { $lte: 8192 } } }, ['small']],
    [{ properties: { gpu_memory_mb: { $gt: 8192 } } }, ['big']],
    [{ properties: { gpu_memory_mb: { $lt: 16384 } } }, ['small']],
    [{ properties: { gpu_memory_mb: { $gte: 8000, $lte: 9000 } } }, ['small']],
    [{ properties: { gpu_memory_mb: { $eq: 16384 } } }, ['big']],
    [{ properties: { gpu_memory_mb: 16384 } }, ['big']],
    [{ properties: { gpu_memory_mb: { $in: [1, 8192] } } }, ['small']],
    [{ properties: { gpu_memory_mb: { $ne: 8192 } } }, ['big']],
    [{ properties: { sleap_version: { $gte: '1.3.0' } } }, ['big']],
    [{ properties: { sleap_version: '1.3.0', gpu_memory_mb: { $gte: 1 } } }, ['big']],
    [{ properties: { gpu_memory_mb: { $gte: '8192' } } }, []],
    [{ properties: { unheard_of: 1 } }, []],
    [{ room_id: room.room_id }, ['big', 'plain', 'small']],
  ];
  for (const [filters, ids] of expected) {
    assert.deepEqual(await discovered(asker, 'asker', filters), ids, JSON.stringify(filters));
  }
  asker.send({ type: 'discover_peers', from_peer_id: 'asker', filters: { properties: { gpu_memory_mb: { $near: 1 } } } });
  await refused(asker, 'INVALID_MESSAGE');
  await closeAll(asker, ...peers);
});

test('the payload of a peer message passes byte for byte', async () => {
  const room = await createRoom(engine);
  const [client, worker] = [await joined(room, 'Client-1'), await joined(room, 'Worker-1')];
  const payload = '{"z" : 1.0,  "a":[1e3, -0, 12345678901234567890], "é":"\\u00e9\\/", "nested":{"b":null,"a":{}}}';
  client.sendText(`{"type":"peer_message","from_peer_id":"Client-1","to_peer_id":"Worker-1","payload":${payload}}`);
  const text = await worker.receiveText('peer_message');
  assert.ok(text.includes(payload), text);
  assert.deepEqual(JSON.parse(text), {
    type: 'peer_message', from_peer_id: 'Client-1', to_peer_id: 'Worker-1', payload: JSON.parse(payload),
  });
  await closeAll(client, worker);
});

test('peer messages arrive in the order they were sent', async () => {
  const room = await createRoom(engine);
  const [client, worker] = [await joined(room, 'Client-1'), await joined(room, 'Worker-1')];
  for (let number = 0; number < 500; number += 1) {
    client.send({ type: 'peer_message', from_peer_id: 'Client-1', to_peer_id: 'Worker-1', payload: { number } });
  }
  for (let number = 0; number < 500; number += 1) {
    assert.equal((await worker.receive('peer_message')).payload.number, number);
  }
  await closeAll(client, worker);
});

test('update_metadata unites tags and overrides properties one by one', async () => {
  const room = await createRoom(engine);
  const [worker, client] = [await joined(room, 'Worker-1', { role: 'worker', metadata: gpu }), await joined(room, 'Client-1')];
  worker.send({ type: 'update_metadata', peer_id: 'Worker-1', metadata: { properties: { status: 'busy', gpu_memory_mb: 4096 } } });
  const first = await worker.receive('metadata_updated');
  assert.equal(first.peer_id, 'Worker-1');
  assert.deepEqual(first.metadata, {
    tags: gpu.tags,
    properties: { ...gpu.properties, gpu_memory_mb: 4096, status: 'busy' },
  });
  worker.send({ type: 'update_metadata', peer_id: 'Worker-1', metadata: { tags: ['gpu', 'reserved'] } });
  const second = await worker.receive('metadata_updated');
  assert.deepEqual([...second.metadata.tags].sort(), ['gpu', 'inference', 'reserved', 'training']);
  assert.equal(second.metadata.properties.status, 'busy');
  assert.deepEqual(await discovered(client, 'Client-1', { tags: ['reserved'], properties: { status: 'busy' } }), ['Worker-1']);
  await closeAll(worker, client);
});

test('a register is refused with its reason, and the same socket may try again', async () => {
  const room = await createRoom(engine);
  const peer = await JsonSocket.open(engine.ws());
  const good = { type: 'register', peer_id: 'Worker-1', ...room };
  const { token, ...withoutToken } = { ...good, id_token: await signIn(engine) };
  const attempts = [
    [{ ...good, token: 'wrong1' }, 'Invalid token'],
    [{ ...good, room_id: 'nosuch12' }, 'Room not found'],
    [{ ...good, id_token: 'not.a.token' }, 'Authentication failed'],
    [{ type: 'register', peer_id: 'Worker-1' }, 'Missing required fields during registration.'],
  ];
  for (const [message, reason] of attempts) {
    peer.send(message);
    const error = await peer.receive('error');
    assert.equal(error.reason, reason);
    assert.equal(typeof error.code, 'string');
    assert.equal(typeof error.message, 'string');
  }
  peer.send(withoutToken);
  await peer.receive('error', ({ reason }) => typeof reason === 'string');
  await register(peer, room, 'Worker-1');
  await peer.close();
});

test('a socket that has not registered is in no room', async () => {
  const room = await createRoom(engine);
  const [stranger, worker] = [await JsonSocket.open(engine.ws()), await joined(room, 'Worker-1')];
  for (const message of [
    { type: 'discover_peers', from_peer_id: 'x', filters: {} },
    { type: 'peer_message', from_peer_id: 'x', to_peer_id: 'Worker-1', payload: {} },
    { type: 'offer', sender: 'x', target: 'Worker-1', sdp: 'v=0' },
  ]) {
    stranger.send(message);
    await refused(stranger, 'NOT_IN_ROOM');
  }
  await closeAll(stranger, worker);
});

test('each error of the protocol names what is wrong, and the connection goes on', async () => {
  const [room, other] = [await createRoom(engine), await createRoom(engine)];
  const [client, worker] = [await joined(room, 'Client-1'), await joined(room, 'Worker-1')];
  const elsewhere = await joined(other, 'Elsewhere-1');
  const message = { type: 'peer_message', from_peer_id: 'Client-1', to_peer_id: 'Worker-1', payload: { job: 1 } };
  const attempts = [
    [JSON.stringify({ ...message, to_peer_id: 'Ghost-1' }), 'PEER_NOT_FOUND'],
    [JSON.stringify({ ...message, to_peer_id: 'Elsewhere-1' }), 'PEER_NOT_IN_ROOM'],
    [JSON.stringify({ ...message, to_peer_id: undefined }), 'INVALID_MESSAGE'],
    [JSON.stringify({ ...message, to_peer_id: '' }), 'INVALID_MESSAGE'],
    [JSON.stringify({ ...message, from_peer_id: 'Worker-1' }), 'INVALID_MESSAGE'],
    [JSON.stringify({ type: 'offer', sender: 'Worker-1', target: 'Worker-1', sdp: 'v=0' }), 'INVALID_MESSAGE'],
    [JSON.stringify({ type: 'dance', peer_id: 'Client-1' }), 'UNKNOWN_MESSAGE_TYPE'],
    ['{"type":"peer_message",', 'INVALID_JSON'],
  ];
  for (const [text, code] of attempts) {
    client.sendText(text);
    await refused(client, code);
  }
  client.send(message);
  await worker.receive('peer_message');
  // Deployed workers exit on any error: a signal to nobody is dropped in silence.
  worker.send({ type: 'answer', sender: 'Worker-1', target: 'Ghost-1', sdp: 'v=0' });
  await settled(worker);
  assert.ok(!worker.has('error'));
  await closeAll(client, worker, elsewhere);
});

test('an error from a worker reaches the client that it names', async () => {
  const room = await createRoom(engine);
  const [client, worker] = [await joined(room, 'Client-1'), await joined(room, 'Worker-1')];
  worker.send({ type: 'error', target: 'Client-1', reason: 'worker_busy', message: 'Busy with a job' });
  const error = await client.receive('error');
  assert.equal(error.reason, 'worker_busy');
  assert.equal(error.message, 'Busy with a job');
  await closeAll(client, worker);
});

test('a v1 client without role and metadata works, and asks by query', async () => {
  const room = await createRoom(engine);
  const [old, worker] = [await joined(room, 'Old-1'), await joined(room, 'Worker-1', { role: 'worker', metadata: gpu })];
  old.send({ type: 'query' });
  const { peers } = await old.receive('available_peers');
  assert.ok(peers.includes('Worker-1'), `${peers}`);
  worker.send({ type: 'discover_peers', from_peer_id: 'Worker-1', filters: {} });
  const [peer] = (await worker.receive('peer_list')).peers;
  assert.equal(peer.role, 'peer');
  assert.deepEqual(peer.metadata, {});
  await closeAll(old, worker);
});

test('registering again on the same socket changes nothing', async () => {
  const room = await createRoom(engine);
  const [client, worker] = [await joined(room, 'Client-1'), await joined(room, 'Worker-1')];
  await register(worker, room, 'Worker-1');
  assert.deepEqual(await discovered(client, 'Client-1', {}), ['Worker-1']);
  await closeAll(client, worker);
});

test('the same peer id from another socket wins in its room, and only there', async () => {
  const [room, other] = [await createRoom(engine), await createRoom(engine)];
  const [client, older] = [await joined(room, 'Client-1'), await joined(room, 'Worker-1')];
  const namesake = await joined(other, 'Worker-1');
  const newer = await joined(room, 'Worker-1');
  assert.equal((await older.closed()).code, 1008);
  client.send({ type: 'offer', sender: 'Client-1', target: 'Worker-1', sdp: 'v=0' });
  await newer.receive('offer');
  await settled(namesake);
  assert.ok(!namesake.has('offer'));
  assert.deepEqual(await discovered(client, 'Client-1', {}), ['Worker-1']);
  await closeAll(client, newer, namesake);
});

test('a peer that leaves is no longer found, and may come back', async () => {
  const room = await createRoom(engine);
  const [client, worker] = [await joined(room, 'Client-1'), await joined(room, 'Worker-1')];
  await worker.close();
  let left;
  do {
    left = await discovered(client, 'Client-1', {});
  } while (left.length !== 0);
  await client.close();
  const again = await joined(room, 'Worker-1');
  assert.deepEqual(await discovered(again, 'Worker-1', {}), []);
  await again.close();
});

test('deleting a room closes its sockets with 1000, and the room is gone', async () => {
  const room = await createRoom(engine);
  const [client, worker] = [await joined(room, 'Client-1'), await joined(room, 'Worker-1')];
  const url = engine.http('/delete-peers-and-room', 'rooms-api');
  assert.deepEqual(await post(url, { peer_id: 'Worker-1' }, room.id_token), {
    status: 200, body: { status: 'peer deleted successfully' },
  });
  assert.equal((await client.closed()).code, 1000);
  assert.equal((await worker.closed()).code, 1000);
  const late = await JsonSocket.open(engine.ws());
  late.send({ type: 'register', peer_id: 'Late-1', ...room });
  assert.equal((await late.receive('error')).reason, 'Room not found');
  await late.close();
});

test('deleting a room by its id works too, also on the port of all dialects', async () => {
  const room = await createRoom(engine, 'main');
  const worker = await joined(room, 'Worker-1');
  const { status } = await post(engine.http('/delete-peers-and-room'), { room_id: room.room_id }, room.id_token);
  assert.equal(status, 200);
  assert.equal((await worker.closed()).code, 1000);
});

test('deleting one peer leaves the room and the others', async () => {
  const room = await createRoom(engine);
  const [client, worker] = [await joined(room, 'Client-1'), await joined(room, 'Worker-1')];
  const { status, body } = await post(engine.http('/delete-peer', 'rooms-api'), { peer_id: 'Worker-1' }, room.id_token);
  assert.deepEqual([status, body.status], [200, 'peer deleted successfully']);
  assert.equal((await worker.closed()).code, 1000);
  assert.deepEqual(await discovered(client, 'Client-1', {}), []);
  await client.close();
});

test('only one who is in the room or created it may delete', async () => {
  const room = await createRoom(engine);
  const worker = await joined(room, 'Worker-1');
  const stranger = await signIn(engine);
  for (const path of ['/delete-peers-and-room', '/delete-peer']) {
    const url = engine.http(path, 'rooms-api');
    for (const idToken of [undefined, 'not.a.token', stranger]) {
      assert.equal((await post(url, { peer_id: 'Worker-1' }, idToken)).status, 401, path);
    }
  }
  await settled(worker);
  await worker.close();
});

test('SIGTERM closes with 1001, and the engine ends with 0', async () => {
  const worker = await joined(await createRoom(engine), 'Worker-1');
  const ended = engine.stop();
  assert.deepEqual(await worker.closed(), { code: 1001, reason: 'Server shutting down' });
  assert.deepEqual(await ended, { code: 0, signal: null });
});
