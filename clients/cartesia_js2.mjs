// npm @cartesia/cartesia-js 2.x: `baseUrl` is the HTTP side. The WebSocket knows
// wss:// only; a WebSocket class that rewrites the address speaks plainly.
import assert from 'node:assert';

import * as common from './common.mjs';

const { ADDRESS, BASE, KEY, LINE, VOICE } = common;
const { check, checkWords, from64, rawSpeech, wordsOf } = common;

const { CartesiaClient } = common.need('cartesia-js2');
const Socket = common.need('ws');
const client = new CartesiaClient({ apiKey: KEY, baseUrl: BASE, environment: BASE });
const format = { container: 'raw', encoding: 'pcm_s16le', sampleRate: 24000 };
const basics = { modelId: 'sonic-2', transcript: LINE, voice: { mode: 'id', id: VOICE }, outputFormat: format };

class Plain extends Socket {
  constructor(url, ...more) {
    super(url.replace(/^wss:/, ADDRESS.protocol === 'http:' ? 'ws:' : 'wss:'), ...more);
  }
}
const connected = async () => {
  const ws = client.tts.websocket({ ...format });
  await ws.connect({ WebSocket: Plain });
  return ws;
};
/** All events of one context, until it is done. */
const listen = (answer) =>
  new Promise((resolve, reject) => {
    const events = [];
    answer.on('message', (text) => {
      const event = JSON.parse(text);
      events.push(event);
      if (event.type === 'error') reject(new Error(event.error));
      if (event.done) resolve(events);
    });
  });
const audio = (events) => from64(events.filter((e) => e.type === 'chunk').map((e) => e.data));

check('status', async () => {
  assert((await client.apiStatus.get()).ok);
});

check('bytes', async () => {
  const pieces = [];
  for await (const piece of await client.tts.bytes(basics)) pieces.push(piece);
  return `${rawSpeech(Buffer.concat(pieces)).toFixed(2)} s`;
});

check('sse', async () => {
  const chunks = [];
  const types = [];
  for await (const event of await client.tts.sse({ ...basics, addTimestamps: true })) {
    types.push(event.type);
    if (event.type === 'chunk') chunks.push(event.data);
  }
  assert(types.includes('timestamps'), types.join());
  return `${rawSpeech(from64(chunks)).toFixed(2)} s`;
});

check('websocket', async () => {
  const ws = await connected();
  const answer = await ws.send({ ...basics, addTimestamps: true });
  const events = await listen(answer);
  checkWords(wordsOf(events));
  ws.disconnect();
  return `${rawSpeech(audio(events)).toFixed(2)} s`;
});

check('websocket continued', async () => {
  const ws = await connected();
  const contextId = 'one-story';
  const answer = await ws.send({ ...basics, contextId, transcript: LINE.slice(0, 29), continue: true });
  const events = listen(answer);
  await ws.continue({ ...basics, contextId, transcript: LINE.slice(29) });
  // continue() says `continue: true` whatever it is told; the end is said here.
  ws.socket.send(JSON.stringify({ context_id: contextId, transcript: '', continue: false, model_id: 'sonic-2',
    voice: { mode: 'id', id: VOICE }, output_format: common.S16 })); // prettier-ignore
  const seconds = rawSpeech(audio(await events));
  ws.disconnect();
  return `${seconds.toFixed(2)} s`;
});

check('errors', async () => {
  await assert.rejects(client.voices.get('no-such-voice'), (e) => e.statusCode === 404);
});

check('voices', async () => {
  const listed = await client.voices.list();
  assert(Array.isArray(listed) && listed.length, 'a bare list');
  for (const voice of listed) {
    assert(voice.id && voice.name && voice.createdAt && voice.language, JSON.stringify(voice));
    assert.equal(voice.embedding.length, 192);
  }
  assert.equal((await client.voices.get(listed[0].id)).name, listed[0].name);
  const file = new Blob([common.clip()], { type: 'audio/wav' });
  const made = await client.voices.clone(file, { name: 'a guest', language: 'en', mode: 'similarity', enhance: false });
  assert.equal(made.name, 'a guest');
  assert.equal((await client.voices.update(made.id, { name: 'renamed', description: 'd' })).name, 'renamed');
  await client.voices.delete(made.id);
  await assert.rejects(client.voices.get(made.id), (e) => e.statusCode === 404);
  return `${listed.length} voices`;
});

check('voices mixed', async () => {
  const [one, two] = await client.voices.list();
  const voices = [one, two ?? one].map((v) => ({ id: v.id, weight: 0.5 }));
  assert.equal((await client.voices.mix({ voices })).embedding.length, 192);
});

check('access token', async () => {
  assert((await client.auth.accessToken({ grants: { tts: true }, expiresIn: 60 })).token);
});

await common.run();
