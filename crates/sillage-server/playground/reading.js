// The text being spoken, with the word that is heard right now marked.

import { h } from './dom.js';

const letters = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');

export class Reading {
  constructor(element) { this.element = element; this.clear(); }

  clear() {
    this.element.replaceChildren();
    this.spans = [];   // every written word
    this.timed = [];   // { span, start, end }
    this.cursor = 0;   // the first written word not yet matched
    this.at = -1;
  }

  append(text) {
    for (const part of text.match(/\S+|\s+/g) || []) {
      if (/\s/.test(part)) { this.element.append(part); continue; }
      const span = h('span', { textContent: part });
      this.spans.push(span);
      this.element.append(span);
    }
  }

  // The server names words as they are said, which may differ from how they
  // are written ("five dollars" for "$5"); such words share a written one.
  time({ words, start, end }) {
    words.forEach((word, i) => {
      const found = this.match(letters(word));
      if (found) this.timed.push({ span: found, start: start[i], end: end[i] });
    });
  }

  match(word) {
    for (let i = this.cursor; i < Math.min(this.cursor + 6, this.spans.length); i += 1) {
      const written = letters(this.spans[i].textContent);
      if (word && (written === word || (written.length > 2 && written.startsWith(word)))) {
        this.cursor = written === word ? i + 1 : i;
        return this.spans[i];
      }
    }
    return this.spans[Math.min(this.cursor, this.spans.length - 1)];
  }

  show(second) {
    let at = this.at;
    while (at + 1 < this.timed.length && this.timed[at + 1].start <= second) at += 1;
    if (at === this.at && at >= 0 && second < this.timed[at].end) return;
    for (; this.at < at; this.at += 1) this.mark(this.timed[Math.max(0, this.at)].span, 'said');
    if (at < 0) return;
    const { span, end } = this.timed[at];
    this.mark(span, second < end ? 'saying' : 'said');
    if (second < end) this.keepInSight(span);
  }

  mark(span, name) { if (span.className !== name) span.className = name; }

  // Scrolls within the text only; the page itself stays where the reader put it.
  keepInSight(span) {
    const box = this.element;
    const y = span.offsetTop - box.offsetTop;
    if (y < box.scrollTop || y > box.scrollTop + box.clientHeight - 40) box.scrollTop = y - box.clientHeight / 3;
  }
}
