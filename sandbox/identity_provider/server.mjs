// The sandbox's OpenID Connect provider: `node server.mjs CONFIG`.
//
// The certified npm package `oidc-provider` speaks the protocol; this file gives it the demo's
// people, two clients and a login by plain form. PKCE is required of everybody, the control plane
// proves itself with its key, and nothing is fetched from anywhere.

import { readFileSync } from 'node:fs';
import { timingSafeEqual, createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

import * as pages from './pages.mjs';
import { FileStore } from './store.mjs';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
// The package is in the user's cache and not beside this file.
const { default: Provider } = await import(
  pathToFileURL(`${config.modules}/oidc-provider/lib/index.js`)
);

const LARGEST_FORM = 10_000;
const SCOPES = 'openid profile';
const people = new Map(config.people.map((person) => [person.subject, person]));

const store = new FileStore(config.state_file);
const provider = new Provider(config.issuer, {
  adapter: (model) => store.adapter(model),
  jwks: { keys: [config.signing_key] },
  cookies: {
    keys: config.cookie_keys,
    names: { session: 'sandbox-idp', interaction: 'sandbox-idp-login', resume: 'sandbox-idp-resume' },
    long: { signed: true, sameSite: 'lax', httpOnly: true, path: '/' },
    short: { signed: true, sameSite: 'lax', httpOnly: true, path: '/' },
  },
  clients: [
    {
      client_id: config.client_id,
      client_name: 'Ringfence console',
      redirect_uris: [`${config.api_url}/v1/sign-in/callback`],
      post_logout_redirect_uris: [`${config.api_url}/`],
      grant_types: ['authorization_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: config.client_keys.keys[0].alg,
      jwks: config.client_keys,
    },
    {
      client_id: config.cli_client_id,
      client_name: 'Ringfence command line',
      application_type: 'native',
      // On loopback the port is free (RFC 8252, 7.3): the command line takes any.
      redirect_uris: ['http://127.0.0.1/callback'],
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
  ],
  pkce: { required: () => true },
  scopes: ['openid', 'profile'],
  claims: { openid: ['sub', 'amr'], profile: ['name', 'groups', 'employee_number'] },
  // The groups belong into the ID token itself: the control plane asks for nothing else.
  conformIdTokenClaims: false,
  ttl: {
    AccessToken: 300,
    AuthorizationCode: 60,
    DeviceCode: 600,
    Grant: 12 * 3600,
    IdToken: 300,
    Interaction: 600,
    Session: 12 * 3600,
  },
  features: {
    devInteractions: { enabled: false },
    deviceFlow: {
      enabled: true,
      userCodeInputSource: async (ctx, form, out, error) => {
        pages.show(ctx, pages.deviceCode(form, error));
      },
      userCodeConfirmSource: async (ctx, form, client, device, code) => {
        pages.show(ctx, pages.deviceConfirm(form, client.clientName, code));
      },
      successSource: async (ctx) => pages.show(ctx, pages.deviceDone()),
    },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: async (ctx, form) => pages.show(ctx, pages.logout(form)),
      postLogoutSuccessSource: async (ctx) => pages.show(ctx, pages.loggedOut()),
    },
  },
  renderError: async (ctx, out) => pages.show(ctx, pages.failed(out)),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (ctx, subject) => {
    const person = people.get(subject);
    return person && { accountId: subject, claims: () => ({ sub: subject, ...person.claims }) };
  },
  // The console is our own client: it asks for what it was registered with. The command line's
  // client is public, so the person says yes each time.
  loadExistingGrant: async (ctx) => {
    const { client, session, result } = ctx.oidc;
    const known = result?.consent?.grantId ?? session.grantIdFor(client.clientId);
    if (known) return ctx.oidc.provider.Grant.find(known);
    if (client.clientId !== config.client_id) return undefined;
    return grantAll(session.accountId, client.clientId);
  },
});

provider.on('server_error', (ctx, error) => console.error('server error', error));
provider.on('grant.error', (ctx, error) => console.error('grant refused', error.message, error.error_detail ?? ''));
provider.on('authorization.error', (ctx, error) => console.error('authorization refused', error.message));

async function grantAll(accountId, clientId) {
  const grant = new provider.Grant({ accountId, clientId });
  grant.addOIDCScope(SCOPES);
  await grant.save();
  return grant;
}

function isPassword(given) {
  // Digests have one length, as the comparison needs; what was typed may have any.
  const digest = (text) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(config.password));
}

async function form(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > LARGEST_FORM) throw new Error('the form is too large');
  }
  return new URLSearchParams(text);
}

function send(response, status, page) {
  response.writeHead(status, pages.HEADERS).end(page);
}

/** Show and take the login and the question whether the command line may sign in. */
async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  const client = await provider.Client.find(params.client_id);
  const ready = config.people.filter((person) => person.ready);
  if (request.method === 'GET') {
    const page = prompt.name === 'login'
      ? pages.login(ready, config.password_file)
      : pages.consent(client.clientName, session.accountId);
    return send(response, 200, page);
  }
  const fields = await form(request);
  if (fields.get('abort') === 'yes') {
    const result = { error: 'access_denied', error_description: 'the person said no' };
    return provider.interactionFinished(request, response, result);
  }
  if (prompt.name === 'login') {
    const subject = fields.get('other') || fields.get('subject') || '';
    if (!people.has(subject) || !isPassword(fields.get('password') ?? '')) {
      return send(response, 401, pages.login(ready, config.password_file, subject));
    }
    const login = { accountId: subject, amr: ['pwd'], remember: false };
    return provider.interactionFinished(
      request, response, { login }, { mergeWithLastSubmission: false },
    );
  }
  const grant = await grantAll(session.accountId, params.client_id);
  const grantId = await grant.save();
  return provider.interactionFinished(request, response, { consent: { grantId } });
}

const speak = provider.callback();
const server = createServer((request, response) => {
  if (!/^\/interaction\/[\w-]+$/.test(new URL(request.url, 'http://x').pathname)) {
    return speak(request, response);
  }
  return interact(request, response).catch((error) => {
    // Over, of another browser, or begun before the last restart: all are begun anew.
    console.error('login not possible', error.message);
    if (!response.headersSent) send(response, 400, pages.failed({ error: error.message }));
  });
});
server.listen(config.port, config.host, () => {
  console.log(`identity provider of the sandbox on ${config.host}:${config.port}`);
});
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    store.write();
    process.exit(0);
  });
}
