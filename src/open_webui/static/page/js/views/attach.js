// Files that are chosen, pasted or dropped: pictures go along with a message, documents are uploaded and read by the server.
import { ApiError, detailOf, get, id } from '../api.js';
import { announce, h, icon, iconButton } from '../dom.js';
import { listenTo } from '../socket.js';
import { state, watch } from '../state.js';

const MOST = 10;
// Larger ones are made smaller: models look at about so many points, and the server's bodies have a bound.
const SIDE = 2048;
const BYTES = 4_000_000;
const KINDS = new Set(['image/png', 'image/jpeg', 'image/webp', 'image/gif']);
const isPicture = (file) => file.type.startsWith('image/');

// What a composer holds of them: pictures as a message has them, and uploads. held: what is there already.
// Throws a sentence for the first that can't go along.
export async function attached(files, held) {
  const pictures = files.filter(isPicture);
  if (held.filter(({ type }) => type === 'image').length + pictures.length > MOST) throw new Error(`At most ${MOST} pictures go along with a message.`);
  const documents = files.filter((file) => !isPicture(file));
  checkDocuments(documents, held.filter(({ type }) => type === 'file').length);
  const ready = new Map(await Promise.all(pictures.map(async (file) => [file, { type: 'image', name: file.name, url: await addressOf(file) }])));
  return files.map((file) => ready.get(file) ?? new Upload(file));
}

export function checkDocuments(files, already = 0) {
  const { max_size: size, max_count: count } = state.config.file ?? {};
  if (count && files.length && already + files.length > count) throw new Error(`At most ${count} ${count === 1 ? 'file goes' : 'files go'} along with a chat.`);
  const large = size ? files.find((file) => file.size > size * 2 ** 20) : null;
  if (large) throw new Error(`${large.name} is too large. A file may have at most ${size} MB.`);
  const empty = files.find((file) => !file.size);
  if (empty) throw new Error(`${empty.name} is empty, or a folder.`);
}

// ---- documents -----------------------------------------------------------------------------------------------------

// Those that the server has and has not read yet, by their ids.
const waiting = new Map();
let listening = false;

// One file on its way to the server and through its reading. `element` shows how far it is.
export class Upload {
  // metadata: what the server is to know of it. onread: when it has been read, or could not be.
  constructor(file, { metadata, onread = () => {} } = {}) {
    Object.assign(this, { file, metadata, onread, type: 'file', name: file.name });
    this.label = h('span', {}, file.name);
    this.note = h('span.muted', {});
    this.again = iconButton('refresh', `Try ${file.name} again`, () => this.retry());
    this.bar = h('progress', { max: 1, 'aria-label': `Upload of ${file.name}` });
    this.element = h('span.document', {}, icon('file'), h('span.document-text', {}, this.label, this.note), this.bar, this.again);
    listen();
    this.start();
  }

  start() {
    this.show('uploading');
    this.done = this.send().then((stored) => {
      this.entry = { type: 'file', id: stored.id, url: stored.id, name: this.name, size: this.file.size, content_type: stored.meta?.content_type ?? this.file.type, status: 'uploaded' };
      this.show('reading');
      waiting.set(stored.id, this);
      ask(this);
    });
    this.done.catch((error) => error.name !== 'AbortError' && this.show('failed', error.message));
  }

  retry() {
    if (!this.entry) return this.start();
    const { id: old } = this.entry;
    this.entry = null;
    forget(old);
    return this.start();
  }

  // As a message has it, once the server has it. Throws a sentence where that can't be.
  async uploaded() {
    await this.done.catch((error) => {
      throw error.name === 'AbortError' ? new Error(`${this.name} was taken away.`) : new Error(`${this.name} could not be uploaded: ${error.message}`);
    });
    if (this.state === 'failed') throw new Error(`${this.name} can’t be read: ${this.problem}`);
    return this.entry;
  }

  // It is wanted no more.
  cancel() {
    this.request?.abort();
    if (this.entry) forget(this.entry.id);
  }

  show(now, problem = '') {
    if (this.state === now && this.problem === problem) return;
    Object.assign(this, { state: now, problem });
    this.element.dataset.state = now;
    this.bar.hidden = now !== 'uploading' && now !== 'reading';
    this.bar.removeAttribute('value');
    this.bar.setAttribute('aria-label', `${now === 'reading' ? 'Reading' : 'Upload'} of ${this.name}`);
    this.again.hidden = now !== 'failed';
    this.note.textContent = { uploading: 'Uploading…', reading: 'Being read…', ready: 'Ready', failed: problem }[now];
    if (now === 'ready' || now === 'failed') {
      announce(now === 'ready' ? `${this.name} is ready.` : `${this.name}: ${problem}`);
      this.onread(this);
    }
  }

  // What the server says of its reading.
  heard({ status, error, progress }) {
    if (status !== 'completed' && status !== 'failed') {
      if (progress && this.state === 'reading') this.listened(progress);
      return;
    }
    waiting.delete(this.entry.id);
    this.show(status === 'completed' ? 'ready' : 'failed', error ?? (status === 'failed' ? 'Its text could not be read.' : ''));
  }

  // Of a recording: seconds that were listened to, and of how many; 0 where nobody knows.
  listened({ seconds, of }) {
    if (of > 0) this.bar.value = Math.min(1, seconds / of);
    this.note.textContent = of > 0 ? `Being listened to: ${clock(seconds)} of ${clock(of)}` : `Being listened to: ${clock(seconds)}`;
  }

  // Only this kind of request tells how far an upload is.
  send() {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.request = request;
      request.responseType = 'json';
      request.upload.onprogress = (event) => {
        if (event.lengthComputable) this.bar.value = event.loaded / event.total;
      };
      request.onload = () => (request.status < 300 ? resolve(request.response) : reject(new ApiError(request.status, detailOf(request.response, request.status))));
      request.onerror = () => reject(new ApiError(0, 'The server cannot be reached. Check the connection and try again.'));
      request.onabort = () => reject(new DOMException('', 'AbortError'));
      const form = new FormData();
      if (this.metadata) form.append('metadata', JSON.stringify(this.metadata));
      form.append('file', this.file);
      request.open('POST', '/api/v1/files/');
      request.send(form);
    });
  }
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;

// The server's news of files come over the connection; what was missed while there was none is asked for.
function listen() {
  if (listening) return;
  listening = true;
  listenTo('file:status', (told) => waiting.get(told?.id)?.heard(told));
  watch(['connected'], () => state.connected && [...waiting.values()].forEach(ask));
}

async function ask(upload) {
  const fileId = upload.entry.id;
  const told = await get(`/api/v1/files/${id(fileId)}/process/status`).catch((error) => (error.status === 404 ? { status: 'failed', error: 'The file is gone.' } : {}));
  if (waiting.get(fileId) === upload) upload.heard(told);
}

// Nobody names it yet, so nothing else goes with it.
function forget(fileId) {
  waiting.delete(fileId);
  fetch(`/api/v1/files/${id(fileId)}`, { method: 'DELETE', credentials: 'same-origin' }).catch(() => {});
}

// ---- pictures ------------------------------------------------------------------------------------------------------

async function addressOf(file) {
  if (KINDS.has(file.type) && file.size <= BYTES) return read(file);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is no picture that this browser can read.`);
  }
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = h('canvas', { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL('image/jpeg', 0.9);
}

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} could not be read.`));
    reader.readAsDataURL(file);
  });
}
