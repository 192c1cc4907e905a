// The clients under which the engine is tested. They lie in a cache folder outside the repository,
// where an `import` does not look.

import { createRequire } from 'node:module';
import path from 'node:path';

const folder = path.join(process.env.SIGMUX_CLIENTS_DIR, 'npm');
const require = createRequire(path.join(folder, 'package.json'));

export const { io } = require('socket.io-client');
export const WebSocket = require('ws');
/** The bundle that a web page loads. */
export const socketIoBundle = path.join(folder, 'node_modules/socket.io-client/dist/socket.io.js');
/** Only the browser's suite needs it. */
export const loadChromium = () => require('playwright-core').chromium;
