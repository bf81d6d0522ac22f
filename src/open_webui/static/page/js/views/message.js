// One message of a chat: a question as it was typed, or an answer with its thoughts, tool lines, text, errors and actions.
import { announce, button, clear, confirmDialog, copyWithTick, failed, h, icon, iconButton, nextFrame, part } from '../dom.js';
import { LiveMarkdown, pictureLink } from '../markdown.js';
import { attachment, small } from '../pictures.js';
import { ratingOf } from '../rating.js';
import { may, modelName, state } from '../state.js';
import { tokensOf } from '../usage.js';
import { asList, asText, contentText, errorText, isRunning, plainText, segments } from '../stream.js';

// The module for what answers rest on; null until one rests on something.
let citing = null;
// The tool that runs Python.
const CODE = 'execute_code';
// What is said of a step that has no words of its own.
const STEPS = { queries_generated: 'Searching the documents…', web_search_queries_generated: 'Searching the web…' };

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

// Questions that were written anew and not sent yet, by the ids of the old ones: one that can't be sent is there again.
const unsent = new Map();

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
    if (unsent.has(this.id) && !this.editing) this.edit();
    const copyButton = iconButton('copy', 'Copy', () => copyWithTick(copyButton, text));
    clear(this.foot, this.branches({ ...place, id: message.id }), copyButton, iconButton('pencil', 'Edit and send again', () => this.edit()), this.removeButton());
  }

  edit() {
    this.editing = true;
    const begun = unsent.get(this.id) ?? this.text;
    const area = h('textarea', { value: begun, rows: Math.min(12, begun.split('\n').length + 1), 'aria-label': 'Your message' });
    const leave = () => {
      unsent.delete(this.id);
      this.editing = false;
      this.show();
      this.foot.hidden = false;
    };
    const send = () => {
      const text = area.value.trim();
      if (!text) return;
      leave();
      this.actions.edit(this.id, text).catch((error) => {
        unsent.set(this.id, text);
        this.actions.refresh?.(this.id);
        failed(error);
      });
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
    this.takeSources(message);
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

  takeSources(message) {
    this.sources = asList(message.sources);
    if (!this.sources.length || this.cite) return;
    if (citing) this.cite = (root) => citing.dress(root, () => this.sources);
    else part(import('./sources.js')).then((loaded) => { citing = loaded; this.actions.refresh?.(this.id); }).catch(failed);
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
      if (!part.update(segment, done, this.cite)) complete = false;
    });
    if (!complete) nextFrame(() => this.element.isConnected && this.actions.refresh?.(this.id));
  }

  showStatus(message, running) {
    const steps = asList(message.statusHistory).filter((entry) => !entry?.hidden);
    const last = steps.at(-1);
    // What failed stays to be read.
    const failed = steps.filter((entry) => entry?.error).at(-1);
    const said = running && last && !last.done ? asText(last.description) || STEPS[last.action] || '' : asText(failed?.description) || '';
    this.status.hidden = !said;
    if (this.status.textContent !== said) this.status.textContent = said;
  }

  showNotes(message, running, place) {
    const error = errorText(message.error);
    const interrupted = !running && Boolean(message.meta?.interrupted);
    const followUps = !running && place.last && !this.actions.readOnly ? asList(message.followUps) : [];
    const remembered = asText(asList(message.statusHistory).filter((entry) => entry?.action === 'memories').at(-1)?.description);
    const empty = !running && !error && !interrupted && !plainText(message) && !segments(message).length && !message.files?.length && !asList(message.embeds).length;
    const key = JSON.stringify([error, interrupted, followUps, empty, running, remembered, this.cite ? this.sources.length : 0, message.files?.length ?? 0, asList(message.embeds)]);
    if (key === this.notesKey) return;
    this.notesKey = key;
    clear(
      this.notes,
      ...files(message),
      ...framed(message.embeds),
      this.cite && citing.sourceRow(this.sources, running ? '' : plainText(message)),
      remembered && h('p.muted.remembered', {}, icon('thought'), remembered),
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

  thumbs(message) {
    if (!this.actions.mayRate?.()) return [];
    const given = ratingOf(message);
    const thumb = (name, label, rating) => {
      // The button is made anew; whoever pressed it goes on there.
      const done = () => {
        this.actions.refresh?.(this.id);
        this.foot.querySelector(`[aria-label="${label}"]`)?.focus();
      };
      return iconButton(name, label, () => part(import('./rating.js')).then(({ rate }) => rate(this.id, rating, done)).catch(failed), { 'aria-pressed': String(given === rating) });
    };
    return [thumb('good', 'Good answer', 1), thumb('bad', 'Bad answer', -1)];
  }

  // Reads aloud from the first sentence on, also while the rest is being written.
  speaker() {
    const canSpeak = state.config?.audio?.tts?.engine || 'speechSynthesis' in window;
    if (this.actions.readOnly || !canSpeak || !may('chat.tts')) return null;
    const label = this.reading ? 'Stop reading' : 'Read aloud';
    const pressed = (on) => {
      this.reading = on;
      this.footKey = null;
      this.actions.refresh?.(this.id);
    };
    const current = () => {
      const message = this.actions.current(this.id);
      return { text: message ? plainText(message) : '', over: !message || !isRunning(message) };
    };
    const press = async () => {
      const { readAloud, stopReading } = await part(import('./speech.js'));
      if (this.reading) stopReading();
      else {
        pressed(true);
        readAloud(current, () => pressed(false));
      }
    };
    return iconButton(this.reading ? 'stop' : 'speaker', label, () => press().catch(failed));
  }

  showFoot(message, running, place) {
    const tokens = tokensOf(message);
    const key = JSON.stringify([running, place, Boolean(message.error), ratingOf(message), tokens]);
    if (key === this.footKey) return;
    this.footKey = key;
    if (running) {
      clear(this.foot, this.branches({ ...place, id: message.id }), this.goOnWith(place), this.speaker());
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
      this.speaker(),
      ...this.thumbs(message),
      iconButton('refresh', 'Answer again', run(() => this.actions.again(this.id))),
      place.last && this.actions.mayGoOn?.() !== false && iconButton('play', 'Continue this answer', run(() => this.actions.goOn(this.id))),
      this.removeButton(),
      tokens && h('span.tokens', { title: tokens.detail }, tokens.text, h('span.visually-hidden', {}, `: ${tokens.detail}`)),
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

  // cite: makes buttons of what the text cites.
  update(segment, done, cite) {
    if (cite !== this.live.dress) {
      this.live.dress = cite;
      cite(this.element);
    }
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
    this.fold = h('details.thought', {}, h('summary', {}, icon('tool'), this.label, icon('down')), h('div.thought-text', {}, this.input, this.output));
    // What a call shows to the person lies below its line, unfolded.
    this.brought = h('div.brought');
    this.element = h('div.call', {}, this.fold);
    this.given = 0;
    this.answer = null;
  }

  update(segment) {
    this.fold.toggleAttribute('data-running', segment.running);
    if (segment.running) this.since ??= performance.now();
    else this.seconds ??= this.since === undefined ? 0 : Math.round((performance.now() - this.since) / 1000);
    this.label.textContent = toolText(segment, this.seconds);
    this.input.textContent = readable(segment.input);
    const output = segment.name === CODE ? printed(segment.output) : segment.output;
    this.output.textContent = output;
    this.output.hidden = !output;
    if (segment.waits && !this.answer) {
      this.answer = button('Answer', () => part(import('./questions.js')).then(({ resolve }) => resolve(segment)).catch(failed));
      this.fold.after(this.answer);
    } else if (!segment.waits && this.answer) {
      this.answer.remove();
      this.answer = null;
    }
    const { files: named, embeds } = segment;
    if (named.length + embeds.length !== this.given) {
      this.given = named.length + embeds.length;
      clear(this.brought, ...files({ files: named }), ...framed(embeds));
      this.element.append(this.brought);
    }
    return true;
  }
}

function toolText({ name, running, ended, waits }, seconds) {
  if (waits) return `${name} waits for you`;
  if (name === CODE) return running ? 'Running Python…' : ended ? 'Ran Python' : 'Python was not run to its end';
  if (running) return `Using ${name}…`;
  if (!ended) return `${name} was not run to its end`;
  return seconds ? `Used ${name} for ${seconds} second${seconds === 1 ? '' : 's'}` : `Used ${name}`;
}

// What code printed and gave, as it is read best.
function printed(text) {
  try {
    const { stdout, stderr, result, notes } = JSON.parse(text);
    return [stdout, result, stderr, ...asList(notes)].map((part) => asText(part).trimEnd()).filter(Boolean).join('\n');
  } catch {
    return text;
  }
}

// Arguments as they are read best, code as lines; what is no JSON (yet) as it is.
function readable(text) {
  try {
    const found = JSON.parse(text);
    if (typeof found?.code === 'string' && Object.keys(found).length === 1) return found.code;
    return found && typeof found === 'object' ? JSON.stringify(found, null, 2) : text;
  } catch {
    return text;
  }
}

// What tools made to be seen: fenced in, each in a place that is filled when its module is there.
function framed(embeds) {
  return asList(embeds).filter(asText).map((embed) => {
    const place = h('div.embed');
    part(import('./frames.js')).then(({ frameOf }) => place.append(frameOf(embed))).catch(failed);
    return place;
  });
}

function files(message) {
  const found = asList(message.files).map((file) => attachment(file)).filter(Boolean);
  const pictures = found.filter(({ source }) => source);
  const named = found.filter(({ source }) => !source);
  const entry = ({ link, host, name }) => h('li', {}, link ? pictureLink({ link, host }, name) : name);
  return [
    pictures.length ? h('div.pictures', {}, pictures.map(({ source, name }) => {
      const shown = h('img', { src: small(source), alt: name, loading: 'lazy' });
      return source.startsWith('data:') ? shown : h('a', { href: source, target: '_blank', rel: 'noopener' }, shown);
    })) : null,
    named.length ? h('ul.sources', { 'aria-label': 'Attached files' }, named.map(entry)) : null,
  ];
}
