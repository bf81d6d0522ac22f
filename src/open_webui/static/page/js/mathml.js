// LaTeX to MathML, which browsers draw by themselves. The library comes with the first formula and not before.
import { h } from './dom.js';
import { unwrap } from './math.js';

const VENDOR = '/static/page/vendor';
// A formula beyond these bounds is shown as its source: nobody reads it, and a browser would stand still over it.
const LONGEST = 8000;
const LONGEST_WITH_MACROS = 400;
const DEEPEST = 150;
const MOST_PARTS = 10_000;
const DEFINES = /\\(?:[gex]?def|(?:re|provide)?new|renew|provide|let|futurelet|global|long)/;

let library = null;

function load() {
  library ??= new Promise((resolve, reject) => {
    document.head.append(
      h('link', { rel: 'stylesheet', href: `${VENDOR}/temml.css` }),
      h('script', { src: `${VENDOR}/temml.min.js`, onload: () => resolve(globalThis.temml), onerror: reject }),
    );
  }).catch((error) => {
    library = null;
    throw error;
  });
  return library;
}

// The formula as a tree of MathML nodes; null for one that can't be read or is out of bounds. `temml` is the library.
export function treeOf(temml, tex, displayMode) {
  const defines = DEFINES.test(tex);
  if (tex.length > (defines ? LONGEST_WITH_MACROS : LONGEST) || depthOf(tex) > DEEPEST) return null;
  try {
    const options = { displayMode, throwOnError: true, trust: false, maxSize: [40, 40], maxExpand: defines ? 50 : 1000 };
    const tree = temml.__renderToMathMLTree(tex, options);
    return fits(tree) ? tree : null;
  } catch {
    // A mistake in the LaTeX.
    return null;
  }
}

// How deep its braces are nested: a reader of nested text must not depend on how much stack is left.
function depthOf(tex) {
  let depth = 0;
  let deepest = 0;
  for (const [sign] of tex.matchAll(/\\[^]|[{}]/g)) {
    if (sign === '{') deepest = Math.max(deepest, (depth += 1));
    else if (sign === '}') depth -= 1;
  }
  return deepest;
}

function fits(tree) {
  let count = 0;
  const waiting = [[tree, 1]];
  while (waiting.length) {
    const [node, depth] = waiting.pop();
    count += 1;
    if (count > MOST_PARTS || depth > DEEPEST) return false;
    for (const child of node.children ?? []) waiting.push([child, depth + 1]);
  }
  return true;
}

// Puts formulas in the places of their sources. What can't be drawn keeps its source.
export function dressMath(root) {
  for (const code of root.querySelectorAll('code.language-math')) {
    const fence = code.closest('pre');
    const { tex, display } = fence ? { tex: code.textContent, display: true } : unwrap(code.textContent);
    const holder = h('span.math', display ? { 'data-display': true, tabindex: 0, role: 'group', 'aria-label': 'Formula' } : {});
    (fence ?? code).replaceWith(holder);
    holder.append(fence ?? code);
    const draw = (temml) => {
      const tree = treeOf(temml, tex, display);
      if (tree) holder.replaceChildren(tree.toNode());
    };
    if (globalThis.temml) draw(globalThis.temml);
    else load().then(draw, () => {});
  }
}
