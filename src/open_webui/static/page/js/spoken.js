// What of an answer is read aloud, and in which pieces: those that are whole while the rest is still being written.
const ENDS = { punctuation: /[.!?…。！？]+["'’”)\]*_]*\s+|\n+/g, paragraphs: /\n{2,}/g };
// The server speaks no more at once.
const LONGEST = 4000;

// The words of Markdown, without its marks; of code and pictures nothing is said.
export function words(markdown) {
  return markdown
    .replace(/(```|~~~)[\s\S]*?(?:\1|$)/g, ' ')
    .replace(/!\[[^\]]*\]\([^)]*\)/g, ' ')
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/<[^>]{1,200}>/g, ' ')
    .replace(/^\s*(?:#{1,6}|>|[-*+]|\|)\s+/gm, '')
    .replace(/^[\s|:-]+$/gm, ' ')
    .replace(/\|/g, ', ')
    .replace(/[*_`~]+/g, '')
    .replace(/\s+/g, ' ')
    .trim();
}

// The pieces of a text that follow a place in it, and the place after them. over: nothing more will come.
export function take(text, from, splitOn, over) {
  const pieces = [];
  let at = from;
  const add = (to) => {
    const said = words(text.slice(at, to));
    for (let k = 0; k < said.length; k += LONGEST) pieces.push(said.slice(k, k + LONGEST));
    at = to;
  };
  const ends = splitOn === 'none' ? null : ENDS[splitOn] ?? ENDS.punctuation;
  for (const match of ends ? text.slice(from).matchAll(ends) : []) {
    const to = from + match.index + match[0].length;
    // A block of code is passed over as a whole.
    if ((text.slice(0, to).match(/```/g) ?? []).length % 2 === 0) add(to);
  }
  if (over && at < text.length) add(text.length);
  return { pieces, at };
}
