// `binary`: 0xAA frames with JSON payloads. `signal_data` is SDP text, or a candidate's JSON text.

class BinarySignaling {
  static #types = { offer: 0x10, answer: 0x11, candidate: 0x12 };
  static #kinds = { 0x10: 'offer', 0x11: 'answer', 0x12: 'candidate' };

  /** `target` is whom to call; one who answers learns it from the offer. */
  static connect({ url, clientId, token, target }) {
    const signaling = new BinarySignaling();
    const ws = new WebSocket(url);
    ws.binaryType = 'arraybuffer';
    signaling.ws = ws;
    signaling.target = target;
    signaling.address = clientId;
    return new Promise((resolve, reject) => {
      ws.onopen = () => ws.send(BinarySignaling.#frame(0x01, { client_id: clientId, auth_token: token }));
      ws.onclose = ({ code, reason }) => reject(new Error(`closed: ${code} ${reason}`));
      ws.onmessage = ({ data }) => {
        const { type, payload } = BinarySignaling.#read(data);
        if (type === 0x02) {
          resolve(signaling);
        } else if (type === 0xff) {
          const error = new Error(`${payload.error_code} ${payload.error_message}`);
          reject(error);
          signaling.onerror?.(error);
        } else {
          signaling.#take(BinarySignaling.#kinds[type], payload);
        }
      };
    });
  }

  send(kind, value) {
    this.ws.send(BinarySignaling.#frame(BinarySignaling.#types[kind], {
      target_client_id: this.target,
      signal_data: kind === 'candidate' ? JSON.stringify(value) : value,
    }));
  }

  #take(kind, { sender_client_id, signal_data }) {
    this.target ??= sender_client_id;
    this.onsignal(kind, kind === 'candidate' ? JSON.parse(signal_data) : signal_data);
  }

  static #frame(type, payload) {
    const text = new TextEncoder().encode(JSON.stringify(payload));
    const bytes = new Uint8Array(21 + text.length);
    const view = new DataView(bytes.buffer);
    view.setUint8(0, 0xaa);
    view.setUint8(1, type);
    crypto.getRandomValues(bytes.subarray(2, 18));
    view.setUint8(18, 0x02); // JSON
    view.setUint16(19, text.length);
    bytes.set(text, 21);
    return bytes;
  }

  static #read(buffer) {
    const view = new DataView(buffer);
    const text = new TextDecoder().decode(new Uint8Array(buffer, 21, view.getUint16(19)));
    return { type: view.getUint8(1), payload: JSON.parse(text) };
  }
}
