// Files that are chosen, pasted or dropped: pictures go along with a message, for others there is no place yet.
import { h } from '../dom.js';

const MOST = 10;
// Larger ones are made smaller: models look at about so many points, and the server's bodies have a bound.
const SIDE = 2048;
const BYTES = 4_000_000;
const KINDS = new Set(['image/png', 'image/jpeg', 'image/webp', 'image/gif']);

// The files as a message has them. Throws a sentence for the first that can't go along.
export async function attached(files, already) {
  const other = files.find((file) => !file.type.startsWith('image/'));
  if (other) throw new Error(`${other.name} can’t be attached: documents are not here yet, only pictures.`);
  if (already + files.length > MOST) throw new Error(`At most ${MOST} pictures go along with a message.`);
  return Promise.all(files.map(async (file) => ({ type: 'image', name: file.name, url: await addressOf(file) })));
}

async function addressOf(file) {
  if (KINDS.has(file.type) && file.size <= BYTES) return read(file);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is no picture that this browser can read.`);
  }
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = h('canvas', { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL('image/jpeg', 0.9);
}

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} could not be read.`));
    reader.readAsDataURL(file);
  });
}
