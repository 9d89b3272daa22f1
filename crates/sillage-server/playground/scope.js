// Draws what is being heard: a waveform with its wake, a spectrogram, and the
// words at their times. What has been made but not yet heard lies ahead of
// the line, dimmed.

import { fit } from './dom.js';
import { BANDS, SIZE, bandsOf } from './spectrum.js';
import { RATE } from './tts.js';

const HOP = 120;                // samples of one column: 5 ms
const COLUMNS = 4096;           // columns kept, 20 s
const WIDE = 0.66;              // where on the canvas the moment of hearing is
const PER_SECOND = 120;         // CSS pixels of one second
const STEP = (PER_SECOND * HOP) / RATE;

const WORDS = '15px "Iowan Old Style", "Palatino Linotype", Palatino, P052, Georgia, serif';

// From deep water over teal and foam to the colour of the buoy.
const STOPS = [[0, 7, 24, 31], [0.3, 11, 56, 66], [0.55, 32, 120, 124], [0.78, 146, 214, 205], [0.92, 240, 246, 228], [1, 255, 168, 126]];

function shade(value) {
  const i = STOPS.findIndex(([at]) => value <= at);
  if (i <= 0) return STOPS[i < 0 ? STOPS.length - 1 : 0].slice(1);
  const [a, ...from] = STOPS[i - 1];
  const [b, ...to] = STOPS[i];
  const t = (value - a) / (b - a);
  return from.map((x, k) => x + (to[k] - x) * t);
}
const PALETTE = Array.from({ length: 256 }, (_, i) => shade(i / 255));

