// A small viewer of the server's own OpenAPI description.

import { $, h, tell } from './dom.js';
import { ask } from './api.js';
import { exampleOf, fieldsOf, typeOf } from './schema.js';

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
let api;

// References point into the same document; anything else is left as it is.
export function resolve(node) {
  for (let hops = 0; node?.$ref && hops < 20; hops += 1) {
    const path = node.$ref.replace(/^#\//, '').split('/').map((part) => decodeURIComponent(part).replace(/~1/g, '/').replace(/~0/g, '~'));
    node = path.reduce((at, part) => at?.[part], api);
  }
  return node ?? {};
}

async function start() {
  try {
    api = await (await ask('/openapi.json')).json();
  } catch (error) { tell($('about'), error.message, true); return; }
  $('about').textContent = [api.info?.description ?? '', `Version ${api.info?.version ?? '?'}.`].join(' ').trim();
  const groups = grouped();
  if (!groups.length) tell($('found'), 'The description names no operations.', true);
  for (const [name, operations] of groups) {
    const id = `tag-${name.replace(/\W+/g, '-')}`;
    $('tags').append(h('a', { href: `#${id}`, textContent: name }));
    const words = api.tags?.find((tag) => tag.name === name)?.description;
    $('groups').append(h('section', { id, 'aria-label': name },
      h('h2', { textContent: name }), ...(words ? [h('p', { className: 'hint', textContent: words })] : []),
      ...operations.map(operation)));
  }
  $('find').addEventListener('input', find);
}

// Operations by their first tag, in the order in which the document names them.
function grouped() {
  const groups = new Map((api.tags ?? []).map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(api.paths ?? {})) {
    for (const method of METHODS) {
      if (!item[method]) continue;
      const tag = item[method].tags?.[0] ?? 'Other';
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push({ path, method, ...item[method], shared: item.parameters ?? [] });
    }
  }
  return [...groups].filter(([, operations]) => operations.length);
}

// The inside of an operation is built when it is first opened: some
// descriptions are large.
function operation(op) {
  const details = h('details', {},
    h('summary', {}, h('span', { className: `method ${op.method}`, textContent: op.method.toUpperCase() }),
      h('span', { className: 'path', textContent: op.path }), h('span', { className: 'hint', textContent: op.summary ?? '' })));
  details.dataset.words = `${op.method} ${op.path} ${op.summary ?? ''} ${op.description ?? ''}`.toLowerCase();
  details.addEventListener('toggle', () => { if (details.open && details.children.length < 2) details.append(inside(op)); });
  return details;
}

function inside(op) {
  const parameters = [...op.shared, ...(op.parameters ?? [])].map(resolve);
  const body = resolve(op.requestBody);
  const out = h('div', { className: 'op' });
  if (op.description) out.append(h('p', { textContent: op.description }));
  if (parameters.length) out.append(h('h3', { textContent: 'Parameters' }), h('div', { className: 'fields' }, ...parameters.map(parameter)));
  for (const [type, media] of Object.entries(body.content ?? {})) {
    out.append(h('h3', {}, 'Body, ', h('code', { textContent: type })), fieldsOf(media.schema, resolve));
  }
  out.append(h('h3', { textContent: 'Answers' }), answers(op.responses ?? {}), ...attempt(op, parameters, body));
  return out;
}

function parameter({ name, in: where, required, schema, description }) {
  return h('div', {}, h('code', { textContent: name }), ' ',
    h('span', { className: 'type', textContent: `${typeOf(schema, resolve)}, in the ${where}` }),
    ...(required ? [' ', h('span', { className: 'must', textContent: 'required' })] : []),
    ...(description ? [h('div', { className: 'hint', textContent: description })] : []));
}

function answers(responses) {
  return h('div', { className: 'fields' }, ...Object.entries(responses).map(([status, reference]) => {
    const response = resolve(reference);
    const content = Object.entries(response.content ?? {});
    return h('div', {}, h('code', { textContent: status }), ` ${response.description ?? ''} `,
      h('span', { className: 'type', textContent: content.map(([type]) => type).join(', ') }),
      ...content.filter(([, media]) => media.schema).slice(0, 1).map(([, media]) => fieldsOf(media.schema, resolve)));
  }));
}

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

// A command that does the same from a terminal.
function curl(op, parameters, body) {
  let path = op.path;
  const query = [];
  const lines = [];
  for (const p of parameters.filter((p) => p.required || p.in === 'path')) {
    const value = p.example ?? exampleOf(p.schema, resolve) ?? p.name;
    if (p.in === 'path') path = path.replace(`{${p.name}}`, p.example ?? p.name.toUpperCase());
    if (p.in === 'query') query.push(`${p.name}=${encodeURIComponent(value)}`);
    if (p.in === 'header') lines.push(`-H ${quoted(`${p.name}: ${value}`)}`);
  }
  const [type, media] = Object.entries(body.content ?? {})[0] ?? [];
  if (type === 'application/json') {
    const example = media.example ?? Object.values(media.examples ?? {})[0]?.value ?? exampleOf(media.schema, resolve);
    lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(example))}`);
  } else if (type === 'multipart/form-data') {
    for (const [name, field] of Object.entries(resolve(media.schema).properties ?? {})) lines.push(`-F ${quoted(`${name}=${resolve(field).format === 'binary' ? '@FILE' : '...'}`)}`);
  } else if (type) lines.push(`-H ${quoted(`Content-Type: ${type}`)}`, '--data-binary @FILE');
  const address = `${location.origin}${path}${query.length ? `?${query.join('&')}` : ''}`;
  const verb = op.method === 'get' ? '' : `-X ${op.method.toUpperCase()} `;
  return [`curl ${verb}${quoted(address)}`, ...lines].join(' \\\n  ');
}

function attempt(op, parameters, body) {
  const text = curl(op, parameters, body);
  const said = h('span', { className: 'status', role: 'status' });
  const code = h('pre', { tabIndex: 0, textContent: text, 'aria-label': 'The command' });
  const copy = async () => {
    try { await navigator.clipboard.writeText(text); tell(said, 'Copied.'); } catch {
      // Without https there is no clipboard; selecting is the next best thing.
      getSelection().selectAllChildren(code);
      tell(said, 'Selected: copy it with the keyboard.');
    }
  };
  const answer = h('pre', { tabIndex: 0, hidden: true, 'aria-label': 'The answer' });
  const buttons = [h('button', { type: 'button', className: 'small', textContent: 'Copy', onclick: copy })];
  const simple = op.method === 'get' && !parameters.some((p) => p.in === 'path');
  if (simple) buttons.push(h('button', { type: 'button', className: 'small', textContent: 'Send', onclick: () => send(op, parameters, answer, said) }));
  return [h('h3', { textContent: 'Try it' }), code, h('div', { className: 'row' }, ...buttons, said), answer];
}

// Only what changes nothing is sent from here; the rest is for the terminal.
async function send(op, parameters, answer, said) {
  const needed = parameters.filter((p) => p.required);
  const query = needed.filter((p) => p.in === 'query').map((p) => `${p.name}=${encodeURIComponent(p.example ?? exampleOf(p.schema, resolve) ?? '')}`).join('&');
  const headers = Object.fromEntries(needed.filter((p) => p.in === 'header').map((p) => [p.name, p.example ?? exampleOf(p.schema, resolve) ?? '']));
  try {
    const response = await ask(op.path + (query && `?${query}`), { headers });
    const type = response.headers.get('content-type') ?? '';
    const text = /json/.test(type) ? JSON.stringify(await response.json(), null, 2) : await response.text();
    tell(said, `${response.status}, ${type}`);
    answer.textContent = text.slice(0, 20000);
  } catch (error) { tell(said, error.message, true); answer.textContent = ''; }
  answer.hidden = !answer.textContent;
}

function find() {
  const words = $('find').value.toLowerCase().trim();
  let n = 0;
  for (const details of document.querySelectorAll('#groups details')) {
    details.hidden = words !== '' && !details.dataset.words.includes(words);
    if (!details.hidden) n += 1;
  }
  for (const section of document.querySelectorAll('#groups section')) section.hidden = !section.querySelector('details:not([hidden])');
  tell($('found'), words ? `${n} found.` : '');
}

document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); $('main').focus(); });
start();
