// A tree of turns: what follows from what, kept for this tab, and drawn as a
// graph of lanes beside one button a turn.

import { h, svg } from './dom.js';

const STORE = 'sillage-tree';
const LANE = 16;
const ROW = 40;

export class Tree {
  constructor() {
    this.nodes = new Map();
    this.head = null;
    try {
      const { nodes, head } = JSON.parse(sessionStorage.getItem(STORE));
      for (const node of nodes) this.nodes.set(node.id, node);
      this.head = this.nodes.has(head) ? head : null;
    } catch { /* nothing kept, or not ours */ }
  }

  save() {
    try {
      sessionStorage.setItem(STORE, JSON.stringify({ nodes: [...this.nodes.values()], head: this.head }));
    } catch { /* the tab's storage is full: the tree lives on in memory */ }
  }

  // A node: { id, parent, input, output, facts }. It becomes the head.
  add(node) {
    this.nodes.set(node.id, node);
    this.head = node.id;
    this.save();
  }

  go(id) { this.head = id; this.save(); }

  clear() { this.nodes.clear(); this.head = null; this.save(); }

  // From the root to a node.
  path(id = this.head) {
    const out = [];
    for (let node = this.nodes.get(id); node; node = this.nodes.get(node.parent)) out.unshift(node);
    return out;
  }

  children(id) { return [...this.nodes.values()].filter((node) => node.parent === id); }

  // Rows in order of reading, each with its lane: a first child stays in its
  // parent's lane, every fork opens one to the right of all that lie between,
  // so lines never cross.
  layout() {
    const rows = [];
    let lanes = 0;
    const visit = (node, lane, depth) => {
      rows.push({ node, lane, depth });
      this.children(node.id).forEach((child, i) => visit(child, i === 0 ? lane : (lanes += 1), depth + 1));
    };
    const roots = [...this.nodes.values()].filter((node) => !this.nodes.has(node.parent));
    roots.forEach((root, i) => visit(root, i === 0 ? 0 : (lanes += 1), 1));
    return { rows, lanes };
  }
}

// What a turn is called: its first words.
export const titleOf = ({ input, output }) => (input.trim() || output.trim() || 'no words').replace(/\s+/g, ' ');

// Draws the tree into `host`; `choose(id)` is called by its buttons.
export function drawTree(host, tree, choose) {
  const { rows, lanes } = tree.layout();
  const path = new Set(tree.path().map((node) => node.id));
  const wide = (lanes + 1) * LANE + 8;
  const list = h('ul');
  const lines = svg('svg', { width: wide, height: Math.max(1, rows.length * ROW), 'aria-hidden': 'true' });
  const at = new Map(rows.map(({ node, lane }, row) => [node.id, { x: lane * LANE + 12, y: row * ROW + ROW / 2 }]));
  const dots = [];
  for (const { node, depth } of rows) {
    const here = at.get(node.id);
    const from = at.get(node.parent);
    const on = path.has(node.id) ? 'on-path' : '';
    if (from) lines.append(svg('path', { class: on, d: curve(from, here) }));
    dots.push(svg('circle', { cx: here.x, cy: here.y, r: node.id === tree.head ? 6 : 4.5, class: node.id === tree.head ? 'head' : on }));
    list.append(h('li', {}, row(tree, node, depth, choose)));
  }
  lines.append(...dots);
  list.style.paddingLeft = `${wide}px`;
  const none = h('p', { className: 'hint', textContent: 'Nothing yet. Every turn becomes a point here; go back to one and write on, and the story forks.' });
  const focused = host.contains(document.activeElement) && document.activeElement.dataset.id;
  host.replaceChildren(...(rows.length ? [lines, list] : [none]));
  if (focused) host.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
}

function row(tree, node, depth, choose) {
  const forks = tree.children(node.id).length;
  const button = h('button', { type: 'button', textContent: titleOf(node), title: titleOf(node), onclick: () => choose(node.id) });
  button.dataset.id = node.id;
  button.setAttribute('aria-label', `Turn ${depth}${forks > 1 ? `, parts into ${forks}` : ''}: ${titleOf(node).slice(0, 80)}`);
  if (node.id === tree.head) button.setAttribute('aria-current', 'true');
  return button;
}

// Straight down in a lane; into another lane it leaves sideways, as a fork does.
function curve(from, to) {
  if (from.x === to.x) return `M${from.x} ${from.y}V${to.y}`;
  const bend = Math.min(ROW / 2, to.y - from.y);
  return `M${from.x} ${from.y}C${to.x} ${from.y} ${to.x} ${from.y} ${to.x} ${from.y + bend}V${to.y}`;
}