export class Scope {
  constructor(canvas) {
    this.canvas = canvas;
    this.ring = Object.assign(document.createElement('canvas'), { width: COLUMNS, height: BANDS });
    this.ringContext = this.ring.getContext('2d');
    this.column = this.ringContext.createImageData(1, BANDS);
    this.loud = new Float32Array(COLUMNS);
    this.piece = new Float32Array(SIZE);
    this.bands = new Float32Array(BANDS);
    this.still = matchMedia('(prefers-reduced-motion: reduce)');
    this.reset();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  reset() {
    this.tape = null;
    this.words = [];
    this.gone = 0;
    this.done = 0;
    this.head = 0;
  }

  // Nothing is drawn yet: the next frame does, and the first sound is sooner.
  follow(tape) { this.reset(); this.tape = tape; }

  // `sample` is what is heard now. With reduced motion the picture moves on
  // by the page, not by the pixel.
  move(sample) {
    this.head = sample / HOP;
    this.draw();
  }

  // Columns are computed when they are about to be seen, however far ahead
  // the sound has been made.
  analyse(until) {
    if (!this.tape) return;
    // A column looks at samples on both sides: it waits for those to come.
    const end = Math.min(until, Math.floor((this.tape.length - SIZE / 2) / HOP));
    this.done = Math.max(this.done, Math.ceil(this.tape.start / HOP), end - COLUMNS);
    for (; this.done < end; this.done += 1) {
      const at = this.done * HOP - (SIZE - HOP) / 2;
      this.tape.read(Math.max(0, at), this.piece);
      bandsOf(this.piece, RATE, this.bands);
      const middle = this.piece.subarray((SIZE - HOP) / 2, (SIZE + HOP) / 2);
      this.loud[this.done % COLUMNS] = middle.reduce((top, x) => Math.max(top, Math.abs(x)), 0);
      for (let band = 0; band < BANDS; band += 1) {
        const pixel = (BANDS - 1 - band) * 4;
        this.column.data.set(PALETTE[Math.round(this.bands[band] * 255)], pixel);
        this.column.data[pixel + 3] = 255;
      }
      this.ringContext.putImageData(this.column, this.done % COLUMNS, 0);
    }
  }

  draw() {
    const { context: c, width, height } = fit(this.canvas);
    if (!width) return;
    c.fillStyle = '#0a1c23';
    c.fillRect(0, 0, width, height);
    if (!this.tape) { this.drawRest(c, width, height); return; }
    const mid = height * 0.24;
    let headX = Math.round(width * WIDE);
    let first = this.head - headX / STEP;
    if (this.still.matches) {
      const page = Math.floor((this.head * STEP) / (width * 0.9)) * (width * 0.9);
      first = page / STEP - 8 / STEP;
      headX = (this.head - first) * STEP;
    }
    const last = first + width / STEP;
    this.analyse(Math.ceil(last));
    this.drawSpectrum(c, first, last, height * 0.48, height * 0.38);
    this.drawWake(c, first, headX, mid, height * 0.21);
    this.drawWords(c, first, width, height);
    this.drawHead(c, headX, mid, height);
  }

  // Before the first word: a boat at rest, and how it came here.
  drawRest(c, width, height) {
    const x = width * WIDE;
    const mid = height * 0.46;
    for (let line = 1; line <= 9; line += 1) {
      for (const side of [-1, 1]) {
        c.strokeStyle = `rgb(127 209 205 / ${60 - line * 6}%)`;
        c.beginPath();
        c.moveTo(x - line * 3, mid);
        c.bezierCurveTo(x - 90 - line * 8, mid + side * line * 2, x * 0.45, mid + side * line * height * 0.03, -4, mid + side * line * height * 0.06);
        c.stroke();
      }
    }
    this.drawHead(c, x, mid, 0);
    c.fillStyle = '#93b0b3';
    c.textBaseline = 'middle';
    c.font = WORDS;
    const narrow = x + 150 > width;
    c.textAlign = narrow ? 'center' : 'left';
    c.fillText('Nothing said yet.', narrow ? x : x + 18, narrow ? mid + 26 : mid);
    c.textAlign = 'left';
  }

  drawSpectrum(c, first, last, top, tall) {
    const from = Math.max(0, Math.floor(first), this.done - COLUMNS);
    const to = Math.min(this.done, Math.ceil(last));
    c.imageSmoothingEnabled = true;
    for (let at = from; at < to;) {
      const slot = at % COLUMNS;
      const n = Math.min(to - at, COLUMNS - slot);
      c.drawImage(this.ring, slot, 0, n, BANDS, (at - first) * STEP, top, n * STEP, tall);
      at += n;
    }
    // What has not been heard yet lies under a veil.
    c.fillStyle = 'rgb(10 28 35 / 62%)';
    c.fillRect((this.head - first) * STEP, top, (last - this.head) * STEP, tall);
  }

  // The wave itself, and three lines that spread behind the boat as a wake
  // does, each further from it the longer ago the sound was.
  drawWake(c, first, headX, mid, tall) {
    const wave = (x) => {
      const column = Math.floor(first + x / STEP);
      return column >= 0 && column < this.done && column > this.done - COLUMNS ? Math.min(1, this.loud[column % COLUMNS] * 1.6) : 0;
    };
    const right = this.canvas.clientWidth;
    c.lineWidth = 1.25;
    for (let x = Math.max(0, -first * STEP); x < right; x += 2.5) {
      const y = Math.max(0.6, wave(x) * tall * 0.82);
      c.strokeStyle = x <= headX ? '#a9e3dd' : 'rgb(127 209 205 / 34%)';
      c.beginPath(); c.moveTo(x, mid - y); c.lineTo(x, mid + y); c.stroke();
    }
    for (let line = 1; line <= 3; line += 1) {
      for (const side of [-1, 1]) {
        c.strokeStyle = `rgb(127 209 205 / ${36 - line * 9}%)`;
        c.beginPath();
        for (let x = headX; x >= 0; x -= 4) {
          const age = (headX - x) / PER_SECOND;
          const spread = line * 5 * Math.sqrt(age) + this.smooth(wave, x, age) * tall * (0.82 - 0.1 * line);
          const y = mid + side * Math.min(tall * 1.08, spread);
          if (x === headX) c.moveTo(x, y); else c.lineTo(x, y);
        }
        c.stroke();
      }
    }
  }

  smooth(wave, x, age) {
    const reach = 6 + 14 * Math.min(1, age);
    return (wave(x - reach) + wave(x - reach / 2) + wave(x) + wave(x + reach / 2)) / 4;
  }

  drawWords(c, first, width, height) {
    c.font = WORDS;
    c.textBaseline = 'middle';
    const now = (this.head * HOP) / RATE;
    let free = -Infinity;
    // Words that have left the picture on the left stay gone: in an hour of
    // speech there are ten thousand of them.
    while (this.gone < this.words.length && this.words[this.gone].end < (first * HOP) / RATE - 2) this.gone += 1;
    for (let i = this.gone; i < this.words.length; i += 1) {
      const { word, start, end } = this.words[i];
      const x = ((start * RATE) / HOP - first) * STEP;
      if (x > width) break;
      const wide = c.measureText(word).width;
      const at = Math.max(x, free);
      free = at + wide + 5;
      c.fillStyle = now >= start && now < end ? '#ff9a78' : now >= end ? '#dcebea' : '#7d9a9f';
      c.fillText(word, at, height * 0.925);
    }
  }

  drawHead(c, x, mid, height) {
    c.fillStyle = '#ff8c67';
    c.globalAlpha = 0.55;
    c.fillRect(x - 0.5, height * 0.03, 1, height * 0.83);
    c.globalAlpha = 1;
    c.beginPath(); c.arc(x, mid, 5, 0, 7); c.fill();
  }
}
