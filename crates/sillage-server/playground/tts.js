// Speech over the WebSocket. One socket is kept open and carries any number
// of utterances, told apart by their context ids.

import { newId } from './dom.js';
import { get, socketAddress } from './api.js';

const PATH = '/tts/websocket?cartesia_version=2026-08-14';
export const RATE = 24000;

let socket = null;
const listeners = new Map();

// Resolves once the socket is open; opens it if it is not.
export function connect() {
  if (socket && socket.readyState <= WebSocket.OPEN) return socket.opened;
  const fresh = new WebSocket(socketAddress(PATH));
  socket = fresh;
  fresh.opened = new Promise((resolve, reject) => {
    fresh.onopen = () => resolve(fresh);
    // A refused handshake tells a page nothing; asking for something small
    // over HTTP brings the reason (and the field for the key, if that is it).
    fresh.onerror = () => get('/voices?limit=1').then(
      () => reject(new Error('The connection for speech could not be opened.')), reject);
  });
  fresh.opened.catch(() => {});
  fresh.onmessage = (message) => dispatch(JSON.parse(message.data));
  fresh.onclose = () => {
    if (socket === fresh) socket = null;
    for (const [id, listener] of listeners) {
      if (listener.socket === fresh) { listeners.delete(id); listener.failed?.('The server closed the connection.'); }
    }
  };
  return fresh.opened;
}

function dispatch(message) {
  const listener = listeners.get(message.context_id);
  if (!listener) return;
  if (message.type === 'chunk') listener.sound?.(samplesOf(message.data));
  if (message.type === 'timestamps') listener.words?.(message.word_timestamps);
  if (message.type === 'flush_done') listener.flushed?.();
  if (message.type === 'done') { listeners.delete(message.context_id); listener.done?.(); }
  if (message.type === 'error') {
    listeners.delete(message.context_id);
    const { title, message: text, error } = message;
    listener.failed?.([title, text ?? error].filter(Boolean).join(': ') || 'The server could not say this.');
  }
}

// The wire is little-endian, as is every machine that runs a browser.
function samplesOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer, 0, bytes.length >> 2);
}

// One utterance. Text may be handed over in pieces; `end` says that no more
// comes. Listeners: sound(samples), words({words, start, end}), flushed(),
// done(), failed(text).
export class Utterance {
  constructor({ voice, speed = 1, volume = 1 }, listener) {
    this.id = newId('page-');
    this.request = {
      context_id: this.id,
      model_id: 'sillage',
      language: 'en',
      voice: { mode: 'id', id: voice },
      output_format: { container: 'raw', encoding: 'pcm_f32le', sample_rate: RATE },
      add_timestamps: true,
      generation_config: { speed, volume },
    };
    this.listener = listener;
    listeners.set(this.id, listener);
    this.opened = connect();
    this.ready = socket?.readyState === WebSocket.OPEN ? socket : null;
    this.opened.then((open) => { listener.socket = open; }, (error) => {
      if (listeners.delete(this.id)) listener.failed?.(error.message);
    });
  }

  say(transcript, { more = false, flush = false } = {}) {
    const message = { ...this.request, transcript, continue: more };
    if (flush) message.flush = true;
    this.send(message);
  }

  // An open socket is used at once, so that the server works while this page
  // draws; pieces wait in order for one that is being opened.
  send(message) {
    const text = JSON.stringify(message);
    if (this.ready?.readyState === WebSocket.OPEN) this.ready.send(text);
    else this.opened.then((open) => { this.ready = open; open.send(text); }, () => {});
  }

  cancel() {
    if (!listeners.delete(this.id)) return;
    this.send({ context_id: this.id, cancel: true });
  }
}
