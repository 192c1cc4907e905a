// A relay on the npm package `ws`, on Node.

import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { Client } from './job.mjs';

// Packages are installed outside of the sources.
const { WebSocketServer } = createRequire(`${process.env.COMPARE_PACKAGES}/`)('ws');

const http = createServer();
const server = new WebSocketServer({
  server: http,
  perMessageDeflate: false,
  skipUTF8Validation: true,
  clientTracking: false,
});

const deliver = (socket, message) => socket.send(message);

server.on('connection', (socket) => {
  const client = new Client(socket, deliver);
  socket.on('message', (message, isBinary) => {
    try {
      if (isBinary) client.binary(message);
      else client.text(message.toString());
    } catch {
      socket.terminate();
    }
  });
  socket.on('close', () => client.leave());
  socket.on('error', () => socket.terminate());
});

http.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 }, () => console.log('listening'));
