// A call with a realtime model, over the server's websocket. What it hands to the chat's model is an ordinary question; what it
// says by itself is stored as far as it was heard.
import * as api from '../api.js';
import { failed } from '../dom.js';
import * as talk from '../conversation.js';
import { asFarAs } from '../hearing.js';
import { chosenModel, state } from '../state.js';
import { isRunning, plainText } from '../stream.js';
import { uuid } from '../turns.js';

const { conversation } = talk;
const RATE = 24_000;
const LOOK_MS = 50;
const PING_MS = 10_000;
// Of the chat, what a call is told at most.
const MESSAGES = 100;
const CHARACTERS = 64_000;

const pcm = (text) => {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return Float32Array.from(new Int16Array(bytes.buffer), (value) => value / 32768);
};
const base64 = (samples) => btoa(String.fromCharCode(...new Uint8Array(samples.buffer)));
const secondsNow = () => Math.floor(Date.now() / 1000);

export class LiveCall {
  constructor(view) {
    this.view = view;
    this.closed = false;
    this.ready = false;
    this.inputs = new Map();
    this.active = null;
    this.speech = null;
    this.answering = null;
    // Counts what was said: what belongs to something said earlier is not spoken any more.
    this.turn = 0;
    this.work = Promise.resolve();
  }

  async begin() {
    this.view.show('connecting');
    const { token } = await api.get('/api/v1/auths/');
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true } });
    this.context = new AudioContext({ sampleRate: RATE });
    await this.context.audioWorklet.addModule(new URL('../call-audio.js', import.meta.url));
    if (this.closed) return this.end();
    this.audio = new AudioWorkletNode(this.context, 'call-audio', { outputChannelCount: [1] });
    this.audio.port.onmessage = ({ data }) => this.sound(data);
    this.context.createMediaStreamSource(this.stream).connect(this.audio).connect(this.context.destination);
    const url = new URL('/api/v1/audio/realtime', location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    this.socket = new WebSocket(url);
    this.socket.onopen = () => this.send('auth', { token, chat_id: conversation.chatId, model_id: chosenModel().id });
    this.socket.onmessage = ({ data }) => this.event(JSON.parse(data));
    this.socket.onclose = () => this.view.failed(new Error(this.problem ?? 'The call was cut off.'));
    this.timer = setInterval(() => this.ready && this.send('bridge.ping'), PING_MS);
  }

  send(type, fields = {}) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type, ...fields }));
  }

  // In the order in which it came. What was spoken is stored also when the call is over.
  then(step) {
    this.work = this.work.then(step).catch(this.view.failed);
  }

  async until(is) {
    while (!this.closed && !is()) await new Promise((done) => setTimeout(done, LOOK_MS));
  }

  sound({ heard, drained, cleared }) {
    if (heard && this.ready) {
      this.view.level(Math.hypot(...heard) / Math.sqrt(heard.length) / 32768);
      this.send('input_audio_buffer.append', { audio: base64(heard) });
    }
    const speech = this.speech;
    if (drained !== undefined && speech?.done && drained >= speech.samples) this.ended(speech, 1);
    if (cleared !== undefined && this.cut) {
      const { item_id, content_index, samples } = this.cut;
      this.send('conversation.item.truncate', { item_id, content_index, audio_end_ms: Math.floor(Math.min(cleared, samples) / (RATE / 1000)) });
      this.ended(this.cut, samples ? cleared / samples : 0);
      this.cut = null;
    }
  }

  event(event) {
    const on = this[event.type.replaceAll('.', '_')];
    if (!this.closed) on?.call(this, event);
  }

  bridge_error({ message }) {
    this.problem = message;
  }

  bridge_ready() {
    this.ready = true;
    this.view.show('listening');
  }

  input_audio_buffer_speech_started() {
    this.interrupt();
    this.view.show('hearing');
  }

  input_audio_buffer_speech_stopped() {
    this.view.show('thinking');
  }

  ['conversation_item_input_audio_transcription_failed']() {
    this.view.show('listening');
  }

  ['conversation_item_input_audio_transcription_completed']({ item_id: item, transcript }) {
    const text = transcript?.trim();
    if (!text) {
      this.view.show('listening');
      return;
    }
    this.view.understood(text);
    this.inputs.set(item, text);
    this.then(async () => {
      await this.until(() => !this.active && !talk.isBusy());
      this.send('bridge.context', { messages: this.told() });
      this.respond({ item_id: item });
    });
  }

  respond(about) {
    if (this.closed) return;
    this.active = { id: null };
    this.send('bridge.respond', about);
  }

  // The chat so far, the newest first where it is too much.
  told() {
    let left = CHARACTERS;
    const messages = talk.path().slice(-MESSAGES).map((id) => conversation.history.messages[id]).reverse();
    return messages.flatMap((message) => {
      const content = plainText(message).slice(0, left);
      left -= content.length;
      return content ? [{ role: message.role, content }] : [];
    }).reverse();
  }

  response_created({ response }) {
    this.active = { id: response.id };
    this.speech = { id: response.id, input: response.metadata?.input_item_id, text: '', samples: 0, turn: this.turn };
    // What was asked for before somebody spoke again.
    if (this.stale) this.send('response.cancel', { response_id: response.id });
    this.stale = false;
  }

  response_output_audio_delta({ response_id: id, item_id, content_index, delta }) {
    if (this.speech?.id !== id || this.speech.turn !== this.turn) return;
    const samples = pcm(delta);
    this.speech.begun ??= performance.now();
    Object.assign(this.speech, { item_id, content_index, samples: this.speech.samples + samples.length });
    this.audio.port.postMessage({ samples }, [samples.buffer]);
    this.view.show('speaking');
  }

  response_output_audio_transcript_delta({ response_id: id, delta }) {
    const speech = [this.speech, this.cut].find((each) => each?.id === id);
    if (speech) speech.text += delta;
  }

  response_output_item_done({ response_id: id, item }) {
    if (item?.type !== 'function_call' || item.name !== 'generate_chat_completion') return;
    const text = this.inputs.get(this.speech?.id === id ? this.speech.input : null);
    if (this.speech?.id === id) this.speech.delegated = true;
    this.delegate(item.call_id, text, this.turn).catch(this.view.failed);
  }

  // The chat's model is asked as by hand, and its answer spoken, unless somebody has spoken meanwhile.
  async delegate(callId, text, turn) {
    let [status, answer] = ['failed', 'This could not be asked in the chat.'];
    try {
      if (!text || turn !== this.turn) throw new Error(answer);
      this.view.show('thinking');
      await talk.send(text);
      const id = talk.path().at(-1);
      this.answering = id;
      await this.until(() => !isRunning(conversation.history.messages[id]));
      const message = conversation.history.messages[id];
      [status, answer] = [message?.error ? 'failed' : turn === this.turn ? 'completed' : 'cancelled', plainText(message ?? {})];
    } catch (error) {
      failed(error);
    }
    this.answering = null;
    this.send('bridge.result', { call_id: callId, status, answer });
    await this.until(() => !this.active || turn !== this.turn);
    if (turn === this.turn) this.respond({ call_id: callId });
  }

  response_done({ response }) {
    this.active = null;
    const speech = this.speech;
    if (speech?.id !== response.id) return;
    speech.done = true;
    if (!speech.samples && !speech.delegated && !this.answering) this.view.show('listening');
  }

  // A spoken answer has been heard, or a part of it. One that the chat's model gave stands in the chat already.
  ended(speech, part) {
    this.speech = null;
    if (part >= 1 && !this.answering && !this.closed) this.view.show('listening');
    const heard = asFarAs(speech.text.trim(), part);
    const asked = this.inputs.get(speech.input);
    if (!speech.delegated && asked) this.then(() => this.keep(asked, heard));
  }

  async keep(question, answer) {
    const { history, chatId, temporary } = conversation;
    const [one, two] = [uuid(), uuid()];
    const model = chosenModel();
    const added = [
      { id: one, parentId: history.currentId, childrenIds: [two], role: 'user', content: question, timestamp: secondsNow(), models: [model.id] },
      { id: two, parentId: one, childrenIds: [], role: 'assistant', content: answer, done: true, timestamp: secondsNow(), model: model.id, modelName: state.config.audio.realtime.model, modelIdx: 0 },
    ];
    const messages = Object.fromEntries(added.map((each) => [each.id, each]));
    if (temporary) conversation.history = { messages: { ...history.messages, ...messages }, currentId: two };
    else if (chatId) await api.chats.setHistory(chatId, { currentId: two, messages });
    else talk.adopt((await api.post('/api/v1/chats/new', { chat: { title: question.slice(0, 80), models: [model.id], history: { currentId: two, messages } } })).id);
    await talk.refetch();
  }

  interrupt() {
    this.turn += 1;
    if (this.active?.id) this.send('response.cancel', { response_id: this.active.id });
    else this.stale = Boolean(this.active);
    if (this.speech?.samples) {
      this.cut = this.speech;
      this.audio.port.postMessage({ clear: true });
    }
    if (this.answering && isRunning(conversation.history.messages[this.answering])) talk.stop().catch(failed);
  }

  tap() {
    if (!this.active && !this.speech && !this.answering) return;
    this.interrupt();
    this.view.show('listening');
  }

  end() {
    this.closed = true;
    const { speech } = this;
    if (speech?.samples) this.ended(speech, ((performance.now() - speech.begun) / 1000) * (RATE / speech.samples));
    clearInterval(this.timer);
    if (this.socket) {
      this.socket.onclose = null;
      this.socket.close();
    }
    this.stream?.getTracks().forEach((track) => track.stop());
    if (this.context?.state !== 'closed') this.context?.close();
  }
}
