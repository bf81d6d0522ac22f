// What `#` in a message offers: knowledge bases, one's own files, and resources of MCP servers, by their names.
import { files, knowledge } from '../calls.js';
import { h, icon } from '../dom.js';
import { fitting, hasServers, resources, soon } from '../mcp-prompts.js';
import { may, state } from '../state.js';
import { fetched } from './fetched.js';
import { Suggestions } from './suggest.js';

const MOST = 6;

async function found(text, taken) {
  const asks = hasServers(state.tools) && may('chat.file_upload');
  const [bases, own, offered] = await Promise.all([knowledge.search(text, 1), files.own(text, MOST * 2), asks ? soon(resources()) : []]);
  const readable = own.filter(({ data, meta }) => data?.status === 'completed' && !String(meta?.content_type).startsWith('image/'));
  return [
    ...bases.items.slice(0, MOST).map(({ id, name, description }) => ({ type: 'collection', id, name, description })),
    ...readable.slice(0, MOST).map(({ id, filename, meta }) => ({ type: 'file', id, url: id, name: filename, size: meta?.size, content_type: meta?.content_type })),
    ...fitting(offered, text, MOST),
  ].filter(({ id }) => !taken.has(id));
}

export class Offer extends Suggestions {
  constructor(composer) {
    super(composer, '#', 'Knowledge and files');
  }

  async look(text, show) {
    const { files: held, kept } = this.composer;
    show(await found(text, new Set([...held, ...kept].map((file) => file.entry?.id ?? file.id))));
  }

  option(item) {
    return [icon(item.type === 'collection' ? 'books' : 'file'), h('span', {}, item.name), item.description && h('span.muted', {}, item.description)];
  }

  take(item, [start, end]) {
    const { composer } = this;
    composer.input.setRangeText('', start, end, 'end');
    composer.hold([...composer.files, item.attach ? fetched(item) : item]);
    composer.changed();
  }
}
