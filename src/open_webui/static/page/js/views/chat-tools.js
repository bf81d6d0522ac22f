// What one does with a chat now and then: take it along as a file.
import * as api from '../api.js';
import { failed, h, icon, openDialog } from '../dom.js';
import { asJson, asMarkdown, asText, fileName } from '../exports.js';
import { modelName } from '../state.js';

const KINDS = [
  { label: 'Markdown', detail: 'The shown branch, to read and to edit.', ending: 'md', type: 'text/markdown', write: asMarkdown },
  { label: 'Plain text', detail: 'The shown branch, without marks.', ending: 'txt', type: 'text/plain', write: asText },
  { label: 'JSON', detail: 'All of it, with its branches, to be imported again. Its pictures stay on this server.', ending: 'json', type: 'application/json', write: asJson },
];

export function openExport({ id }) {
  const save = (kind) => async () => {
    try {
      const chat = await api.chats.get(id);
      download(fileName(chat.title, kind.ending), kind.write(chat, modelName), kind.type);
      dialog.close();
    } catch (error) {
      failed(error);
    }
  };
  const choice = (kind) => h('button.kind', { type: 'button', onclick: save(kind) }, icon('download'), h('span.row-main', {}, h('span', {}, kind.label), h('span.muted', {}, kind.detail)));
  const dialog = openDialog({ title: 'Export chat', className: 'dialog-small', content: h('div.kinds', {}, KINDS.map(choice)) });
  dialog.querySelector('.kind').focus();
}

function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  h('a', { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
