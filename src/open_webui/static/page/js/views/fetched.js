// A resource of an MCP server on its way to be a file, as a composer holds it.
import { announce, h, icon } from '../dom.js';

// resource: see resourcesOf.
export function fetched(resource) {
  const note = h('span.muted', {}, 'Being fetched…');
  const held = {
    type: 'file',
    id: resource.id,
    name: resource.name,
    element: h('span.document', {}, icon('file'), h('span.document-text', {}, h('span', {}, resource.name), note)),
  };
  const show = (text) => {
    note.textContent = text;
    announce(`${resource.name}: ${text}`);
  };
  const done = resource.attach();
  done.then(() => show('Ready'), (error) => show(error.message));
  // As a message has it, once the server has it. Throws a sentence where that can't be.
  held.uploaded = () =>
    done.catch((error) => {
      throw new Error(`${resource.name} could not be fetched: ${error.message}`);
    });
  return held;
}
