// Saved states: the memory of a turn as a file that can be kept and brought back.

import { $, bytes, count, download, h, tell } from './dom.js';
import { ask, get, post, remove } from './api.js';
import { twice } from './voices.js';

let goOn;

export function start(options) {
  goOn = options.goOn;
  $('state-file').addEventListener('change', bring);
}

const say = (text, bad) => tell($('states-status'), text, bad);
const path = (state) => `/v1/states/${encodeURIComponent(state.id)}`;

// Whatever goes wrong is said in words, in the panel's own status line.
async function attempt(action) {
  try { await action(); } catch (error) { say(error.message, true); }
}

export async function load() {
  const all = [];
  let after = '';
  do {
    const page = await get(`/v1/states?limit=100${after && `&after=${encodeURIComponent(after)}`}`);
    all.push(...page.data);
    after = page.has_more && page.data.length ? page.data.at(-1).id : '';
  } while (after);
  const none = h('li', { className: 'hint', textContent: 'None yet. A state is all that the model remembers of a text, and can go on from anywhere.' });
  $('states').replaceChildren(...(all.length ? all.map(item) : [none]));
}

function item(state) {
  const name = state.name || state.id;
  const button = (text, action) => h('button', { type: 'button', className: 'small', textContent: text, 'aria-label': `${text}: ${name}`, onclick: action });
  const details = [bytes(state.bytes), state.tokens != null && `${count(state.tokens)} tokens`, state.model].filter(Boolean);
  const line = h('li', {},
    h('b', { className: 'prose', textContent: name }),
    h('span', { className: 'hint', textContent: details.join(' · ') }),
    h('div', { className: 'row' },
      button('Go on', () => goOn(state)),
      button('Download', () => attempt(() => fetchFile(state))),
      button('Delete', (event) => twice(event.target, $('states-status'), () => attempt(() => drop(state))))));
  line.dataset.id = state.id;
  return line;
}

// `name` tells people what it is; ids are for programs.
export const save = (responseId, name) => attempt(async () => {
  const state = await post('/v1/states', { from: responseId, name });
  await load();
  say(`Saved: ${bytes(state.bytes)}.`);
});

async function fetchFile(state) {
  const response = await ask(`${path(state)}/content`);
  const name = (state.name || state.id).replace(/[^\p{L}\p{N}_-]+/gu, '-').slice(0, 60);
  download(await response.blob(), `${name}.state`);
  say('The state is in your downloads.');
}

async function drop(state) {
  await remove(path(state));
  await load();
  say('The state is deleted.');
  $('state-file').focus();
}

const bring = () => attempt(async () => {
  const file = $('state-file').files[0];
  if (!file) return;
  const name = file.name.replace(/\.state$/, '').slice(0, 100);
  const query = new URLSearchParams({ model: $('model').value, name });
  const response = await ask(`/v1/states/content?${query}`, { method: 'POST', body: file, headers: { 'Content-Type': 'application/octet-stream' } });
  $('state-file').value = '';
  const state = await response.json();
  await load();
  say(`Brought in: ${state.name || state.id}.`);
});
