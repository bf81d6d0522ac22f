// Small helpers over the DOM: elements, icons, dialogs, menus, toasts. Text goes in as text nodes only.
import { ICONS } from './icons.js';

const SVG = 'http://www.w3.org/2000/svg';

export function h(tag, props = {}, ...children) {
  const [name, ...classes] = tag.split('.');
  const element = document.createElement(name || 'div');
  if (classes.length) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key in PROPERTIES) element[key] = value;
    else element.setAttribute(key, value === true ? '' : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PROPERTIES = { value: 1, checked: 1, disabled: 1, hidden: 1, textContent: 1, htmlFor: 1, className: 1, selected: 1, inert: 1 };

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}

export function iconButton(name, label, onclick, props = {}) {
  return h('button.icon-button', { type: 'button', 'aria-label': label, title: label, onclick, ...props }, icon(name));
}

export function button(text, onclick, props = {}, iconName = null) {
  return h('button.button', { type: 'button', onclick, ...props }, iconName && icon(iconName), text);
}

export function logo() {
  return h('img.logo', { src: '/static/favicon.svg', alt: '', width: 28, height: 28 });
}

// ---- one repaint per frame -----------------------------------------------------------------------------------------

const waiting = new Set();
let frame = 0;

export function nextFrame(work) {
  waiting.add(work);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    const works = [...waiting];
    waiting.clear();
    for (const each of works) each();
  });
}

// ---- toasts and the live region ------------------------------------------------------------------------------------

export function toast(text, kind = 'info') {
  const region = document.getElementById('toasts');
  const item = h('div.toast', { role: kind === 'error' ? 'alert' : 'status', 'data-kind': kind }, text);
  // A modal dialog lies in the top layer above the page; a popover opened after it lies above that.
  region.append(item);
  if (region.matches(':popover-open')) region.hidePopover();
  region.showPopover();
  setTimeout(() => {
    item.remove();
    if (!region.childElementCount && region.matches(':popover-open')) region.hidePopover();
  }, kind === 'error' ? 7000 : 3500);
}

export function failed(error) {
  toast(error?.message || 'Something went wrong. Please try again.', 'error');
}

export function announce(text) {
  const region = document.getElementById('announcer');
  if (!text.trim()) return;
  region.append(h('p', {}, text));
  while (region.childElementCount > 20) region.firstElementChild.remove();
}

// A module that is loaded when it is needed for the first time.
export async function part(loading) {
  try {
    return await loading;
  } catch {
    throw new Error('This part of the page could not be loaded. Check the connection, reload the page, and try again.');
  }
}

