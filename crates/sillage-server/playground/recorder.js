// One recording, by microphone or from a file, handed on as WAV: browsers
// record in containers that servers do not agree on, but all can decode them.

import { colour, fit, h, seconds, tell } from './dom.js';

const RATE = 24000;
const LONGEST = 60; // seconds

export class Take {
  // `title` names it to people; `what` is its name in the form.
  constructor(host, { title, what, hint }) {
    this.samples = null;
    this.canvas = h('canvas', { role: 'img', 'aria-label': `Waveform of ${what}`, hidden: true });
    this.button = h('button', { type: 'button', textContent: 'Record', 'aria-label': `Record ${what}`, onclick: () => this.toggle() });
    this.listen = h('button', { type: 'button', textContent: 'Listen', 'aria-label': `Listen to ${what}`, hidden: true, onclick: () => this.play() });
    this.status = h('p', { className: 'status', role: 'status' });
    const id = `file-${what.replace(/\W+/g, '-')}`;
    const input = h('input', { id, type: 'file', accept: 'audio/*', onchange: () => this.fromFile(input.files[0]) });
    host.append(h('h3', { textContent: title }), h('p', { className: 'hint', textContent: hint }),
      h('div', { className: 'row' }, this.button, this.listen),
      h('label', { className: 'file', for: id }, 'or from a file ', input), this.canvas, this.status);
  }

  async toggle() {
    if (this.recorder?.state === 'recording') { this.recorder.stop(); return; }
    if (!navigator.mediaDevices) {
      tell(this.status, 'Browsers lend the microphone only to pages on localhost or https. A file works everywhere.', true);
      return;
    }
    try { await this.record(); } catch (error) {
      tell(this.status, error.name === 'NotAllowedError' ? 'The microphone was not allowed.' : `The microphone could not be used: ${error.message}`, true);
    }
  }

  async record() {
    // The model should hear the speaker, not the browser's clean-up.
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    const pieces = [];
    this.recorder = new MediaRecorder(stream);
    this.recorder.ondataavailable = (event) => pieces.push(event.data);
    this.recorder.onstop = () => {
      clearInterval(this.clock);
      stream.getTracks().forEach((track) => track.stop());
      this.button.textContent = 'Record again';
      this.button.classList.remove('recording');
      this.take(new Blob(pieces, { type: this.recorder.mimeType }));
    };
    this.recorder.start();
    const began = Date.now();
    this.button.textContent = 'Stop recording';
    this.button.classList.add('recording');
    tell(this.status, 'Recording.');
    this.clock = setInterval(() => {
      const s = (Date.now() - began) / 1000;
      this.button.textContent = `Stop recording (${Math.floor(s)} s)`;
      if (s > LONGEST) this.recorder.stop();
    }, 500);
  }

  fromFile(file) { if (file) this.take(file); }

  async take(blob) {
    try {
      const context = new OfflineAudioContext(1, 1, RATE);
      const sound = await context.decodeAudioData(await blob.arrayBuffer());
      this.samples = mono(sound);
      tell(this.status, `${seconds(this.samples.length / RATE)} of sound.`);
    } catch {
      this.samples = null;
      tell(this.status, 'This file holds no sound that the browser can read.', true);
    }
    this.listen.hidden = this.canvas.hidden = !this.samples;
    if (this.samples) this.draw();
  }

  draw() {
    const { context: c, width, height } = fit(this.canvas);
    c.clearRect(0, 0, width, height);
    c.fillStyle = colour('--teal');
    const per = Math.max(1, Math.floor(this.samples.length / (width / 3)));
    for (let x = 0; x < width; x += 3) {
      let top = 0;
      for (let i = 0; i < per; i += 4) top = Math.max(top, Math.abs(this.samples[(x / 3) * per + i] || 0));
      const tall = Math.max(1, Math.min(1, top) * height * 0.9);
      c.fillRect(x, (height - tall) / 2, 2, tall);
    }
  }

  play() {
    const context = (this.context ??= new AudioContext());
    const buffer = context.createBuffer(1, this.samples.length, RATE);
    buffer.copyToChannel(this.samples, 0);
    this.source?.stop();
    this.source = Object.assign(context.createBufferSource(), { buffer });
    this.source.connect(context.destination);
    this.source.start();
  }

  wav() { return wav(this.samples); }

  clear() {
    this.samples = null;
    this.listen.hidden = this.canvas.hidden = true;
    this.button.textContent = 'Record';
    tell(this.status, '');
  }
}

function mono(sound) {
  const out = new Float32Array(sound.length);
  for (let c = 0; c < sound.numberOfChannels; c += 1) {
    const channel = sound.getChannelData(c);
    for (let i = 0; i < out.length; i += 1) out[i] += channel[i] / sound.numberOfChannels;
  }
  return out;
}

// 16-bit mono WAV.
export function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + samples.length * 2));
  const text = (at, s) => [...s].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, 'RIFF'); view.setUint32(4, 36 + samples.length * 2, true); text(8, 'WAVEfmt ');
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true); view.setUint32(28, RATE * 2, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, 'data'); view.setUint32(40, samples.length * 2, true);
  samples.forEach((x, i) => view.setInt16(44 + i * 2, Math.round(Math.max(-1, Math.min(1, x)) * 32767), true));
  return new Blob([view], { type: 'audio/wav' });
}
