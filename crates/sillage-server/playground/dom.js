// Small helpers for building the page and wording figures.

export const $ = (id) => document.getElementById(id);

// Builds an element. Properties are set as properties, so nothing here is
// ever parsed as HTML; children that are strings become text.
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key.includes('-') || key === 'role' || key === 'for') element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// Status lines are live regions: what is written here is also read out.
export function tell(element, text, bad = false) {
  element.textContent = text;
  element.classList.toggle('bad', bad);
}

export function milliseconds(ms) {
  if (ms == null || !Number.isFinite(ms)) return '–';
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 10000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function seconds(s) {
  if (s == null || !Number.isFinite(s)) return '–';
  if (s < 100) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  if (whole < 6000) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
}

export function bytes(n) {
  if (n == null || !Number.isFinite(n)) return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) { n /= 1000; i += 1; }
  return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

export function count(n) {
  return n == null || !Number.isFinite(n) ? '–' : Math.round(n).toLocaleString('en-GB');
}

// Gives a canvas the pixels of the screen it is on, and returns its size in
// CSS pixels with a context scaled to them.
export function fit(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  const w = Math.round(width * scale);
  const hh = Math.round(height * scale);
  if (canvas.width !== w || canvas.height !== hh) { canvas.width = w; canvas.height = hh; }
  const context = canvas.getContext('2d');
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return { context, width, height };
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Offers bytes to the user as a file.
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// crypto.randomUUID exists only on https and localhost; this page should also
// work over plain http in a home network.
export function newId(prefix) {
  const random = crypto.getRandomValues(new Uint8Array(9));
  return prefix + btoa(String.fromCharCode(...random)).replace(/\W/g, 'x');
}
