// The page: which section is shown, the key, and what goes wrong.

import { $, tell } from './dom.js';
import { key, setKey, whenKeyIsAsked } from './api.js';
import * as speak from './speak.js';
import * as voices from './voices.js';
import * as write from './write.js';
import * as now from './now.js';

// Each section loads what it needs when it is first shown.
const SECTIONS = {
  speak: { show: speak.show },
  voices: { load: voices.load },
  write: { load: write.load },
  now: { show: now.show, hide: now.hide },
};
let shown = null;

async function route() {
  const name = location.hash.slice(1);
  if (name === shown || (name && !SECTIONS[name])) return;
  const first = shown === null;
  SECTIONS[shown]?.hide?.();
  shown = name || 'speak';
  for (const id of Object.keys(SECTIONS)) $(id).hidden = id !== shown;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#${shown}`) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  }
  const heading = $(`${shown}-h`);
  document.title = `${heading.textContent} – Sillage`;
  if (!first) { scrollTo(0, 0); heading.tabIndex = -1; heading.focus({ preventScroll: true }); }
  SECTIONS[shown].show?.();
  if (SECTIONS[shown].load) await attempt(SECTIONS[shown].load);
}

async function attempt(action) {
  try {
    await action();
    $('trouble').hidden = true;
  } catch (error) {
    // A missing key has its own field, which says what to do.
    if (error.status === 401) return;
    $('trouble').hidden = false;
    tell($('trouble'), error.message, true);
  }
}

function askForKey() {
  if (key()) tell($('key-h'), 'This key was not accepted. Another one?', true);
  if (!$('key-bar').hidden) return;
  $('key-bar').hidden = false;
  $('key').focus();
}

async function useKey(event) {
  event.preventDefault();
  setKey($('key').value.trim());
  await attempt(async () => {
    await voices.load();
    $('key-bar').hidden = true;
    $('key').value = '';
    shown = null;
    await route();
  });
}

function readAloud(text) {
  location.hash = '#speak';
  $('text').value = text.trim();
  if ($('typing').checked) $('typing').click();
  speak.speak($('text').value);
}

whenKeyIsAsked(askForKey);
$('key-bar').addEventListener('submit', useKey);
// "#main" is no section: the skip link only moves the focus.
document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); $('main').focus(); });
speak.start();
voices.start();
write.start({ readAloud });
now.start();
addEventListener('hashchange', route);
route();
attempt(voices.load);
