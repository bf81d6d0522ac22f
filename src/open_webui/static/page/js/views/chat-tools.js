// What one does with a chat now and then: take it along as a file, give it tags, put it into a folder.
import * as api from '../api.js';
import { folders, tags } from '../calls.js';
import { clear, failed, freshId, h, icon, iconButton, openDialog, promptDialog, saveFile, toast } from '../dom.js';
import { asJson, asMarkdown, asText, fileName, withFiles } from '../exports.js';
import { inOrder } from '../order.js';
import { modelName, state } from '../state.js';
import { filterBy, foldersChanged, putInto, refreshSoon } from './sidebar.js';

// A file of this server as a data: URL; null where it is gone, or not for this person.
async function dataOf(fileId) {
  const reply = await fetch(`/api/v1/files/${api.id(fileId)}/content`, { credentials: 'same-origin' }).catch(() => null);
  if (!reply?.ok) return null;
  const blob = await reply.blob();
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error('A file of this chat could not be read.'));
    reader.readAsDataURL(blob);
  });
}

async function whole(given) {
  const { chat, lost } = await withFiles(given, dataOf);
  if (lost) toast(`${lost} of its files could not be had and ${lost === 1 ? 'is' : 'are'} not in it.`, 'error');
  return asJson(chat);
}

const KINDS = [
  { label: 'Markdown', detail: 'The shown branch, to read and to edit.', ending: 'md', type: 'text/markdown', write: asMarkdown },
  { label: 'Plain text', detail: 'The shown branch, without marks.', ending: 'txt', type: 'text/plain', write: asText },
  { label: 'JSON', detail: 'All of it, with its branches, pictures and files, to be imported again.', ending: 'json', type: 'application/json', write: whole },
];

export function openExport({ id }) {
  const save = (kind) => async () => {
    try {
      const chat = await api.chats.get(id);
      saveFile(fileName(chat.title, kind.ending), await kind.write(chat, modelName), kind.type);
      dialog.close();
    } catch (error) {
      failed(error);
    }
  };
  const choice = (kind) => h('button.kind', { type: 'button', onclick: save(kind) }, icon('download'), h('span.row-main', {}, h('span', {}, kind.label), h('span.muted', {}, kind.detail)));
  const dialog = openDialog({ title: 'Export chat', className: 'dialog-small', content: h('div.kinds', {}, KINDS.map(choice)) });
  dialog.querySelector('.kind').focus();
}

// ---- tags ----------------------------------------------------------------------------------------------------------

export async function openTags(chat) {
  const [given, all] = await Promise.all([tags.of(chat.id), tags.all()]);
  const known = freshId('tags');
  const list = h('ul.chips', { 'aria-label': 'Tags of this chat' });
  const input = h('input', { 'aria-label': 'New tag', placeholder: 'New tag', list: known, maxlength: 100, autocomplete: 'off' });
  const draw = (rows) => clear(list, rows.map(chip), !rows.length && h('li.muted', {}, 'No tag yet.'));
  const chip = (tag) =>
    h('li.chip', {}, h('button', { type: 'button', title: `Show the chats with ${tag.name}`, onclick: () => { dialog.close(); filterBy(tag.name).catch(failed); } }, tag.name), iconButton('close', `Remove ${tag.name}`, () => change(() => tags.remove(chat.id, tag.name))));
  const inTurn = inOrder();
  const change = async (work) => {
    try {
      draw(await inTurn(work));
      if (state.tag) refreshSoon();
      input.focus();
      return true;
    } catch (error) {
      failed(error);
      return false;
    }
  };
  const add = async (event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (name && (await change(() => tags.add(chat.id, name)))) input.value = '';
  };
  draw(given);
  const dialog = openDialog({
    title: 'Tags',
    className: 'dialog-small',
    content: [list, h('form.inline-form', { onsubmit: add }, input, h('datalist', { id: known }, all.map((tag) => h('option', { value: tag.name }))), h('button.button', {}, 'Add'))],
  });
  input.focus();
}

export async function chooseTag() {
  const all = await tags.all();
  const choice = (tag) => h('li.chip', {}, h('button', { type: 'button', onclick: () => { dialog.close(); filterBy(tag.name).catch(failed); } }, tag.name));
  const dialog = openDialog({
    title: 'Chats with a tag',
    className: 'dialog-small',
    content: all.length ? h('ul.chips', {}, all.map(choice)) : h('p.muted', {}, 'No chat has a tag yet. Give it one in its menu.'),
  });
  dialog.querySelector('.chip button')?.focus();
}

// ---- folders -------------------------------------------------------------------------------------------------------

// Called from the list's menu with nothing, from a folder's with its id.
export async function newFolder(parentId = null) {
  const made = await promptDialog({ title: 'New folder', label: 'Name', value: '', action: 'Make folder', work: (name) => folders.create(name, parentId) });
  if (made) await foldersChanged();
  return made;
}

export async function openMove(chat) {
  const all = await api.chats.folders();
  const now = chat.folder_id ?? chat.folderId ?? null;
  const put = async (folder) => {
    await putInto(chat.id, folder?.id ?? null);
    toast(folder ? `Moved to ${folder.name}.` : 'Moved out of its folder.');
  };
  const choose = (work) => () => {
    dialog.close();
    work().catch(failed);
  };
  const make = async () => {
    const made = await newFolder();
    if (made) await put(made);
  };
  const depth = (folder, seen = new Set()) => {
    const parent = all.find((each) => each.id === folder.parent_id);
    return parent && !seen.has(parent.id) ? `${depth(parent, seen.add(parent.id))}${parent.name} / ` : '';
  };
  const choice = (folder) => h('li', {}, h('button.menu-item', { type: 'button', onclick: choose(() => put(folder)), disabled: folder.id === now }, icon('folder'), h('span', {}, depth(folder) + folder.name), folder.id === now && icon('check')));
  const dialog = openDialog({
    title: 'Move to a folder',
    className: 'dialog-small',
    content: h('ul', {}, all.map(choice), now && h('li', {}, h('button.menu-item', { type: 'button', onclick: choose(() => put(null)) }, icon('close'), h('span', {}, 'Out of its folder'))), h('li', {}, h('button.menu-item', { type: 'button', onclick: choose(make) }, icon('plus'), h('span', {}, 'New folder')))),
  });
  dialog.querySelector('.menu-item:not(:disabled)').focus();
}
