// The section "Write": a text model goes on with a text, turn by turn. Every
// turn is a response that the server keeps, so any of them can be continued.

import { $, bytes, count, h, milliseconds, tell } from './dom.js';
import { ask, events, get } from './api.js';
import { Tree, drawTree, titleOf } from './tree.js';
import * as states from './states.js';

let tree;
let running = null; // aborts the turn being written
let readAloud = () => {};

export function start(options) {
  readAloud = options.readAloud;
  tree = new Tree();
  states.start({ goOn: goOnFrom });
  $('write-form').addEventListener('submit', (event) => { event.preventDefault(); write(); });
  $('prompt').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); write(); }
  });
  $('write-stop').addEventListener('click', () => running?.abort());
  $('length').addEventListener('input', () => { $('length-out').textContent = `${$('length').value} tokens`; });
  $('temperature').addEventListener('input', () => { $('temperature-out').textContent = $('temperature').value; });
  $('new-story').addEventListener('click', () => { tree.go(null); draw(); tell($('write-status'), 'A new story. The others stay in the tree.'); $('prompt').focus(); });
  $('read-aloud').addEventListener('click', () => readAloud(tree.path().map((n) => n.input + n.output).join('\n\n')));
  draw();
}

export async function load() {
  const { data } = await get('/v1/models');
  const text = data.filter((m) => !m.sillage || m.sillage.kind === 'text');
  const before = $('model').value;
  $('model').replaceChildren(...text.map((m) => new Option(m.id, m.id)));
  if (text.some((m) => m.id === before)) $('model').value = before;
  await states.load();
}

function draw() {
  const path = tree.path();
  $('turns').replaceChildren(...path.map((node, i) => turn(node, i + 1)));
  drawTree($('tree'), tree, go);
  $('read-aloud').disabled = !path.length;
  $('write-go').textContent = path.length ? 'Write on' : 'Begin';
}

// The parts of a turn that grow while it is written are returned with it.
function shell(input, output) {
  const written = h('span', { textContent: output });
  const text = h('p', { className: 'text' }, h('span', { className: 'yours', textContent: input.trimStart() }), written);
  return { element: h('article', { className: 'turn' }, text), written };
}

function turn(node, number) {
  const { element } = shell(node.input, node.output);
  element.setAttribute('aria-label', `Turn ${number}`);
  const button = (text, action) => h('button', { type: 'button', className: 'small', textContent: text, 'aria-label': `${text}, turn ${number}`, onclick: action });
  element.append(facts(node.facts), h('div', { className: 'row' },
    button('Fork from here', () => fork(node, number)),
    button('Save state', () => states.save(node.id, titleOf(node).slice(0, 60))),
    button('Read aloud', () => readAloud(node.input + node.output))));
  return element;
}

function facts({ read, reused, first, state, wrote }) {
  const item = (value, words) => h('span', {}, h('b', { textContent: value }), ` ${words}`);
  return h('p', { className: 'facts' },
    'Tokens:', item(count(read), 'read'), item(count(reused), 'reused'),
    ...(wrote == null ? [] : [item(count(wrote), 'written'), item(milliseconds(first), 'to the first')]),
    item(bytes(state), 'state'));
}

function go(id) {
  if (running) return;
  tree.go(id);
  draw();
}

function fork(node, number) {
  go(node.id);
  tell($('write-status'), `The next words go on from turn ${number}.`);
  $('prompt').value = '';
  $('prompt').focus();
}

// A saved state is a root like any other: its text is what it has read.
function goOnFrom(state) {
  if (running) return;
  const output = (state.messages ?? []).map((m) => (m.role === 'assistant' ? '' : '\n\n') + m.content).join('').trim();
  if (!tree.nodes.has(state.id)) tree.add({ id: state.id, parent: null, input: '', output: output || `(${state.name || 'A saved state'})`, facts: { read: state.tokens, reused: 0, state: state.bytes } });
  go(state.id);
  tell($('write-status'), `The next words go on from ${state.name || 'the saved state'}.`);
  $('prompt').value = '';
  $('prompt').focus();
}

function request(input) {
  const body = {
    model: $('model').value, input, stream: true, store: true,
    max_output_tokens: Number($('length').value), temperature: Number($('temperature').value),
  };
  if (tree.head) body.previous_response_id = tree.head;
  return body;
}

async function write() {
  if (running) return;
  const input = $('prompt').value;
  if (!input.trim() && !tree.head) { tell($('write-status'), 'A story needs a beginning.', true); return; }
  running = new AbortController();
  busy(true);
  const parent = tree.head;
  const live = shell(input, '');
  live.element.classList.add('writing');
  $('turns').append(live.element);
  $('prompt').value = '';
  try {
    const node = await stream(request(input), live);
    tree.add({ ...node, parent, input });
    tell($('write-status'), `Turn ${tree.path().length} is written: ${count(node.facts.wrote)} tokens.`);
  } catch (error) {
    if (!$('prompt').value) $('prompt').value = input;
    const stopped = error.name === 'AbortError';
    tell($('write-status'), stopped ? 'Stopped. An unfinished turn leaves no state; your words are still here.' : error.message, !stopped);
  }
  running = null;
  busy(false);
  draw();
}

function busy(on) {
  const hadFocus = [$('write-go'), $('write-stop')].includes(document.activeElement);
  $('write-go').disabled = on;
  $('write-stop').disabled = !on;
  if (on) tell($('write-status'), 'Writing.');
  if (hadFocus) (on ? $('write-stop') : $('prompt')).focus();
}

// Reads one response to its end and returns { id, output, facts }.
async function stream(body, live) {
  const asked = performance.now();
  const response = await ask('/v1/responses', { json: body, signal: running.signal });
  let output = '';
  let first = null;
  for await (const { event, data } of events(response)) {
    if (event === 'response.output_text.delta') {
      first ??= performance.now() - asked;
      output += data.delta;
      live.written.textContent = output;
    }
    if (event === 'response.completed' || event === 'response.incomplete') {
      return { id: data.response.id, output, facts: factsOf(data.response, first) };
    }
    if (event === 'response.failed' || event === 'error') {
      throw new Error(data.response?.error?.message ?? data.error?.message ?? data.message ?? 'The server could not write on.');
    }
  }
  throw new Error('The server ended the answer before it was complete.');
}

function factsOf({ usage = {}, sillage = {}, state }, first) {
  const reused = usage.input_tokens_details?.cached_tokens ?? 0;
  return {
    read: (usage.input_tokens ?? 0) - reused, reused, first, wrote: usage.output_tokens,
    state: sillage.state_bytes ?? state?.bytes ?? usage.state_bytes,
  };
}
