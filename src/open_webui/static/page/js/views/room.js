// What is said in a channel, or in one thread of it, with the field in which one writes.
import { id } from '../api.js';
import { channels } from '../calls.js';
import { applied, asMarkdown, asStored, asTyped, EMOJI, emojiOf, goesOn, tokenOf, writerOf } from '../channels.js';
import { announce, clear, confirmDialog, copy, failed, h, icon, iconButton, openMenu, place, landmarkOf, moveFocus } from '../dom.js';
import { renderMarkdown } from '../markdown.js';
import { inOrder } from '../order.js';
import { attachment } from '../pictures.js';
import { draft } from '../prefs.js';
import * as socket from '../socket.js';
import { may, state } from '../state.js';
import { dateOf } from './frame.js';
import { Suggestions } from './suggest.js';

const PAGE = 50;
const TYPING_MS = 5000;
const MOST_FILES = 10;

// Whom and what `@` offers: people of the channel, and models.
class Mentions extends Suggestions {
  constructor(room) {
    super(room, '@', 'People and models');
  }

  async look(text, show) {
    const word = text.toLowerCase();
    const found = (state.models ?? []).filter(({ name }) => name.toLowerCase().includes(word)).slice(0, 4).map(({ id, name }) => ({ kind: 'M', id, name }));
    const { users } = await channels.members(this.composer.channel.id, text, 1);
    show([...users.filter(({ id }) => id !== state.user.id).slice(0, 6).map(({ id, name }) => ({ kind: 'U', id, name })), ...found]);
  }

  option({ kind, name }) {
    return [icon(kind === 'M' ? 'cube' : 'user'), h('span', {}, name)];
  }

  take(item, [start, end]) {
    this.composer.tokens.set(`@${item.name}`, tokenOf(item.kind, item));
    this.composer.input.setRangeText(`@${item.name} `, start, end, 'end');
    this.composer.changed();
  }
}

export class Room {
  // parentId: the message whose thread it is. actions: {thread(message), seen(), left()}
  constructor(channel, parentId, actions) {
    Object.assign(this, { channel, parentId, actions, messages: [], drawn: new Map(), tokens: new Map(), files: [], going: [], quoted: null, more: false, typists: new Map(), typedAt: 0, key: `channel:${channel.id}:${parentId ?? ''}`, inTurn: inOrder() });
    this.list = h('ol.said-list', { 'aria-label': parentId ? 'Thread' : 'Messages' });
    this.earlier = h('button.button.earlier', { type: 'button', hidden: true, onclick: () => this.loadMore().catch(failed) }, 'Show earlier messages');
    this.scroll = h('div.said-scroll', { tabindex: 0, role: 'region', 'aria-label': parentId ? 'The thread' : 'What was said', onscroll: () => { this.stuck = this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < 60; } }, this.earlier, this.list);
    this.stuck = true;
    this.typing = h('p.typing', { role: 'status' });
    this.element = h('section.room', { 'aria-label': parentId ? 'Thread' : 'Channel' }, this.scroll, channel.write_access ? this.composer() : h('p.muted.no-write', {}, 'You may read this channel, not write in it.'));
    // A message is as high as its pictures, which come later.
    this.scroll.addEventListener('load', () => this.stuck && this.toEnd(), true);
  }

  // ---- reading ----

  async load() {
    const found = await channels.messages(this.channel.id, this.parentId, 0, PAGE);
    this.more = found.length >= PAGE;
    this.messages = found.reverse();
    // Of a thread the message that it began with comes with the oldest answers.
    this.draw();
    if (this.stuck) this.toEnd();
  }

  // What came meanwhile is not lost: what was shown before stays where it was.
  async refetch() {
    const loaded = this.messages.length;
    const found = (await channels.messages(this.channel.id, this.parentId, 0, PAGE)).reverse();
    const known = new Set(found.map(({ id }) => id));
    const [oldest] = found;
    const before = found.length < PAGE ? [] : this.messages.filter((each) => !known.has(each.id) && each.created_at < oldest.created_at);
    this.messages = [...before, ...found.map((each) => ({ ...each, data: each.data === true ? this.messages.find(({ id }) => id === each.id)?.data ?? true : each.data }))];
    if (!loaded) this.more = found.length >= PAGE;
    this.draw();
    if (this.stuck) this.toEnd();
  }

