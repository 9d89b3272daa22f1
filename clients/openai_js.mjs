// npm openai: `baseURL` ending in /v1.
import assert from 'node:assert';

import * as common from './common.mjs';

const { BASE, KEY, LINE, LM, VOICE, check, rawSpeech, wavSpeech } = common;
const { default: OpenAI, toFile } = common.need('openai');
const client = new OpenAI({ apiKey: KEY, baseURL: `${BASE}/v1`, maxRetries: 0 });
const model = LM;
const messages = [{ role: 'user', content: 'Tell me about the sea.' }];

check('models', async () => {
  const ids = [];
  for await (const entry of await client.models.list()) ids.push(entry.id);
  assert(ids.includes(LM), ids.join());
  assert.equal((await client.models.retrieve(LM)).object, 'model');
});

check('completions', async () => {
  const made = await client.completions.create({ model, prompt: 'The old house', max_tokens: 8, seed: 1, temperature: 0.7 });
  const again = await client.completions.create({ model, prompt: 'The old house', max_tokens: 8, seed: 1, temperature: 0.7 });
  assert(made.choices[0].text && made.choices[0].text === again.choices[0].text);
  assert.equal(made.usage.completion_tokens, 8);
  let text = '';
  const stream = await client.completions.create({
    model, prompt: 'The old house', max_tokens: 8, seed: 1, temperature: 0.7, stream: true,
  }); // prettier-ignore
  for await (const chunk of stream) text += chunk.choices[0]?.text ?? '';
  assert.equal(text, made.choices[0].text);
});

check('chat', async () => {
  const said = await client.chat.completions.create({ model, messages, max_tokens: 16, stop: ['\n\n'] });
  assert(said.choices[0].message.content && said.choices[0].message.role === 'assistant');
  let text = '';
  let usage;
  let finish;
  const stream = await client.chat.completions.create({
    model, messages, max_tokens: 16, stream: true, stream_options: { include_usage: true },
  }); // prettier-ignore
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? '';
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  assert(text && ['stop', 'length'].includes(finish) && usage.total_tokens > usage.prompt_tokens);
});

check('chat with the stream helper', async () => {
  const runner = client.chat.completions.stream({ model, messages, max_tokens: 12 });
  const content = await runner.finalContent();
  assert(content);
});

check('chat as an object', async () => {
  const schema = { type: 'object', properties: { year: { type: 'integer' } }, required: ['year'], additionalProperties: false };
  const said = await client.chat.completions.create({
    model,
    messages,
    max_tokens: 60,
    response_format: { type: 'json_schema', json_schema: { name: 'answer', schema, strict: true } },
  });
  const parsed = JSON.parse(said.choices[0].message.content);
  assert(Number.isInteger(parsed.year), said.choices[0].message.content);
});

check('responses', async () => {
  const first = await client.responses.create({ model, input: 'Begin a story.', max_output_tokens: 16 });
  assert(first.output_text);
  const next = await client.responses.create({ model, input: 'Go on.', previous_response_id: first.id, max_output_tokens: 16 });
  assert(next.output_text && next.id !== first.id);
  let text = '';
  const types = [];
  for await (const event of await client.responses.create({ model, input: 'Begin.', stream: true, max_output_tokens: 16 })) {
    types.push(event.type);
    if (event.type === 'response.output_text.delta') text += event.delta;
  }
  const last = types.at(-1);
  assert(text && types[0] === 'response.created', types[0]);
  assert(['response.completed', 'response.incomplete'].includes(last), last);
});

check('speech', async () => {
  const say = async (response_format) => {
    const answer = await client.audio.speech.create({ model: 'tts-1', voice: VOICE, input: LINE, response_format });
    return [Buffer.from(await answer.arrayBuffer()), answer.headers.get('content-type')];
  };
  const seconds = rawSpeech((await say('pcm'))[0]);
  wavSpeech((await say('wav'))[0]);
  for (const [format, magic, type] of [
    ['flac', 'fLaC', 'audio/flac'],
    ['opus', 'OggS', 'audio/ogg'],
  ]) {
    const [data, found] = await say(format);
    assert.equal(data.toString('latin1', 0, 4), magic);
    assert(found.startsWith(type), found);
  }
  const [mp3, type] = await say('mp3');
  assert((mp3[0] === 0xff || mp3.toString('latin1', 0, 3) === 'ID3') && type.startsWith('audio/mpeg'), type);
  return `${seconds.toFixed(2)} s`;
});

check('a voice of its own', async () => {
  const form = { name: 'a guest', language: 'en', recording: await toFile(common.clip(), 'yes.wav', { type: 'audio/wav' }) };
  const consent = await client.post('/audio/voice_consents', multipart(form));
  const sample = await toFile(common.clip(), 'clip.wav', { type: 'audio/wav' });
  const made = await client.post('/audio/voices', multipart({ name: 'a guest', audio_sample: sample, consent: consent.id }));
  assert(made.id && made.object === 'audio.voice', JSON.stringify(made));
  const answer = await client.audio.speech.create({ model: 'tts-1', voice: { id: made.id }, input: LINE, response_format: 'pcm' });
  return `${rawSpeech(await answer.arrayBuffer()).toFixed(2)} s`;
});

check('errors', async () => {
  await assert.rejects(client.get('/nowhere'), (e) => e.status === 404 && !!e.error.message);
  await assert.rejects(
    client.chat.completions.create({ model, messages: 'no list' }),
    (e) => [400, 422].includes(e.status) && e.error.type === 'invalid_request_error',
  );
});

/** Options for a multipart request that the SDK has no method for. */
function multipart(fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return { body };
}

await common.run();
