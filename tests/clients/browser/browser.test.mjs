// Two pages of a real browser connect a data channel to each other through the engine: once through
// each dialect, and across each pair that a realm can join. A test passes only when a message has
// arrived over the data channel in both pages.

import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Engine } from '../node/engine.mjs';
import { loadChromium, socketIoBundle } from '../node/libraries.mjs';
import { within } from '../node/mailbox.mjs';

const connectMs = 15_000;
const folder = fileURLToPath(new URL('.', import.meta.url));

/** Serves what is in this folder, and the bundle of socket.io-client. */
const pages = http.createServer(async (request, response) => {
  try {
    const name = path.basename(request.url);
    const file = name === 'socket.io.js' ? socketIoBundle : path.join(folder, name);
    const content = await fs.readFile(file);
    const type = name.endsWith('.html') ? 'text/html' : 'text/javascript';
    response.writeHead(200, { 'Content-Type': type }).end(content);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => pages.listen(0, '127.0.0.1', resolve));
const origin = `http://127.0.0.1:${pages.address().port}`;

const engine = await Engine.start({
  env: { SIGNALS_ORIGIN: origin },
  toml: ['binary', 'devices', 'broadcast'].map((dialect) => `[${dialect}]\nrealm = "field"\n`).join(''),
});
const browser = await loadChromium().launch({
  executablePath: process.env.SIGMUX_CHROMIUM,
  args: [
    // In a container there is neither a sandbox for root, nor anyone who would answer mDNS, and
    // often no network but loopback.
    '--no-sandbox',
    '--disable-features=WebRtcHideLocalIpsWithMdns',
    '--allow-loopback-in-peer-connection',
  ],
});

after(async () => {
  await browser.close();
  pages.closeAllConnections();
  pages.close();
});

/** A page whose `signaling` is connected and whose `peer` waits for a call. */
async function open(dialect, options, greeting) {
  const page = await browser.newPage();
  await page.goto(`${origin}/page.html`);
  const address = await page.evaluate(async ([name, settings, text]) => {
    const classes = { BinarySignaling, RoomsSignaling, BroadcastSignaling, CallsSignaling, DevicesSignaling };
    window.signaling = await classes[name].connect(settings);
    window.peer = new Peer(window.signaling, text);
    return window.signaling.address;
  }, [`${dialect}Signaling`, options, greeting]);
  return { page, address };
}

const ws = engine.ws();
const api = engine.http('');
const toCallee = 'from the caller';
const toCaller = 'from the callee';

async function assertConnected(caller, callee) {
  const ends = [caller.page, callee.page];
  const greetings = Promise.all(ends.map((page) => page.evaluate(() => window.peer.greeted)));
  try {
    const received = await within('messages over the data channel', () => '', connectMs, (resolve, reject) => {
      greetings.then(resolve, reject);
    });
    assert.deepEqual(received, [toCaller, toCallee]);
  } catch (error) {
    const states = await Promise.all(ends.map((page) => page.evaluate(() => window.peer.state)));
    throw new Error(`${error.message}\ncaller: ${states[0]}\ncallee: ${states[1]}`);
  }
  await Promise.all(ends.map((page) => page.close()));
}

test('two pages connect through binary', async () => {
  const callee = await open('Binary', { url: ws, clientId: 'test_client_2', token: 'test_token_2' }, toCaller);
  const caller = await open('Binary', {
    url: ws, clientId: 'test_client_1', token: 'test_token_1', target: callee.address,
  }, toCallee);
  await caller.page.evaluate(() => window.peer.call());
  await assertConnected(caller, callee);
});

test('two pages connect through rooms', async () => {
  const rooms = { url: ws, api: engine.http('', 'rooms-api') };
  const callee = await open('Rooms', { ...rooms, peerId: 'Worker-3108', role: 'worker' }, toCaller);
  const room = await callee.page.evaluate(() => window.signaling.room);
  const caller = await open('Rooms', { ...rooms, peerId: 'Client-1489', role: 'client', room }, toCallee);
  await caller.page.evaluate(async () => {
    await window.signaling.find('worker');
    await window.peer.call();
  });
  await assertConnected(caller, callee);
});

test('two pages connect through broadcast: the node offers when the station has joined', async () => {
  const options = { url: api, room: 'browser' };
  const caller = await open('Broadcast', options, toCallee);
  const called = caller.page.evaluate(() => window.signaling.peerJoined.then(() => window.peer.call()));
  const callee = await open('Broadcast', options, toCaller);
  await called;
  await assertConnected(caller, callee);
});

test('two pages connect through calls', async () => {
  const options = { api, url: engine.ws('/ws'), call: 'browser' };
  const callee = await open('Calls', options, toCaller);
  const caller = await open('Calls', options, toCallee);
  await callee.page.evaluate(() => window.signaling.peerJoined);
  await caller.page.evaluate(() => window.peer.call());
  await assertConnected(caller, callee);
});

test('two pages connect through devices', async () => {
  const callee = await open('Devices', { url: ws, id: 'drone-alpha-001' }, toCaller);
  const caller = await open('Devices', { url: ws, id: 'operator-3', target: callee.address }, toCallee);
  await caller.page.evaluate(() => window.peer.call());
  await assertConnected(caller, callee);
});

const inRealm = {
  Binary: { url: ws, clientId: 'test_client_1', token: 'test_token_1' },
  Devices: { url: ws, id: 'drone-field-1' },
  Broadcast: { url: api },
};
const pairs = [
  ['Binary', 'Devices'], ['Devices', 'Binary'],
  ['Binary', 'Broadcast'], ['Broadcast', 'Binary'],
  ['Devices', 'Broadcast'], ['Broadcast', 'Devices'],
];

for (const [from, to] of pairs) {
  test(`in one realm a page of ${from.toLowerCase()} calls one of ${to.toLowerCase()}`, async () => {
    const callee = await open(to, inRealm[to], toCaller);
    const caller = await open(from, { ...inRealm[from], target: callee.address }, toCallee);
    await caller.page.evaluate(() => window.peer.call());
    await assertConnected(caller, callee);
  });
}

test('with pages open SIGTERM ends the engine with 0', async () => {
  await open('Devices', { url: ws, id: 'drone-last' }, toCaller);
  assert.deepEqual(await engine.stop(), { code: 0, signal: null });
});
