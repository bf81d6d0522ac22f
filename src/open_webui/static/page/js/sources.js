// What an answer rests on, as its message has it, made into numbered sources with their passages. Pure.
import { asList, asText } from './stream.js';

const CITED = /\[(\d{1,4}(?:\s*,\s*\d{1,4}){0,20})\]/g;

// [{number, name, url, fileId, passages: [{text, start, end, page, headings, cited}]}] in the order of their numbers: the n-th
// name in the metadata is source n, as the server counts. What has no such name is cited by nobody, and has no number.
export function numbered(sources) {
  const found = new Map();
  for (const entry of asList(sources)) {
    const metadata = asList(entry?.metadata).filter((meta) => asText(meta?.source));
    if (!metadata.length) bare(found, entry);
    asList(entry?.metadata).forEach((meta, at) => asText(meta?.source) && add(found, meta, asText(asList(entry.document)[at])));
  }
  let number = 0;
  return [...found.values()].map((source) => (source.passages.length ? { ...source, number: (number += 1) } : source));
}

const web = (url) => (/^https?:\/\//i.test(url) ? url : '');

function bare(found, entry) {
  const url = asText(entry?.source?.url);
  const name = asText(entry?.source?.name) || url;
  if (name && !found.has(` ${name}`)) found.set(` ${name}`, { number: null, name, url: web(url), fileId: '', passages: [] });
}

function add(found, meta, text) {
  const key = meta.source;
  if (!found.has(key)) found.set(key, { name: asText(meta.name) || key, url: web(asText(meta.url)) || web(key), fileId: asText(meta.file_id), passages: [] });
  const page = asText(meta.page_label) || (Number.isInteger(meta.page) ? String(meta.page + 1) : '');
  found.get(key).passages.push({ text, start: meta.start_index, end: meta.end_index, page, headings: asList(meta.headings).filter(asText), cited: meta.cited === true });
}

// The numbers that a text cites.
export function citedIn(text) {
  return new Set([...text.matchAll(CITED)].flatMap(([, numbers]) => numbers.split(',').map(Number)));
}

// A text in pieces: strings, and the numbers of sources that are cited there. None of the citations: null.
export function split(text, isKnown) {
  const pieces = [];
  let at = 0;
  for (const match of text.matchAll(CITED)) {
    const numbers = match[1].split(',').map(Number);
    if (!numbers.every(isKnown)) continue;
    pieces.push(text.slice(at, match.index), ...numbers);
    at = match.index + match[0].length;
  }
  return at ? [...pieces, text.slice(at)].filter((piece) => piece !== '') : null;
}

// Where passages stand in a text, as [start, end] of it; null for one that is not there. The server counts characters,
// JavaScript halves of those beyond 65,535.
export function placed(text, passages) {
  const points = /[\ud800-\udbff]/.test(text) ? offsets(text, passages.flatMap(({ start, end }) => [start, end])) : null;
  const at = (n) => (points ? points.get(n) : n);
  return passages.map(({ text: said, start, end }) => {
    const [from, to] = [at(start), at(end)];
    if (Number.isInteger(from) && text.slice(from, to) === said) return [from, to];
    const found = said ? text.indexOf(said) : -1;
    return found < 0 ? null : [found, found + said.length];
  });
}

function offsets(text, wanted) {
  const left = new Set(wanted);
  const found = new Map();
  let count = 0;
  let at = 0;
  for (const character of text) {
    if (left.has(count)) found.set(count, at);
    count += 1;
    at += character.length;
  }
  return found.set(count, at);
}

// Where the pages of a text begin, in JavaScript's count: [[at, number]], from the server's.
export function pagesOf(text, starts) {
  const known = asList(starts).filter(Number.isInteger);
  const points = /[\ud800-\udbff]/.test(text) ? offsets(text, known) : null;
  return known.map((start, index) => [points ? points.get(start) : start, index + 1]).filter(([at]) => at < text.length);
}

// The text cut where passages and pages begin and end: [{text, of}], `of` the indexes of the passages that a piece is of; `page`
// the number of the page that begins with it. What is further than `margin` from every passage is left out:
// {text: '', of: [], gap: true}.
export function cut(text, ranges, margin = Infinity, pages = []) {
  const real = ranges.filter(Boolean);
  const begun = new Map(pages.filter(([at]) => !real.length || real.some(([start, end]) => at >= start - margin && at < end + margin)));
  const edges = [0, text.length, ...begun.keys(), ...real.flat(), ...(margin === Infinity ? [] : real.flatMap(([from, to]) => [Math.max(0, from - margin), Math.min(text.length, to + margin)]))];
  const stops = [...new Set(edges)].sort((a, b) => a - b);
  return stops.slice(1).map((to, n) => {
    const from = stops[n];
    const of = ranges.flatMap((range, index) => (range && range[0] <= from && to <= range[1] ? [index] : []));
    const near = real.some(([start, end]) => from < end + margin && to > start - margin);
    const page = begun.has(from) ? { page: begun.get(from) } : {};
    return near || !real.length ? { text: text.slice(from, to), of, ...page } : { text: '', of: [], gap: true };
  });
}
