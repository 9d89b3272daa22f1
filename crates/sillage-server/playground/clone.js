// Making a voice from a recording, with the speaker's recorded consent.

import { $, tell } from './dom.js';
import { ask, get } from './api.js';
import { Take } from './recorder.js';

let clip;
let consent;
let asked = 0;
let timer;

// `done` is called with the new voice.
export function start(done) {
  clip = new Take($('take-clip'), { title: 'The clip', what: 'the clip', hint: 'Five to fifteen seconds of quiet, ordinary speech.' });
  consent = new Take($('take-consent'), { title: 'The consent', what: 'the consent', hint: 'The same person reads the sentence above.' });
  $('clone-name').addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(showSentence, 300); });
  $('clone-form').addEventListener('submit', (event) => { event.preventDefault(); send(done); });
}

// The sentence holds the name, so it is asked for whenever that changes.
async function showSentence() {
  const name = $('clone-name').value.trim();
  const mine = (asked += 1);
  if (!name) return;
  try {
    const { sentence } = await get(`/v1/consent?name=${encodeURIComponent(name)}`);
    if (mine === asked) $('consent-sentence').textContent = sentence;
  } catch (error) { tell($('clone-status'), error.message, true); }
}

async function send(done) {
  const missing = [[clip, 'the clip'], [consent, 'the consent']].filter(([take]) => !take.samples).map(([, what]) => what);
  if (missing.length) { tell($('clone-status'), `Still missing: ${missing.join(' and ')}.`, true); return; }
  const form = new FormData();
  form.append('clip', clip.wav(), 'clip.wav');
  form.append('consent', consent.wav(), 'consent.wav');
  form.append('name', $('clone-name').value.trim());
  form.append('language', 'en');
  tell($('clone-status'), 'Listening to the recordings.');
  try {
    const voice = await (await ask('/voices/clone', { method: 'POST', body: form })).json();
    $('clone-form').reset();
    clip.clear();
    consent.clear();
    await done(voice);
  } catch (error) { tell($('clone-status'), error.message, true); }
}
