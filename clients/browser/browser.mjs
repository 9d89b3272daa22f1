// A Chromium with a microphone made of a file, and what all browser checks use.
import assert from 'node:assert';
import { existsSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { contrasts, namelessIn, overflow } from './audit.mjs';

const env = process.env;
const root = env.SILLAGE_CLIENTS ?? `${homedir()}/.cache/sillage-clients`;
const { chromium } = createRequire(`${root}/browser/`)('playwright-core');

export const BASE = (env.SILLAGE_BASE ?? 'http://127.0.0.1:8080').replace(/\/$/, '');
export const KEY = env.SILLAGE_KEY ?? '';
export const SHOTS = env.SCREENSHOTS ?? '';
export const SECTIONS = ['speak', 'voices', 'write', 'now'];
const PROGRAM = env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path));
if (SHOTS) mkdirSync(SHOTS, { recursive: true });

const flags = ['--no-sandbox', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', '--autoplay-policy=no-user-gesture-required'];
if (env.SILLAGE_CLIP) flags.push(`--use-file-for-fake-audio-capture=${env.SILLAGE_CLIP}`);

export const browser = await chromium.launch({ executablePath: PROGRAM, args: flags });

// How pages are looked at: options of a context.
export const VIEWS = {
  light: { colorScheme: 'light' },
  dark: { colorScheme: 'dark' },
  'phone-light': { colorScheme: 'light', viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
  'phone-dark': { colorScheme: 'dark', viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
};

// Everything that a page complains about, over all checks.
export const complaints = [];

/** A page of its own at a section; if the server wants a key, the tab has it. */
export async function open(section = 'speak', { key = KEY, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(`${section}: ${message.text()}`); });
  page.on('pageerror', (error) => complaints.push(`${section}: ${error.stack}`));
  page.on('request', (request) => { if (!/^(data|blob):/.test(request.url()) && new URL(request.url()).host !== new URL(BASE).host) complaints.push(`asked another host: ${request.url()}`); });
  if (key) await context.addInitScript((mine) => sessionStorage.setItem('sillage-key', mine), key);
  await page.goto(`${BASE}/#${section}`);
  if (key || !KEY) await page.waitForSelector('#voice option', { state: 'attached' });
  return page;
}

export const close = (page) => page.context().close();
export const text = async (page, selector) => (await page.textContent(selector)).trim();

/** Waits until an element says something that matches; failing, what it said instead. */
export async function says(page, selector, pattern, timeout = 20000) {
  const matches = ([s, source]) => new RegExp(source).test(document.querySelector(s)?.textContent ?? '');
  try { await page.waitForFunction(matches, [selector, pattern.source], { timeout }); } catch {
    assert.fail(`${selector} says "${await text(page, selector)}", not ${pattern}`);
  }
  return text(page, selector);
}

/** Holds a page to what everyone needs: names, contrast, width. */
export async function audit(page, where) {
  const nameless = await page.evaluate(namelessIn);
  assert.deepEqual(nameless, [], `${where}: without a name`);
  const faint = await page.evaluate(contrasts);
  assert.deepEqual(faint, [], `${where}: too faint`);
  const wide = await page.evaluate(overflow);
  assert.deepEqual(wide, [], `${where}: wider than the screen`);
}

/** Writes one turn and waits for its end. */
export async function turn(page, words) {
  if (words !== undefined) await page.fill('#prompt', words);
  await page.click('#write-go');
  return says(page, '#write-status', /Turn \d+ is written/, 60000);
}

export const shot = async (page, name) => {
  if (SHOTS) await page.screenshot({ path: `${SHOTS}/${name}.png` });
};