  async loadMore() {
    const found = (await channels.messages(this.channel.id, this.parentId, this.messages.length, PAGE)).reverse();
    const known = new Set(this.messages.map(({ id }) => id));
    this.more = found.length >= PAGE;
    this.messages = [...found.filter(({ id }) => !known.has(id)), ...this.messages];
    const height = this.scroll.scrollHeight;
    this.draw();
    this.scroll.scrollTop += this.scroll.scrollHeight - height;
  }

  heard({ data: { type, data }, user, message_id: about }) {
    if (type === 'typing') {
      if ((about ?? null) === this.parentId && user?.id !== state.user.id) this.showTyping(user, data?.typing);
      return;
    }
    if (!data?.id) return;
    const before = this.messages;
    this.messages = applied(before, type, data, this.parentId);
    if (this.messages === before) return;
    if (type === 'message') {
      this.typists.delete(user?.id);
      this.showTyping();
      if (user?.id !== state.user.id) announce(`${writerOf(data)}: ${asTyped(data.content).text}`);
    }
    if (type === 'message:delete' && this.parentId === data.id) this.actions.left();
    this.draw();
    if (this.stuck) this.toEnd();
  }

  toEnd() {
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  draw() {
    this.earlier.hidden = !this.more;
    const next = new Map();
    let before = null;
    let day = '';
    const parts = [];
    for (const message of this.messages) {
      const today = dateOf(message.created_at).toDateString();
      if (today !== day) parts.push(this.dayLine(message));
      const follows = today === day && goesOn(before, message);
      const print = `${message.etag ?? message.updated_at}:${JSON.stringify([message.reactions, message.reply_count, message.is_pinned, message.content, message.meta, message.data, follows])}`;
      const old = this.drawn.get(message.id);
      const held = old?.print === print ? old : { print, element: this.item(message, follows) };
      next.set(message.id, held);
      parts.push(held.element);
      [before, day] = [message, today];
    }
    this.drawn = next;
    if (this.editing?.isConnected) {
      // Who writes in one of them goes on: only what is new or gone is touched.
      const wanted = new Set(parts);
      for (const each of [...this.list.children]) if (!wanted.has(each) && !each.contains(this.editing)) each.remove();
      for (const each of parts) if (!each.isConnected && each.dataset.id !== this.editing.closest('[data-id]')?.dataset.id) this.list.append(each);
      return;
    }
    clear(this.list, parts, !parts.length && h('li.list-empty', {}, 'Nothing was said here yet.'));
  }

  dayLine({ created_at: at }) {
    return h('li.day', {}, dateOf(at).toLocaleDateString(undefined, { weekday: 'long', day: 'numeric', month: 'long' }));
  }

  item(message, follows) {
    const { content, meta, reactions = [] } = message;
    const writer = writerOf(message);
    const date = dateOf(message.created_at);
    const text = h('div.prose', {}, renderMarkdown(asMarkdown(content)));
    if (meta?.error) text.append(h('p.problem-text', {}, String(meta.error?.message ?? meta.error)));
    const quote = message.reply_to_message;
    const element = h(
      'li.said',
      { 'data-id': message.id, 'data-follows': follows || null },
      !follows && h('span.avatar', { 'aria-hidden': 'true' }, writer.slice(0, 1).toUpperCase()),
      h(
        'div.said-body',
        {},
        quote && h('p.quoted.muted', {}, icon('reply'), h('span', {}, `${quote.user?.name ?? writerOf(quote)}: ${asTyped(quote.content ?? '').text.slice(0, 120)}`)),
        h('p.said-head', { hidden: follows }, h('strong', {}, writer), h('time.muted', { datetime: date.toISOString(), title: date.toLocaleString() }, date.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' })), message.is_pinned && icon('pin')),
        text,
        this.filesOf(message),
        this.answering(meta) && h('span.waiting', { role: 'status', 'aria-label': 'Answering' }, h('span'), h('span'), h('span')),
        reactions.length > 0 && h('div.reactions', {}, reactions.map((each) => this.reaction(message, each))),
        !this.parentId && message.reply_count > 0 && h('button.text-button.replies', { type: 'button', onclick: () => this.actions.thread(message) }, `${message.reply_count} ${message.reply_count === 1 ? 'answer' : 'answers'}`),
      ),
      this.toolsOf(message, writer),
    );
    return element;
  }

  answering(meta) {
    return meta?.model_id && !meta.done && !meta.error;
  }

  toolsOf(message, writer) {
    if (!this.channel.write_access) return null;
    const react = iconButton('smile', `React to ${writer}`, () => this.choose(react, message), { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
    const more = iconButton('more', `Options for the message of ${writer}`, () => openMenu(more, this.menuOf(message, more)), { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
    return h('div.said-tools', {}, react, !this.parentId && iconButton('reply', `Answer ${writer} in a thread`, () => this.actions.thread(message)), more);
  }

  menuOf(message, anchor) {
    const own = message.user_id === state.user.id && !message.meta?.model_id;
    const manages = this.channel.is_manager;
    const guard = (work) => () => work().catch(failed);
    return [
      { label: 'React', icon: 'smile', action: () => this.choose(anchor, message) },
      !this.parentId && { label: 'Answer in a thread', icon: 'thought', action: () => this.actions.thread(message) },
      { label: 'Quote', icon: 'reply', action: () => this.quote(message) },
      { label: 'Copy', icon: 'copy', action: guard(() => copy(asTyped(message.content).text)) },
      { label: message.is_pinned ? 'Take the pin off' : 'Pin', icon: 'pin', action: guard(() => channels.pin(this.channel.id, message.id, !message.is_pinned)) },
      (own || (manages && this.channel.type === null)) && { label: 'Edit', icon: 'pencil', action: () => this.edit(message) },
      (own || manages) && null,
      (own || manages) && { label: 'Delete', icon: 'trash', danger: true, action: guard(() => this.unsay(message)) },
    ].filter((each) => each !== false);
  }

  async unsay(message) {
    const text = message.reply_count ? 'It will be deleted for good, with its thread.' : 'It will be deleted for good.';
    if (await confirmDialog({ title: 'Delete message?', text, action: 'Delete' })) await channels.unsay(this.channel.id, message.id);
  }

  // ---- reactions ----

  reaction(message, { name, users, count }) {
    const mine = users.some(({ id }) => id === state.user.id);
    const who = users.map((each) => each.name).join(', ');
    return h('button.reaction', { type: 'button', 'aria-pressed': String(mine), 'aria-label': `${name.replaceAll('_', ' ')}, ${count}`, title: who, disabled: !this.channel.write_access, onclick: () => this.react(message, name, !mine) }, h('span', {}, emojiOf(name)), h('span', {}, String(count)));
  }

  react(message, name, on) {
    return this.inTurn(() => channels.react(this.channel.id, message.id, name, on)).catch(failed);
  }

  choose(anchor, message) {
    const mine = new Set((message.reactions ?? []).filter(({ users }) => users.some(({ id }) => id === state.user.id)).map(({ name }) => name));
    const menu = h('div.menu.emoji-menu', { role: 'menu', popover: 'auto', 'aria-label': 'Reactions' });
    menu.append(...Object.entries(EMOJI).map(([name, sign]) => h('button.menu-item', { type: 'button', role: 'menuitemcheckbox', 'aria-checked': String(mine.has(name)), 'aria-label': name.replaceAll('_', ' '), title: name, tabindex: -1, onclick: () => { menu.hidePopover(); this.react(message, name, !mine.has(name)); } }, sign)));
    const keys = { ArrowRight: 'ArrowDown', ArrowLeft: 'ArrowUp' };
    menu.addEventListener('keydown', (event) => moveFocus({ key: keys[event.key] ?? event.key, preventDefault: () => event.preventDefault() }, [...menu.children]));
    menu.addEventListener('toggle', (event) => {
      if (event.newState !== 'closed') return;
      anchor.setAttribute('aria-expanded', 'false');
      menu.remove();
      if (document.activeElement === document.body) anchor.focus();
    });
    landmarkOf(anchor).append(menu);
    menu.showPopover();
    place(menu, anchor);
    anchor.setAttribute('aria-expanded', 'true');
    menu.firstElementChild.focus();
  }

  // ---- files ----

  filesOf(message) {
    if (message.data === true) {
      channels.data(this.channel.id, message.id).then((data) => {
        this.messages = this.messages.map((each) => (each.id === message.id ? { ...each, data: data ?? {} } : each));
        this.draw();
        if (this.stuck) this.toEnd();
      }, failed);
      return null;
    }
    const files = Array.isArray(message.data?.files) ? message.data.files : [];
    if (!files.length) return null;
    return h('ul.pictures', { 'aria-label': 'Files' }, files.map((file) => {
      const found = attachment(file);
      const address = file?.id && `/api/v1/files/${id(file.id)}/content`;
      if (found?.source) return h('li', {}, h('a', { href: found.source, target: '_blank' }, h('img', { src: found.source, alt: found.name })));
      return h('li', {}, h('a.document', { href: found?.link ?? (address ? `${address}?attachment=true` : null), target: found?.link ? '_blank' : null, rel: 'noopener noreferrer', download: found?.link ? null : found?.name }, icon('file'), h('span', {}, found?.name ?? 'File')));
    }));
  }

  async attach(files) {
    this.chooser.value = '';
    try {
      if (this.files.length + files.length > MOST_FILES) throw new Error(`At most ${MOST_FILES} files go along with a message.`);
      const size = state.config.file?.max_size;
      const large = size ? files.find((file) => file.size > size * 2 ** 20) : null;
      if (large) throw new Error(`${large.name} is too large. A file may have at most ${size} MB.`);
    } catch (error) {
      failed(error);
      return;
    }
    for (const file of files) {
      const held = { name: file.name, done: channels.upload(file).then((row) => ({ type: file.type.startsWith('image/') ? 'image' : 'file', id: row.id, url: row.id, name: file.name, size: file.size, content_type: file.type || row.meta?.content_type })) };
      held.done.catch((error) => {
        failed(error);
        this.hold(this.files.filter((each) => each !== held));
      });
      this.hold([...this.files, held]);
    }
    this.input.focus();
  }

  hold(files) {
    this.files = files;
    this.tray.hidden = !files.length;
    clear(this.tray, files.map((file) => h('li', { 'data-kind': 'document' }, h('span.document', {}, icon('file'), h('span', {}, file.name)), iconButton('close', `Take ${file.name} away`, () => this.hold(this.files.filter((each) => each !== file))))));
    this.fit();
  }

  // ---- writing ----

  composer() {
    const label = this.parentId ? 'Your answer' : 'Message in this channel';
    this.tray = h('ul.tray', { 'aria-label': 'Attachments', hidden: true });
    this.chooser = h('input', { type: 'file', hidden: true, multiple: true, onchange: () => this.attach([...this.chooser.files]) });
    const clip = iconButton('clip', 'Attach files', () => this.chooser.click());
    clip.hidden = !may('chat.file_upload');
    this.quoting = h('p.quoting', { hidden: true });
    this.input = h('textarea', { rows: 1, 'aria-label': label, placeholder: this.parentId ? 'Answer in the thread' : 'Write a message', maxlength: 40_000, enterkeyhint: 'send', autocomplete: 'off', oninput: () => this.typed(), onkeydown: (event) => this.pressed(event), onpaste: (event) => this.given(event) });
    this.sendButton = iconButton('send', 'Send', () => this.submit());
    this.sendButton.classList.add('send');
    const form = h('form.composer', { onsubmit: (event) => { event.preventDefault(); this.submit(); } }, this.quoting, this.tray, h('div.composer-box', {}, clip, this.chooser, this.input, this.sendButton));
    const element = h('div.composer-frame', {}, this.typing, form);
    // What the list of mentions hangs on.
    this.box = form;
    const kept = JSON.parse(draft.get(this.key) || 'null');
    if (kept) {
      this.input.value = kept.text;
      this.tokens = new Map(kept.tokens);
    }
    requestAnimationFrame(() => this.fit());
    return element;
  }

  given(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || !may('chat.file_upload')) return;
    event.preventDefault();
    this.attach(files);
  }

  typed() {
    this.changed();
    const now = Date.now();
    if (this.input.value && now - this.typedAt > 1000) {
      this.typedAt = now;
      this.tellTyping(true);
    }
    const found = /(?:^|\s)@([^\s@]{0,60})$/.exec(this.input.value.slice(0, this.input.selectionStart));
    if (found && !this.mentions) this.mentions = new Mentions({ channel: this.channel, element: this.box, input: this.input, tokens: this.tokens, changed: () => this.changed(), submit: () => this.submit() });
    this.mentions?.show(found ? found[1] : null).catch(failed);
  }

  tellTyping(typing) {
    if (socket.isConnected()) socket.emit('events:channel', { channel_id: this.channel.id, message_id: this.parentId, data: { type: 'typing', data: { typing } } });
  }

  changed() {
    const text = [...this.going.map((each) => each.text), this.input.value].filter(Boolean).join('\n');
    draft.set(this.key, text ? JSON.stringify({ text, tokens: [...this.tokens] }) : '');
    if (!text) this.tokens.clear();
    this.fit();
  }

  fit() {
    if (!this.input) return;
    this.input.style.height = 'auto';
    this.input.style.height = `${Math.min(this.input.scrollHeight, innerHeight * 0.35)}px`;
    this.sendButton.disabled = !(this.input.value.trim() || this.files.length);
  }

  pressed(event) {
    if (this.mentions?.key(event)) return;
    if (event.key === 'Escape' && this.quoted) {
      event.stopPropagation();
      this.quote(null);
      return;
    }
    if (event.key === 'ArrowUp' && !this.input.value) {
      const last = this.messages.findLast(({ user_id: whose, meta }) => whose === state.user.id && !meta?.model_id);
      if (last) {
        event.preventDefault();
        this.edit(last);
      }
      return;
    }
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.submit();
  }

  quote(message) {
    this.quoted = message;
    this.quoting.hidden = !message;
    clear(this.quoting, message && [icon('reply'), h('span', {}, `${writerOf(message)}: ${asTyped(message.content).text.slice(0, 120)}`), iconButton('close', 'Do not quote it', () => this.quote(null))]);
    this.input.focus();
  }

  // One message after the other. What is on its way is in the draft until the server has it, and in the field again where it fails.
  submit() {
    const text = this.input.value.trim();
    const { files, quoted } = this;
    if (!(text || files.length)) return;
    const going = { text, files, quoted };
    this.going.push(going);
    const content = asStored(text, this.tokens);
    this.input.value = '';
    this.quote(null);
    this.hold([]);
    this.stuck = true;
    this.typedAt = 0;
    this.tellTyping(false);
    this.changed();
    this.inTurn(async () => {
      const named = await Promise.all(files.map(({ done }) => done));
      await channels.say(this.channel.id, { content, parent_id: this.parentId, reply_to_id: quoted?.id ?? null, data: named.length ? { files: named } : {}, meta: {} });
    }).catch((error) => {
      failed(error);
      this.input.value = [text, this.input.value].filter(Boolean).join('\n');
      this.hold([...files, ...this.files]);
      if (quoted && !this.quoted) this.quote(quoted);
    }).finally(() => {
      this.going = this.going.filter((each) => each !== going);
      this.changed();
    });
  }

  edit(message) {
    const held = this.drawn.get(message.id);
    const text = held?.element.querySelector('.prose');
    if (!text || this.editing?.isConnected) return;
    const typed = asTyped(message.content);
    const area = h('textarea', { 'aria-label': 'Change the message', rows: 3, maxlength: 40_000, value: typed.text });
    const end = () => {
      this.editing = null;
      this.drawn.delete(message.id);
      this.draw();
      this.input.focus();
    };
    const save = async () => {
      try {
        const content = asStored(area.value.trim(), typed.tokens);
        if (content !== message.content) await channels.change(this.channel.id, message.id, content);
        end();
      } catch (error) {
        failed(error);
      }
    };
    area.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') end();
      else if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      else save();
      event.preventDefault();
      event.stopPropagation();
    });
    this.editing = h('div.edit-box', {}, area, h('div.dialog-actions', {}, h('button.button', { type: 'button', onclick: end }, 'Cancel'), h('button.button', { type: 'button', 'data-kind': 'primary', onclick: save }, 'Save')));
    text.replaceWith(this.editing);
    area.focus();
  }

  showTyping(user, on) {
    if (user) {
      clearTimeout(this.typists.get(user.id)?.timer);
      this.typists.delete(user.id);
      if (on) this.typists.set(user.id, { name: user.name, timer: setTimeout(() => this.showTyping(user, false), TYPING_MS) });
    }
    const names = [...this.typists.values()].map(({ name }) => name);
    this.typing.textContent = names.length ? `${names.slice(0, 3).join(', ')} ${names.length === 1 ? 'is' : 'are'} typing…` : '';
  }
}
