// The playground in a real browser.
//
//   node clients/browser/run.mjs [CHECK...]
//
// Needs playwright-core in $SILLAGE_CLIENTS/browser (~/.cache/sillage-clients/browser):
// copy package*.json there and run npm ci; it brings no browser of its own.
//
// SILLAGE_BASE    the server (http://127.0.0.1:8080)
// SILLAGE_KEY     its key, if it asks for one
// SILLAGE_CLIP    a WAV file that the browser takes for its microphone
// SCREENSHOTS     a folder for pictures of every section
// CHROMIUM        the browser (/usr/bin/chromium, as Debian has it)
import { run } from '../common.mjs';
import './speaking.mjs';
import './voices.mjs';
import './writing.mjs';
import './access.mjs';

await run();
