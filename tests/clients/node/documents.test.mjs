// The example code of the protocol documents, on the documented ports, against an engine that was
// started with the shipped settings. Skipped where something else listens on one of the ports.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Engine, temporaryFolder } from './engine.mjs';
import { binaryToMessage, messageToBinary, messageType } from './frames.mjs';
import { io, WebSocket } from './libraries.mjs';
import { Mailbox, waitMs, within } from './mailbox.mjs';

const ports = [8080, 8081, 8001, 8082, 8090, 9090];
const shipped = fileURLToPath(new URL('../../../config/sigmux.toml', import.meta.url));

function isFree(port, host) {
  return new Promise((resolve) => {
    const server = net.createServer();
    // No IPv6 on this machine is no reason to skip.
    server.once('error', ({ code }) => resolve(code !== 'EADDRINUSE'));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

async function takenPorts() {
  const taken = [];
  for (const port of ports) {
    if (!(await isFree(port, '127.0.0.1')) || !(await isFree(port, '::1'))) {
      taken.push(port);
    }
  }
  return taken;
}

const taken = await takenPorts();
const skip = taken.length !== 0 && `something else listens on ${taken.join(', ')}`;
const engine = skip ? undefined : await Engine.serve({ file: shipped });

/** Resolves with the first argument of the handler `on…` of a browser-like WebSocket. */
function once(ws, handler) {
  return within(handler, () => '', waitMs, (resolve) => {
    ws[handler] = resolve;
  });
}

/** A client of the binary document's first example. */
async function binaryClient(clientId, authToken) {
  const ws = new WebSocket('ws://127.0.0.1:8080/');
  const messages = new Mailbox();
  ws.binaryType = 'arraybuffer';
  ws.onmessage = (event) => messages.put(binaryToMessage(event.data));
  ws.onopen = function () {
    const connectMessage = {
      message_type: 0x01, // CONNECT
      uuid: '550e8400-e29b-41d4-a716-446655440000',
      payload_type: 0x02, // JSON
      payload: { client_id: clientId, auth_token: authToken },
    };
    ws.send(messageToBinary(connectMessage));
  };
  const reply = await messages.take('the answer to CONNECT', () => true);
  const receive = (type) => messages.take(`message type ${type}`, (message) => message.message_type === type);
  return { ws, reply, receive };
}

async function binaryExample() {
  const first = await binaryClient('test_client_1', 'test_token_1');
  const second = await binaryClient('test_client_2', 'test_token_2');
  for (const { reply } of [first, second]) {
    assert.equal(reply.message_type, messageType.CONNECT_ACK);
    assert.equal(reply.uuid, '550e8400-e29b-41d4-a716-446655440000');
    assert.equal(reply.payload.status, 'success');
  }
  const signalMessage = {
    message_type: 0x10, // SIGNAL_OFFER
    uuid: '550e8400-e29b-41d4-a716-446655440001',
    payload_type: 0x02, // JSON
    payload: { target_client_id: 'test_client_2', signal_data: 'base64_encoded_webrtc_offer' },
  };
  first.ws.send(messageToBinary(signalMessage));
  assert.deepEqual(await second.receive(messageType.SIGNAL_OFFER), {
    ...signalMessage,
    payload: { ...signalMessage.payload, sender_client_id: 'test_client_1' },
  });
  const heartbeatMessage = {
    message_type: 0x04, // HEARTBEAT
    uuid: '550e8400-e29b-41d4-a716-446655440002',
    payload_type: 0x02, // JSON
    payload: { timestamp: Date.now() },
  };
  first.ws.send(messageToBinary(heartbeatMessage));
  const { payload } = await first.receive(messageType.HEARTBEAT_ACK);
  assert.ok(Math.abs(payload.timestamp - Date.now() / 1000) < 60);
  first.ws.close();
  second.ws.close();
}

async function broadcastExample() {
  const connect = () => new Promise((resolve, reject) => {
    const socket = io('http://localhost:8080', { forceNew: true, reconnection: false });
    socket.on('connect', () => resolve(socket));
    socket.on('connect_error', reject);
  });
  const [socket, station] = [await connect(), await connect()];
  const received = within('the signal', () => '', waitMs, (resolve) => station.on('signal', resolve));
  socket.emit('signal', {
    type: 'offer',
    data: { sdp: '...', type: 'offer' },
  });
  assert.deepEqual(await received, { type: 'offer', data: { sdp: '...', type: 'offer' }, from: socket.id });
  socket.disconnect();
  station.disconnect();
}

test('binary: connect, signal and heartbeat of the document', { skip }, binaryExample);

test('broadcast: the client of the document', { skip }, async () => {
  await broadcastExample();
  assert.equal((await fetch('http://localhost:8080/')).status, 200);
});

test('devices: the client of the document', { skip }, async () => {
  function client(id) {
    const ws = new WebSocket('ws://localhost:8081');
    const messages = new Mailbox();
    ws.onopen = () => {
      ws.send(JSON.stringify({
        type: 'register',
        id,
      }));
    };
    ws.onmessage = (event) => messages.put(JSON.parse(event.data));
    const receive = (type) => messages.take(type, (data) => data.type === type);
    return { ws, receive };
  }
  const [operator, drone] = [client('operator-1'), client('drone-alpha-001')];
  assert.equal((await operator.receive('registered')).id, 'operator-1');
  assert.equal((await drone.receive('registered')).id, 'drone-alpha-001');

  function sendOffer(targetId, sdpOffer) {
    operator.ws.send(JSON.stringify({
      type: 'offer',
      target: targetId,
      sdp: sdpOffer,
    }));
  }
  function sendAnswer(targetId, sdpAnswer) {
    drone.ws.send(JSON.stringify({
      type: 'answer',
      target: targetId,
      sdp: sdpAnswer,
    }));
  }
  function sendICE(targetId, candidate) {
    operator.ws.send(JSON.stringify({
      type: 'ice',
      target: targetId,
      candidate: candidate,
    }));
  }
  sendOffer('drone-alpha-001', 'v=0\r\no=...');
  const offer = await drone.receive('offer');
  assert.deepEqual([offer.from, offer.sdp], ['operator-1', 'v=0\r\no=...']);
  sendAnswer(offer.from, 'v=0\r\na=...');
  assert.equal((await operator.receive('answer')).from, 'drone-alpha-001');
  const candidate = { candidate: 'candidate:...', sdpMLineIndex: 0, sdpMid: '0' };
  sendICE('drone-alpha-001', candidate);
  assert.deepEqual((await drone.receive('ice')).candidate, candidate);
  operator.ws.send(JSON.stringify({ type: 'list' }));
  assert.deepEqual((await operator.receive('clients')).clients, ['drone-alpha-001']);

  const health = await (await fetch('http://localhost:8082/health')).json();
  assert.deepEqual([health.status, health.clients], ['healthy', 2]);
  operator.ws.close();
  drone.ws.close();
});

test('rooms: sign in, create a room, register and discover as documented', { skip }, async () => {
  const api = 'http://localhost:8001';
  const body = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' };
  const { id_token } = await (await fetch(`${api}/anonymous-signin`, body)).json();
  const created = await fetch(`${api}/create-room`, { ...body, headers: { Authorization: `Bearer ${id_token}` } });
  const { room_id, token } = await created.json();

  const ws = new WebSocket('ws://localhost:8080/');
  const messages = new Mailbox();
  ws.onmessage = (event) => messages.put(JSON.parse(event.data));
  await once(ws, 'onopen');
  ws.send(JSON.stringify({
    type: 'register',
    peer_id: 'Worker-3108',
    room_id,
    token,
    id_token,
    role: 'worker',
    metadata: {
      tags: ['gpu', 'training', 'inference'],
      properties: { gpu_memory_mb: 16384, cuda_version: '11.8', sleap_version: '1.3.0', supported_models: ['base', 'centroid'] },
    },
  }));
  assert.deepEqual(await messages.take('registered_auth', () => true), {
    type: 'registered_auth', room_id, token, peer_id: 'Worker-3108',
  });
  ws.send(JSON.stringify({ type: 'discover_peers', from_peer_id: 'Worker-3108', filters: { role: 'client' } }));
  assert.deepEqual(await messages.take('peer_list', () => true), {
    type: 'peer_list', to_peer_id: 'Worker-3108', count: 0, peers: [],
  });

  assert.equal((await (await fetch(`${api}/health`)).json()).status, 'healthy');
  assert.equal((await (await fetch(`${api}/metrics`)).json()).peers_by_role.worker, 1);
  const closed = once(ws, 'onclose');
  const deleted = await fetch(`${api}/delete-peers-and-room`, {
    ...body,
    headers: { ...body.headers, Authorization: `Bearer ${id_token}` },
    body: JSON.stringify({ peer_id: 'Worker-3108' }),
  });
  assert.deepEqual(await deleted.json(), { status: 'peer deleted successfully' });
  assert.equal((await closed).code, 1000);
});

test('calls: join, present, publish as documented', { skip }, async () => {
  const service = 'localhost:8080';
  async function join(call) {
    const message = await (await fetch(`http://${service}/call/${call}`)).json();
    const ws = new WebSocket(`ws://${service}/ws`);
    const messages = new Mailbox();
    ws.onmessage = (event) => messages.put(JSON.parse(event.data));
    await once(ws, 'onopen');
    ws.send(JSON.stringify(message));
    assert.deepEqual(await messages.take('WELCOME', () => true), { kind: 'WELCOME', call });
    return { message, ws, messages };
  }
  const [first, second] = [await join('standup'), await join('standup')];
  assert.equal((await first.messages.take('PEER', () => true)).kind, 'PEER');
  const published = await fetch(`http://${service}/signal`, {
    method: 'POST',
    body: JSON.stringify({ kind: 'OFFER', call: 'standup', session: second.message.session, body: 'v=0' }),
    headers: { 'Content-Type': 'application/json' },
  });
  assert.equal(published.status, 200);
  assert.deepEqual(await first.messages.take('OFFER', () => true), { kind: 'OFFER', call: 'standup', body: 'v=0' });
  assert.equal((await fetch(`http://${service}/call/standup`)).status, 409);
  assert.equal((await fetch('http://localhost:8090/healthz')).status, 200);
  first.ws.close();
  second.ws.close();
});

test('metrics are on 9090', { skip }, async () => {
  const metrics = await (await fetch('http://localhost:9090/metrics')).text();
  assert.match(metrics, /^sigmux_/m);
});

const appConfig = `
[server]
host = "127.0.0.1"
port = 8080
max_connections = 1000
heartbeat_interval = 30
tls_enabled = false

[auth]
token_secret = "your-secret-key-change-in-production"
token_expiry = 3600
auth_method = "token"
api_keys = [
    "test_client_1:test_token_1",
    "test_client_2:test_token_2"
]

[logging]
level = "info"
format = "json"
console_output = true

[metrics]
enabled = true
port = 9090
host = "127.0.0.1"
`;

test('the documented app-config.toml serves all dialects on its one port', { skip }, async () => {
  assert.deepEqual(await engine.stop(), { code: 0, signal: null });
  const folder = temporaryFolder();
  const file = path.join(folder, 'app-config.toml');
  fs.writeFileSync(file, appConfig);
  const configured = await Engine.serve({ folder, file });
  await binaryExample();
  await broadcastExample();
  await configured.stop();
});
