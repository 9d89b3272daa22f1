// Everyone can use the page: keyboard, names, contrast, narrow screens, the
// dark; it stays on its own host and its console stays empty.
import assert from 'node:assert';
import { check } from '../common.mjs';
import { BASE, KEY, SECTIONS, VIEWS, audit, close, complaints, open, says, shot, text, turn } from './browser.mjs';
import { structureOf } from './audit.mjs';

// Brings a section into the state that people will mostly see it in.
async function fill(page, section) {
  await page.goto(`${BASE}/#${section}`);
  if (section === 'speak') {
    await page.click('#say');
    await page.waitForTimeout(4500);
  }
  if (section === 'write') {
    await page.waitForSelector('#model option', { state: 'attached' });
    await page.fill('#length', '60');
    await turn(page);
    await turn(page, 'The wind rose in the night.');
    await page.getByRole('button', { name: 'Fork from here, turn 1' }).click();
    await turn(page, 'In the morning there was a letter.');
    await page.getByRole('button', { name: 'Save state, turn 2' }).click();
    await says(page, '#states-status', /Saved/);
  }
  if (section === 'now') await page.waitForTimeout(3500);
  await page.waitForTimeout(200);
}

for (const [view, options] of Object.entries(VIEWS)) {
  check(`names, contrast and width, ${view}`, async () => {
    const page = await open('speak', options);
    for (const section of SECTIONS) {
      await fill(page, section);
      await shot(page, `${section}-${view}`);
      await audit(page, `${section}, ${view}`);
      if (section === 'speak') await page.keyboard.press('Escape');
    }
    await page.goto(`${BASE}/docs`);
    await page.waitForSelector('#groups details');
    await page.locator('#groups summary').first().click();
    await shot(page, `docs-${view}`);
    await audit(page, `docs, ${view}`);
    await close(page);
  });
}

check('landmarks and headings', async () => {
  const page = await open();
  for (const section of SECTIONS) {
    await page.goto(`${BASE}/#${section}`);
    await page.waitForFunction((id) => !document.getElementById(id).hidden, section);
    const { landmarks, headings, ids, current } = await page.evaluate(structureOf);
    assert.deepEqual(landmarks, { main: 1, nav: 1, header: 1 });
    assert.equal(headings.filter((level) => level === 1).length, 1, section);
    headings.reduce((before, level) => { assert(level <= before + 1, `${section}: h${level} after h${before}`); return level; }, 0);
    assert.deepEqual(ids, [], 'ids that are there twice');
    assert.equal(current.toLowerCase(), section);
    assert((await page.title()).toLowerCase().startsWith(section));
  }
  await close(page);
});

// Presses Tab until something is focused; fails after many.
async function tabTo(page, selector) {
  for (let i = 0; i < 120; i += 1) {
    await page.keyboard.press('Tab');
    if (await page.evaluate((s) => document.activeElement?.matches(s), selector)) {
      const outline = await page.evaluate(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2; });
      assert(outline, `the focus on ${selector} cannot be seen`);
      return;
    }
  }
  assert.fail(`Tab never reaches ${selector}`);
}

check('everything by keyboard alone', async () => {
  const page = await open();
  await tabTo(page, '.skip');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await tabTo(page, '#text');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('By keyboard.');
  await page.keyboard.press('Control+Enter');
  await says(page, '#speak-status', /^Said/);
  assert.notEqual(await page.evaluate(() => document.activeElement.tagName), 'BODY', 'the focus got lost');
  await tabTo(page, '[data-format=wav]');
  await page.reload();
  await tabTo(page, 'nav a[href="#write"]');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.activeElement.id === 'write-h');
  await tabTo(page, '#length');
  await page.keyboard.press('Home');
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Shift+Tab');
  await tabTo(page, '#length');
  await page.focus('#prompt');
  await page.keyboard.press('Control+Enter');
  await says(page, '#write-status', /is written/);
  await page.reload();
  await page.waitForSelector('.turn');
  for (const name of ['Fork from here, turn 1', 'Save state, turn 1']) await tabTo(page, `[aria-label="${name}"]`);
  await tabTo(page, '#tree button');
  await page.keyboard.press('Enter');
  assert(await page.evaluate(() => document.activeElement.matches('#tree button')), 'the tree keeps the focus');
  await close(page);
});

check('keeps still when asked to', async () => {
  const page = await open('speak', { reducedMotion: 'reduce' });
  await page.fill('#text', 'The picture turns pages instead of flowing. It does so while this is being said.');
  await page.click('#say');
  await page.waitForTimeout(1500);
  const moving = await page.evaluate(() => document.getAnimations().filter((a) => a.playState === 'running').length);
  assert.equal(moving, 0);
  await says(page, '#speak-status', /^Said/);
  await close(page);
});

check('shows live figures', async () => {
  const page = await open('now');
  await says(page, '#now-line', /Version \S+, up for/);
  assert.equal(await page.locator('.tile').count(), 18);
  const missing = await page.locator('.tile').evaluateAll((tiles) => tiles.filter((t) => /–|NaN|undefined/.test(t.textContent)).map((t) => t.textContent));
  assert.deepEqual(missing.filter((t) => !/First sound/.test(t)), []);
  const before = await text(page, '#now-line');
  await page.waitForTimeout(2200);
  assert.notEqual(await text(page, '#now-line'), before, 'it goes on');
  await close(page);
});

check('shows the API', async () => {
  const page = await open();
  await page.goto(`${BASE}/docs`);
  await page.waitForSelector('#groups details');
  const count = await page.locator('#groups details').count();
  await page.evaluate(() => document.querySelectorAll('#groups details').forEach((details) => { details.open = true; }));
  await page.waitForFunction(() => [...document.querySelectorAll('#groups details')].every((details) => details.querySelector('.op')));
  const unresolved = await page.evaluate(() => [...document.querySelectorAll('.type')].filter((e) => /undefined|\$ref/.test(e.textContent)).length);
  assert.equal(unresolved, 0);
  assert.match(await text(page, '.op pre'), /^curl /);
  await page.fill('#find', 'voices');
  await says(page, '#found', /^\d+ found/);
  await close(page);
  return `${count} operations`;
});

if (KEY) check('asks for a key, once', async () => {
  // A server without keys never asks.
  if ((await fetch(`${BASE}/v1/stats`)).status !== 401) return 'none is needed here';
  const page = await open('speak', { key: '' });
  await page.waitForSelector('#key-bar', { state: 'visible' });
  await page.fill('#key', 'a wrong one');
  await page.keyboard.press('Enter');
  await says(page, '#key-h', /not accepted/);
  await page.fill('#key', KEY);
  await page.keyboard.press('Enter');
  await page.waitForSelector('#key-bar', { state: 'hidden' });
  await page.fill('#text', 'The key fits.');
  await page.click('#say');
  await says(page, '#speak-status', /^Said/);
  await close(page);
});

check('no complaints in the console', async () => {
  // A refused request is one that the checks provoked; browsers log it all the same.
  const real = complaints.filter((c) => !/Failed to load resource: the server responded with a status of 4|WebSocket.*(40[13]|Authentication failed)/.test(c));
  assert.deepEqual(real, []);
});
