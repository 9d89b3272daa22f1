// Plays samples as they arrive, without gaps, and knows which sample is being
// heard. An AudioWorklet would do as well, but exists only on https and
// localhost; scheduled buffers also work over http in a home network.

import { RATE } from './tts.js';

const AHEAD = 2;        // seconds of sound scheduled before they are heard
const PIECE = RATE / 2; // samples of one scheduled buffer
const MARGIN = 0.01;    // seconds a buffer needs to reach the hardware
const MOST_LEAD = 0.3;  // longer, and answers would feel slow

// Seconds between having sound and hearing it. A page that is kept from its
// work for longer than this has a gap in its speech; the gap then tells how
// much this machine needs, and what is said afterwards waits that much.
let lead = 0.02;

let context = null;
let analyser = null;

// Browsers start sound only after a gesture; call this from one.
export function wake() {
  if (!context) {
    // A context at the voice's own rate lets buffers meet exactly on samples.
    context = new AudioContext({ sampleRate: RATE, latencyHint: 'interactive' });
    analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    analyser.connect(context.destination);
  }
  if (context.state !== 'running') context.resume();
  return context;
}

// Loudness of what the output is playing at this moment, 0 to 1.
export function loudness() {
  if (!analyser || context.state !== 'running') return 0;
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  return Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
}

// The samples of one utterance, as they came. What lies far behind the
// listener is dropped, so that hours of speech do not fill the memory.
export class Tape {
  constructor() { this.pieces = []; this.start = 0; this.length = 0; }

  append(samples) {
    this.pieces.push({ at: this.length, samples });
    this.length += samples.length;
  }

  // Samples from `from` into `out`; what is not there stays silent.
  read(from, out) {
    out.fill(0);
    let i = this.find(from);
    for (; i < this.pieces.length; i += 1) {
      const { at, samples } = this.pieces[i];
      if (at >= from + out.length) break;
      const skip = Math.max(0, from - at);
      const to = Math.max(0, at - from);
      out.set(samples.subarray(skip, skip + out.length - to), to);
    }
    return out;
  }

  find(sample) {
    let low = 0;
    let high = this.pieces.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const { at, samples } = this.pieces[middle];
      if (at + samples.length > sample) high = middle; else low = middle + 1;
    }
    return low;
  }

  forget(before) {
    const keep = this.find(before);
    if (keep > 64) { this.pieces.splice(0, keep); this.start = this.pieces[0]?.at ?? this.length; }
  }
}

export class Player {
  constructor({ onEnd = () => {} } = {}) {
    this.tape = new Tape();
    this.onEnd = onEnd;
    this.scheduled = 0;    // samples handed to the audio hardware
    this.next = 0;         // when the next buffer starts, in the context's time
    this.runs = [];        // { sample, when }: unbroken stretches of playing
    this.sources = new Set();
    this.finished = false; // no more samples will come
    this.ended = false;
    this.gaps = 0;
    wake();
  }

  push(samples) {
    this.tape.append(samples);
    this.pump();
  }

  finish() { this.finished = true; this.pump(); }

  stop() {
    this.ended = true;
    clearTimeout(this.timer);
    for (const source of this.sources) source.stop();
    this.sources.clear();
  }

  // Schedules what fits into the time ahead, and comes back for the rest.
  pump() {
    if (this.ended) return;
    clearTimeout(this.timer);
    const now = context.currentTime;
    while (this.scheduled < this.tape.length && this.next < now + AHEAD) this.schedule(now);
    const over = this.finished && this.scheduled === this.tape.length && now >= this.next;
    if (over) { this.ended = true; this.onEnd(); return; }
    if (this.finished || this.scheduled < this.tape.length) this.timer = setTimeout(() => this.pump(), 50);
  }

  schedule(now) {
    const late = now + MARGIN - this.next;
    if (late > 0) {
      if (this.runs.length) this.starved(late);
      this.next = now + lead;
      this.runs.push({ sample: this.scheduled, when: this.next });
    }
    const n = Math.min(PIECE, this.tape.length - this.scheduled);
    const buffer = context.createBuffer(1, n, RATE);
    this.tape.read(this.scheduled, buffer.getChannelData(0));
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(analyser);
    source.onended = () => this.sources.delete(source);
    source.start(this.next);
    this.sources.add(source);
    this.scheduled += n;
    // Counted from the start of the run: sums of many small durations drift.
    const run = this.runs[this.runs.length - 1];
    this.next = run.when + (this.scheduled - run.sample) / RATE;
  }

  // Sound came too late. What no lead could have bridged (somebody thinking
  // while typing) says nothing about the machine.
  starved(late) {
    this.gaps += 1;
    if (late < MOST_LEAD) lead = Math.min(MOST_LEAD, 2 * (lead + late));
  }

  // The sample being heard now. The hardware's own delay is subtracted, so
  // that pictures and words keep step with the ear.
  position() {
    if (!this.runs.length) return 0;
    const delay = Math.min(context.outputLatency || 0, 0.3);
    const now = context.currentTime - delay;
    let run = this.runs[0];
    for (const later of this.runs) if (later.when <= now) run = later;
    const played = run.sample + (now - run.when) * RATE;
    return Math.max(0, Math.min(this.scheduled, played));
  }
}
