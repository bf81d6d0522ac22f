// One message of a chat: a question as it was typed, or an answer with its thoughts, tool lines, text, errors and actions.
import { announce, clear, confirmDialog, copyWithTick, failed, h, icon, iconButton, nextFrame } from '../dom.js';
import { LiveMarkdown, pictureLink } from '../markdown.js';
import { attachment } from '../pictures.js';
import { modelName } from '../state.js';
import { asList, asText, contentText, errorText, isRunning, plainText, segments } from '../stream.js';

// actions: {edit(id, text), again(id), goOn(id), remove(id), branch(id), say(text), readOnly}
export function createMessage(message, actions) {
  return guarded(message.role === 'user' ? new Question(message, actions) : new Answer(message, actions));
}

// A message that can't be shown must not take those after it along.
function guarded(view) {
  const update = view.update.bind(view);
  view.update = (...given) => {
    try {
      update(...given);
    } catch (error) {
      console.warn('A message could not be shown.', error);
      view.body.replaceChildren(h('p.muted', {}, 'This message can\u2019t be shown.'));
    }
  };
  return view;
}

class Base {
  constructor(message, actions, label) {
    this.id = message.id;
    this.actions = actions;
    this.body = h('div.message-body');
    this.foot = h('div.message-actions', { role: 'group', 'aria-label': 'Actions for this message' });
    this.element = h('article.message', { 'data-role': message.role === 'user' ? 'user' : 'assistant', 'data-id': message.id, 'aria-label': label }, this.body, this.foot);
  }

  branches({ siblings, id }) {
    if (siblings.length < 2) return null;
    const at = siblings.indexOf(id);
    const go = (to) => () => this.actions.branch(siblings[to]);
    return h(
      'div.branches',
      { role: 'group', 'aria-label': 'Versions' },
      iconButton('left', 'Previous version', go(at - 1), { disabled: at === 0 }),
      h('span', {}, `${at + 1} / ${siblings.length}`),
      iconButton('right', 'Next version', go(at + 1), { disabled: at === siblings.length - 1 }),
    );
  }

  removeButton() {
    return iconButton('trash', 'Delete message', async () => {
      const sure = await confirmDialog({ title: 'Delete message?', text: 'The message will be deleted for good.', action: 'Delete' });
      if (sure) this.actions.remove(this.id).catch(failed);
    });
  }
}

class Question extends Base {
  constructor(message, actions) {
    super(message, actions, 'You');
    this.text = null;
    this.editing = false;
  }

  update(message, place) {
    const text = contentText(message.content);
    if (!this.editing && text !== this.text) {
      this.text = text;
      this.show = () => clear(this.body, h('div.bubble', {}, text), ...files(message));
      this.show();
    }
    if (this.actions.readOnly) return;
    const copyButton = iconButton('copy', 'Copy', () => copyWithTick(copyButton, text));
    clear(this.foot, this.branches({ ...place, id: message.id }), copyButton, iconButton('pencil', 'Edit and send again', () => this.edit()), this.removeButton());
  }

  edit() {
    this.editing = true;
    const area = h('textarea', { value: this.text, rows: Math.min(12, this.text.split('\n').length + 1), 'aria-label': 'Your message' });
    const leave = () => {
      this.editing = false;
      this.show();
      this.foot.hidden = false;
    };
    const send = () => {
      const text = area.value.trim();
      if (!text) return;
      leave();
      this.actions.edit(this.id, text).catch(failed);
    };
    area.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') {
        event.stopPropagation();
        leave();
        this.foot.querySelector('button:last-of-type')?.focus();
      } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    clear(
      this.body,
      h('div.edit-box', {}, area, h('div.dialog-actions', {}, h('button.button', { type: 'button', onclick: leave }, 'Cancel'), h('button.button', { type: 'button', 'data-kind': 'primary', onclick: send }, 'Send'))),
    );
    this.foot.hidden = true;
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

class Answer extends Base {
  constructor(message, actions) {
    super(message, actions, 'Answer');
    this.from = h('div.message-from');
    this.element.prepend(this.from);
    this.parts = new Map();
    this.status = h('p.status-line', { hidden: true });
    this.flow = h('div.flow');
    this.waiting = h('p.waiting', { role: 'img', 'aria-label': 'Waiting for the answer', hidden: true }, h('span'), h('span'), h('span'));
    this.notes = h('div.notes');
    this.body.append(this.status, this.flow, this.waiting, this.notes);
    this.wasRunning = false;
    this.footKey = null;
  }

