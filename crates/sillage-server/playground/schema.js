// Shows JSON schemas (those of OpenAPI 3.1) as lists of fields.

import { h } from './dom.js';

const DEEPEST = 5;

// `allOf` is read as one object with the fields of all.
function whole(schema, resolve) {
  const found = resolve(schema);
  if (!found.allOf) return found;
  const parts = found.allOf.map((part) => whole(part, resolve));
  return {
    ...Object.assign({}, ...parts), ...found,
    properties: Object.assign({}, ...parts.map((p) => p.properties), found.properties),
    required: parts.flatMap((p) => p.required ?? []).concat(found.required ?? []),
  };
}

// A type in words: "string", "array of number", "string or null".
export function typeOf(schema, resolve) {
  if (schema === undefined || schema === true) return 'anything';
  const s = whole(schema, resolve);
  const choices = s.oneOf ?? s.anyOf;
  if (choices) return [...new Set(choices.map((c) => typeOf(c, resolve)))].join(' or ');
  if (s.const !== undefined) return JSON.stringify(s.const);
  if (s.enum) return s.enum.map((v) => JSON.stringify(v)).join(' or ');
  const types = [s.type ?? (s.properties ? 'object' : 'anything')].flat();
  return types.map((type) => (type === 'array' ? `array of ${typeOf(s.items, resolve)}` : type)).join(' or ');
}

function limits(s) {
  const out = [];
  if (s.format) out.push(s.format);
  if (s.minimum !== undefined) out.push(`from ${s.minimum}`);
  if (s.maximum !== undefined) out.push(`to ${s.maximum}`);
  if (s.minLength !== undefined) out.push(`at least ${s.minLength} characters`);
  if (s.maxLength !== undefined) out.push(`at most ${s.maxLength} characters`);
  if (s.minItems !== undefined) out.push(`at least ${s.minItems} items`);
  if (s.maxItems !== undefined) out.push(`at most ${s.maxItems} items`);
  if (s.default !== undefined) out.push(`usually ${JSON.stringify(s.default)}`);
  return out.length ? `, ${out.join(', ')}` : '';
}

// The fields inside a schema, nested; recursive schemas end at DEEPEST.
export function fieldsOf(schema, resolve, depth = 0) {
  const s = whole(schema, resolve);
  const list = h('div', { className: 'fields' });
  if (depth >= DEEPEST) return list;
  for (const [name, property] of Object.entries(s.properties ?? {})) list.append(field(name, property, s.required?.includes(name), resolve, depth));
  const inner = s.items ? [s.items] : s.oneOf ?? s.anyOf ?? [];
  for (const choice of inner) {
    const nested = fieldsOf(choice, resolve, depth + 1);
    if (nested.childElementCount) list.append(h('div', {}, h('span', { className: 'type', textContent: s.items ? 'each:' : 'either:' }), nested));
  }
  if (!list.childElementCount && depth === 0) list.append(h('span', { className: 'type', textContent: typeOf(schema, resolve) + limits(s) }));
  return list;
}

function field(name, schema, required, resolve, depth) {
  const s = whole(schema, resolve);
  const nested = fieldsOf(schema, resolve, depth + 1);
  return h('div', {}, h('code', { textContent: name }), ' ',
    h('span', { className: 'type', textContent: typeOf(schema, resolve) + limits(s) }),
    ...(required ? [' ', h('span', { className: 'must', textContent: 'required' })] : []),
    ...(s.description ? [h('div', { className: 'hint', textContent: s.description })] : []),
    ...(nested.childElementCount ? [nested] : []));
}

// Something that fits a schema: what it gives as an example, or else its
// required fields with plain values.
export function exampleOf(schema, resolve, depth = 0) {
  const s = whole(schema ?? {}, resolve);
  const given = s.example ?? s.examples?.[0] ?? s.default ?? s.const ?? s.enum?.[0];
  if (given !== undefined) return given;
  const choice = (s.oneOf ?? s.anyOf)?.[0];
  if (choice) return exampleOf(choice, resolve, depth + 1);
  const type = [s.type ?? (s.properties ? 'object' : 'string')].flat()[0];
  if (type === 'array') return depth < DEEPEST && s.items ? [exampleOf(s.items, resolve, depth + 1)] : [];
  if (type !== 'object') return { string: 'string', integer: s.minimum ?? 1, number: s.minimum ?? 1, boolean: true }[type] ?? null;
  const names = s.required?.length ? s.required : Object.keys(s.properties ?? {}).slice(0, 3);
  return depth < DEEPEST ? Object.fromEntries(names.map((n) => [n, exampleOf(s.properties?.[n], resolve, depth + 1)])) : {};
}
