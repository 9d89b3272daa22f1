// The section "Voices": who can speak, mixing, and removing one's own.

import { $, h, tell } from './dom.js';
import { get, post, remove } from './api.js';
import { offer, speak } from './speak.js';
import * as clone from './clone.js';

const SAMPLE = 'This is how I sound. The harbour was quiet, and the evening came in over the water.';
const MOST = 4;

let voices = [];

export function start() {
  clone.start((voice) => arrived(voice, 'clone'));
  $('mix-form').addEventListener('submit', mix);
  $('mix-add').addEventListener('click', () => { addRow(); refreshRows(); });
}

// Pages through the whole list.
export async function load() {
  const all = [];
  let after = '';
  do {
    const page = await get(`/voices?limit=100${after && `&starting_after=${encodeURIComponent(after)}`}`);
    all.push(...page.data);
    after = page.has_more && page.data.length ? page.next_page || page.data.at(-1).id : '';
  } while (after);
  voices = all;
  offer(voices);
  drawList();
  while ($('mix-rows').children.length < 2) addRow();
  refreshRows();
}

function drawList() {
  const own = voices.filter((v) => v.is_owner);
  const rest = voices.filter((v) => !v.is_owner);
  $('voice-list').replaceChildren(...[...own, ...rest].map(item));
}

const LANGUAGES = new Intl.DisplayNames(['en'], { type: 'language' });

function languageOf({ language }) {
  try { return LANGUAGES.of(language); } catch { return language || ''; }
}

function item(voice) {
  const line = h('li', { className: voice.is_owner ? 'own' : '' },
    h('div', { className: 'who' },
      h('b', { textContent: voice.name }),
      h('span', { textContent: [voice.description, languageOf(voice)].filter(Boolean).join(' · ') })),
    h('button', { type: 'button', className: 'small', textContent: 'Hear', 'aria-label': `Hear ${voice.name}`, onclick: () => speak(SAMPLE, voice.id) }));
  line.dataset.id = voice.id;
  if (voice.is_owner) {
    line.append(h('button', { type: 'button', className: 'small', textContent: 'Delete', 'aria-label': `Delete ${voice.name}`, onclick: (event) => twice(event.target, $('voices-status'), () => drop(voice)) }));
  }
  return line;
}

// Deleting asks for a second press instead of a dialogue.
export function twice(button, status, action) {
  if (button.dataset.sure) { action(); return; }
  const before = button.textContent;
  button.dataset.sure = 'yes';
  button.textContent = 'Really?';
  tell(status, 'Press again to delete it.');
  setTimeout(() => { delete button.dataset.sure; button.textContent = before; }, 4000);
}

async function drop(voice) {
  try {
    await remove(`/voices/${encodeURIComponent(voice.id)}`);
    await load();
    tell($('voices-status'), `${voice.name} is deleted.`);
    $('voices-h').tabIndex = -1;
    $('voices-h').focus();
  } catch (error) { tell($('voices-status'), error.message, true); }
}

async function arrived(voice, form) {
  await load();
  $('voice').value = voice.id;
  tell($(`${form}-status`), `${voice.name} can speak now, and is picked in Speak.`);
}

// Mixing. Sliders hold parts, not percentages, so that moving one does not
// move the others; the shares are shown beside them.
function addRow() {
  const n = $('mix-rows').children.length;
  if (n >= MOST) return;
  const id = `mix-${Math.random().toString(36).slice(2, 8)}`;
  const row = h('div', { className: 'mix-row' },
    h('div', {}, h('label', { for: id, textContent: 'Voice' }), h('select', { id })),
    h('div', {},
      h('label', { for: `${id}-part` }, 'Share ', h('output', { for: `${id}-part` })),
      h('input', { id: `${id}-part`, type: 'range', min: 1, max: 100, value: 50, oninput: showShares })),
    h('button', { type: 'button', className: 'small', textContent: 'Remove', onclick: () => { row.remove(); refreshRows(); $('mix-add').focus(); } }));
  row.querySelector('select').dataset.nth = n;
  $('mix-rows').append(row);
}

function refreshRows() {
  const rows = [...$('mix-rows').children];
  rows.forEach((row, i) => {
    const select = row.querySelector('select');
    const kept = select.value || voices[Number(select.dataset.nth) * 3 % voices.length]?.id;
    select.replaceChildren(...voices.map((v) => new Option(v.name, v.id)));
    if (voices.some((v) => v.id === kept)) select.value = kept;
    row.querySelector('label').textContent = `Voice ${i + 1}`;
    const button = row.querySelector('button');
    button.hidden = rows.length <= 2;
    button.setAttribute('aria-label', `Remove voice ${i + 1} from the mixture`);
  });
  $('mix-add').disabled = rows.length >= MOST;
  showShares();
}

function shares() {
  const rows = [...$('mix-rows').children];
  const parts = rows.map((row) => Number(row.querySelector('input').value));
  const sum = parts.reduce((a, b) => a + b, 0);
  return rows.map((row, i) => ({ row, id: row.querySelector('select').value, weight: parts[i] / sum }));
}

function showShares() {
  for (const { row, weight } of shares()) row.querySelector('output').textContent = `${Math.round(weight * 100)} %`;
}

async function mix(event) {
  event.preventDefault();
  const chosen = shares().map(({ id, weight }) => ({ id, weight: Number(weight.toFixed(4)) }));
  if (new Set(chosen.map((v) => v.id)).size < chosen.length) { tell($('mix-status'), 'Choose different voices: one of them is there twice.', true); return; }
  tell($('mix-status'), 'Mixing.');
  try {
    const voice = await post('/voices/mix', { name: $('mix-name').value.trim(), voices: chosen });
    $('mix-name').value = '';
    await arrived(voice, 'mix');
  } catch (error) { tell($('mix-status'), error.message, true); }
}