export function saveFile(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  h('a', { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// ---- clipboard -----------------------------------------------------------------------------------------------------

export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Plain http in one's own network has no clipboard object; the old command still works there.
  const area = h('textarea.visually-hidden', { value: text, 'aria-hidden': 'true' });
  (document.querySelector('dialog[open]') ?? document.body).append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (!done) throw new Error('The browser refused to copy. Select the text and copy it by hand.');
}

export async function copyWithTick(control, text) {
  try {
    await copy(text);
  } catch (error) {
    failed(error);
    return;
  }
  const old = control.querySelector('.icon');
  const tick = icon('check');
  old?.replaceWith(tick);
  announce('Copied');
  setTimeout(() => old && tick.replaceWith(old), 1400);
}

// ---- dialogs -------------------------------------------------------------------------------------------------------

let counter = 0;
export const freshId = (prefix) => `${prefix}-${(counter += 1)}`;

// What somebody types in, with the place where they were: a browser that gives the focus back to it gives no cursor.
function cursorOf(field) {
  const isText = field?.localName === 'textarea' || (field?.localName === 'input' && field.selectionStart !== null);
  return isText ? { value: field.value, start: field.selectionStart, end: field.selectionEnd } : null;
}

function putCursor(field, cursor) {
  if (cursor && field.value === cursor.value) field.setSelectionRange(cursor.start, cursor.end);
}

// ofChat: it is about the chat that is open, and goes with it.
export function openDialog({ title, className = '', content, onclose, ofChat = false }) {
  const id = freshId('dialog');
  const close = () => dialog.close();
  const dialog = h(
    'dialog.dialog',
    { 'aria-labelledby': id },
    h('div.dialog-head', {}, h('h2', { id }, title), iconButton('close', 'Close', close)),
    h('div.dialog-body', {}, content),
  );
  if (className) dialog.classList.add(className);
  dialog.toggleAttribute('data-of-chat', ofChat);
  const before = document.activeElement;
  const cursor = cursorOf(before);
  // A click beside it closes it. One that began inside is somebody's who marks text: its target is the dialog, too.
  let pressed = null;
  dialog.addEventListener('pointerdown', (event) => { pressed = event.target; });
  dialog.addEventListener('click', (event) => event.target === dialog && pressed === dialog && close());
  dialog.addEventListener('close', () => {
    dialog.remove();
    onclose?.();
    // The browser gave the focus back when it closed. This comes later: whoever is typing somewhere by now goes on there.
    if (!before?.isConnected) return;
    if (document.activeElement === document.body) before.focus();
    if (document.activeElement === before) putCursor(before, cursor);
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export function closeDialogsOfChat() {
  for (const dialog of document.querySelectorAll('dialog[data-of-chat]')) dialog.close();
}

export function confirmDialog({ title, text, action, danger = true }) {
  return new Promise((resolve) => {
    let answer = false;
    const yes = h('button.button', { type: 'button', 'data-kind': danger ? 'danger' : 'primary', autofocus: true }, action);
    const dialog = openDialog({
      title,
      className: 'dialog-small',
      content: [
        h('p', {}, text),
        h('div.dialog-actions', {}, button('Cancel', () => dialog.close()), yes),
      ],
      onclose: () => resolve(answer),
    });
    yes.addEventListener('click', () => {
      answer = true;
      dialog.close();
    });
    yes.focus();
  });
}

// work(text): what is done with it while the dialog is open; what was typed stays there where it fails. Gives what work gives,
// the text where there is none, and null where somebody went away.
export function promptDialog({ title, label, value, action, work = (text) => text, maxlength = 200 }) {
  return new Promise((resolve) => {
    let answer = null;
    let busy = false;
    const id = freshId('field');
    const input = h('input', { id, value, required: true, maxlength, autocomplete: 'off' });
    const take = async (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (!text || busy) return;
      busy = true;
      try {
        answer = await work(text);
        dialog.close();
      } catch (error) {
        failed(error);
      }
      busy = false;
    };
    const form = h(
      'form.form',
      { onsubmit: take },
      h('label.field', { htmlFor: id }, h('span', {}, label), input),
      h('div.dialog-actions', {}, button('Cancel', () => dialog.close()), h('button.button', { 'data-kind': 'primary' }, action)),
    );
    const dialog = openDialog({ title, className: 'dialog-small', content: form, onclose: () => resolve(answer) });
    input.focus();
    input.select();
  });
}

// ---- menus ---------------------------------------------------------------------------------------------------------

// Popovers lie in the top layer wherever they hang; in the button's own region they are found by those who walk regions.
export const landmarkOf = (anchor) => anchor.closest('dialog, header, aside, main') ?? document.body;

// Places a popover beside its button, inside the window.
export function place(popover, anchor) {
  const gap = 6;
  const box = anchor.getBoundingClientRect();
  const size = popover.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left, innerWidth - size.width - 8));
  const below = box.bottom + gap;
  const top = below + size.height <= innerHeight - 8 ? below : Math.max(8, box.top - size.height - gap);
  popover.style.left = `${left}px`;
  popover.style.top = `${top}px`;
}

// items: [{label, icon, action, danger}]; null is a line between groups.
export function openMenu(anchor, items) {
  const menu = h('div.menu', { role: 'menu', popover: 'auto' });
  for (const item of items) {
    if (!item) {
      menu.append(h('hr'));
      continue;
    }
    menu.append(
      h(
        'button.menu-item',
        {
          type: 'button',
          role: item.checked === undefined ? 'menuitem' : 'menuitemradio',
          'aria-checked': item.checked === undefined ? null : String(item.checked),
          tabindex: -1,
          'data-kind': item.danger ? 'danger' : null,
          onclick: () => {
            menu.hidePopover();
            item.action();
          },
        },
        icon(item.icon),
        h('span', {}, item.label),
        item.checked && icon('check'),
      ),
    );
  }
  menu.addEventListener('keydown', (event) => moveFocus(event, [...menu.querySelectorAll('.menu-item')]));
  menu.addEventListener('toggle', (event) => {
    if (event.newState !== 'closed') return;
    anchor.setAttribute('aria-expanded', 'false');
    const inside = menu.contains(document.activeElement);
    menu.remove();
    if (inside || document.activeElement === document.body) anchor.focus();
  });
  landmarkOf(anchor).append(menu);
  menu.showPopover();
  place(menu, anchor);
  anchor.setAttribute('aria-expanded', 'true');
  menu.querySelector('.menu-item')?.focus();
  return menu;
}

export function moveFocus(event, stops) {
  const at = stops.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: stops.length - 1 }[event.key];
  if (to === undefined || !stops.length) return;
  event.preventDefault();
  stops[(to + stops.length) % stops.length].focus();
}

export function overlayOpen() {
  return document.querySelector('dialog[open], [popover]:popover-open:not(#toasts)') !== null;
}

// What has the focus is often made anew: whoever was there goes on at what has the same name, or else in what it stood in.
export function clear(element, ...children) {
  const focused = element.contains(document.activeElement) && document.activeElement !== element ? document.activeElement : null;
  const cursor = cursorOf(focused);
  const [name, row] = focused ? [nameOf(focused), rowOf(focused)] : [];
  element.replaceChildren(...children.flat().filter(Boolean));
  if (!focused || element.contains(focused)) return;
  const same = [...element.querySelectorAll(focused.localName)].filter((each) => nameOf(each) === name && !each.disabled);
  const next = same.find((each) => rowOf(each) === row) ?? same[0] ?? element.closest('[tabindex], dialog');
  next?.focus({ preventScroll: true });
  if (cursor && next?.localName === focused.localName) putCursor(next, cursor);
}

const nameOf = (control) => control.getAttribute('aria-label') ?? control.labels?.[0]?.textContent ?? control.textContent;
const rowOf = (control) => control.closest('[data-id]')?.dataset.id ?? null;
