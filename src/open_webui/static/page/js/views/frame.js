// What the views beside chats have in common: the head with the button of the list, and styles that are loaded with them.
import { h, iconButton } from '../dom.js';
import { isOpen, toggle } from './sidebar.js';

export const opener = () => iconButton('menu', 'Show the chat list', () => toggle(true), { 'data-opens-sidebar': true, 'aria-controls': 'sidebar', 'aria-expanded': String(isOpen()) });

// A name in the head, and as the heading of what stands below it.
export function titles(text) {
  const shown = h('p.place-title', { 'aria-hidden': 'true' });
  const heading = h('h1.visually-hidden');
  const set = (now) => {
    shown.textContent = now;
    heading.textContent = now;
  };
  set(text);
  return { shown, heading, set };
}

const sheets = new Map();
export function style(name) {
  if (!sheets.has(name)) {
    sheets.set(name, new Promise((resolve, reject) => {
      document.head.append(h('link', { rel: 'stylesheet', href: `/static/page/css/${name}.css`, onload: resolve, onerror: reject }));
    }));
    sheets.get(name).catch(() => sheets.delete(name));
  }
  return sheets.get(name);
}

// Times of notes and channels are nanoseconds.
export const dateOf = (nanoseconds) => new Date(nanoseconds / 1e6);

export function said(nanoseconds) {
  const date = dateOf(nanoseconds);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' }) : date.toLocaleDateString(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
}
