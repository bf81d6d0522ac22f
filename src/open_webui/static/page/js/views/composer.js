// Where one writes: grows with the text, sends with Enter, and turns into a stop button while an answer is being written.
import { clear, confirmDialog, failed, h, icon, iconButton, part } from '../dom.js';
import { draft } from '../prefs.js';
import { filtersToChoose, known, may, state } from '../state.js';
import { asText } from '../stream.js';

// Signs in front of a word that offer something: the word behind one, and what shows the list.
const SIGNS = {
  '#': { word: /(?:^|\s)#([^\s#]{0,60})$/, load: async () => (await part(import('./mention.js'))).Offer },
  '/': { word: /(?:^|\s)\/([^\s/]{0,100})$/, load: async () => (await part(import('./commands.js'))).Commands },
};

// Whether what is said can be written down: by the server, or by this browser.
function mayDictate() {
  if (!may('chat.stt') || !navigator.mediaDevices) return false;
  return state.config.audio?.stt?.engine !== 'web' || Boolean(window.SpeechRecognition ?? window.webkitSpeechRecognition);
}

// Whether one may call: a realtime model, or the server writes down what is said.
function mayCall() {
  const { realtime, stt } = state.config.audio ?? {};
  return Boolean(navigator.mediaDevices) && may('chat.call') && (realtime?.enabled || (stt?.engine !== 'web' && may('chat.stt') && may('chat.tts')));
}

export class Composer {
  // actions: {send(text, files), stop(), drop(file), web(on), code(on), image(on)}
  constructor(actions) {
    this.actions = actions;
    // Counts the chats it was loaded for: what was begun for one is not put into another.
    this.visit = 0;
    this.busy = false;
    this.offers = {};
    // What goes along with the next question, and the documents that go along with each of this chat.
    this.files = [];
    this.kept = [];
    this.tray = h('ul.tray', { 'aria-label': 'Attachments', hidden: true });
    this.chooser = h('input', { type: 'file', hidden: true, multiple: true, onchange: () => this.take([...this.chooser.files]) });
    this.attach = iconButton('clip', 'Attach files', () => this.chooser.click());
    this.attach.hidden = !may('chat.file_upload');
    this.web = iconButton('globe', 'Search the web', () => this.searchWeb(this.web.getAttribute('aria-pressed') !== 'true').catch(failed), { 'aria-pressed': 'false' });
    this.web.classList.add('toggle');
    this.web.hidden = !(state.config.features?.enable_web_search && may('features.web_search'));
    this.code = iconButton('code', 'Let the model run code', () => this.runCode(this.code.getAttribute('aria-pressed') !== 'true'), { 'aria-pressed': 'false' });
    this.code.classList.add('toggle');
    this.code.hidden = !(state.config.features?.enable_code_interpreter && may('features.code_interpreter'));
    this.image = iconButton('image', 'Make a picture', () => this.makePicture(this.image.getAttribute('aria-pressed') !== 'true'), { 'aria-pressed': 'false' });
    this.image.classList.add('toggle');
    this.image.hidden = !(state.config.features?.enable_image_generation && may('features.image_generation'));
    this.mic = iconButton('mic', 'Dictate', () => this.dictate().catch(failed), { 'aria-pressed': 'false' });
    this.mic.classList.add('toggle');
    this.mic.hidden = !mayDictate();
    this.phone = iconButton('phone', 'Call', () => part(import('./call.js')).then(({ openCall }) => openCall()).catch(failed), { 'aria-haspopup': 'dialog' });
    this.phone.hidden = !mayCall();
    this.tools = iconButton('tool', 'Tools', () => part(import('./tools.js')).then(({ openTools }) => openTools()).catch(failed), { 'aria-haspopup': 'dialog' });
    this.tools.classList.add('toggle');
    this.offerTools({ toolIds: [], filterIds: [], skillIds: [] });
    this.input = h('textarea', {
      id: 'composer-input',
      rows: 1,
      placeholder: 'Ask anything',
      'aria-label': 'Your message',
      autocomplete: 'off',
      enterkeyhint: 'send',
      oninput: () => {
        this.changed();
        this.look().catch(failed);
      },
      onkeydown: (event) => this.key(event),
      onpaste: (event) => this.given(event, event.clipboardData),
    });
    this.sendButton = iconButton('send', 'Send', () => this.submit());
    this.sendButton.classList.add('send');
    this.stopButton = iconButton('stop', 'Stop the answer (Esc)', () => actions.stop().catch(failed));
    this.stopButton.classList.add('send', 'stop');
    this.element = h(
      'form.composer',
      {
        onsubmit: (event) => {
          event.preventDefault();
          this.submit();
        },
      },
      this.tray,
      h('div.composer-box', { onclick: (event) => event.target === event.currentTarget && this.input.focus() }, this.attach, this.chooser, this.web, this.code, this.image, this.tools, this.mic, this.phone, this.input, this.sendButton, this.stopButton),
    );
    this.setBusy(false);
  }

  given(event, data) {
    const files = [...(data?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    this.take(files);
  }

  // One after the other, so that each knows what is held; who sends meanwhile waits for it.
  take(files) {
    this.chooser.value = '';
    const { visit } = this;
    const before = this.taking;
    const taking = (async () => {
      const fine = await before;
      return (await this.takeNow(files, visit)) && fine !== false;
    })();
    this.taking = taking;
    taking.then(() => {
      if (this.taking === taking) this.taking = null;
    });
  }

  // Whether they are held.
  async takeNow(files, visit) {
    let more = [];
    try {
      if (!may('chat.file_upload')) throw new Error('You may not attach files on this server.');
      const { attached } = await part(import('./attach.js'));
      more = await attached(files, [...this.kept, ...this.files]);
    } catch (error) {
      failed(error);
    }
    if (this.visit !== visit) more.forEach((file) => file.cancel?.());
    else this.hold([...this.files, ...more]);
    this.input.focus();
    return more.length > 0;
  }

  // Whether answers look into the web first, until it is switched off or another chat is opened.
  async searchWeb(on) {
    const { enable_web_search_confirmation: asks, web_search_confirmation_content: text } = state.config.features;
    const { visit } = this;
    if (on && asks && !(await confirmDialog({ title: 'Search the web?', text: text || 'What you ask goes to the search engine that this server uses.', action: 'Search' }))) return;
    if (this.visit !== visit) return;
    this.web.setAttribute('aria-pressed', String(on));
    this.actions.web(on);
    this.input.focus();
  }

  // Whether the model may have code run, until it is switched off or another chat is opened.
  runCode(on) {
    this.code.setAttribute('aria-pressed', String(on));
    this.actions.code(on);
    this.input.focus();
  }

  // Whether a picture is made, until it is switched off or another chat is opened.
  makePicture(on) {
    this.image.setAttribute('aria-pressed', String(on));
    this.actions.image(on);
    this.input.focus();
  }

  // What is said is put where one writes, to be looked at before it is sent.
  async dictate() {
    const { visit } = this;
    const { listen } = await part(import('./speech.js'));
    const heard = (text) => {
      if (this.visit !== visit) return;
      const { value, selectionStart: at } = this.input;
      const before = value.slice(0, at);
      this.input.setRangeText(`${before && !/\s$/.test(before) ? ' ' : ''}${text}`, at, this.input.selectionEnd, 'end');
      this.changed();
      this.input.focus();
    };
    await listen(heard, (on) => this.mic.setAttribute('aria-pressed', String(on)));
  }

  // Shown where there is anything to choose.
  offerTools({ toolIds, filterIds, skillIds, terminalId }) {
    this.tools.hidden = !state.tools?.length && !state.skills?.length && !state.terminals?.length && !filtersToChoose().length;
    this.tools.toggleAttribute('data-set', toolIds.length + filterIds.length + skillIds.length > 0 || Boolean(terminalId));
  }

  hold(files) {
    this.files = files;
    this.input.placeholder = files.length ? 'Say something about it' : 'Ask anything';
    this.draw();
  }

  // Documents of the chat: those that every question has.
  keep(kept) {
    if (kept === this.kept) return;
    this.kept = kept;
    this.draw();
  }

  draw() {
    this.tray.hidden = !this.files.length && !this.kept.length;
    const chip = (name, shown, away) => h('li', { 'data-kind': shown.localName === 'img' ? null : 'document' }, shown, iconButton('close', `Take ${name} away`, () => { away(); this.input.focus(); }));
    const named = (file, title = null) => h('span.document', { title }, icon(file.type === 'collection' ? 'books' : 'file'), h('span', {}, asText(file.name)));
    const kept = (file) => chip(asText(file.name) || 'a file', named(file, 'Goes along with every question of this chat'), () => this.actions.drop(file).catch(failed));
    const held = (file) => chip(file.name, file.element ?? (file.type === 'image' ? h('img', { src: file.url, alt: file.name }) : named(file)), () => {
      file.cancel?.();
      this.hold(this.files.filter((each) => each !== file));
    });
    clear(this.tray, this.kept.map(kept), this.files.map(held));
  }

  // Another chat: its own unsent text.
  load(chatId) {
    this.chatId = chatId;
    this.visit += 1;
    this.web.setAttribute('aria-pressed', 'false');
    this.actions.web(false);
    this.code.setAttribute('aria-pressed', 'false');
    this.actions.code(false);
    this.image.setAttribute('aria-pressed', 'false');
    this.actions.image(false);
    this.files.forEach((file) => file.cancel?.());
    this.hold([]);
    this.input.value = draft.get(chatId);
    this.fit();
  }

  changed() {
    draft.set(this.chatId, this.input.value);
    this.fit();
  }

  fit() {
    this.input.style.height = 'auto';
    this.input.style.height = `${Math.min(this.input.scrollHeight, innerHeight * 0.4)}px`;
    this.sendButton.disabled = !this.input.value.trim();
  }

  // A `#` before a word offers what can be asked about, a `/` prompts.
  async look() {
    await Promise.all(Object.keys(SIGNS).map((sign) => this.lookFor(sign)));
  }

  async lookFor(sign) {
    const { word, load } = SIGNS[sign];
    const typed = () => word.exec(this.input.value.slice(0, this.input.selectionStart));
    if (typed() && !this.offers[sign]) {
      const Offer = await load();
      this.offers[sign] ??= new Offer(this);
    }
    // What stands there by now: whoever types goes on while the part is loaded.
    await this.offers[sign]?.show(typed()?.[1] ?? null);
  }

  key(event) {
    if (Object.values(this.offers).some((offer) => offer.key(event))) return;
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.submit();
  }

  async submit() {
    // Many models refuse a picture without a word.
    if (!this.input.value.trim() || this.busy || this.sending) return;
    this.sending = true;
    // Whoever is quick asks before the page knows its models.
    await known('models');
    if (!state.modelId) {
      this.sending = false;
      failed(new Error('There is no model to answer yet.'));
      return;
    }
    const { visit } = this;
    let files;
    try {
      let sent;
      // Uploads are waited for; the server waits for what it reads itself.
      do {
        if ((await this.taking) === false) return;
        files = this.files;
        sent = await Promise.all(files.map((file) => (file.uploaded ? file.uploaded() : file)));
      } while (this.taking || this.files !== files);
      if (this.visit === visit && this.input.value.trim()) await this.give(this.input.value.trim(), files, sent);
    } catch (error) {
      failed(error);
    } finally {
      this.sending = false;
    }
  }

  async give(text, files, sent) {
    const { visit, chatId } = this;
    this.input.value = '';
    this.hold([]);
    this.changed();
    try {
      await this.actions.send(text, sent);
    } catch (error) {
      // Whoever is elsewhere by now finds it where it was written.
      if (this.visit !== visit) draft.set(chatId, draft.get(chatId) || text);
      else if (!this.input.value && !this.files.length) {
        this.input.value = text;
        this.hold(files);
        this.changed();
      }
      throw error;
    }
  }

  setBusy(busy) {
    this.busy = busy;
    const focused = [this.sendButton, this.stopButton].includes(document.activeElement);
    this.sendButton.hidden = busy;
    this.stopButton.hidden = !busy;
    if (focused) this.input.focus();
  }

  focus() {
    this.input.focus({ preventScroll: true });
  }
}
