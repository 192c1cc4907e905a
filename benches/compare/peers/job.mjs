// What a peer does with a message: parse it, find out whom it is for, and write what that one gets.
// The same for Node and Bun; logins are believed.

const HEADER_BYTES = 21;
const CONNECT = 0x01;
const CONNECT_ACK = 0x02;
const OFFER = 0x10;
const CANDIDATE = 0x12;
const WELCOME = Buffer.from('{"status":"success","session_id":"00000000-0000-4000-8000-000000000000"}');

/** By id, the socket that has it. */
const directory = new Map();

export class Client {
  constructor(socket, deliver) {
    this.socket = socket;
    this.deliver = deliver;
    this.id = undefined;
    this.stamp = undefined;
  }

  /** A message of WebSocket's type `binary`, as a Buffer. */
  binary(frame) {
    if (frame[0] !== 0xaa || frame.length < HEADER_BYTES) throw new Error('no frame');
    const type = frame[1];
    const end = HEADER_BYTES + ((frame[19] << 8) | frame[20]);
    const payload = JSON.parse(frame.utf8Slice(HEADER_BYTES, end));
    if (type === CONNECT) {
      this.logIn(payload.client_id);
      this.deliver(this.socket, withPayload(frame, CONNECT_ACK, WELCOME, ''));
    } else if (type >= OFFER && type <= CANDIDATE) {
      if (this.id === undefined || payload.sender_client_id !== undefined) throw new Error('refused');
      const target = directory.get(payload.target_client_id);
      // The payload's bytes stay as they are, but for the brace at their end.
      if (target) this.deliver(target, withPayload(frame, type, frame.subarray(HEADER_BYTES, end - 1), this.stamp));
    }
  }

  /** A message of WebSocket's type `text`, as a string. */
  text(text) {
    const said = JSON.parse(text);
    if (said.type === 'register') {
      this.logIn(said.id);
      const answer = { type: 'registered', id: said.id, timestamp: new Date().toISOString() };
      this.deliver(this.socket, JSON.stringify(answer));
      return;
    }
    const target = directory.get(said.target);
    if (!target || this.id === undefined) return;
    this.deliver(target, JSON.stringify({
      type: said.type,
      from: this.id,
      sdp: said.sdp,
      candidate: said.candidate,
      sessionId: said.sessionId,
      timestamp: new Date().toISOString(),
    }));
  }

  logIn(id) {
    this.id = id;
    this.stamp = `,"sender_client_id":${JSON.stringify(id)}}`;
    directory.set(id, this.socket);
  }

  leave() {
    if (directory.get(this.id) === this.socket) directory.delete(this.id);
  }
}

/** The frame again, of this type and around another payload. */
function withPayload(frame, type, payload, ending) {
  const length = payload.length + Buffer.byteLength(ending);
  const out = Buffer.allocUnsafe(HEADER_BYTES + length);
  frame.copy(out, 0, 0, HEADER_BYTES);
  out[1] = type;
  out[18] = 2;
  out[19] = length >> 8;
  out[20] = length & 0xff;
  payload.copy(out, HEADER_BYTES);
  if (ending) out.write(ending, HEADER_BYTES + payload.length);
  return out;
}