  update(message, place) {
    this.showFrom(message);
    const running = isRunning(message);
    this.element.toggleAttribute('data-running', running);
    this.body.setAttribute('aria-busy', String(running));
    const found = segments(message);
    this.showFlow(message, found, running);
    this.waiting.hidden = !running || found.some((segment) => segment.kind === 'text');
    this.showStatus(message, running);
    this.showNotes(message, running, place);
    this.showFoot(message, running, place);
    if (this.wasRunning && !running) announce(message.error ? `The answer failed: ${errorText(message.error)}` : 'Answer finished.');
    this.wasRunning = running;
  }

  // The server keeps the id alone, and the models may be loaded after the chat: the name can come later.
  showFrom(message) {
    const name = asText(message.modelName) || modelName(message.model) || asText(message.model) || null;
    if (name === this.name) return;
    this.name = name;
    this.from.textContent = name ?? 'Assistant';
    this.element.setAttribute('aria-label', `Answer from ${name ?? 'the model'}`);
  }

  showFlow(message, found, running) {
    const keep = new Set(found.map((segment) => segment.key));
    for (const [key, part] of this.parts) {
      if (keep.has(key)) continue;
      part.element.remove();
      this.parts.delete(key);
    }
    let complete = true;
    let previous = null;
    found.forEach((segment, index) => {
      let part = this.parts.get(segment.key);
      if (!part) {
        part = createPart(segment);
        this.parts.set(segment.key, part);
      }
      if (previous ? previous.nextSibling !== part.element : this.flow.firstChild !== part.element) {
        if (previous) previous.after(part.element);
        else this.flow.prepend(part.element);
      }
      previous = part.element;
      const done = !running || index < found.length - 1;
      if (!part.update(segment, done)) complete = false;
    });
    if (!complete) nextFrame(() => this.element.isConnected && this.actions.refresh?.(this.id));
  }

  showStatus(message, running) {
    const last = asList(message.statusHistory).filter((entry) => !entry?.hidden).at(-1);
    const said = running && last && !last.done ? asText(last.description) : '';
    this.status.hidden = !said;
    if (this.status.textContent !== said) this.status.textContent = said;
  }

  showNotes(message, running, place) {
    const error = errorText(message.error);
    const interrupted = !running && Boolean(message.meta?.interrupted);
    const followUps = !running && place.last && !this.actions.readOnly ? asList(message.followUps) : [];
    const empty = !running && !error && !interrupted && !plainText(message) && !segments(message).length && !message.files?.length;
    const key = JSON.stringify([error, interrupted, followUps, empty, message.sources?.length ?? 0, message.files?.length ?? 0]);
    if (key === this.notesKey) return;
    this.notesKey = key;
    clear(
      this.notes,
      ...files(message),
      sources(message),
      error && !interrupted && this.problem('The answer failed', error, 'Try again', 'refresh', () => this.actions.again(this.id), null),
      interrupted && this.problem('This answer was interrupted', 'The server stopped while it was being written. What had arrived is kept.', 'Continue', 'play', () => this.actions.goOn(this.id), 'note'),
      empty && h('p.muted', {}, 'The model gave no text.'),
      followUps.length > 0 && this.suggestions(followUps),
    );
  }

  problem(title, text, action, iconName, work, kind) {
    const control = h('button.button', { type: 'button', onclick: () => work().catch(failed) }, icon(iconName), action);
    return h('div.problem', { 'data-kind': kind }, icon('alert'), h('div', {}, h('strong', {}, title), h('p', {}, text)), !this.actions.readOnly && control);
  }

  suggestions(texts) {
    return h(
      'div.follow-ups',
      { role: 'group', 'aria-label': 'Suggested next questions' },
      texts.slice(0, 5).map((text) => h('button.follow-up', { type: 'button', onclick: () => this.actions.say(String(text)).catch(failed) }, String(text))),
    );
  }

  goOnWith(place) {
    return place.beside && !this.actions.readOnly && h('button.button.go-on', { type: 'button', 'aria-pressed': String(place.last), onclick: () => this.actions.goOnWith(this.id) }, 'Go on with this');
  }

