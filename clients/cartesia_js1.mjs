// npm @cartesia/cartesia-js 1.x: `baseUrl`, and the WebSocket follows it. Its JSON
// goes out as text/plain.
import assert from 'node:assert';

import * as common from './common.mjs';

const { BASE, KEY, LINE, S16, VOICE, check, checkWords, from64, rawSpeech, wordsOf } = common;
// Its CommonJS build cannot make a WebSocket, so its other one is loaded.
const { default: Cartesia } = await import(common.need.resolve('cartesia-js1').replace(/cjs$/, 'js'));
const client = new Cartesia({ apiKey: KEY, baseUrl: BASE });
const basics = { model_id: 'sonic-english', transcript: LINE, voice: { mode: 'id', id: VOICE } };

check('bytes', async () => {
  return `${rawSpeech(await client.tts.bytes({ ...basics, output_format: S16 })).toFixed(2)} s`;
});

check('websocket', async () => {
  const ws = client.tts.websocket({ container: 'raw', encoding: 'pcm_s16le', sampleRate: 24000 });
  await ws.connect({ WebSocket: common.need('ws') });
  const answer = ws.send({ ...basics, add_timestamps: true });
  const events = await new Promise((resolve) => {
    const all = [];
    answer.on('message', (text) => {
      all.push(JSON.parse(text));
      if (all.at(-1).done) resolve(all);
    });
  });
  ws.disconnect();
  checkWords(wordsOf(events));
  return `${rawSpeech(from64(events.filter((e) => e.type === 'chunk').map((e) => e.data))).toFixed(2)} s`;
});

check('voices', async () => {
  const listed = await client.voices.list();
  assert(Array.isArray(listed) && listed.length, 'a bare list');
  assert(listed.every((v) => v.embedding.length === 192));
  // clone() cannot send its form from Node.js: the fetch it brings along is no match
  // for the FormData that is there.
  const { embedding } = await client.voices.mix({ voices: [{ id: listed[0].id, weight: 1 }] });
  assert.equal(embedding.length, 192);
  const made = await client.voices.create({ name: 'a guest', description: 'd', embedding });
  assert.equal((await client.voices.update(made.id, { name: 'renamed' })).name, 'renamed');
  assert.equal((await client.voices.get(made.id)).name, 'renamed');
  const said = await client.tts.bytes({ ...basics, voice: { mode: 'id', id: made.id }, output_format: S16 });
  rawSpeech(said);
  return `${listed.length} voices`;
});

await common.run();
