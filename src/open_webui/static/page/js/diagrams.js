// Diagrams in Mermaid's language. They are drawn in a frame without an origin, which reaches neither the page nor a network, and
// shown as pictures, which run nothing. All of it is loaded with the first one.
import { h, icon } from './dom.js';
import { inOrder } from './order.js';

const LONGEST = 20_000;
const LARGEST = 4_000_000;
const MOST = 40;
const PATIENCE_MS = 20_000;

// What the frame does: it draws the texts that it is told, one after the other.
function painter(mermaid) {
  mermaid.initialize({ startOnLoad: false, securityLevel: 'strict', suppressErrorRendering: true, theme: 'neutral', htmlLabels: false, flowchart: { htmlLabels: false }, fontFamily: 'sans-serif', maxTextSize: 20_000 });
  const draw = async (id, text) => {
    const box = document.createElement('div');
    box.innerHTML = (await mermaid.render(`drawn-${id}`, text)).svg;
    const picture = box.querySelector('svg');
    // A picture that is shown as one has a size of its own.
    for (const [name, value] of [['width', picture.viewBox.baseVal.width], ['height', picture.viewBox.baseVal.height]]) picture.setAttribute(name, Math.ceil(value));
    return new XMLSerializer().serializeToString(picture);
  };
  const tell = (said) => window.parent.postMessage(said, '*');
  window.addEventListener('message', ({ source, data }) => {
    if (source !== window.parent || typeof data?.draw !== 'string') return;
    draw(data.id, data.draw).then((svg) => tell({ id: data.id, svg }), (error) => tell({ id: data.id, error: String(error?.message ?? error) }));
  });
  tell({ ready: true });
}

// Kept compressed, as it is larger than the rest of the page.
async function library() {
  const reply = await fetch(new URL('../vendor/mermaid.tiny.js.gz', import.meta.url));
  if (!reply.ok) throw new Error('What draws diagrams could not be loaded.');
  return new Response(reply.body.pipeThrough(new DecompressionStream('gzip'))).text();
}

// Whatever fits first of what the frame says. send(window): asks it.
function heard(frame, fits, send) {
  return new Promise((resolve, reject) => {
    const listen = ({ source, data }) => {
      if (source === frame.contentWindow && source && fits(data)) end(() => resolve(data));
    };
    const timer = setTimeout(() => end(() => reject(new Error('It took too long.'))), PATIENCE_MS);
    const end = (work) => {
      clearTimeout(timer);
      removeEventListener('message', listen);
      work();
    };
    addEventListener('message', listen);
    send();
  });
}

let frame = null;

async function start() {
  const script = `${await library()}\n;(${painter})(globalThis.mermaid);`;
  const made = h('iframe.painter', { src: '/static/page/frame.html', sandbox: 'allow-scripts', title: 'Draws diagrams', 'aria-hidden': 'true', tabindex: -1, referrerpolicy: 'no-referrer' });
  const loaded = new Promise((done) => made.addEventListener('load', done, { once: true }));
  document.body.append(made);
  await loaded;
  await heard(made, (data) => data?.ready === true, () => made.contentWindow.postMessage({ script }, '*'));
  return made;
}

let count = 0;
const inTurn = inOrder();
// Pictures by their texts: a text that grows is drawn anew, and what is in it is not.
const drawn = new Map();

// isWanted(): whether somebody still looks, asked when it is its turn.
function pictureOf(text, isWanted) {
  if (!drawn.has(text)) {
    if (drawn.size >= MOST) drawn.delete(drawn.keys().next().value);
    const picture = inTurn(() => (isWanted() ? draw(text) : Promise.reject(new Error('Nobody waited for it any more.'))));
    drawn.set(text, picture);
    picture.catch(() => drawn.delete(text));
  }
  return drawn.get(text);
}

async function draw(text) {
  if (text.length > LONGEST) throw new Error(`Its text is longer than ${LONGEST.toLocaleString()} signs.`);
  frame ??= start();
  try {
    const given = await frame;
    const id = (count += 1);
    const { svg, error } = await heard(given, (data) => data?.id === id, () => given.contentWindow.postMessage({ id, draw: text }, '*'));
    if (typeof svg !== 'string') throw Object.assign(new Error(String(error).split('\n')[0].slice(0, 300)), { said: true });
    if (svg.length > LARGEST) throw Object.assign(new Error('It is too large.'), { said: true });
    return `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  } catch (error) {
    // One that answers nothing is begun anew with the next.
    if (!error.said) {
      frame.then((given) => given.remove(), () => {});
      frame = null;
    }
    throw error;
  }
}

// block: of code, as `codeBlock` makes it. Its text stays, behind a button.
export async function showDiagram(block, text) {
  const pre = block.querySelector('pre');
  let source;
  try {
    source = await pictureOf(text, () => block.isConnected);
  } catch (error) {
    if (!block.isConnected) return;
    block.append(h('p.diagram-problem', {}, `This diagram can’t be drawn: ${error.message}`));
    return;
  }
  const kind = /^\s*([A-Za-z]+)/m.exec(text.replace(/^\s*---[\s\S]*?---/, '').replace(/^\s*%%.*$/gm, ''))?.[1] ?? 'Mermaid';
  pre.before(h('div.diagram', { tabindex: 0, role: 'group', 'aria-label': 'Diagram' }, h('img', { src: source, alt: `Diagram (${kind}); its text is behind the button “Text”` })));
  pre.hidden = true;
  const turn = () => {
    pre.hidden = !pre.hidden;
    control.setAttribute('aria-pressed', String(!pre.hidden));
  };
  const control = h('button.code-copy', { type: 'button', 'aria-pressed': 'false', onclick: turn }, icon('code'), 'Text');
  block.querySelector('.code-copy').before(control);
}
