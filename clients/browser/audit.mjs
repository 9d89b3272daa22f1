// Simple versions of what accessibility checkers do. Each function runs inside
// the page and gives a list of what is wrong there.

/** Controls and pictures that a screen reader could not name. */
export function namelessIn() {
  const seen = (e) => e.checkVisibility({ visibilityProperty: true });
  const name = (e) => {
    const by = e.getAttribute('aria-labelledby');
    if (by) return by.split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join(' ');
    return e.getAttribute('aria-label') ?? ([...(e.labels ?? [])].map((l) => l.textContent).join(' ') || (/^(BUTTON|A|SUMMARY)$/.test(e.tagName) ? e.textContent : e.getAttribute('alt') ?? ''));
  };
  return [...document.querySelectorAll('button, a, input, select, textarea, meter, summary, [role=img], nav, section')]
    .filter((e) => seen(e) && !name(e).trim()).map((e) => e.outerHTML.slice(0, 120));
}

/** Text with less contrast than 4.5 to 1 (3 to 1 if large) with what lies behind it. */
export function contrasts() {
  const parse = (colour) => { const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
  const behind = (e) => {
    for (let at = e; at; at = at.parentElement) { const c = parse(getComputedStyle(at).backgroundColor); if (c[3] > 0.99) return c; }
    return [255, 255, 255];
  };
  const light = (c) => {
    const [r, g, b] = c.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility({ visibilityProperty: true }) || e.closest(':disabled, svg, noscript')) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(parse(style.color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    if (ratio < (size >= 24 || (size >= 18.7 && style.fontWeight >= 600) ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)}: ${e.textContent.trim().slice(0, 40)}`);
  }
  return faint;
}

/** What sticks out to the right, if the page can be scrolled sideways. */
export function overflow() {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  return [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > root.clientWidth + 0.5)
    .map((e) => `${e.tagName} ${e.id || e.className} to ${Math.round(e.getBoundingClientRect().right)}`).slice(0, 5);
}

/** Landmarks, levels of visible headings, ids given twice, the current link. */
export function structureOf() {
  const count = (selector) => document.querySelectorAll(selector).length;
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  return {
    landmarks: { main: count('main'), nav: count('nav'), header: count('header') },
    headings: [...document.querySelectorAll('h1, h2, h3, h4')].filter((e) => e.checkVisibility()).map((e) => Number(e.tagName[1])),
    ids: ids.filter((id, i) => ids.indexOf(id) !== i),
    current: document.querySelector('nav [aria-current]').textContent,
  };
}
