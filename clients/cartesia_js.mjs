// npm @cartesia/cartesia-js 4.x, and 3.x with PACKAGE=cartesia-js3. `baseURL` is
// the HTTP side; the WebSocket always builds wss://, and `createConnection` gives
// it a plain socket to speak through.
import assert from 'node:assert';
import net from 'node:net';

import * as common from './common.mjs';

const { ADDRESS, BASE, KEY, LINE, S16, SPEECH_MODEL, VOICE, WAV } = common;
const { check, checkWords, from64, rawSpeech, wavSpeech, wordsOf } = common;

const name = process.env.PACKAGE ?? '@cartesia/cartesia-js';
const { default: Cartesia, toFile } = common.need(name);
const client = new Cartesia({ apiKey: KEY, baseURL: BASE, maxRetries: 0 });
const voiceOf = (id) => (name.endsWith('3') ? { mode: 'id', id } : id);
const voice = voiceOf(VOICE);
const plain = ADDRESS.protocol === 'http:';
const socket = () =>
  client.tts.websocket(
    plain ? { createConnection: () => net.connect(+ADDRESS.port, ADDRESS.hostname) } : { rejectUnauthorized: false },
  );
const audio = (events) => from64(events.filter((e) => e.type === 'chunk').map((e) => e.data));
const all = async (source) => {
  const events = [];
  for await (const event of source) events.push(event);
  return events;
};
const basics = { model_id: SPEECH_MODEL, transcript: LINE, voice };

check('status', async () => {
  assert((await client.getStatus()).ok);
});

check('bytes', async () => {
  const bytes = async (output_format) => (await client.tts.generate({ ...basics, output_format })).arrayBuffer();
  const mp3 = Buffer.from(await bytes({ container: 'mp3', sample_rate: 44100, bit_rate: 128000 }));
  assert(mp3.toString('latin1', 0, 3) === 'ID3' || (mp3[0] === 0xff && mp3[1] >= 0xe0), mp3.subarray(0, 4));
  return `${rawSpeech(await bytes(S16)).toFixed(2)} s, ${wavSpeech(await bytes(WAV)).toFixed(2)} s`;
});

check('bytes are streamed', async () => {
  const transcript = Array(4).fill(LINE).join(' ');
  const answer = await client.tts.generate({ ...basics, transcript, output_format: S16 });
  const pieces = await all(answer.body);
  assert(pieces.length > 2, `${pieces.length} pieces`);
  rawSpeech(Buffer.concat(pieces), 24000, transcript);
  return `${pieces.length} pieces`;
});

check('errors', async () => {
  const absent = client.tts.generate({ ...basics, voice: voiceOf('no-such-voice'), output_format: S16 });
  await assert.rejects(absent, (e) => e.status === 404 && !!e.error.message && !!e.error.title);
  await assert.rejects(client.tts.generate({ ...basics, transcript: '', output_format: S16 }), (e) => e.status === 400);
});

check('sse', async () => {
  const events = await all(await client.tts.generateSSE({ ...basics, output_format: S16, add_timestamps: true }));
  assert.equal(events.at(-1).type, 'done');
  checkWords(wordsOf(events));
  return `${rawSpeech(audio(events)).toFixed(2)} s`;
});

check('websocket context with a flush', async () => {
  const ws = await socket();
  const context = ws.context({ model_id: SPEECH_MODEL, voice, output_format: S16, add_timestamps: true });
  await context.push({ transcript: LINE.slice(0, 29), flush: true });
  await context.push({ transcript: LINE.slice(29) });
  await context.no_more_inputs();
  const events = await all(context.receive());
  ws.close();
  const types = events.map((e) => e.type);
  const flushed = types.indexOf('flush_done');
  assert(types.indexOf('chunk') < flushed && flushed < types.lastIndexOf('chunk'), types.join());
  assert.equal(types.at(-1), 'done');
  assert(events.every((e) => e.context_id === context.contextId));
  checkWords(wordsOf(events));
  return `${rawSpeech(audio(events)).toFixed(2)} s`;
});

check('websocket with two contexts and a cancelled one', async () => {
  const ws = await socket();
  const say = (transcript) =>
    all(ws.generate({ ...basics, transcript, output_format: S16, add_timestamps: true, continue: false }));
  const other = 'Rain fell on the harbour all night long.';
  const [one, two] = await Promise.all([say(LINE), say(other)]);
  rawSpeech(audio(one));
  rawSpeech(audio(two), 24000, other);
  checkWords(wordsOf(two), other);
  const dropped = ws.context({ model_id: SPEECH_MODEL, voice, output_format: S16 });
  await dropped.push({ transcript: Array(8).fill(LINE).join(' ') });
  await dropped.cancel();
  rawSpeech(audio(await say(LINE)));
  ws.close();
});

check('websocket error', async () => {
  const ws = await socket();
  ws.on('error', () => {});
  const context = ws.context({ model_id: SPEECH_MODEL, voice: voiceOf('no-such-voice'), output_format: S16 });
  await context.push({ transcript: LINE });
  let found;
  try {
    found = (await all(context.receive({ timeout: 20000 }))).find((e) => e.type === 'error');
  } catch (error) {
    found = error;
  }
  ws.close();
  assert(found, 'no error came');
  return found.message;
});

check('voices', async () => {
  const ids = (await all(client.voices.list({ limit: 2 }))).map((v) => v.id);
  assert(ids.length > 0 && new Set(ids).size === ids.length, ids.join());
  assert.equal((await client.voices.get(ids[0])).id, ids[0]);
  const made = await client.voices.clone({
    clip: await toFile(common.clip(), 'clip.wav'),
    name: 'a guest',
    language: 'en',
  });
  const answer = await client.tts.generate({ ...basics, voice: voiceOf(made.id), output_format: S16 });
  rawSpeech(await answer.arrayBuffer());
  assert.equal((await client.voices.update(made.id, { name: 'renamed' })).name, 'renamed');
  await client.voices.delete(made.id);
  await assert.rejects(client.voices.get(made.id), (e) => e.status === 404);
  return `${ids.length} voices`;
});

check('access token', async () => {
  const { token } = await client.accessToken.create({ grants: { tts: true }, expires_in: 60 });
  const guest = new Cartesia({ token, baseURL: BASE, maxRetries: 0 });
  rawSpeech(await (await guest.tts.generate({ ...basics, output_format: S16 })).arrayBuffer());
});

check('pronunciation dictionaries', async () => {
  const dicts = client.pronunciationDicts;
  const made = await dicts.create({ name: 'names', items: [{ text: 'kettle', alias: 'extraordinary teapot' }] });
  assert.equal((await dicts.retrieve(made.id)).name, 'names');
  assert((await all(dicts.list({ limit: 1 }))).some((d) => d.id === made.id));
  await dicts.delete(made.id);
});

await common.run();
