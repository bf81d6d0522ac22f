// The folders of the chat list: each opens to its chats and to the folders in it, and takes chats that are dropped on it.
import * as calls from '../calls.js';
import { conversation } from '../conversation.js';
import { button, clear, failed, freshId, h, icon, iconButton, openDialog, openMenu, part, promptDialog } from '../dom.js';
import { once } from '../order.js';
import { set, state } from '../state.js';
import { allowDrop, drop, foldersChanged, foldersTouched, isStill, refresh, row, setActive } from './sidebar.js';

// What is known of the chats in open folders, by the folder's id: {rows, page, more}.
const inside = new Map();
let drawn = null;
let actions = null;

export function draw(drawer, given) {
  actions = given;
  const stale = drawn !== state.folders;
  drawn = state.folders;
  paint(drawer);
  // The list has been read again: so may have changed what lies in open folders.
  if (stale) for (const folder of state.folders.filter((each) => each.is_expanded)) load(folder.id).then(() => paint(drawer)).catch(failed);
}

function paint(drawer) {
  if (!isStill(() => paint(drawer))) return;
  const focused = document.activeElement?.closest?.('.folders [data-id]');
  const id = focused?.dataset.id;
  const inMenu = document.activeElement?.classList.contains('row-menu');
  clear(drawer, h('section', {}, h('h2.group-name', {}, 'Folders'), branch(null, drawer, new Set())));
  if (id) drawer.querySelector(`[data-id="${CSS.escape(id)}"] ${inMenu ? '.row-menu' : ':is(a, .folder-toggle)'}`)?.focus();
}

function branch(parentId, drawer, seen) {
  const known = new Set(state.folders.map((folder) => folder.id));
  const here = state.folders.filter((folder) => (known.has(folder.parent_id) ? folder.parent_id : null) === parentId && !seen.has(folder.id));
  here.forEach((folder) => seen.add(folder.id));
  return h('ul', {}, here.map((folder) => item(folder, drawer, seen)));
}

function item(folder, drawer, seen) {
  const open = folder.is_expanded;
  const id = freshId('folder');
  const control = h('button.folder-toggle', { type: 'button', 'aria-expanded': String(open), 'aria-controls': open ? id : null, onclick: () => flip(folder).catch(failed) }, icon('down'), icon('folder'), h('span.chat-title', {}, folder.name), folder.unread_count > 0 && h('span.dot', { 'data-kind': 'unread', role: 'img', 'aria-label': `${folder.unread_count} unread` }));
  const more = iconButton('more', `Options for the folder ${folder.name}`, () => openMenu(more, menu(folder)), { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
  more.classList.add('row-menu');
  const over = (on) => () => head.toggleAttribute('data-over', on);
  const head = h('div.folder-head', { ondragover: allowDrop, ondragenter: over(true), ondragleave: (event) => !head.contains(event.relatedTarget) && over(false)(), ondrop: (event) => { over(false)(); drop(event, folder.id); } }, control, more);
  return h('li.folder', { 'data-id': folder.id }, head, open && h('div', { id }, branch(folder.id, drawer, seen), contents(folder, drawer)));
}

function contents(folder, drawer) {
  const held = inside.get(folder.id);
  if (!held) return h('p.list-empty', { role: 'status' }, 'Loading…');
  held.next ??= once(() => load(folder.id, held.page + 1).then(() => paint(drawer)).catch(failed));
  return [
    h('ul', {}, held.rows.map((chat) => row({ ...chat, folder_id: folder.id }, false))),
    !held.rows.length && h('p.list-empty', {}, 'No chat in here.'),
    held.more && h('button.text-button.list-empty', { type: 'button', onclick: held.next }, 'Show more'),
  ];
}

async function load(folderId, page = 1) {
  const rows = await calls.folders.chats(folderId, page);
  rows.forEach((chat) => setActive(chat.id, chat.active));
  const before = page === 1 ? [] : inside.get(folderId).rows;
  const known = new Set(before.map((chat) => chat.id));
  inside.set(folderId, { rows: [...before, ...rows.filter((chat) => !known.has(chat.id))], page, more: rows.length === 10 });
}

// Whether it is open is kept by the server, for all browsers.
async function flip(folder) {
  foldersTouched();
  set({ folders: state.folders.map((each) => (each === folder ? { ...each, is_expanded: !folder.is_expanded } : each)) });
  await calls.folders.expand(folder.id, !folder.is_expanded);
  foldersTouched();
  await refresh();
}

function menu(folder) {
  const guard = (work) => () => work().catch(failed);
  return [
    { label: 'Rename', icon: 'pencil', action: guard(() => rename(folder)) },
    { label: 'New folder inside', icon: 'folder', action: guard(async () => (await part(import('./chat-tools.js'))).newFolder(folder.id)) },
    null,
    { label: 'Delete', icon: 'trash', danger: true, action: () => remove(folder) },
  ];
}

async function rename(folder) {
  const work = async (name) => {
    if (name !== folder.name) await calls.folders.rename(folder.id, name);
  };
  await promptDialog({ title: 'Rename folder', label: 'Name', value: folder.name, action: 'Rename', work });
  await foldersChanged();
}

// It and the folders in it go; what becomes of the chats is asked.
function remove(folder) {
  const gone = async (withChats) => {
    dialog.close();
    const ids = below(folder.id);
    await calls.folders.remove(folder.id, withChats);
    if (withChats && ids.has(conversation.folderId)) actions.gone(conversation.chatId);
    await refresh();
  };
  const choice = (text, withChats) => button(text, () => gone(withChats).catch(failed), { 'data-kind': withChats ? 'danger' : null });
  const dialog = openDialog({
    title: 'Delete folder?',
    className: 'dialog-small',
    content: [h('p', {}, `“${folder.name}” will be deleted, with the folders in it. Its chats can go back to the list, or be deleted for good.`), h('div.dialog-actions', {}, button('Cancel', () => dialog.close()), choice('Keep the chats', false), choice('Delete the chats', true))],
  });
}

function below(folderId) {
  const ids = new Set([folderId]);
  for (let size = 0; size < ids.size; ) {
    size = ids.size;
    for (const folder of state.folders) if (ids.has(folder.parent_id)) ids.add(folder.id);
  }
  return ids;
}
