// Splits a growing Markdown text into blocks that will not change any more and a tail that still may.
// Each call looks only at the lines that are new, so a long answer costs what its text costs, not its square.

const FENCE = /^( *)(`{3,}|~{3,})(.*)$/;
const LIST = /^([-*+]|\d{1,9}[.)])(\s|$)/;
const HTML = /^<(?!https?:|mailto:)[a-zA-Z!?/]/;

export function newScan() {
  return { at: 0, settled: 0, fence: null, blank: false, inList: false, html: false };
}

// Moves the scan over all complete lines of the text; returns the chunks that became settled, as texts.
export function advance(scan, text) {
  const chunks = [];
  const settle = (end) => {
    if (end > scan.settled) chunks.push(text.slice(scan.settled, end));
    scan.settled = Math.max(scan.settled, end);
  };
  for (let end = text.indexOf('\n', scan.at); end >= 0; end = text.indexOf('\n', scan.at)) {
    const line = text.slice(scan.at, end);
    step(scan, line, scan.at, end + 1, settle);
    scan.at = end + 1;
  }
  return chunks;
}

function step(scan, line, start, next, settle) {
  if (scan.html) return;
  const fence = FENCE.exec(line);
  if (scan.fence) {
    if (fence && closes(scan.fence, fence)) {
      const top = scan.fence.top;
      scan.fence = null;
      if (top) settle(next);
    }
    return;
  }
  if (fence && !(fence[2][0] === '`' && fence[3].includes('`'))) {
    const top = fence[1].length === 0;
    if (top) {
      settle(start);
      scan.inList = false;
    }
    scan.fence = { mark: fence[2][0], length: fence[2].length, top, lang: fence[3].trim().split(/\s+/)[0] ?? '', start, code: next };
    scan.blank = false;
    return;
  }
  if (!line.trim()) {
    scan.blank = true;
    return;
  }
  const opens = start === scan.settled || scan.blank;
  scan.blank = false;
  if (!opens || /^\s/.test(line)) return;
  const list = LIST.test(line);
  if (!(list && scan.inList)) settle(start);
  scan.inList = list;
  scan.html = HTML.test(line);
}

function closes(open, fence) {
  return fence[2][0] === open.mark && fence[2].length >= open.length && !fence[3].trim();
}

// An unfinished code block at the top level, which can be shown by appending text: {lang, code}.
export function openCode(scan, text) {
  if (!scan.fence?.top) return null;
  return { lang: scan.fence.lang, code: text.slice(scan.fence.code) };
}

// Link definitions reach over blocks, so a text with them is rendered once more as a whole at its end.
export function needsWhole(scan, text) {
  return scan.html || /^ {0,3}\[[^\]\n]+\]:/m.test(text);
}
