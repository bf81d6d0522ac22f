// Where one writes: grows with the text, sends with Enter, and turns into a stop button while an answer is being written.
import { failed, h, iconButton } from '../dom.js';
import { draft } from '../prefs.js';
import { state } from '../state.js';

export class Composer {
  // actions: {send(text), stop()}
  constructor(actions) {
    this.actions = actions;
    this.busy = false;
    this.input = h('textarea', {
      id: 'composer-input',
      rows: 1,
      placeholder: 'Ask anything',
      'aria-label': 'Your message',
      autocomplete: 'off',
      enterkeyhint: 'send',
      oninput: () => this.changed(),
      onkeydown: (event) => this.key(event),
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
      h('div.composer-box', { onclick: (event) => event.target === event.currentTarget && this.input.focus() }, this.input, this.sendButton, this.stopButton),
    );
    this.setBusy(false);
  }

  // Another chat: its own unsent text.
  load(chatId) {
    this.chatId = chatId;
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
    const text = this.input.value.trim();
    if (!text || this.busy || this.sending) return;
    if (!state.modelId) {
      failed(new Error('There is no model to answer yet.'));
      return;
    }
    this.sending = true;
    this.input.value = '';
    this.changed();
    try {
      await this.actions.send(text);
    } catch (error) {
      failed(error);
      if (!this.input.value) {
        this.input.value = text;
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
