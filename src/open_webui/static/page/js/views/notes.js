// Notes: their list, and one that is open, which several people may write at once.
import { notes } from '../calls.js';
import { button, clear, confirmDialog, copy, failed, h, icon, iconButton, openDialog, openMenu, part, saveFile, toast } from '../dom.js';
import { fileName } from '../exports.js';
import { NoteSync } from '../note-sync.js';
import { turns } from '../order.js';
import { draft, unsent } from '../prefs.js';
import * as socket from '../socket.js';
import { set, state } from '../state.js';
import { opener, said, style, titles } from './frame.js';
import { openAccess } from './sharing.js';

const PAGE = 30;
const COLORS = ['#b3471f', '#0e6654', '#2f5fa8', '#7b3f99', '#9c2f4f', '#5d6410'];
const VIEWS = [['', 'All notes'], ['created', 'My notes'], ['shared', 'Shared with me']];
const { begin } = turns();

// navigate(address). Gives {element, leave()} for the list, or for the note with this id.
export async function openNotes(noteId, { navigate }) {
  await style('notes');
  return noteId ? openNote(noteId, navigate) : openList(navigate);
}

async function newNote(navigate) {
  const { id } = await notes.create(new Date().toLocaleDateString(undefined, { day: 'numeric', month: 'long', year: 'numeric' }));
  navigate(`/notes/${id}`);
}

async function removeNote({ id, title }) {
  if (!(await confirmDialog({ title: 'Delete note?', text: `“${title}” will be deleted for good, with its versions.`, action: 'Delete' }))) return false;
  await notes.remove(id);
  return true;
}

// ---- the list -------------------------------------------------------------------------------------------------------

