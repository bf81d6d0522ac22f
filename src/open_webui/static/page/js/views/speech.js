// Reading answers aloud while they are written, and writing down what is said: by the server, or by the browser where it has to.
import * as api from '../api.js';
import { failed, toast } from '../dom.js';
import { take } from '../spoken.js';
import { state } from '../state.js';

const LOOK_MS = 200;
let sound = null;
let reader = null;
let voice;

// The voice that one has chosen; empty: the server's.
export async function ownVoice() {
  voice ??= api.get('/api/v1/users/user/settings').then((settings) => String(settings?.ui?.audio?.tts?.voice ?? ''), () => '');
  return voice;
}

export async function setOwnVoice(name) {
  const { ui } = (await api.get('/api/v1/users/user/settings')) ?? {};
  const audio = { ...ui?.audio, tts: { ...ui?.audio?.tts, voice: name } };
  await api.post('/api/v1/users/user/settings/update', { ui: { audio } });
  voice = Promise.resolve(name);
}

// current: gives {text, over}. Reads until it is over, or another answer is read. ended: is called then.
export function readAloud(current, ended) {
  stopReading();
  const mine = new Reader(current);
  reader = mine;
  mine.run().catch(failed).finally(() => {
    if (reader === mine) reader = null;
    ended();
  });
}

export function stopReading() {
  reader?.stop();
  reader = null;
}

class Reader {
  constructor(current) {
    this.current = current;
    this.stopped = false;
    // The click that began it lets sound be heard.
    if (state.config.audio?.tts?.engine) sound ??= new AudioContext();
  }

  stop() {
    this.stopped = true;
    this.quiet?.();
  }

  async *pieces() {
    let at = 0;
    while (!this.stopped) {
      const { text, over } = this.current();
      const taken = take(text, at, state.config.audio?.tts?.split_on, over);
      at = taken.at;
      yield* taken.pieces;
      if (over) return;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  // The next one is fetched while one is heard.
  async run() {
    const pieces = this.pieces();
    const load = async () => {
      const { value, done } = await pieces.next();
      return done || this.stopped ? null : state.config.audio?.tts?.engine ? fetched(value) : value;
    };
    let next = load();
    for (;;) {
      const now = await next;
      if (now === null || this.stopped) return;
      next = load();
      next.catch(() => {});
      await (typeof now === 'string' ? this.say(now) : this.play(now));
    }
  }

  play(buffer) {
    const source = sound.createBufferSource();
    source.buffer = buffer;
    source.connect(sound.destination);
    return new Promise((resolve) => {
      source.onended = resolve;
      this.quiet = () => source.stop();
      source.start();
    });
  }

  say(text) {
    const utterance = new SpeechSynthesisUtterance(text);
    return new Promise((resolve) => {
      utterance.onend = utterance.onerror = resolve;
      this.quiet = () => speechSynthesis.cancel();
      speechSynthesis.speak(utterance);
    });
  }
}

async function fetched(input) {
  await sound.resume();
  const chosen = await ownVoice();
  const response = await fetch('/api/v1/audio/speech', {
    method: 'POST',
    credentials: 'same-origin',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ input, ...(chosen && { voice: chosen }) }),
  });
  if (!response.ok) throw new api.ApiError(response.status, api.detailOf(await response.json().catch(() => null), response.status));
  return sound.decodeAudioData(await response.arrayBuffer());
}

// ---- the microphone ------------------------------------------------------------------------------------------------

let recording = null;

// Begins to listen, or ends it. heard: gets the text. shown: whether it listens now.
export async function listen(heard, shown) {
  if (recording) {
    recording.stop();
    return;
  }
  if (state.config.audio?.stt?.engine === 'web') byBrowser(heard, shown);
  else await byServer(heard, shown);
}

function byBrowser(heard, shown) {
  const recogniser = new (window.SpeechRecognition ?? window.webkitSpeechRecognition)();
  recogniser.continuous = true;
  recogniser.onresult = (event) => heard([...event.results].slice(event.resultIndex).map((result) => result[0].transcript).join(' '));
  recogniser.onerror = (event) => event.error !== 'aborted' && failed(new Error(`The browser could not listen (${event.error}).`));
  recogniser.onend = () => {
    recording = null;
    shown(false);
  };
  recording = recogniser;
  recogniser.start();
  shown(true);
}

async function byServer(heard, shown) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recorder = new MediaRecorder(stream);
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = async () => {
    recording = null;
    stream.getTracks().forEach((track) => track.stop());
    shown(false);
    try {
      const kind = recorder.mimeType.split(';')[0] || 'audio/webm';
      const form = new FormData();
      form.append('file', new Blob(parts, { type: kind }), `recording.${kind.split('/')[1]}`);
      const { text } = await api.post('/api/v1/audio/transcriptions', form);
      if (text.trim()) heard(text.trim());
      else toast('Nothing was heard.');
    } catch (error) {
      failed(error);
    }
  };
  recording = recorder;
  recorder.start();
  shown(true);
}
