// The sound of a call, on the browser's own thread for it: what is heard leaves in pieces of 40 milliseconds, what came is played.
const PIECE = 960;

class CallAudio extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(PIECE);
    this.filled = 0;
    this.queue = [];
    this.at = 0;
    this.played = 0;
    this.port.onmessage = ({ data }) => {
      if (data.clear) {
        this.port.postMessage({ cleared: this.played });
        this.queue = [];
        this.at = this.played = 0;
      } else {
        this.queue.push(data.samples);
      }
    };
  }

  process([[heard]], [[out]]) {
    for (const sample of heard ?? []) {
      this.piece[this.filled] = Math.max(-1, Math.min(1, sample)) * 32767;
      this.filled += 1;
      if (this.filled === PIECE) {
        this.port.postMessage({ heard: this.piece.slice() });
        this.filled = 0;
      }
    }
    for (let k = 0; k < out.length && this.queue.length; k += 1) {
      out[k] = this.queue[0][this.at];
      this.at += 1;
      this.played += 1;
      if (this.at < this.queue[0].length) continue;
      this.at = 0;
      this.queue.shift();
      if (!this.queue.length) this.port.postMessage({ drained: this.played });
    }
    return true;
  }
}

registerProcessor('call-audio', CallAudio);
