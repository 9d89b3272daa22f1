// A server with TLS: the JavaScript SDKs that insist on wss:// need no patching,
// only Node.js told to trust the certificate (NODE_EXTRA_CA_CERTS).
import assert from 'node:assert';

import * as common from './common.mjs';

const { BASE, KEY, LINE, S16, SPEECH_MODEL, VOICE, check, from64, rawSpeech } = common;
assert(BASE.startsWith('https://'), BASE);
const audio = (events) => from64(events.filter((e) => e.type === 'chunk').map((e) => e.data));

for (const name of ['@cartesia/cartesia-js', 'cartesia-js3'])
  check(name, async () => {
    const { default: Cartesia } = common.need(name);
    const client = new Cartesia({ apiKey: KEY, baseURL: BASE, maxRetries: 0 });
    const voice = { mode: 'id', id: VOICE };
    const answer = await client.tts.generate({ model_id: SPEECH_MODEL, transcript: LINE, voice, output_format: S16 });
    rawSpeech(await answer.arrayBuffer());
    const ws = await client.tts.websocket();
    const events = [];
    for await (const event of ws.generate({ model_id: SPEECH_MODEL, transcript: LINE, voice, output_format: S16, continue: false }))
      events.push(event);
    ws.close();
    return `${rawSpeech(audio(events)).toFixed(2)} s`;
  });

check('cartesia-js2', async () => {
  const { CartesiaClient } = common.need('cartesia-js2');
  const client = new CartesiaClient({ apiKey: KEY, baseUrl: BASE, environment: BASE });
  const ws = client.tts.websocket({ container: 'raw', encoding: 'pcm_s16le', sampleRate: 24000 });
  await ws.connect({ WebSocket: common.need('ws') });
  const answer = await ws.send({ modelId: 'sonic-2', transcript: LINE, voice: { mode: 'id', id: VOICE } });
  const events = await new Promise((resolve) => {
    const all = [];
    answer.on('message', (text) => {
      all.push(JSON.parse(text));
      if (all.at(-1).done) resolve(all);
    });
  });
  ws.disconnect();
  return `${rawSpeech(audio(events)).toFixed(2)} s`;
});

await common.run();
