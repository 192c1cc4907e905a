// Starts and stops the real binary.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { after } from 'node:test';
import { within } from './mailbox.mjs';

const startMs = 10_000;
// Longer than `drain_seconds` of the engine.
const stopMs = 15_000;

/** One port for all dialects and one for each HTTP service, as the shipped settings have it. */
const listeners = [
  ['main', '"binary", "rooms", "broadcast", "calls", "devices"'],
  ['rooms-api', '"rooms-api"'],
  ['devices-health', '"devices-health"'],
  ['calls-health', '"calls-health"'],
];

// A test that failed may leave an engine behind, and connections that would keep Node alive.
const left = [];
after(() => left.forEach((clean) => clean()));

export class Engine {
  /**
   * Waits until everything listens. `toml` is appended to the settings; `env` comes on top of an
   * environment that is cleared of all that the engine reads.
   */
  static async start({ toml = '', env = {}, args = [] } = {}) {
    const folder = temporaryFolder();
    const file = path.join(folder, 'sigmux.toml');
    fs.writeFileSync(file, settings(folder, toml));
    return Engine.serve({ folder, file, env, args });
  }

  /** With settings from a file, in a working folder of its own. */
  static async serve({ folder = temporaryFolder(), file, env = {}, args = [] }) {
    const child = spawn(process.env.SIGMUX_BIN, ['serve', '--print-ports', '-c', file, ...args], {
      cwd: folder,
      env: { ...ownEnvironment(), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const engine = new Engine(child, folder);
    await engine.#listening();
    return engine;
  }

  #child;
  #log = [];
  #ended;
  #addresses = new Map();

  constructor(child, folder) {
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.on('exit', (code, signal) => resolve({ code, signal }));
    });
    readline.createInterface({ input: child.stderr }).on('line', (line) => this.#log.push(line));
    left.push(() => {
      child.kill('SIGKILL');
      fs.rmSync(folder, { recursive: true, force: true });
    });
  }

  /** `address('main')` is `127.0.0.1:12345`. */
  address(listener = 'main') {
    return this.#addresses.get(listener);
  }

  http(target = '/', listener = 'main') {
    return `http://${this.address(listener)}${target}`;
  }

  ws(target = '/', listener = 'main') {
    return `ws://${this.address(listener)}${target}`;
  }

  /** The end of the log, for a test that failed. */
  log() {
    return this.#log.slice(-20).join('\n');
  }

  /** SIGTERM; answers `{ code, signal }` once the process has ended. */
  async stop() {
    this.#child.kill('SIGTERM');
    return within('the end after SIGTERM', () => '', stopMs, (resolve) => {
      this.#ended.then(resolve);
    });
  }

  async #listening() {
    const line = await within('the line with the ports', () => `\n${this.log()}`, startMs, (resolve, reject) => {
      readline.createInterface({ input: this.#child.stdout }).once('line', resolve);
      this.#ended.then(({ code }) => reject(new Error(`ended with ${code}\n${this.log()}`)));
    });
    for (const { name, bind } of JSON.parse(line).listeners) {
      this.#addresses.set(name, bind);
    }
  }
}

export function temporaryFolder() {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'sigmux-clients-'));
}

function settings(folder, more) {
  const tables = listeners.map(
    ([name, serves]) => `[[listener]]\nname = "${name}"\nbind = "127.0.0.1:0"\nserves = [${serves}]\n`,
  );
  return `
[server]
data_dir = "${folder}/data"
[auth]
api_keys = ["test_client_1:test_token_1", "test_client_2:test_token_2"]
[metrics]
enabled = false
${tables.join('')}
${more}`;
}

/** The environment overrides the settings; a developer's own must not. */
function ownEnvironment() {
  const read = /^(SIGMUX_|SIGNALS_|SIGNAL_MANAGER_|PORT$|JWT_SECRET$|LOG_LEVEL$|MAX_CLIENTS$|HEARTBEAT_INTERVAL$)/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !read.test(name)));
}