function openList(navigate) {
  const isNow = begin();
  let page = 1;
  let asked = 0;
  let timer = 0;
  const rows = h('ul.rows.note-rows');
  const note = h('p.list-empty', { role: 'status' });
  const more = button('Show more', () => load(page + 1).catch(failed), { hidden: true });
  const search = h('input', { type: 'search', 'aria-label': 'Search your notes', placeholder: 'Search your notes', autocomplete: 'off', maxlength: 500, oninput: () => { clearTimeout(timer); timer = setTimeout(again, 180); } });
  const view = h('select', { 'aria-label': 'Which notes', onchange: () => again() }, VIEWS.map(([value, label]) => h('option', { value }, label)));
  const again = () => load(1).catch(failed);
  const load = async (wanted) => {
    const turn = (asked += 1);
    const text = search.value.trim();
    const [{ items, total }, pinned] = await Promise.all([notes.search(text, view.value, wanted), wanted === 1 && !text && !view.value ? notes.pinned() : []]);
    if (turn !== asked || !isNow()) return;
    page = wanted;
    const first = new Set(pinned.map(({ id }) => id));
    const found = [...pinned, ...items.filter(({ id }) => !first.has(id))].map(row);
    if (wanted === 1) clear(rows, found);
    else rows.append(...found.filter((each) => !rows.querySelector(`[data-id="${CSS.escape(each.dataset.id)}"]`)));
    more.hidden = page * PAGE >= total;
    note.textContent = rows.childElementCount ? '' : text ? 'No note has this. Try other words.' : 'There is no note yet. Write down what you want to keep.';
  };
  const row = (each) => {
    const mine = !each.user || each.user.id === state.user.id;
    const options = iconButton('more', `Options for ${each.title}`, () => openMenu(options, [
      { label: each.is_pinned ? 'Unpin' : 'Pin', icon: 'pin', action: () => notes.pin(each.id).then(again, failed) },
      mine && { label: 'Delete', icon: 'trash', danger: true, action: () => removeNote(each).then((gone) => gone && again(), failed) },
    ].filter(Boolean)), { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
    const text = (each.data?.content?.md ?? '').replace(/[#*_`>\[\]-]+/g, ' ').trim().slice(0, 160);
    return h(
      'li.row',
      { 'data-id': each.id },
      h('a.row-main', { href: `/notes/${each.id}`, 'data-route': true }, h('span', {}, each.is_pinned && icon('pin'), each.title || 'Untitled'), h('span.muted', {}, [!mine && each.user.name, said(each.updated_at), text].filter(Boolean).join(' · '))),
      options,
    );
  };
  const create = button('New note', () => newNote(navigate).catch(failed), { 'data-kind': 'primary' }, 'plus');
  const { shown, heading } = titles('Notes');
  const element = h('div.app-main', {}, h('header.topbar', {}, opener(), shown, h('div.spacer'), create), h('main.place', { id: 'main', tabindex: -1 }, heading, h('div.place-inner', {}, h('div.place-tools', {}, search, view), rows, note, more)));
  again();
  return { element, title: 'Notes', leave: () => clearTimeout(timer) };
}

// ---- one note -------------------------------------------------------------------------------------------------------

const STATES = { saved: 'Saved', saving: 'Saving…', offline: 'Not connected. What you write is kept here until it can be stored.' };
// Whom the socket's news are for. Those that are left stay until all that was written has been stored.
const open = new Set();
let listening = false;

function listen() {
  if (listening) return;
  listening = true;
  const heard = (name, tell) => socket.listenTo(name, (told) => [...open].filter((sync) => sync.document === told?.document_id && !sync.left).forEach((sync) => tell(sync, told)));
  heard('ydoc:document:state', (sync, told) => sync.heardState(told));
  heard('ydoc:document:update', (sync, told) => sync.heardUpdate(told));
  heard('ydoc:awareness:update', (sync, told) => sync.heardAwareness(told));
  heard('ydoc:user:joined', (sync) => sync.heardJoined());
  heard('ydoc:user:left', (sync, told) => sync.heardLeft(told));
  socket.listenTo('events:note', (now) => [...open].filter((sync) => sync.document === `note:${now?.id}` && !sync.left).forEach((sync) => sync.about(now)));
  socket.listenTo('connect', () => [...open].forEach((sync) => sync.connected()));
  socket.listenTo('disconnect', () => [...open].forEach((sync) => sync.disconnected()));
}

const colorOf = (userId) => COLORS[[...userId].reduce((sum, sign) => sum + sign.codePointAt(0), 0) % COLORS.length];

async function openNote(noteId, navigate) {
  const isNow = begin();
  const [row, Y, { createEditor, isStrange }] = await Promise.all([notes.get(noteId), part(import('../../vendor/note-editor.js')), part(import('./note-editor.js'))]);
  listen();
  const status = h('span.note-state.muted', { role: 'status' });
  const people = h('ul.people', { 'aria-label': 'Also here' });
  const place = h('div.note-place');
  const bar = h('div.note-bar');
  const title = titleField(row, () => isNow());
  let editor = null;
  let sync = null;
  const draw = () => {
    const strange = () => {
      editor = null;
      clear(bar);
      readOnly(place, noteId, 'Another editor has put something into this note that this page can’t write. You can read it here.').catch(failed);
    };
    if (isStrange(sync.doc.getXmlFragment('prosemirror'))) return strange();
    editor = createEditor({ sync, mayWrite: row.write_access, strange });
    clear(place, editor.element);
    clear(bar, row.write_access ? editor.tools : h('p.muted', {}, 'You may read this note, not change it.'));
    if (row.write_access && matchMedia('(pointer: fine)').matches) (title.value ? editor : title).focus();
  };
  const told = {
    first: () => isNow() && draw(),
    people: (found) => clear(people, found.map((user) => {
      const mark = h('li.avatar', { title: user.name }, h('span', { 'aria-hidden': 'true' }, (user.name ?? '?').slice(0, 1).toUpperCase()), h('span.visually-hidden', {}, user.name));
      mark.style.setProperty('--whose', user.color);
      return mark;
    })),
    state: (name, why) => {
      const text = row.write_access ? (STATES[name] ?? `Not stored: ${why}`) : name === 'offline' ? 'Not connected.' : '';
      if (status.textContent !== text) status.textContent = text;
      status.toggleAttribute('data-problem', name === 'refused');
    },
    over: () => open.delete(sync),
  };
  const { id, name } = state.user;
  const kept = unsent.of(id).filter((each) => each.noteId === noteId);
  sync = new NoteSync({ Y, noteId, person: { id, name, color: colorOf(id) }, mayWrite: row.write_access, link: { emit: socket.emit, connected: socket.isConnected }, store: unsent, key: `note:${id}:${noteId}:${crypto.getRandomValues(new Uint32Array(1))[0]}`, kept, told });
  open.add(sync);
  sync.about = title.heard;
  const more = iconButton('more', 'Options for this note', () => openMenu(more, menuOf(row, { navigate, isNow })), { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
  clear(place, h('p.muted', { role: 'status' }, 'Loading…'));
  const element = h('div.app-main', {}, h('header.topbar', {}, opener(), h('a.icon-button', { href: '/notes', 'data-route': true, 'aria-label': 'All notes', title: 'All notes' }, icon('left')), h('div.spacer'), people, status, more), h('main.place.note', { id: 'main', tabindex: -1 }, h('h1.visually-hidden', {}, row.title || 'Note'), bar, h('div.place-inner', {}, title, place)));
  told.state(socket.isConnected() ? 'saved' : 'offline');
  return {
    element,
    title: row.title || 'Note',
    leave: () => {
      title.store();
      sync.leave();
      editor?.destroy();
      if (!sync.waiting.length) open.delete(sync);
    },
  };
}

// The title, which is stored a moment after it was typed, and kept by the tab until then.
function titleField(row, isNow) {
  const key = `note:${row.id}`;
  let timer = 0;
  const field = h('input.note-title', { value: draft.get(key) || row.title, 'aria-label': 'Title', placeholder: 'Title', maxlength: 200, autocomplete: 'off', readonly: !row.write_access, oninput: () => {
    draft.set(key, field.value);
    clearTimeout(timer);
    timer = setTimeout(field.store, 500);
  }, onchange: () => field.store() });
  field.store = async () => {
    clearTimeout(timer);
    const { value } = field;
    if (value === row.title || !row.write_access) {
      draft.set(key, '');
      return;
    }
    try {
      await notes.rename(row.id, value);
      row.title = value;
      if (field.value === value) draft.set(key, '');
      if (isNow()) set({ placeTitle: value || 'Note' });
    } catch (error) {
      failed(error);
    }
  };
  field.heard = (now) => {
    if (field.value === row.title) field.value = now.title;
    row.title = now.title;
    row.access_grants = now.access_grants ?? row.access_grants;
    if (isNow()) set({ placeTitle: now.title || 'Note' });
  };
  if (field.value !== row.title) field.store();
  return field;
}

async function readOnly(place, noteId, why) {
  const [{ data }, { renderMarkdown }] = await Promise.all([notes.get(noteId), part(import('../markdown.js'))]);
  clear(place, h('p.muted', {}, why), h('div.prose', {}, renderMarkdown(data.content.md)));
}

function menuOf(row, { navigate, isNow }) {
  const guard = (work) => () => work().catch(failed);
  const text = async () => (await notes.get(row.id)).data.content.md;
  const own = row.user_id === state.user.id;
  return [
    { label: row.is_pinned ? 'Unpin' : 'Pin', icon: 'pin', action: guard(async () => { row.is_pinned = (await notes.pin(row.id)).is_pinned; }) },
    row.write_access && { label: 'Share', icon: 'users', action: guard(() => share(row)) },
    row.write_access && { label: 'Versions', icon: 'refresh', action: guard(() => showVersions(row, isNow)) },
    { label: 'Ask about this note', icon: 'thought', action: guard(async () => navigate(`/c/${(await notes.chat(row.id)).id}`)) },
    { label: 'Copy as Markdown', icon: 'copy', action: guard(async () => { await copy(await text()); toast('Copied.'); }) },
    { label: 'Download as Markdown', icon: 'download', action: guard(async () => saveFile(fileName(row.title || 'note', 'md'), await text(), 'text/markdown')) },
    own && null,
    own && { label: 'Delete', icon: 'trash', danger: true, action: guard(async () => (await removeNote(row)) && navigate('/notes')) },
  ].filter((item) => item !== false);
}

const share = (row) =>
  openAccess({
    title: 'Share note',
    lead: 'They find it among their notes.',
    alone: '',
    writers: true,
    everybody: 'sharing.public_notes',
    grants: row.access_grants ?? [],
    allow: async (wanted) => { row.access_grants = (await notes.allow(row.id, wanted)).access_grants; },
  });

async function showVersions(row, isNow) {
  const { versions } = await part(import('./plugins.js'));
  const place = { here: () => isNow, calls: notes, open: () => dialog.close(), changed: () => {}, kind: 'notes' };
  const parts = await versions(place, row);
  const dialog = openDialog({ title: 'Versions', className: 'source-dialog', content: [parts[0].childElementCount ? h('p.muted', {}, 'One is kept every five minutes while somebody writes.') : h('p.list-empty', {}, 'There is no earlier version yet.'), ...parts] });
}
