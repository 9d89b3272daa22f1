// The section "Speak": a text becomes sound, a picture of it, and a file.

import { $, download, milliseconds, seconds, tell } from './dom.js';
import { ask } from './api.js';
import { Player, loudness, wake } from './player.js';
import { Reading } from './reading.js';
import { Scope } from './scope.js';
import { RATE, Utterance, connect } from './tts.js';
import { Typing } from './typing.js';

const TYPES = { wav: 'audio/wav', flac: 'audio/flac', opus: 'audio/ogg', mp3: 'audio/mpeg' };
const VOICE = 'sillage-voice';

let scope;
let reading;
let current = null; // the utterance being made or heard
let typing;

export function start() {
  scope = new Scope($('scope'));
  reading = new Reading($('reading'));
  typing = new Typing($('text'), { begin: beginTyped });
  $('speak-form').addEventListener('submit', (event) => { event.preventDefault(); speak($('text').value); });
  $('stop').addEventListener('click', stop);
  $('text').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) speak($('text').value);
  });
  // Preparing the sound output takes longer than the first sound itself.
  for (const gesture of ['pointerdown', 'keydown']) document.addEventListener(gesture, wake, { once: true });
  // Speech can be started from every section, so it can be stopped from each.
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape' && !$('stop').disabled) stop(); });
  for (const name of ['speed', 'volume']) {
    $(name).addEventListener('input', () => { $(`${name}-out`).textContent = `${Number($(name).value)}×`; });
  }
  $('typing').addEventListener('change', toggleTyping);
  $('voice').addEventListener('change', () => sessionStorage.setItem(VOICE, $('voice').value));
  for (const button of document.querySelectorAll('.keep button')) button.addEventListener('click', () => keep(button));
}

// The socket is opened before it is needed, so that the time to first audio
// is that of speech and not of a handshake.
export function show() { connect().catch(() => {}); scope.draw(); }

// Fills the picker and keeps the choice, whichever voices came or went.
export function offer(voices) {
  const before = $('voice').value || sessionStorage.getItem(VOICE) || 'nova';
  $('voice').replaceChildren(...voices.map((v) => new Option([v.name, v.description].filter(Boolean).join(': '), v.id)));
  const kept = voices.find((v) => v.id === before || v.name.toLowerCase() === before);
  if (kept) $('voice').value = kept.id;
}

const settings = () => ({ voice: $('voice').value, speed: Number($('speed').value), volume: Number($('volume').value) });

// Says a text in the voice that is picked, or in the one given.
export function speak(text, voice) {
  if (!text.trim()) { tell($('speak-status'), 'There is nothing to say yet.', true); return; }
  typing.cancel();
  halt();
  wake();
  // Asked first and drawn afterwards: the server works in the meantime.
  const utterance = listen({ ...settings(), ...(voice && { voice }) });
  utterance.say(text);
  begin();
  reading.append(text);
}

// Clears what the last utterance left on the page.
function begin() {
  reading.clear();
  for (const id of ['first-audio', 'made', 'made-in']) $(id).textContent = '–';
  $('stop').disabled = false;
  if (!typing.active) swapForReading();
  tell($('speak-status'), typing.active ? 'Speaking as you type.' : 'Speaking.');
}

// The text area gives its place to the same text with marked words.
function swapForReading() {
  // In another section neither has a height, and the style sheet's will do.
  const height = $('text').offsetHeight || $('reading').offsetHeight;
  const size = height ? `${height}px` : '';
  Object.assign($('reading').style, { minHeight: size, maxHeight: size });
  if (document.activeElement === $('text')) $('stop').focus();
  $('text').hidden = true;
  $('reading').hidden = false;
}

function listen(options) {
  const state = { asked: performance.now(), first: null, peak: 0 };
  state.player = new Player({ onEnd: () => over(state) });
  state.utterance = new Utterance(options, {
    sound: (samples) => heard(state, samples),
    words: (times) => { reading.time(times); noteWords(times); },
    done: () => { if (current === state) typing.reopen(); state.player.finish(); },
    failed: (text) => fail(state, text),
  });
  scope.follow(state.player.tape);
  current = state;
  requestAnimationFrame(() => frame(state));
  return state.utterance;
}

