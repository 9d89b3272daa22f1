// What the JavaScript client tests share; common.py says what counts as speech.
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';

const env = process.env;
const root = env.SILLAGE_CLIENTS ?? `${homedir()}/.cache/sillage-clients`;
export const need = createRequire(`${root}/node/`);

export const BASE = (env.SILLAGE_BASE ?? 'http://127.0.0.1:8080').replace(/\/$/, '');
export const ADDRESS = new URL(BASE);
export const KEY = env.SILLAGE_KEY ?? 'not-needed';
export const VOICE = env.SILLAGE_VOICE ?? 'nova';
export const LM = env.SILLAGE_LM ?? 'booklet';
export const SPEECH_MODEL = 'sonic-3';
export const LINE = 'The kettle began to sing, and nobody in the kitchen noticed.';
export const S16 = { container: 'raw', encoding: 'pcm_s16le', sample_rate: 24000 };
export const WAV = { container: 'wav', encoding: 'pcm_s16le', sample_rate: 24000 };
export const clip = () => readFileSync(env.SILLAGE_CLIP);

export const from64 = (chunks) => Buffer.concat(chunks.map((data) => Buffer.from(data, 'base64')));

/** Holds 16-bit samples to what speech of `text` looks like; gives the seconds. */
export function rawSpeech(data, rate = 24000, text = LINE) {
  const bytes = Buffer.from(data);
  assert.equal(bytes.length % 2, 0, `${bytes.length} bytes are not whole samples`);
  const count = bytes.length / 2;
  const seconds = count / rate;
  const words = text.split(/\s+/).length;
  assert(seconds > 0.1 * words && seconds < 1.2 * words + 1.5, `${seconds} s for ${words} words`);
  const levels = [];
  let sum = 0;
  for (let i = 0, level = 0; i < count; i++) {
    const value = bytes.readInt16LE(2 * i) / 32768;
    sum += value * value;
    level += value * value;
    if ((i + 1) % (rate / 50) === 0) {
      levels.push(level);
      level = 0;
    }
  }
  const loudness = Math.sqrt(sum / count);
  assert(loudness > 0.005 && loudness < 0.5, `root mean square ${loudness}`);
  levels.sort((a, b) => a - b);
  const tenth = Math.max(1, Math.floor(levels.length / 10));
  const total = (list) => list.reduce((a, b) => a + b, 0);
  assert(total(levels.slice(-tenth)) > 20 * total(levels.slice(0, tenth)), 'as steady as a tone');
  return seconds;
}

export function wavSpeech(data, rate = 24000) {
  const bytes = Buffer.from(data);
  assert.equal(bytes.toString('latin1', 0, 4), 'RIFF');
  assert.equal(bytes.readUInt32LE(24), rate);
  const at = bytes.indexOf('data') + 8;
  return rawSpeech(bytes.subarray(at, at + (bytes.readUInt32LE(at - 4) || bytes.length)), rate);
}

/** Timestamps repeat the text word for word and go forward. */
export function checkWords({ words, start, end }, text = LINE) {
  assert.deepEqual(words, text.split(/\s+/));
  assert(start.length === words.length && end.length === words.length);
  words.forEach((word, i) => {
    assert(start[i] < end[i], `${word} from ${start[i]} to ${end[i]}`);
    assert(i === 0 || end[i - 1] <= start[i] + 1e-3, `${word} starts before the word before it ends`);
  });
}

/** All word timestamps of a list of events as one. */
export function wordsOf(events) {
  const all = { words: [], start: [], end: [] };
  for (const event of events)
    if (event.type === 'timestamps') for (const key in all) all[key].push(...event.word_timestamps[key]);
  return all;
}

const checks = [];
export const check = (name, body) => checks.push([name, body]);

// What an SDK throws where nobody can catch it fails the check that is running.
let fail = () => {};
process.on('uncaughtException', (error) => fail(error));
process.on('unhandledRejection', (error) => fail(error));
const bounded = (body) =>
  new Promise((resolve, reject) => {
    fail = reject;
    setTimeout(() => reject(new Error('nothing came for a minute')), 60_000).unref();
    body().then(resolve, reject);
  });

/** Runs the checks one after the other, so that one failure does not hide the next. */
export async function run() {
  const only = process.argv.slice(2);
  const chosen = checks.filter(([name]) => !only.length || only.includes(name));
  let failed = 0;
  for (const [name, body] of chosen) {
    const began = performance.now();
    const took = () => `(${((performance.now() - began) / 1000).toFixed(2)} s)`;
    try {
      const told = await bounded(body);
      console.log(`ok    ${name} ${took()}${told ? `: ${told}` : ''}`);
    } catch (error) {
      failed++;
      console.log(`FAIL  ${name} ${took()}: ${error?.message ?? error}`);
      console.error(error?.stack?.split('\n').slice(0, 6).join('\n'));
    }
  }
  console.log(`${chosen.length - failed} passed, ${failed} failed`);
  process.exit(failed || !chosen.length ? 1 : 0);
}
