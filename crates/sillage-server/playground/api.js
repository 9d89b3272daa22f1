// Talks to the server over HTTP: the key, errors in words, event streams.

const KEY = 'sillage-key';
let askForKey = () => {};

export const key = () => sessionStorage.getItem(KEY) || '';
export const setKey = (value) => sessionStorage.setItem(KEY, value);
export const whenKeyIsAsked = (callback) => { askForKey = callback; };

// The two APIs of the server word errors differently; people should not
// have to know which of them they have met.
async function wordsOf(response) {
  const text = await response.text().catch(() => '');
  try {
    const { title, message, error, detail } = JSON.parse(text);
    const said = error?.message ?? (typeof error === 'string' ? error : null) ?? message ?? detail ?? title;
    if (said) return title && title !== said ? `${title}: ${said}` : said;
  } catch { /* not JSON: shown as it is */ }
  return text.slice(0, 300) || `The server answered ${response.status} ${response.statusText}`;
}

export class ServerError extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

export async function ask(path, { json, headers = {}, ...options } = {}) {
  const all = { ...headers };
  if (key()) all.Authorization = `Bearer ${key()}`;
  if (path.startsWith('/voices')) all['Cartesia-Version'] = '2026-08-14';
  if (json !== undefined) {
    all['Content-Type'] = 'application/json';
    options = { method: 'POST', body: JSON.stringify(json), ...options };
  }
  let response;
  try {
    response = await fetch(path, { ...options, headers: all });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ServerError(0, 'The server does not answer. Is it still running?');
  }
  if (response.status === 401) askForKey();
  if (!response.ok) throw new ServerError(response.status, await wordsOf(response));
  return response;
}

export const get = async (path) => (await ask(path)).json();
export const post = async (path, json) => (await ask(path, { json })).json();
export const remove = (path) => ask(path, { method: 'DELETE' });

export function socketAddress(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  if (key()) url.searchParams.set('api_key', key());
  return url.href;
}

// Yields { event, data } of a server-sent event stream. EventSource itself
// can neither POST nor send a key.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const event = readEvent(block);
      if (event) yield event;
    }
  }
}

function readEvent(block) {
  let event = 'message';
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith('event:')) event = line.slice(6).trim();
    if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  const text = data.join('\n');
  if (!text || text === '[DONE]') return null;
  return { event, data: JSON.parse(text) };
}
