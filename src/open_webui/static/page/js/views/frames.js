// What tools made to be seen, and code that a person let run: in a frame without an origin, that reaches neither the page nor a network.
import { h, icon } from '../dom.js';
import { place } from '../pictures.js';

const FRAME = '/static/page/frame.html';
const TALLEST = 800;
const RUN_MS = 30_000;

// The frame is given one message, when it is there; heard: what it says afterwards.
function frame(message, heard, props = {}) {
  const element = h('iframe', { src: FRAME, sandbox: 'allow-scripts', title: 'Shown by a tool', referrerpolicy: 'no-referrer', ...props });
  const listen = ({ source, data }) => {
    if (source === element.contentWindow && source) heard(data);
    else if (!element.isConnected) removeEventListener('message', listen);
  };
  element.addEventListener('load', () => {
    addEventListener('message', listen);
    element.contentWindow.postMessage(message, '*');
  }, { once: true });
  return element;
}

// An embed is HTML, or an address of the web. Of an address there is a link: loading it would tell its host who reads this chat.
export function frameOf(embed) {
  const address = /^\s*(https?:)?\/\//i.test(embed) ? place(embed.trim()) : null;
  if (address) {
    const link = address.link ?? address.source;
    return h('a', { href: link, target: '_blank', rel: 'noopener noreferrer' }, icon('link'), ` Open ${new URL(link).host}`);
  }
  const element = frame({ html: embed }, (data) => {
    if (data?.type === 'iframe:height' && Number.isFinite(data.height)) element.style.height = `${Math.min(TALLEST, Math.max(40, Math.ceil(data.height)))}px`;
  });
  return element;
}

// The value that code gives, as JSON has it. Throws a sentence.
export function runCode(code) {
  return new Promise((resolve, reject) => {
    const end = (work) => {
      clearTimeout(timer);
      element.remove();
      work();
    };
    const timer = setTimeout(() => end(() => reject(new Error('The code did not end in time.'))), RUN_MS);
    const element = frame({ code }, (data) => {
      if (typeof data?.value === 'string') end(() => resolve(JSON.parse(data.value)));
      else if (typeof data?.error === 'string') end(() => reject(new Error(data.error)));
    }, { hidden: true });
    document.body.append(element);
  });
}
