// Turns typing into pieces of speech: whole words go to the server as they
// are typed, and the end of a sentence, or a pause, asks for them to be said.

const PAUSE = 1800;                 // ms without a key before the rest is said
const SENTENCE = /[.!?…:;]["'”’)\]]*\s$|\n$/;

export class Typing {
  // `begin` opens an utterance and returns { say(text, options) }.
  constructor(area, { begin }) {
    this.area = area;
    this.begin = begin;
    this.active = false;
    area.addEventListener('input', () => { if (this.active) this.read(); });
  }

  start() {
    this.active = true;
    this.utterance = null;
    this.before = this.area.value;
    this.sent = ''; // what the server has been given; it cannot be taken back
  }

  read() {
    clearTimeout(this.timer);
    const text = this.area.value;
    this.allowForEdits(text);
    const fresh = text.slice(this.sent.length);
    const whole = fresh.slice(0, fresh.search(/\S*$/));
    if (whole.trim()) this.send(whole, SENTENCE.test(whole));
    this.timer = setTimeout(() => this.rest(), PAUSE);
  }

  // What was said cannot be taken back. An edit further up is not said again;
  // a word corrected at the end is, as a whole.
  allowForEdits(text) {
    const before = this.before;
    this.before = text;
    if (text.startsWith(this.sent)) return;
    const unsaid = before.length - this.sent.length;
    this.sent = text.slice(0, Math.max(0, text.length - unsaid));
    if (before.startsWith(text)) this.sent = text.slice(0, text.search(/\S*$/));
    else if (text[0] !== before[0]) this.sent = '';
  }

  // Whatever has not been said after a pause is said now.
  rest() {
    const tail = this.area.value.slice(this.sent.length);
    if (this.pending || tail.trim()) this.send(tail, true);
  }

  send(text, flush) {
    this.utterance ??= this.begin();
    this.sent += text;
    this.pending = !flush;
    this.utterance.say(text, { more: true, flush });
  }

  // The server has closed the utterance, as it does when nothing comes for a
  // while; the next words open another.
  reopen() { this.utterance = null; this.pending = false; }

  stop() { this.cancel(); this.active = false; }

  // Forgets the open utterance; what has been typed so far counts as said.
  cancel() {
    clearTimeout(this.timer);
    this.utterance = null;
    this.pending = false;
    this.before = this.area.value;
    this.sent = this.active ? this.before : '';
  }
}
