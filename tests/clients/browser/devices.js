// `devices`: register an id, address others by theirs.

class DevicesSignaling {
  /** `target` is whom to call; one who answers learns it from the offer. */
  static connect({ url, id, target }) {
    const signaling = new DevicesSignaling();
    const ws = new WebSocket(url);
    signaling.ws = ws;
    signaling.address = id;
    signaling.target = target;
    return new Promise((resolve, reject) => {
      ws.onopen = () => ws.send(JSON.stringify({ type: 'register', id }));
      ws.onclose = ({ code, reason }) => reject(new Error(`closed: ${code} ${reason}`));
      ws.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === 'registered') {
          resolve(signaling);
        } else if (message.type === 'error') {
          reject(new Error(data));
          signaling.onerror?.(new Error(data));
        } else if (['offer', 'answer', 'ice'].includes(message.type)) {
          signaling.#take(message);
        }
      };
    });
  }

  send(kind, value) {
    const content = kind === 'candidate' ? { type: 'ice', candidate: value } : { type: kind, sdp: value };
    this.ws.send(JSON.stringify({ ...content, target: this.target, sessionId: this.sessionId }));
  }

  #take({ type, from, sdp, candidate, sessionId }) {
    this.target ??= from;
    this.sessionId ??= sessionId;
    if (type === 'ice') {
      this.onsignal('candidate', candidate);
    } else {
      this.onsignal(type, sdp);
    }
  }
}
