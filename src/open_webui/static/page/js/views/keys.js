// The keys that do something everywhere on the page, in a small dialog.
import { h, openDialog } from '../dom.js';

const KEYS = [
  ['Send', 'Enter'],
  ['New line', 'Shift + Enter'],
  ['Choose a prompt', '/'],
  ['Ask about a document', '#'],
  ['Stop the answer', 'Esc'],
  ['Write a message', 'Shift + Esc'],
  ['Search chats', 'Ctrl + K'],
  ['New chat', 'Ctrl + Shift + O'],
  ['Show or hide the chat list', 'Ctrl + Shift + S'],
  ['Through the chat list', '↑ ↓'],
  ['These keys', 'Ctrl + /'],
];

export function openKeys() {
  if (document.querySelector('.keys-dialog')) return;
  openDialog({ title: 'Keyboard', className: 'keys-dialog', content: h('dl.keys', {}, KEYS.map(([text, key]) => h('div', {}, h('dt', {}, text), h('dd', {}, h('kbd', {}, key))))) });
}