function heard(state, samples) {
  if (!samples.length) return;
  if (state.first === null) {
    state.first = performance.now() - state.asked;
    $('first-audio').textContent = milliseconds(state.first);
  }
  state.player.push(samples);
  state.latest = performance.now() - state.asked;
  showMade(state);
}

function showMade(state) {
  $('made').textContent = seconds(state.player.tape.length / RATE);
  if (!typing.active && state.latest) $('made-in').textContent = milliseconds(state.latest);
}

function noteWords({ words, start, end }) {
  words.forEach((word, i) => scope.words.push({ word, start: start[i], end: end[i] }));
}

function frame(state) {
  if (current !== state) return;
  const sample = state.player.position();
  scope.move(sample);
  reading.show(sample / RATE);
  const level = loudness();
  state.peak = Math.max(state.peak, level);
  $('level').value = level;
  $('level').dataset.peak = state.peak.toFixed(4);
  state.player.tape.forget(sample - 25 * RATE);
  if (!state.player.ended) requestAnimationFrame(() => frame(state));
}

function over(state) {
  if (current !== state) return;
  reading.show(Infinity);
  scope.move(state.player.tape.length);
  const gaps = state.player.gaps && !typing.active ? ` Gaps heard: ${state.player.gaps}.` : '';
  settle(`Said. First sound after ${milliseconds(state.first)}.${gaps}`);
}

function fail(state, text) {
  state.player.stop();
  if (current === state) { typing.cancel(); settle(text, true); }
}

// Back to rest: the text can be edited again.
function settle(text = '', bad = false) {
  const hadFocus = document.activeElement === $('stop');
  $('stop').disabled = true;
  $('text').hidden = false;
  $('reading').hidden = true;
  $('level').value = 0;
  if (hadFocus) $('say').focus();
  tell($('speak-status'), text, bad);
}

function halt() {
  if (!current) return;
  current.utterance.cancel();
  current.player.stop();
  current = null;
}

function stop() {
  typing.cancel();
  halt();
  settle('Stopped.');
}

// Typing. The utterance stays open while text comes; time to first audio is
// counted from the end of each sentence that opens a silence.
function beginTyped() {
  halt();
  wake();
  const utterance = listen(settings());
  begin();
  const state = current;
  return {
    say: (text, options) => {
      reading.append(text);
      if (options.flush && quiet(state)) { state.asked = performance.now(); state.first = null; }
      utterance.say(text, options);
    },
  };
}

const quiet = (state) => state.player.position() >= state.player.tape.length - RATE / 100;

let aside = '';
function put(text) { aside = $('text').value; $('text').value = text; }

function toggleTyping() {
  stop();
  const on = $('typing').checked;
  $('say').disabled = on;
  if (on) {
    put(''); // what was there comes back afterwards
    typing.start();
    $('text').focus();
  } else {
    typing.stop();
    if (!$('text').value) put(aside);
  }
  tell($('speak-status'), on ? 'Type: each sentence is said when you end it.' : '');
}

async function keep(button) {
  const format = button.dataset.format;
  const input = $('text').value;
  if (!input.trim()) { tell($('speak-status'), 'There is nothing to say yet.', true); return; }
  tell($('speak-status'), `Making the ${button.textContent} file.`);
  try {
    const { voice, speed, volume } = settings();
    const response = await ask('/v1/audio/speech', { json: { model: 'sillage', input, voice, response_format: format, speed, volume } });
    download(new Blob([await response.arrayBuffer()], { type: TYPES[format] }), `sillage.${format}`);
    tell($('speak-status'), `The ${button.textContent} file is in your downloads.`);
  } catch (error) { tell($('speak-status'), error.message, true); }
}