  showFoot(message, running, place) {
    const key = JSON.stringify([running, place, Boolean(message.error)]);
    if (key === this.footKey) return;
    this.footKey = key;
    if (running) {
      clear(this.foot, this.branches({ ...place, id: message.id }), this.goOnWith(place));
      return;
    }
    const copyButton = iconButton('copy', 'Copy answer', () => copyWithTick(copyButton, plainText(this.actions.current(this.id) ?? message)));
    if (this.actions.readOnly) {
      clear(this.foot, copyButton);
      return;
    }
    const run = (work) => () => work().catch(failed);
    clear(
      this.foot,
      this.branches({ ...place, id: message.id }),
      this.goOnWith(place),
      copyButton,
      iconButton('refresh', 'Answer again', run(() => this.actions.again(this.id))),
      place.last && this.actions.mayGoOn?.() !== false && iconButton('play', 'Continue this answer', run(() => this.actions.goOn(this.id))),
      this.removeButton(),
    );
  }
}

// ---- the parts of an answer ----------------------------------------------------------------------------------------

function createPart(segment) {
  if (segment.kind === 'reasoning') return new Thought();
  if (segment.kind === 'call') return new ToolLine();
  return new Text();
}

class Text {
  constructor() {
    this.element = h('div.prose');
    this.live = new LiveMarkdown(this.element, () => {
      const block = [...this.element.children].at(-1);
      announce(block?.textContent ?? '');
    });
  }

  update(segment, done) {
    return this.live.update(segment.text, done);
  }
}

class Thought {
  constructor() {
    this.label = h('span', {}, 'Thinking');
    this.text = document.createTextNode('');
    this.element = h('details.thought', {}, h('summary', {}, icon('thought'), this.label, icon('down')), h('div.thought-text', {}, this.text));
  }

  update(segment) {
    const seconds = segment.seconds === null ? null : Math.max(1, Math.round(segment.seconds));
    this.label.textContent = segment.running ? 'Thinking…' : seconds === null ? 'Thoughts' : `Thought for ${seconds} second${seconds === 1 ? '' : 's'}`;
    this.element.toggleAttribute('data-running', segment.running);
    if (segment.text.length > this.text.length && segment.text.startsWith(this.text.data)) this.text.appendData(segment.text.slice(this.text.length));
    else if (segment.text !== this.text.data) this.text.data = segment.text;
    return true;
  }
}

class ToolLine {
  constructor() {
    this.label = h('span');
    this.input = h('pre');
    this.output = h('pre');
    this.element = h('details.thought', {}, h('summary', {}, icon('tool'), this.label, icon('down')), h('div.thought-text', {}, this.input, this.output));
  }

  update(segment) {
    this.element.toggleAttribute('data-running', segment.running);
    this.label.textContent = segment.running ? `Using ${segment.name}…` : `Used ${segment.name}`;
    this.input.textContent = segment.input;
    this.output.textContent = segment.output;
    this.output.hidden = !segment.output;
    return true;
  }
}

function sources(message) {
  const found = new Map();
  for (const entry of asList(message.sources)) {
    const url = asText(entry?.source?.url);
    const name = asText(entry?.source?.name) || url;
    if (name) found.set(name, url);
  }
  if (!found.size) return null;
  const link = (name, url) => (/^https?:\/\//i.test(url) ? h('a', { href: url, target: '_blank', rel: 'noopener noreferrer nofollow' }, name) : h('span', {}, name));
  return h('ul.sources', { 'aria-label': 'Sources' }, [...found].map(([name, url]) => h('li', {}, link(name, url))));
}

function files(message) {
  const found = asList(message.files).map((file) => attachment(file)).filter(Boolean);
  const pictures = found.filter(({ source }) => source);
  const named = found.filter(({ source }) => !source);
  const entry = ({ link, host, name }) => h('li', {}, link ? pictureLink({ link, host }, name) : name);
  return [
    pictures.length ? h('div.pictures', {}, pictures.map(({ source, name }) => h('img', { src: source, alt: name, loading: 'lazy' }))) : null,
    named.length ? h('ul.sources', { 'aria-label': 'Attached files' }, named.map(entry)) : null,
  ];
}
