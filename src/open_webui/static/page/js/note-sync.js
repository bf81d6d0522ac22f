// A note's document in this browser: what others write comes in, what is written here goes out, and is kept until the
// server has it. Pure: the library (Y), the connection (link) and where it is kept (store) are given.

const ACK_MS = 10_000;
const CURSOR_MS = 80;

export const bytesOf = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));

export function textOf(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

// Sends what was written earlier and may not have been stored, of notes that nobody has open here. refused(sentence): why not.
// entries: [{key, noteId, text}].
export function sendKept(entries, { link, store, refused }) {
  for (const { key, noteId, text } of entries) {
    link.emit('ydoc:document:update', { document_id: `note:${noteId}`, update: [...bytesOf(text)] }, ACK_MS).then((reply) => {
      if ((reply !== true && !reply?.error) || store.get(key) !== text) return;
      store.set(key, '');
      if (reply.error) refused(reply.error);
    }, () => {});
  }
}

export class NoteSync {
  // link: {emit(name, data, patience) -> reply, connected()}. store: {set(key, text)}. person: {id, name, color}.
  // mayWrite: else it is only read. kept: what an earlier page has left, as {key, text}. told: {state(name, sentence), people(list), first()}
  constructor({ Y, noteId, person, mayWrite, link, store, key, kept = [], told }) {
    Object.assign(this, { Y, person, mayWrite, link, store, key, told, kept, document: `note:${noteId}`, waiting: [], sending: false, ready: false, left: false, seen: new Map(), timer: 0 });
    this.doc = new Y.Doc();
    this.awareness = new Y.Awareness(this.doc);
    this.awareness.setLocalStateField('user', { name: person.name, color: person.color, id: person.id });
    if (mayWrite) for (const { text } of kept) this.waiting.push(bytesOf(text));
    for (const update of this.waiting) Y.applyUpdate(this.doc, update, 'kept');
    this.doc.on('update', (update, origin) => typeof origin !== 'string' && this.wrote(update));
    this.awareness.on('update', (_changes, origin) => origin !== 'remote' && this.showCursor());
    // Its own clock would forget people who only read.
    clearInterval(this.awareness._checkInterval);
    this.join();
  }

  join() {
    if (!this.link.connected()) return;
    const { id, name, color } = this.person;
    this.link.emit('join-note', { note_id: this.document.slice(5) });
    this.link.emit('ydoc:document:join', { document_id: this.document, user_id: id, user_name: name, user_color: color });
    this.flush();
  }

  // The connection is there again, or gone.
  connected() {
    this.sending = false;
    if (this.left) this.flush();
    else this.join();
  }

  disconnected() {
    this.sending = false;
    this.showOthers([...this.seen.keys()], true);
    this.tell();
  }

  heardState({ state }) {
    const { Y } = this;
    const theirs = Uint8Array.from(state);
    // The server asks with a state that is none for what it has not: all that waits here is on its way by itself.
    if (theirs.length <= 2) return;
    Y.applyUpdate(this.doc, theirs, 'remote');
    const lacking = Y.encodeStateAsUpdate(this.doc, Y.encodeStateVectorFromUpdate(theirs));
    if (lacking[0] !== 0 && !this.waiting.length) this.wrote(lacking);
    if (!this.ready) {
      this.ready = true;
      this.told.first();
    }
    this.showCursor();
    this.tell();
  }

  heardUpdate({ update }) {
    this.Y.applyUpdate(this.doc, Uint8Array.from(update), 'remote');
  }

  // Another editor opened the note: it is told where this one is.
  heardJoined() {
    this.showCursor();
  }

  wrote(update) {
    if (!this.mayWrite) return;
    this.waiting.push(update);
    this.keep();
    this.tell();
    this.flush();
  }

  keep() {
    this.store.set(this.key, this.waiting.length ? textOf(this.Y.mergeUpdates(this.waiting)) : '');
  }

  async flush() {
    if (this.sending || !this.waiting.length || !this.link.connected() || this.refused) return;
    const sent = [...this.waiting];
    const turn = (this.sending = {});
    let reply;
    try {
      reply = await this.link.emit('ydoc:document:update', { document_id: this.document, update: [...this.Y.mergeUpdates(sent)] }, ACK_MS);
    } catch {
      // No answer: it goes once more, and what comes twice changes nothing.
      reply = null;
    }
    if (this.sending !== turn) return;
    this.sending = false;
    if (reply === true) {
      this.waiting = this.waiting.slice(sent.length);
      this.keep();
      for (const { key, text } of this.kept.splice(0)) if (this.store.get(key) === text) this.store.set(key, '');
      this.tell();
      this.flush();
    } else if (reply?.error) {
      this.refused = reply.error;
      this.tell();
    } else if (this.link.connected()) {
      setTimeout(() => this.flush(), 1000);
    }
  }

  tell() {
    if (this.refused) this.told.state('refused', this.refused);
    else if (!this.link.connected()) this.told.state('offline');
    else this.told.state(this.waiting.length ? 'saving' : 'saved');
    if (this.left && !this.waiting.length) this.told.over?.();
  }

  // ---- who else is here, and where ----

  showCursor() {
    if (this.timer || this.left) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (this.left || !this.link.connected()) return;
      const mine = { [this.doc.clientID]: this.awareness.getLocalState() };
      this.link.emit('ydoc:awareness:update', { document_id: this.document, user_id: this.person.id, update: [...new TextEncoder().encode(JSON.stringify(mine))] });
    }, CURSOR_MS);
  }

  heardAwareness({ user_id: userId, update }) {
    let given;
    try {
      given = JSON.parse(new TextDecoder().decode(Uint8Array.from(update)));
    } catch {
      return;
    }
    const changed = [];
    for (const [hand, value] of Object.entries(given ?? {})) {
      const client = Number(hand);
      if (client === this.doc.clientID || !Number.isInteger(client)) continue;
      if (value) this.awareness.states.set(client, value);
      else this.awareness.states.delete(client);
      this.seen.set(client, userId);
      changed.push(client);
    }
    this.showOthers(changed);
  }

  heardLeft({ user_id: userId }) {
    this.showOthers([...this.seen].filter(([, whose]) => whose === userId).map(([client]) => client), true);
    // A second tab of theirs says again where it is.
    this.showCursor();
  }

  showOthers(clients, gone = false) {
    for (const client of gone ? clients : []) {
      this.awareness.states.delete(client);
      this.seen.delete(client);
    }
    if (!clients.length) return;
    this.awareness.emit('change', [{ added: [], updated: gone ? [] : clients, removed: gone ? clients : [] }, 'remote']);
    const names = new Map([...this.seen].map(([client, whose]) => [whose, this.awareness.states.get(client)?.user]).filter(([whose, user]) => user && whose !== this.person.id));
    this.told.people([...names.values()]);
  }

  // The view goes. What waits is sent all the same.
  leave() {
    this.left = true;
    clearTimeout(this.timer);
    if (this.link.connected()) this.link.emit('ydoc:document:leave', { document_id: this.document, user_id: this.person.id });
    this.tell();
  }
}
