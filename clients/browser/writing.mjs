// The section "Write": turns, forks, the tree, and states as files.
import assert from 'node:assert';
import { statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { check } from '../common.mjs';
import { close, open, says, shot, text, turn } from './browser.mjs';

const figures = (page, nth) => page.locator('.turn').nth(nth).locator('.facts b').allTextContents();
const short = (page) => page.fill('#length', '20');

async function story() {
  const page = await open('write');
  await page.waitForSelector('#model option', { state: 'attached' });
  await short(page);
  return page;
}

check('writes on, and tells what it cost', async () => {
  const page = await story();
  await turn(page);
  await turn(page, 'Then the door opened.');
  assert.equal(await page.locator('.turn').count(), 2);
  // A server that has read this beginning before reuses that, too.
  const [read, known, , first, state] = await figures(page, 0);
  const [, reused] = await figures(page, 1);
  assert(Number(read) + Number(known) > 5, `${read} tokens read, ${known} reused`);
  assert(Number(reused) > 20, `the second turn reused ${reused} tokens`);
  assert.match(first, /ms$/);
  assert.match(state, /[kM]B$/, `state: ${state}`);
  assert((await text(page, '.turn .text')).length > 110, 'the model wrote something');
  await close(page);
  return `${reused} tokens reused, first token after ${first}, state of ${state}`;
});

check('forks, and shows the tree', async () => {
  const page = await story();
  await turn(page);
  await turn(page, 'Then the door opened.');
  await page.getByRole('button', { name: 'Fork from here, turn 1' }).click();
  assert.equal(await page.locator('.turn').count(), 1);
  await turn(page, 'But nobody came.');
  assert.equal(await page.locator('#tree button').count(), 3);
  assert.equal(await page.locator('#tree circle').count(), 3);
  assert.match(await page.locator('#tree button').first().getAttribute('aria-label'), /parts into 2/);
  const [, reused] = await figures(page, 1);
  assert(Number(reused) > 20, `the fork reused ${reused} tokens`);
  await page.locator('#tree button').nth(1).click();
  assert.match(await text(page, '.turn:nth-of-type(2) .yours'), /door opened/);
  await page.reload();
  await page.waitForSelector('.turn');
  assert.equal(await page.locator('#tree button').count(), 3, 'the tree outlives a reload');
  await shot(page, 'write-tree');
  await close(page);
});

check('stops writing', async () => {
  const page = await story();
  const words = await page.inputValue('#prompt');
  // A small model is done before a hand could stop it, so both are pressed at once.
  await page.evaluate(() => { document.querySelector('#write-go').click(); document.querySelector('#write-stop').click(); });
  await says(page, '#write-status', /^Stopped/);
  assert.equal(await page.inputValue('#prompt'), words, 'the words are still there');
  assert.equal(await page.locator('.turn').count(), 0);
  assert(await page.isEnabled('#write-go'));
  await close(page);
});

const ids = (page) => page.locator('#states li[data-id]').evaluateAll((items) => items.map((item) => item.dataset.id));

// The one state that was not there before.
async function fresh(page, before) {
  const now = (await ids(page)).filter((id) => !before.includes(id));
  assert.equal(now.length, 1, `new states: ${now}`);
  return page.locator(`#states li[data-id="${now[0]}"]`);
}

check('saves, downloads, brings back and deletes states', async () => {
  const page = await story();
  await turn(page);
  const before = await ids(page);
  await page.getByRole('button', { name: 'Save state, turn 1' }).click();
  await says(page, '#states-status', /^Saved: /);
  const item = await fresh(page, before);
  const [file] = await Promise.all([page.waitForEvent('download'), item.getByRole('button', { name: /Download/ }).click()]);
  const path = await file.path();
  const { size } = statSync(path);
  assert(size > 1000, `${size} bytes`);
  const remove = async (which) => {
    const button = which.getByRole('button', { name: /Delete/ });
    await button.click();
    await button.click();
    await says(page, '#states-status', /is deleted/);
  };
  await remove(item);
  assert.equal(await item.count(), 0);
  await page.setInputFiles('#state-file', path);
  await says(page, '#states-status', /^Brought in: /);
  const back = await fresh(page, before);
  await back.getByRole('button', { name: /Go on/ }).click();
  assert.match(await text(page, '.turn .text'), /The lamp had burned low/, 'the state brings its text');
  await turn(page, 'And so it went on.');
  const [, reused] = await figures(page, 1);
  assert(Number(reused) > 20, `going on reused ${reused} tokens`);
  await remove(back);
  await close(page);
  return `${size} bytes`;
});

check('refuses what is no state, in words', async () => {
  const page = await story();
  const path = `${tmpdir()}/sillage-no-state`;
  writeFileSync(path, 'no');
  await page.setInputFiles('#state-file', path);
  await page.waitForSelector('#states-status.bad');
  const said = await says(page, '#states-status', /\w+ \w+ \w+/);
  await close(page);
  return said;
});

check('reads a story aloud', async () => {
  const page = await story();
  await turn(page);
  await page.click('#read-aloud');
  await page.waitForFunction(() => Number(document.querySelector('#level').dataset.peak) > 0.01);
  assert(await page.isVisible('#speak') && await page.isHidden('#write'));
  const { height } = await page.locator('#reading').boundingBox();
  assert(height > 60, `the text that is read is ${height} pixels high`);
  await page.keyboard.press('Escape');
  await says(page, '#speak-status', /^Stopped/);
  await close(page);
});
