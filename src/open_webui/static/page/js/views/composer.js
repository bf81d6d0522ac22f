// Where one writes: grows with the text, sends with Enter, and turns into a stop button while an answer is being written.
import { clear, failed, h, iconButton, part } from '../dom.js';
import { draft } from '../prefs.js';
import { known, may, state } from '../state.js';

export class Composer {
  // actions: {send(text, files), stop()}
  constructor(actions) {
    this.actions = actions;
    this.busy = false;
    this.files = [];
    this.tray = h('ul.tray', { 'aria-label': 'Attached pictures', hidden: true });
    this.chooser = h('input', { type: 'file', hidden: true, multiple: true, onchange: () => this.take([...this.chooser.files]) });
    this.attach = iconButton('clip', 'Attach a picture', () => this.chooser.click());
    this.attach.hidden = !may('chat.file_upload');
    this.input = h('textarea', {
      id: 'composer-input',
      rows: 1,
      placeholder: 'Ask anything',
      'aria-label': 'Your message',
      autocomplete: 'off',
      enterkeyhint: 'send',
      oninput: () => this.changed(),
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
        ondragover: (event) => event.dataTransfer.types.includes('Files') && event.preventDefault(),
        ondrop: (event) => this.given(event, event.dataTransfer),
      },
      this.tray,
      h('div.composer-box', { onclick: (event) => event.target === event.currentTarget && this.input.focus() }, this.attach, this.chooser, this.input, this.sendButton, this.stopButton),
    );
    this.setBusy(false);
  }

  given(event, data) {
    const files = [...(data?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    this.take(files);
  }

  async take(files) {
    this.chooser.value = '';
    try {
      if (!may('chat.file_upload')) throw new Error('You may not attach files on this server.');
      const { attached } = await part(import('./attach.js'));
      this.hold([...this.files, ...(await attached(files, this.files.length))]);
    } catch (error) {
      failed(error);
    }
    this.input.focus();
  }

  hold(files) {
    this.files = files;
    this.tray.hidden = !files.length;
    this.input.placeholder = files.length ? 'Say something about it' : 'Ask anything';
    const away = (file) => () => {
      this.hold(this.files.filter((each) => each !== file));
      this.input.focus();
    };
    clear(this.tray, files.map((file) => h('li', {}, h('img', { src: file.url, alt: file.name }), iconButton('close', `Take ${file.name} away`, away(file)))));
  }

  // Another chat: its own unsent text.
  load(chatId) {
    this.chatId = chatId;
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

  key(event) {
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
    const text = this.input.value.trim();
    const { files } = this;
    this.input.value = '';
    this.hold([]);
    this.changed();
    try {
      await this.actions.send(text, files);
    } catch (error) {
      failed(error);
      if (!this.input.value && !this.files.length) {
        this.input.value = text;
        this.hold(files);
        this.changed();
      }
    } finally {
      this.sending = false;
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
