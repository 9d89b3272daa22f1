// The section "Now": what the server is doing, once a second while it is looked at.

import { $, bytes, colour, count, fit, h, milliseconds, seconds } from './dom.js';
import { get } from './api.js';

const KEPT = 90; // seconds of history

// [title, unit or explanation, how to show it, where it is, drawn as a difference]
const GROUPS = [
  ['Text', [
    ['Tokens a second', '', count, (s) => s.text.tokens_per_s],
    ['Sessions', 'running', count, (s) => s.text.sessions],
    ['Waiting', 'for a place', count, (s) => s.text.waiting],
    ['Read', 'tokens', count, (s) => s.text.read_tokens, true],
    ['Reused', 'not read again', count, (s) => s.text.reused_tokens, true],
    ['Written', 'tokens', count, (s) => s.text.written_tokens, true],
  ]],
  ['Voice', [
    ['First sound, median', '', milliseconds, (s) => s.voice.first_audio_ms?.p50],
    ['First sound, 95 %', '', milliseconds, (s) => s.voice.first_audio_ms?.p95],
    ['First sound, last', '', milliseconds, (s) => s.voice.first_audio_ms?.last],
    ['Streams', 'speaking', count, (s) => s.voice.streams],
    ['Spoken', 'of sound', seconds, (s) => s.voice.seconds_spoken, true],
    ['Underruns', 'came too late', count, (s) => s.voice.underruns, true],
  ]],
  ['States', [
    ['In memory', '', bytes, (s) => s.states.memory_bytes],
    ['On disk', '', bytes, (s) => s.states.disk_bytes],
    ['Kept in memory', 'states', count, (s) => s.states.memory_entries],
    ['Kept on disk', 'states', count, (s) => s.states.disk_entries],
    ['Found', 'in memory or on disk', count, (s) => s.states.memory_hits + s.states.disk_hits, true],
    ['Not found', 'read from the start', count, (s) => s.states.misses, true],
  ]],
];

const tiles = [];
let timer;

export function start() {
  for (const [title, figures] of GROUPS) {
    const list = h('dl', { className: 'tiles' });
    for (const figure of figures) list.append(tile(figure));
    const extra = title === 'States' ? [budget()] : [];
    $('now-groups').append(h('div', { className: 'now-group' }, h('h2', { textContent: title }), ...extra, list));
  }
  document.addEventListener('visibilitychange', () => { if (!$('now').hidden && !document.hidden) show(); });
}

function tile([title, unit, word, of, grows]) {
  const value = h('dd', { textContent: '–' });
  const canvas = h('canvas', { 'aria-hidden': 'true' });
  tiles.push({ value, canvas, unit, word, of, grows, history: [], last: null });
  return h('div', { className: 'tile' }, h('dt', { textContent: title }), value, canvas);
}

function budget() {
  const fill = h('i');
  budget.draw = ({ states }) => {
    const share = states.budget_bytes ? states.memory_bytes / states.budget_bytes : 0;
    fill.style.width = `${Math.min(100, share * 100)}%`;
    words.textContent = `${bytes(states.memory_bytes)} of the ${bytes(states.budget_bytes)} that stored states may take in memory.`;
  };
  const words = h('p', { className: 'hint' });
  return h('div', {}, h('div', { className: 'bar', 'aria-hidden': 'true' }, fill), words);
}

export function show() { clearTimeout(timer); poll(); }
export function hide() { clearTimeout(timer); }

async function poll() {
  if ($('now').hidden || document.hidden) return;
  const began = performance.now();
  try {
    const stats = await get('/v1/stats');
    draw(stats);
  } catch (error) { $('now-line').textContent = error.message; }
  timer = setTimeout(poll, Math.max(0, 1000 - (performance.now() - began)));
}

function draw(stats) {
  const { version, uptime_s: up, text, voice, sessions_max: most } = stats;
  $('now-line').textContent = `Version ${version}, up for ${seconds(up)}. ${text.model} writes, ${voice.model} speaks; at most ${most} sessions at once.`;
  budget.draw(stats);
  for (const t of tiles) {
    const now = t.of(stats);
    t.value.replaceChildren(t.word(now), ' ', h('small', { textContent: t.unit }));
    // Of figures that only ever grow, the pace is what changes.
    t.history.push(t.grows ? (t.last === null ? 0 : now - t.last) : now ?? 0);
    if (t.history.length > KEPT) t.history.shift();
    t.last = now;
    spark(t);
  }
}

function spark({ canvas, history }) {
  const { context: c, width, height } = fit(canvas);
  if (!width) return;
  c.clearRect(0, 0, width, height);
  const top = Math.max(...history, 1e-9);
  const x = (i) => width - (history.length - 1 - i) * (width / KEPT) - 3;
  const y = (v) => height - 3 - (v / top) * (height - 8);
  c.beginPath();
  history.forEach((v, i) => (i ? c.lineTo(x(i), y(v)) : c.moveTo(x(i), y(v))));
  c.strokeStyle = colour('--teal');
  c.lineWidth = 1.5;
  c.stroke();
  c.lineTo(x(history.length - 1), height);
  c.lineTo(x(0), height);
  c.globalAlpha = 0.12;
  c.fillStyle = colour('--teal');
  c.fill();
  c.globalAlpha = 1;
  c.fillStyle = colour('--buoy');
  c.beginPath(); c.arc(x(history.length - 1), y(history.at(-1)), 2.5, 0, 7); c.fill();
}
