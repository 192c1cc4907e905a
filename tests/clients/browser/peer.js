// An RTCPeerConnection with one data channel, over any signaling and without STUN or TURN.
//
// A signaling object has `send(kind, value)`, the property `onsignal`, a function of the same two
// arguments, and `onerror`, a function of an Error. The kinds are `offer` and `answer`, whose value
// is SDP text, and `candidate`, whose value is an RTCIceCandidateInit.

class Peer {
  #signaling;
  #connection = new RTCPeerConnection();
  #passed = [];
  #inTurn = Promise.resolve();
  #greeting;
  #succeed;
  #fail;

  /** Resolves to the first message that arrives over the data channel. */
  greeted = new Promise((resolve, reject) => {
    this.#succeed = resolve;
    this.#fail = reject;
  });

  /** `greeting` goes to the other side when the data channel opens. */
  constructor(signaling, greeting) {
    this.#signaling = signaling;
    this.#greeting = greeting;
    this.#connection.ondatachannel = ({ channel }) => this.#use(channel);
    this.#connection.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) {
        this.#send('candidate', candidate.toJSON());
      }
    };
    // A description takes time to be set; the candidates behind it have to wait.
    signaling.onsignal = (kind, value) => {
      this.#passed.push(`got ${kind}`);
      this.#inTurn = this.#inTurn.then(() => this.#take(kind, value)).catch(this.#fail);
    };
    signaling.onerror = this.#fail;
  }

  /** What has passed until now, for the message of a test that fails. */
  get state() {
    const { signalingState, iceGatheringState, connectionState } = this.#connection;
    return [...this.#passed, signalingState, iceGatheringState, connectionState].join(', ');
  }

  async call() {
    this.#use(this.#connection.createDataChannel('greetings'));
    await this.#connection.setLocalDescription(await this.#connection.createOffer());
    this.#send('offer', this.#connection.localDescription.sdp);
  }

  async #take(kind, value) {
    if (kind === 'candidate') {
      await this.#connection.addIceCandidate(value);
      return;
    }
    await this.#connection.setRemoteDescription({ type: kind, sdp: value });
    if (kind === 'offer') {
      await this.#connection.setLocalDescription(await this.#connection.createAnswer());
      this.#send('answer', this.#connection.localDescription.sdp);
    }
  }

  #send(kind, value) {
    this.#passed.push(`sent ${kind}`);
    this.#signaling.send(kind, value);
  }

  #use(channel) {
    channel.onopen = () => {
      this.#passed.push('channel opened');
      channel.send(this.#greeting);
    };
    // Chromium sometimes loses what is sent in the moment of opening, so a greeting is returned.
    channel.onmessage = ({ data }) => {
      if (!this.#passed.includes('greeted')) {
        this.#passed.push('greeted');
        channel.send(this.#greeting);
      }
      this.#succeed(data);
    };
  }
}
