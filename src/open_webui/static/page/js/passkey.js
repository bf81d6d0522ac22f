// Passkeys, as browsers make them and have them sign. The server speaks of bytes in base64url.

const bytes = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const known = (list) => list.map((one) => ({ ...one, id: bytes(one.id) }));

export const canUse = () => 'PublicKeyCredential' in globalThis;

const SAID = {
  NotAllowedError: 'The passkey was not used. Try it again.',
  InvalidStateError: 'This device has a passkey for this account already.',
  SecurityError: 'Passkeys do not work at this address. Open the page at the address that the server is known by.',
};

async function asked(work) {
  try {
    return await work();
  } catch (error) {
    throw new Error(SAID[error.name] ?? error.message, { cause: error });
  }
}

function plain(credential, response) {
  return { id: credential.id, type: credential.type, response };
}

export async function make(options) {
  const publicKey = { ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) }, excludeCredentials: known(options.excludeCredentials) };
  const made = await asked(() => navigator.credentials.create({ publicKey }));
  const { response } = made;
  return plain(made, { clientDataJSON: text(response.clientDataJSON), attestationObject: text(response.attestationObject), transports: response.getTransports?.() ?? [] });
}

export async function sign(options) {
  const publicKey = { ...options, challenge: bytes(options.challenge), allowCredentials: known(options.allowCredentials) };
  const signed = await asked(() => navigator.credentials.get({ publicKey }));
  const { response } = signed;
  const handle = response.userHandle?.byteLength ? { userHandle: text(response.userHandle) } : {};
  return plain(signed, { clientDataJSON: text(response.clientDataJSON), authenticatorData: text(response.authenticatorData), signature: text(response.signature), ...handle });
}
