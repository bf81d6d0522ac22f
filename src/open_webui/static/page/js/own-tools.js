// Tool servers of one's own: which operation a call means, and the request that makes it. Pure.

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
// As this server names them for models.
const named = (text) => text.replaceAll(/[^A-Za-z0-9_-]+/g, '_').replaceAll(/^_+|_+$/g, '').slice(0, 64) || 'call';
const asText = (value) => (typeof value === 'string' ? value : JSON.stringify(value));

export const documentUrl = ({ url, path }) => (path?.includes('://') ? path : `${url}/${(path || 'openapi.json').replace(/^\/+/, '')}`);

// What a document has to have; an error with a sentence else.
export function checked(document) {
  if (!isObject(document) || !isObject(document.paths) || !/^3\.[01]/.test(document.openapi ?? '')) throw new Error('What lies there is no OpenAPI document (3.0 or 3.1, as JSON).');
  return document;
}

function follow(document, value) {
  const seen = new Set();
  while (isObject(value) && typeof value.$ref === 'string') {
    if (seen.has(value.$ref) || !value.$ref.startsWith('#/')) return null;
    seen.add(value.$ref);
    value = value.$ref.slice(2).split('/').map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~')).reduce((place, part) => (isObject(place) && Object.hasOwn(place, part) ? place[part] : null), document);
  }
  return value;
}

export function operationsOf(document) {
  return Object.entries(document.paths).flatMap(([path, given]) => {
    const item = follow(document, given);
    if (!isObject(item) || !path.startsWith('/')) return [];
    return METHODS.filter((method) => isObject(item[method])).map((method) => ({ name: named(item[method].operationId || `${method}_${path}`), method, path, operation: item[method], shared: item.parameters ?? [] }));
  });
}

// The request of a call: {method, url, headers, body}. Throws a sentence where there is no such operation.
export function requestOf({ url, key }, document, name, params) {
  const found = operationsOf(document).find((each) => each.name === name);
  if (!found) throw new Error(`The server has no operation ${name}.`);
  const { method, operation } = found;
  const given = { ...params };
  let { path } = found;
  const query = [];
  for (const entry of [...found.shared, ...(operation.parameters ?? [])]) {
    const parameter = follow(document, entry);
    if (!isObject(parameter) || !Object.hasOwn(given, parameter.name)) continue;
    const value = given[parameter.name];
    delete given[parameter.name];
    if (parameter.in === 'path') path = path.replaceAll(`{${parameter.name}}`, segment(parameter.name, value));
    else if (parameter.in === 'query' && value !== null && value !== undefined) query.push(...(Array.isArray(value) && parameter.explode !== false ? value : [value]).map((each) => `${encodeURIComponent(parameter.name)}=${encodeURIComponent(Array.isArray(each) ? each.map(asText).join(',') : asText(each))}`));
  }
  const body = follow(document, operation.requestBody);
  const schema = isObject(body) ? follow(document, Object.values(body.content ?? {})[0]?.schema) : null;
  const whole = isObject(schema) && !isObject(schema.properties) && Object.hasOwn(given, 'body') ? given.body : given;
  const headers = { accept: 'application/json', ...(key ? { authorization: `Bearer ${key}` } : {}), ...(body ? { 'content-type': 'application/json' } : {}) };
  return { method: method.toUpperCase(), url: url + path + (query.length ? `?${query.join('&')}` : ''), headers, body: body ? JSON.stringify(whole) : undefined };
}

// A part of a path: whatever it holds, it stays one part and no way up.
function segment(name, value) {
  const part = encodeURIComponent(asText(value));
  if (['', '.', '..'].includes(part)) throw new Error(`${name} can't be “${asText(value)}”: it is a part of the address.`);
  return part;
}

// What is said to the server that asked.
export function resultOf({ status, text }) {
  let value = text;
  try {
    value = JSON.parse(text);
  } catch {
    // It is a text then.
  }
  return status < 400 ? value : { error: `The server answered with status ${status}. ${text.slice(0, 2000)}` };
}

// An address of a server as people type it, or null.
export function addressOf(given) {
  try {
    const url = new URL(given.trim());
    return ['https:', 'http:'].includes(url.protocol) && !url.username && !url.password ? url.href.replace(/\/+$/, '') : null;
  } catch {
    return null;
  }
}
