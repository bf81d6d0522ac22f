// The Socket.IO connection: one for the tab, its events handed on, its reconnects told.
import { io } from '../vendor/socket.io.esm.min.js';
import { set } from './state.js';

const HEARTBEAT_MS = 30_000;

let socket = null;
let heartbeat = 0;
// What parts of the page listen to besides: [event, listener].
const others = [];

// handlers: {event(envelope), connected(), reconnected(), accessChanged()}
export function connect({ token, config, handlers }) {
  disconnect();
  let connectedBefore = false;
  socket = io(window.location.origin, {
    path: '/ws/socket.io',
    transports: config.features?.enable_websocket === false ? ['polling'] : ['websocket'],
    auth: (give) => give({ token: token() }),
    reconnectionDelay: 500,
    reconnectionDelayMax: 5000,
  });
  socket.on('connect', () => {
    socket.emit('user-join', { auth: { token: token() } });
    set({ connected: true });
    if (connectedBefore) handlers.reconnected();
    else handlers.connected();
    connectedBefore = true;
  });
  socket.on('disconnect', (reason) => {
    set({ connected: false });
    // A disconnect by the server means that the session was ended or changed; the client library does not retry by itself then.
    if (reason === 'io server disconnect') handlers.accessChanged();
  });
  socket.on('connect_error', () => set({ connected: false }));
  socket.on('events', (envelope, acknowledge) => handlers.event(envelope, acknowledge));
  for (const [name, listener] of others) socket.on(name, listener);
  heartbeat = setInterval(() => socket?.connected && socket.emit('heartbeat', {}), config.features?.websocket_heartbeat_interval ?? HEARTBEAT_MS);
}

// From now on: also after the connection was made anew.
export function listenTo(name, listener) {
  others.push([name, listener]);
  socket?.on(name, listener);
}

// What the server answers; of an event that it answers with nothing, nothing is waited for. patience: in milliseconds.
export function emit(name, data, patience) {
  if (!socket?.connected) return Promise.reject(new Error('There is no live connection to the server.'));
  if (patience) return socket.timeout(patience).emitWithAck(name, data);
  socket.emit(name, data);
  return Promise.resolve();
}

export const isConnected = () => socket?.connected === true;

export function reconnect() {
  socket?.connect();
}

export function disconnect() {
  clearInterval(heartbeat);
  socket?.removeAllListeners();
  socket?.disconnect();
  socket = null;
  set({ connected: false });
}

// Of a temporary chat the server knows nothing but what is asked just now.
export const isTemporary = (chatId) => chatId?.startsWith('temporary:') ?? false;

export function emitChat(chatId, type) {
  if (isTemporary(chatId)) return;
  socket?.emit('events:chat', { chat_id: chatId, data: { type } });
}

// The id under which the server knows this tab; waits for a connection that is just being made.
export function sessionId(patienceMs = 6000) {
  if (socket?.connected) return Promise.resolve(socket.id);
  return new Promise((resolve, reject) => {
    const current = socket;
    if (!current) {
      reject(new Error('There is no live connection to the server.'));
      return;
    }
    const timer = setTimeout(() => {
      current.off('connect', done);
      reject(new Error('There is no live connection to the server. The page keeps trying; please send again in a moment.'));
    }, patienceMs);
    const done = () => {
      clearTimeout(timer);
      resolve(current.id);
    };
    current.once('connect', done);
  });
}
