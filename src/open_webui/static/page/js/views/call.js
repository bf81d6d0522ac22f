// A call with the chat's model: one big control says what happens, and a tap on it, or speaking, interrupts. Where the server has
// a realtime model the call goes there; else each thing that is said becomes an ordinary question, and its answer is read aloud.
import * as api from '../api.js';
import { failed, h, icon, openDialog } from '../dom.js';
import * as talk from '../conversation.js';
import { Ear } from '../hearing.js';
import { chosenModel, state } from '../state.js';
import { isRunning, plainText } from '../stream.js';
import { readAloud, stopReading } from './speech.js';

const { conversation } = talk;
const WORDS = {
  connecting: ['Connecting…', 'Hang up to give up.'],
  listening: ['Listening', 'Say something.'],
  hearing: ['I hear you', 'It is sent when you pause.'],
  thinking: ['Thinking', 'Tap to stop.'],
  speaking: ['Speaking', 'Speak or tap to interrupt.'],
};
const LOOK_MS = 100;

export async function openCall() {
  if (!chosenModel()) throw new Error('Choose a model first.');
  if (talk.isBusy()) throw new Error('An answer is still being written. Wait for it, or stop it.');
  const line = state.config.audio?.realtime?.enabled ? (await import('./call-live.js')).LiveCall : TurnCall;
  const shown = h('strong', {}, '');
  const hint = h('span', {}, '');
  const ring = h('span.call-ring', { 'aria-hidden': 'true' }, icon('mic'));
  const control = h('button.call-control', { type: 'button', onclick: () => call.tap() }, ring, shown, hint);
  const said = h('p.call-said', { role: 'status' }, '');
  const hangUp = h('button.button', { type: 'button', 'data-kind': 'danger', onclick: () => dialog.close() }, icon('close'), 'Hang up');
  const call = new line({
    show: (name) => {
      control.dataset.state = name;
      [shown.textContent, hint.textContent] = WORDS[name];
    },
    understood: (text) => { said.textContent = text; },
    level: (level) => ring.style.setProperty('--level', String(Math.min(1, level * 6))),
    failed: (error) => {
      failed(error);
      dialog.close();
    },
  });
  const dialog = openDialog({ title: `Call with ${chosenModel().name}`, className: 'call-dialog', content: h('div.call', {}, control, said, hangUp), onclose: () => call.end() });
  control.focus();
  await call.begin().catch((error) => {
    if (dialog.open) failed(error);
    dialog.close();
  });
}

// Each thing that is said is an ordinary question.
class TurnCall {
  constructor(view) {
    this.view = view;
    this.over = false;
    this.work = Promise.resolve();
  }

  async begin() {
    this.view.show('connecting');
    this.ear = new Ear({ began: () => this.began(), ended: (recording) => this.ended(recording), level: this.view.level });
    await this.ear.open();
    if (this.over) this.ear.close();
    else this.view.show('listening');
  }

  // Somebody speaks: what is being said or thought is for nobody any more.
  began() {
    if (this.answering) this.interrupt();
    this.view.show('hearing');
  }

  // One after the other, in the order in which they were said.
  ended(recording) {
    this.view.show('thinking');
    this.work = this.work.then(() => !this.over && this.ask(recording)).catch(this.view.failed);
  }

  async ask(recording) {
    const form = new FormData();
    form.append('file', recording, `recording.${recording.type.split('/')[1]}`);
    const { text } = await api.post('/api/v1/audio/transcriptions', form);
    if (this.over) return;
    if (!text.trim()) {
      this.view.show('listening');
      return;
    }
    this.view.understood(text.trim());
    if (this.answering) this.interrupt();
    // An answer that was interrupted ends first.
    while (talk.isBusy() && !this.over) await new Promise((done) => setTimeout(done, LOOK_MS));
    if (this.over) return;
    await talk.send(text.trim());
    this.answer(talk.path().at(-1));
  }

  answer(id) {
    const mine = (this.answering = { id });
    const current = () => {
      const message = conversation.history.messages[id];
      const text = message ? plainText(message) : '';
      if (text && this.answering === mine) this.view.show('speaking');
      return { text, over: !message || !isRunning(message) };
    };
    readAloud(current, () => {
      if (this.answering !== mine) return;
      this.answering = null;
      if (!this.over) this.view.show('listening');
    });
  }

  interrupt() {
    const { id } = this.answering;
    this.answering = null;
    stopReading();
    if (isRunning(conversation.history.messages[id])) talk.stop().catch(failed);
  }

  tap() {
    if (!this.answering) return;
    this.interrupt();
    this.view.show('listening');
  }

  end() {
    this.over = true;
    if (this.answering) this.interrupt();
    this.ear?.close();
  }
}
