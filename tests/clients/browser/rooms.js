// `rooms`: sign in, have a room, register, find the other by discovery.

class RoomsSignaling {
  /** Without `room` it makes one, which `room` of the result then names. */
  static async connect({ url, api, peerId, role, room }) {
    const post = async (path, headers = {}) => {
      const response = await fetch(api + path, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: '{}',
      });
      return response.json();
    };
    const { id_token } = await post('/anonymous-signin');
    const signaling = new RoomsSignaling();
    signaling.address = peerId;
    signaling.room = room ?? (await post('/create-room', { Authorization: `Bearer ${id_token}` }));
    const { room_id, token } = signaling.room;

    const ws = new WebSocket(url);
    signaling.ws = ws;
    return new Promise((resolve, reject) => {
      ws.onopen = () => ws.send(JSON.stringify({ type: 'register', peer_id: peerId, room_id, token, id_token, role }));
      ws.onclose = ({ code, reason }) => reject(new Error(`closed: ${code} ${reason}`));
      ws.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === 'registered_auth') {
          resolve(signaling);
        } else if (message.type === 'error') {
          reject(new Error(data));
          signaling.onerror?.(new Error(data));
        } else if (message.type === 'peer_list') {
          signaling.discovered(message.peers);
        } else if (message.type === 'ping') {
          ws.send(JSON.stringify({ type: 'pong' }));
        } else {
          signaling.#take(message);
        }
      };
    });
  }

  /** Finds a peer of that role, to which signals go from now on. */
  async find(role) {
    const peers = await new Promise((resolve) => {
      this.discovered = resolve;
      this.ws.send(JSON.stringify({ type: 'discover_peers', from_peer_id: this.address, filters: { role } }));
    });
    this.target = peers[0].peer_id;
  }

  send(kind, value) {
    const addresses = { sender: this.address, target: this.target };
    // The document's candidate is a line; further keys pass unchanged.
    const content = kind === 'candidate' ? value : { sdp: value };
    this.ws.send(JSON.stringify({ type: kind, ...addresses, ...content }));
  }

  #take({ type, sender, target, sdp, ...candidate }) {
    this.target ??= sender;
    this.onsignal(type, type === 'candidate' ? candidate : sdp);
  }
}
