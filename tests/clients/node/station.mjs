// A Socket.IO client of the `socket.io-client` package: a streaming node or a ground station.

import { io } from './libraries.mjs';
import { Mailbox, waitMs, within } from './mailbox.mjs';

const heard = ['signal', 'peer_joined', 'peer_left', 'error'];

export class Station {
  /** Waits until it is connected; `options` are those of `io`. */
  static async connect(url, options = {}) {
    const station = new Station(io(url, { forceNew: true, reconnection: false, ...options }));
    await station.connected();
    return station;
  }

  #mailbox = new Mailbox();

  constructor(socket) {
    this.socket = socket;
    for (const event of heard) {
      socket.on(event, (data) => this.#mailbox.put({ event, data }));
    }
  }

  get id() {
    return this.socket.id;
  }

  get transport() {
    return this.socket.io.engine.transport.name;
  }

  connected() {
    return within('connect', () => '', waitMs, (resolve, reject) => {
      if (this.socket.connected) {
        resolve();
      }
      this.socket.once('connect', resolve);
      this.socket.once('connect_error', reject);
    });
  }

  upgraded() {
    return within('the upgrade to WebSocket', () => `; still ${this.transport}`, waitMs, (resolve) => {
      if (this.transport === 'websocket') {
        resolve();
      }
      this.socket.io.engine.once('upgrade', resolve);
    });
  }

  /** Resolves to the reason when the connection has ended. */
  disconnected() {
    return within('the disconnect', () => '', waitMs, (resolve) => this.socket.once('disconnect', resolve));
  }

  signal(message) {
    this.socket.emit('signal', message);
  }

  /** Resolves when the signal is acknowledged. */
  signalAcknowledged(message) {
    return this.socket.timeout(waitMs).emitWithAck('signal', message);
  }

  /** The data of the next event of that name. */
  async receive(event) {
    return (await this.#mailbox.take(`an event ${event}`, (letter) => letter.event === event)).data;
  }

  /** Whether an event of that name has arrived by now. */
  has(event) {
    return this.#mailbox.holds((letter) => letter.event === event);
  }

  leave() {
    this.socket.disconnect();
  }
}
