// `broadcast`: the Socket.IO client as it comes; without `to` a signal goes to all others.

class BroadcastSignaling {
  /** `peerJoined` of the result resolves when another one comes. */
  static connect({ url, room, target }) {
    const signaling = new BroadcastSignaling();
    const socket = io(url, { forceNew: true, query: room && { room } });
    signaling.socket = socket;
    signaling.target = target;
    signaling.peerJoined = new Promise((resolve) => socket.on('peer_joined', resolve));
    // One answer to a poll may hold the connect and the first signals: they wait for a task of
    // their own, until the page has had its turn.
    socket.on('signal', (data) => setTimeout(() => signaling.#take(data)));
    socket.on('error', ({ message }) => signaling.onerror(new Error(message)));
    return new Promise((resolve, reject) => {
      socket.on('connect', () => {
        signaling.address = socket.id;
        resolve(signaling);
      });
      socket.on('connect_error', reject);
    });
  }

  send(kind, value) {
    const type = kind === 'candidate' ? 'ice-candidate' : kind;
    const data = kind === 'candidate' ? value : { type: kind, sdp: value };
    this.socket.emit('signal', { type, data, to: this.target });
  }

  #take({ type, data, from }) {
    this.target ??= from;
    if (type === 'ice-candidate') {
      this.onsignal('candidate', data);
    } else {
      this.onsignal(type, data.sdp);
    }
  }
}
