// A WebSocket of the `ws` package that speaks JSON.

import { WebSocket } from './libraries.mjs';
import { Mailbox, waitMs, within } from './mailbox.mjs';

export class JsonSocket {
  /** Waits until it is open; `options` are those of `ws`. */
  static async open(url, options = {}) {
    const socket = new JsonSocket(new WebSocket(url, options));
    await within(`open ${url}`, () => '', waitMs, (resolve, reject) => {
      socket.#ws.once('open', resolve);
      socket.#ws.once('error', reject);
    });
    return socket;
  }

  /** The status of the answer that refuses the upgrade. */
  static refused(url, options = {}) {
    return within(`refuse ${url}`, () => '', waitMs, (resolve, reject) => {
      const ws = new WebSocket(url, options);
      ws.once('open', () => reject(new Error(`${url} has opened`)));
      ws.once('error', () => {});
      ws.once('unexpected-response', (request, response) => {
        request.destroy();
        resolve(response.statusCode);
      });
    });
  }

  #ws;
  #mailbox = new Mailbox();
  #closed;

  constructor(ws) {
    this.#ws = ws;
    ws.on('message', (data, isBinary) => {
      const text = isBinary ? '(binary)' : data.toString();
      this.#mailbox.put({ text, json: isBinary ? {} : JSON.parse(text) });
    });
    ws.on('error', () => {});
    this.#closed = new Promise((resolve) => {
      ws.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
  }

  send(message) {
    this.sendText(JSON.stringify(message));
  }

  sendText(text) {
    this.#ws.send(text);
  }

  /** The next message of a type (a kind, in `calls`) that `also` accepts. */
  async receive(type, also = () => true, ms = waitMs) {
    return (await this.#take(type, also, ms)).json;
  }

  /** The same as the text that came. */
  async receiveText(type) {
    return (await this.#take(type, () => true, waitMs)).text;
  }

  /** Whether a message of that type has arrived by now. */
  has(type) {
    return this.#mailbox.holds(({ json }) => typeOf(json) === type);
  }

  close() {
    this.#ws.close();
    return this.closed();
  }

  /** Without a closing handshake, as when the cable is cut. */
  cut() {
    this.#ws.terminate();
  }

  /** `{ code, reason }` of the close. */
  closed(ms = waitMs) {
    return within('the close', () => '', ms, (resolve) => this.#closed.then(resolve));
  }

  #take(type, also, ms) {
    return this.#mailbox.take(`a message ${type}`, ({ json }) => typeOf(json) === type && also(json), ms);
  }
}

function typeOf(json) {
  return json?.type ?? json?.kind;
}
