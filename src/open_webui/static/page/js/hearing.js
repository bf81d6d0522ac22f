// Voice activity by loudness: when somebody begins to speak and when they stop, with a recording of what was said between.
const LOOK_MS = 50;
// How loud speech is at least, and how much louder than what is heard while nobody speaks.
const LOUD = 0.015;
const LOUDER = 3;
// Milliseconds of loudness that are speech, of silence that end it, of the longest speech, and of what is kept from before it.
const BEGINS = 150;
const ENDS = 900;
const LONGEST = 120_000;
const KEPT = 4_000;

// As much of a text as a part of its sound is, to a whole word.
export function asFarAs(text, part) {
  if (part >= 1) return text;
  const cut = text.slice(0, Math.round(text.length * part)).replace(/\S+$/, '').trim();
  return cut && `${cut} …`;
}

// Pure: told a loudness and the time since the one before, says 'began', 'ended' or null.
export class Activity {
  constructor() {
    this.floor = LOUD / LOUDER;
    this.loud = 0;
    this.quiet = 0;
    this.length = 0;
    this.speaking = false;
  }

  take(level, ms) {
    const isLoud = level > Math.max(LOUD, this.floor * LOUDER);
    // What is always there is not speech: it is followed slowly up, and at once down.
    if (!this.speaking) this.floor = level < this.floor ? level : this.floor + (level - this.floor) * Math.min(1, ms / 5_000);
    this.loud = isLoud ? this.loud + ms : 0;
    this.quiet = isLoud ? 0 : this.quiet + ms;
    if (!this.speaking && this.loud >= BEGINS) {
      this.speaking = true;
      this.length = 0;
      return 'began';
    }
    this.length += ms;
    if (!this.speaking || (this.quiet < ENDS && this.length < LONGEST)) return null;
    this.speaking = false;
    this.loud = 0;
    return 'ended';
  }
}

// told: {began(), ended(blob), level(loudness)}
export class Ear {
  constructor(told) {
    this.told = told;
    this.activity = new Activity();
  }

  async open() {
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true } });
    this.context = new AudioContext();
    const analyser = this.context.createAnalyser();
    analyser.fftSize = 1024;
    this.context.createMediaStreamSource(this.stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.record();
    let before = performance.now();
    this.timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const level = Math.hypot(...samples) / Math.sqrt(samples.length);
      const now = performance.now();
      const what = this.activity.take(level, now - before);
      before = now;
      this.told.level(level);
      if (what === 'began') this.told.began();
      else if (what === 'ended') this.finish();
      else if (!this.activity.speaking && this.activity.loud === 0 && now - this.since > KEPT) this.record();
    }, LOOK_MS);
  }

  // A recording from now on; the one before is forgotten.
  record() {
    if (this.recorder) this.recorder.onstop = null;
    this.recorder?.stop();
    const recorder = new MediaRecorder(this.stream);
    const parts = [];
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => this.told.ended(new Blob(parts, { type: recorder.mimeType.split(';')[0] || 'audio/webm' }));
    recorder.start();
    this.recorder = recorder;
    this.since = performance.now();
  }

  finish() {
    this.recorder.stop();
    this.recorder = null;
    this.record();
  }

  close() {
    clearInterval(this.timer);
    if (this.recorder) this.recorder.onstop = null;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
  }
}
