// The 0xAA frame, from its document.

export const messageType = {
  CONNECT: 0x01,
  CONNECT_ACK: 0x02,
  DISCONNECT: 0x03,
  HEARTBEAT: 0x04,
  HEARTBEAT_ACK: 0x05,
  SIGNAL_OFFER: 0x10,
  SIGNAL_ANSWER: 0x11,
  SIGNAL_ICE_CANDIDATE: 0x12,
  ERROR: 0xff,
};

const headBytes = 21;

/** `{ message_type, uuid, payload_type, payload }` of the document's examples as a frame. */
export function messageToBinary({ message_type, uuid, payload_type, payload }) {
  const text = Buffer.from(JSON.stringify(payload));
  const head = Buffer.alloc(headBytes);
  head.writeUInt8(0xaa, 0);
  head.writeUInt8(message_type, 1);
  head.write(uuid.replaceAll('-', ''), 2, 'hex');
  head.writeUInt8(payload_type, 18);
  head.writeUInt16BE(text.length, 19);
  return Buffer.concat([head, text]);
}

/** The reverse, of a message that holds exactly one frame. */
export function binaryToMessage(data) {
  const bytes = Buffer.from(data);
  if (bytes[0] !== 0xaa || bytes.length !== headBytes + bytes.readUInt16BE(19)) {
    throw new Error(`not one frame: ${bytes.toString('hex')}`);
  }
  const hex = bytes.toString('hex', 2, 18);
  return {
    message_type: bytes[1],
    uuid: hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
    payload_type: bytes[18],
    payload: JSON.parse(bytes.toString('utf8', headBytes)),
  };
}
