// The section "Voices": the list, mixing, cloning by microphone, deleting.
import assert from 'node:assert';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { check } from '../common.mjs';
import { close, open, says, shot } from './browser.mjs';

const item = (page, name) => page.locator('#voice-list li', { has: page.getByText(name, { exact: true }) });

async function remove(page, name) {
  const button = item(page, name).getByRole('button', { name: `Delete ${name}` });
  await button.click();
  await button.click();
  await says(page, '#voices-status', new RegExp(`${name} is deleted`));
  assert.equal(await item(page, name).count(), 0);
}

check('lists voices and lets one hear them', async () => {
  const page = await open('voices');
  await page.waitForSelector('#voice-list li');
  const count = await page.locator('#voice-list li').count();
  assert(count >= 10, `${count} voices`);
  await page.locator('#voice-list button').first().click();
  await page.waitForFunction(() => Number(document.querySelector('#level').dataset.peak) > 0.01);
  await page.keyboard.press('Escape');
  await close(page);
  return `${count} voices`;
});

check('mixes voices and deletes the mixture', async () => {
  const page = await open('voices');
  const name = `Blend ${Date.now() % 100000}`;
  await page.waitForSelector('#voice-list li');
  await page.click('#mix-add');
  assert.equal(await page.locator('.mix-row').count(), 3);
  const sliders = page.locator('.mix-row input');
  await sliders.nth(0).fill('90');
  await sliders.nth(1).fill('45');
  await sliders.nth(2).fill('45');
  assert.match(await page.locator('.mix-row output').first().textContent(), /^50 %$/);
  await page.fill('#mix-name', name);
  await page.getByRole('button', { name: 'Mix', exact: true }).click();
  await says(page, '#mix-status', /can speak now/);
  assert.equal(await page.locator('#voice option:checked').textContent().then((t) => t.split(':')[0]), name);
  await page.evaluate(() => { delete document.querySelector('#level').dataset.peak; });
  await item(page, name).getByRole('button', { name: `Hear ${name}` }).click();
  await page.waitForFunction(() => Number(document.querySelector('#level').dataset.peak) > 0.01);
  await page.keyboard.press('Escape');
  await remove(page, name);
  await close(page);
});

async function record(page, what, seconds) {
  await page.getByRole('button', { name: `Record ${what}` }).click();
  await page.waitForTimeout(seconds * 1000);
  await page.getByRole('button', { name: `Record ${what}` }).click();
  await page.getByRole('button', { name: `Listen to ${what}` }).waitFor();
}

check('clones from the microphone', async () => {
  const page = await open('voices');
  const name = `Person ${Date.now() % 100000}`;
  await page.fill('#clone-name', name);
  const sentence = await says(page, '#consent-sentence', new RegExp(name));
  await page.getByRole('button', { name: 'Make the voice' }).click();
  await says(page, '#clone-status', /Still missing: the clip and the consent/);
  await record(page, 'the clip', 7);
  await record(page, 'the consent', 5);
  await shot(page, 'voices-recorded');
  await page.getByRole('button', { name: 'Make the voice' }).click();
  await says(page, '#clone-status', /can speak now|:/, 60000);
  await says(page, '#clone-status', new RegExp(`${name} can speak now`));
  await remove(page, name);
  await close(page);
  return sentence;
});

// A WAV file without a sound in it.
function silence(samples) {
  const wav = Buffer.alloc(44 + 2 * samples);
  wav.write('RIFF', 0);
  wav.writeUInt32LE(36 + 2 * samples, 4);
  wav.write('WAVEfmt ', 8);
  [[16, 4], [1, 2], [1, 2], [24000, 4], [48000, 4], [2, 2], [16, 2]].reduce((at, [value, size]) => wav.writeUIntLE(value, at, size), 16);
  wav.write('data', 36);
  wav.writeUInt32LE(2 * samples, 40);
  return wav;
}

check('says why a recording will not do', async () => {
  const page = await open('voices');
  const empty = `${tmpdir()}/sillage-silence.wav`;
  const broken = `${tmpdir()}/sillage-no-sound.wav`;
  writeFileSync(broken, 'this is not sound');
  await page.setInputFiles('#file-the-clip', broken);
  await says(page, '#take-clip .status', /no sound that the browser can read/);
  // In rehearsal the server takes any clip, so its refusal is played here.
  const refusal = { error_code: 'clip', title: 'Bad request', message: 'the clip holds 0.1 s of speech, and 3 s are needed' };
  await page.route('**/voices/clone', (route) => route.fulfill({ status: 400, json: refusal }));
  writeFileSync(empty, silence(2400));
  await page.fill('#clone-name', 'Anna');
  for (const what of ['clip', 'consent']) {
    await page.setInputFiles(`#file-the-${what}`, empty);
    await says(page, `#take-${what} .status`, /of sound/);
  }
  await page.getByRole('button', { name: 'Make the voice' }).click();
  await page.waitForSelector('#clone-status.bad');
  const said = await says(page, '#clone-status', /3 s are needed/);
  await close(page);
  return said;
});
