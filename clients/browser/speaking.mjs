// The section "Speak": sound really plays, is drawn, highlighted and kept.
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import { check } from '../common.mjs';
import { close, open, says, shot, text } from './browser.mjs';

const WORDS = 'The harbour was quiet, and nobody heard the bell.';

async function spoken(page, words = WORDS) {
  await page.fill('#text', words);
  await page.click('#say');
  return says(page, '#speak-status', /^Said/, 30000);
}

// A machine busy with other things may keep the page from its work; the page
// then learns to wait longer before it begins, and soon has no gaps.
async function spokenWhole(page, words, before = () => {}) {
  let said;
  for (let tries = 1; tries <= 5; tries += 1) {
    await before();
    said = await spoken(page, words);
    if (!said.includes('Gaps')) return tries;
  }
  assert.fail(`still after five times: ${said}`);
}

// How many different colours a part of the picture has: an empty one has few.
const colours = (page, from, to) => page.evaluate(([a, b]) => {
  const { width, height } = document.querySelector('#scope');
  const copy = Object.assign(document.createElement('canvas'), { width, height }).getContext('2d', { willReadFrequently: true });
  copy.drawImage(document.querySelector('#scope'), 0, 0);
  const y = Math.floor(height * a);
  const { data } = copy.getImageData(0, y, width, Math.floor(height * b) - y);
  return new Set(new Uint32Array(data.buffer)).size;
}, [from, to]);

check('speaks, and sound is heard', async () => {
  const page = await open();
  await page.waitForTimeout(300);
  await spokenWhole(page);
  const peak = Number(await page.getAttribute('#level', 'data-peak'));
  assert(peak > 0.02 && peak < 0.7, `the loudest moment was ${peak}`);
  const first = await text(page, '#first-audio');
  assert.match(first, /^[\d.]+ ms$/);
  const made = parseFloat(await text(page, '#made'));
  assert(made > 1.5 && made < 8, `${made} s of sound`);
  await close(page);
  return `first sound after ${first}, loudest ${peak}`;
});

check('plays without gaps, also where the page is kept from its work', async () => {
  const page = await open();
  await page.evaluate(() => {
    const { start } = AudioBufferSourceNode.prototype;
    AudioBufferSourceNode.prototype.start = function planned(when) {
      start.call(this, when);
      if (!window.plan.length) for (const until = performance.now() + 120; performance.now() < until;);
      window.plan.push([when, this.buffer.length]);
    };
  });
  const tries = await spokenWhole(page, `${WORDS} ${WORDS}`, () => page.evaluate(() => { window.plan = []; }));
  // Every buffer has to start where the one before it ends, to the sample.
  const plan = await page.evaluate(() => window.plan);
  assert(plan.length > 5, `${plan.length} buffers`);
  for (let i = 1; i < plan.length; i += 1) {
    const off = (plan[i][0] - plan[i - 1][0]) * 24000 - plan[i - 1][1];
    assert(Math.abs(off) < 0.01, `${off} samples between buffers ${i - 1} and ${i}`);
  }
  await close(page);
  return `${plan.length} buffers, after ${tries - 1} utterances with gaps`;
});

check('draws the wave and the spectrogram', async () => {
  const page = await open();
  const before = await colours(page, 0.5, 0.85);
  await page.fill('#text', WORDS);
  await page.click('#say');
  await page.waitForTimeout(2000);
  const wave = await colours(page, 0.02, 0.4);
  const spectrum = await colours(page, 0.5, 0.85);
  assert(spectrum > before + 300, `${spectrum} colours where there were ${before}`);
  assert(wave > 10, `${wave} colours in the wave`);
  await close(page);
  return `${spectrum} colours`;
});

check('marks words as they are spoken', async () => {
  const page = await open();
  await page.evaluate(() => {
    window.seen = [];
    new MutationObserver(() => {
      const now = document.querySelector('#reading .saying')?.textContent;
      if (now && now !== window.seen.at(-1)) window.seen.push(now);
    }).observe(document.querySelector('#reading'), { subtree: true, attributes: true, childList: true });
  });
  await spoken(page);
  const seen = await page.evaluate(() => window.seen);
  const written = WORDS.split(' ');
  // A busy machine draws few pictures a second, and short words fall between them.
  assert(seen.length >= written.length / 2, `marked only: ${seen.join(' ')}`);
  assert.deepEqual(seen, written.filter((word) => seen.includes(word)), 'out of order');
  assert(await page.isVisible('#text'), 'the text can be edited again');
  await close(page);
  return `${seen.length} of ${written.length} words`;
});

check('stops at once', async () => {
  const page = await open();
  await page.fill('#text', `${WORDS} `.repeat(10));
  await page.click('#say');
  await page.waitForFunction(() => Number(document.querySelector('#level').dataset.peak) > 0.01);
  await page.click('#stop');
  await says(page, '#speak-status', /^Stopped/);
  assert(await page.isDisabled('#stop'));
  await spoken(page, 'Once more.');
  await close(page);
});

check('speaks while one types', async () => {
  const page = await open();
  await page.check('#typing');
  await page.locator('#text').pressSequentially('The first sentence is short. ', { delay: 15 });
  await page.waitForFunction(() => parseFloat(document.querySelector('#made').textContent) > 0.8);
  const one = parseFloat(await text(page, '#made'));
  const first = await text(page, '#first-audio');
  await page.locator('#text').pressSequentially('A second one follows it', { delay: 15 });
  await page.waitForFunction((s) => parseFloat(document.querySelector('#made').textContent) > s + 0.5, one);
  assert.equal(await page.inputValue('#text'), 'The first sentence is short. A second one follows it');
  await page.uncheck('#typing');
  await spoken(page, 'And as before.');
  await close(page);
  return `first sound after ${first}`;
});

check('keeps speech as files', async () => {
  const page = await open();
  await page.fill('#text', WORDS);
  const starts = { wav: /^RIFF/, flac: /^fLaC/, opus: /^OggS/, mp3: /^(ID3|\xff[\xe0-\xff])/ };
  for (const [format, start] of Object.entries(starts)) {
    const [file] = await Promise.all([page.waitForEvent('download'), page.click(`[data-format=${format}]`)]);
    assert.equal(file.suggestedFilename(), `sillage.${format}`);
    assert.match(readFileSync(await file.path()).toString('latin1', 0, 4), start);
  }
  await close(page);
});

check('says in words what is wrong', async () => {
  const page = await open();
  await page.fill('#text', '   ');
  await page.click('#say');
  await says(page, '#speak-status', /nothing to say/);
  await page.fill('#text', WORDS);
  await page.evaluate(() => { document.querySelector('#voice').append(new Option('nobody', 'no-such-voice', true, true)); });
  await page.click('#say');
  const said = await says(page, '#speak-status', /voice/i);
  assert(await page.isVisible('#text') && await page.isDisabled('#stop'));
  await shot(page, 'speak-error');
  await close(page);
  return said;
});
