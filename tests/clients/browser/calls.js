// `calls`: take a seat, be present, publish with POST.

class CallsSignaling {
  /** `peerJoined` of the result resolves when another one takes a seat. */
  static async connect({ api, url, call }) {
    const signaling = new CallsSignaling();
    signaling.api = api;
    signaling.posted = Promise.resolve();
    signaling.peerJoined = new Promise((resolve) => {
      signaling.joined = resolve;
    });
    signaling.seat = await (await fetch(`${api}/call/${call}`)).json();

    const ws = new WebSocket(url);
    return new Promise((resolve, reject) => {
      ws.onopen = () => ws.send(JSON.stringify(signaling.seat));
      ws.onclose = ({ code, reason }) => reject(new Error(`closed: ${code} ${reason}`));
      ws.onmessage = ({ data }) => {
        const { kind, body } = JSON.parse(data);
        if (kind === 'WELCOME') {
          resolve(signaling);
        } else if (kind === 'PEER') {
          signaling.joined();
        } else {
          signaling.onsignal(kind.toLowerCase(), kind === 'CANDIDATE' ? JSON.parse(body) : body);
        }
      };
    });
  }

  send(kind, value) {
    const body = kind === 'candidate' ? JSON.stringify(value) : value;
    const { call, session } = this.seat;
    // One after the other: requests of their own have no order.
    this.posted = this.posted.then(async () => {
      const { ok, status } = await fetch(`${this.api}/signal`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ kind: kind.toUpperCase(), call, session, body }),
      });
      if (!ok) {
        throw new Error(`POST /signal: ${status}`);
      }
    }).catch((error) => this.onerror(error));
  }
}
