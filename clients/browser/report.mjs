// The lab's page, as it lies in the repository, in a real browser: no network,
// readable in the light, in the dark and on a phone, by everyone.
//
//   node clients/browser/report.mjs [CHECK...]
//
// SILLAGE_REPORT  another page (docs/lab/report.html); otherwise as run.mjs
import assert from 'node:assert';
import { pathToFileURL } from 'node:url';
import { resolve } from 'node:path';
import { check, run } from '../common.mjs';
import { VIEWS, audit, browser, close, shot } from './browser.mjs';
import { contrasts } from './audit.mjs';

const FILE = process.env.SILLAGE_REPORT ?? resolve(import.meta.dirname, '../../docs/lab/report.html');
const ADDRESS = pathToFileURL(FILE).href;

async function read(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.troubles = [];
  page.on('console', (message) => page.troubles.push(message.text()));
  page.on('pageerror', (error) => page.troubles.push(String(error)));
  page.on('request', (request) => { if (request.url() !== ADDRESS) page.troubles.push(`asked for ${request.url().slice(0, 80)}`); });
  await page.goto(ADDRESS);
  return page;
}

const claims = (page) => page.locator('.claims tr[data-verdict]');

for (const [view, options] of Object.entries({ ...VIEWS, 'without scripts': { colorScheme: 'light', javaScriptEnabled: false } })) {
  check(`readable, ${view}`, async () => {
    const page = await read(options);
    await audit(page, view);
    assert.equal(await page.locator('h1').count(), 1);
    assert(await claims(page).first().isVisible());
    await shot(page, `report-${view.replaceAll(' ', '-')}`);
    assert.deepEqual(page.troubles, []);
    await close(page);
  });
}

check('every measure has a picture that shows something, words and a command', async () => {
  const page = await read();
  const sections = page.locator('section[id^="measure-"]');
  const count = await sections.count();
  assert(count > 0, 'no measures');
  for (let i = 0; i < count; i += 1) {
    const section = sections.nth(i);
    const id = await section.getAttribute('id');
    const drawn = await section.locator('figure svg').evaluateAll((all) => all.filter((svg) => {
      const { width, height } = svg.getBoundingClientRect();
      return width > 200 && height > 100 && svg.querySelectorAll('path, circle, line').length > 10;
    }).length);
    assert(drawn > 0, `${id}: no picture`);
    assert.match(await section.innerText(), /sillage lab \w+/, `${id}: no command`);
  }
  await close(page);
  return `${count} measures`;
});

check('the table of claims can be narrowed down', async () => {
  const page = await read();
  const all = await claims(page).count();
  const tally = await page.locator('.tally').innerText();
  assert(tally.startsWith(`${all} claims`), tally);
  for (const verdict of ['holds', 'fails', 'mixed', 'open']) {
    await page.click(`#filter [data-show=${verdict}]`);
    const shown = await claims(page).evaluateAll((rows) => rows.filter((row) => row.checkVisibility()).map((row) => row.dataset.verdict));
    const there = await claims(page).evaluateAll((rows, of) => rows.filter((row) => row.dataset.verdict === of).length, verdict);
    assert.equal(shown.length, there, verdict);
    assert(shown.every((is) => is === verdict), `${verdict} shows ${shown}`);
  }
  await page.click('#filter [data-show=""]');
  assert.equal(await claims(page).evaluateAll((rows) => rows.filter((row) => row.checkVisibility()).length), all);
  await close(page);
  return tally;
});

check('light and dark can be chosen', async () => {
  const page = await read({ colorScheme: 'light' });
  const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await back();
  await page.click('#theme');
  const dark = await back();
  assert.notEqual(dark, light);
  assert.deepEqual(await page.evaluate(contrasts), [], 'too faint in the dark');
  await page.click('#theme');
  assert.equal(await back(), light);
  await close(page);
});

await run();
