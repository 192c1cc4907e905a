// A relay on the WebSocket server that Bun has built in. With `gather`, what is sent to a socket
// within one turn of the event loop goes out in one `cork`.

import { Client } from './job.mjs';

const gathers = process.argv[3] === 'gather';
let waiting = [];

function deliver(socket, message) {
  if (!gathers) {
    socket.send(message);
    return;
  }
  const { queue } = socket.data;
  if (queue.push(message) === 1 && waiting.push(socket) === 1) setImmediate(flush);
}

function flush() {
  const sockets = waiting;
  waiting = [];
  for (const socket of sockets) {
    const { queue } = socket.data;
    socket.data.queue = [];
    socket.cork(() => {
      for (const message of queue) socket.send(message);
    });
  }
}

Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.argv[2]),
  fetch(request, server) {
    if (!server.upgrade(request, { data: { client: undefined, queue: [] } })) return new Response(null, { status: 400 });
  },
  websocket: {
    perMessageDeflate: false,
    sendPings: false,
    idleTimeout: 0,
    open(socket) {
      socket.data.client = new Client(socket, deliver);
    },
    message(socket, message) {
      try {
        if (typeof message === 'string') socket.data.client.text(message);
        else socket.data.client.binary(message);
      } catch {
        socket.terminate();
      }
    },
    close(socket) {
      socket.data.client.leave();
    },
  },
});
console.log('listening');
