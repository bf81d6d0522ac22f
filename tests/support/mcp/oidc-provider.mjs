// A strict OpenID provider (npm oidc-provider) for tests. Whoever comes is signed in as the person that a test named.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const [port, redirect, logout, after] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
let person = { sub: 'ann', email: 'ann@example.com', email_verified: true, name: 'Ann' };
const people = new Map();

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'oui', client_secret: 'a-secret-of-tests', redirect_uris: [redirect], response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: 'client_secret_basic',
    post_logout_redirect_uris: [after], backchannel_logout_uri: logout, backchannel_logout_session_required: true,
  }],
  pkce: { required: () => true },
  cookies: { keys: ['a key of tests'] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'picture', 'groups', 'realm_access'] },
  features: {
    devInteractions: { enabled: false }, backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true },
    introspection: { enabled: true },
  },
  // It asks no loopback address by itself.
  fetch: (url, options) => globalThis.fetch(url, { ...options, dispatcher: undefined }),
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => people.get(id) ?? { sub: id } }),
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid email profile offline_access');
    await grant.save();
    return grant;
  },
});

const answer = provider.callback();
async function body(request) {
  let text = '';
  for await (const part of request) text += part;
  return text ? JSON.parse(text) : {};
}

createServer(async (request, response) => {
  if (request.url.startsWith('/interaction/')) {
    people.set(person.sub, person);
    return provider.interactionFinished(request, response, { login: { accountId: person.sub } }, { mergeWithLastSubmission: false });
  }
  if (request.url === '/control/person') {
    person = await body(request);
    return response.end('{}');
  }
  if (request.url === '/control/logout') {
    const { sub, sid } = await body(request);
    const client = await provider.Client.find('oui');
    await client.backchannelLogout(sub, sid);
    return response.end('{}');
  }
  return answer(request, response);
}).listen(Number(port), '127.0.0.1');
