// The local grid's issuer of identities: npm's oidc-provider behind login pages. Run as: node server.mjs SETTINGS.
import fs from 'node:fs';
import http from 'node:http';
import * as pages from './pages.mjs';
import { makeProvider } from './provider.mjs';
import { Store } from './store.mjs';
import { AccessTokens, clientOf, sameText } from './tokens.mjs';

const LONGEST_BODY = 64 * 1024;
const settings = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const jwks = JSON.parse(fs.readFileSync(settings.keys, 'utf8'));
const store = new Store(settings.state);
const tokens = new AccessTokens(settings.issuer, jwks, store);
const { provider, users, accountClaims } = makeProvider(settings, jwks, store);
const answer = provider.callback();

const readForm = async (req) => {
  let text = '';
  for await (const chunk of req) {
    text += chunk;
    if (text.length > LONGEST_BODY) throw new Error('the body is too long');
  }
  return new URLSearchParams(text);
};
const send = (res, status, type, text) => res.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(text);
const sendHtml = (res, text, status = 200) => send(res, status, 'text/html; charset=utf-8', text);
const sendJson = (res, document, status = 200) => send(res, status, 'application/json', JSON.stringify(document));

const userNamed = (name, password) => {
  const user = settings.users.find((one) => one.username === name);
  return sameText(user?.password ?? '', password ?? '') && user?.password ? user : undefined;
};

const interaction = async (req, res) => {
  const details = await provider.interactionDetails(req, res);
  const action = `/interaction/${details.uid}`;
  const client = await provider.Client.find(details.params.client_id);
  const clientName = client.clientName ?? client.clientId;
  const finish = (result) => provider.interactionFinished(req, res, result, { mergeWithLastSubmission: true });
  const form = req.method === 'POST' ? await readForm(req) : undefined;
  if (details.prompt.name === 'login') {
    if (!form) return sendHtml(res, pages.loginPage(action, clientName, details.params.login_hint));
    const user = userNamed(form.get('username'), form.get('password'));
    if (user) return finish({ login: { accountId: user.sub } });
    return sendHtml(res, pages.loginPage(action, clientName, form.get('username'), 'User or password is wrong.'), 401);
  }
  if (form) return finish(form.get('answer') === 'yes' ? { consent: {} } : { error: 'access_denied', error_description: 'refused by the user' });
  const user = users.get(details.session.accountId);
  return sendHtml(res, pages.consentPage(action, clientName, user.username, details.params.scope.split(' ')));
};

const userinfo = (req, res, claims) => {
  const user = users.get(claims.sub);
  if (!user || !claims.scope?.split(' ').includes('openid')) {
    res.setHeader('www-authenticate', 'Bearer error="insufficient_scope", scope="openid"');
    return sendJson(res, { error: 'insufficient_scope' }, 403);
  }
  return sendJson(res, accountClaims(user, claims.scope));
};

// Introspection (RFC 7662) and revocation (RFC 7009) of access tokens; the library does those of refresh tokens.
const aboutToken = (req, res, path, form, claims) => {
  const client = clientOf(req.headers, form, settings.clients);
  if (!client) return sendJson(res, { error: 'invalid_client' }, 401);
  if (path === '/introspect') return sendJson(res, { active: true, ...claims, username: users.get(claims.sub)?.username, token_type: 'Bearer' });
  if (claims.client_id === client.client_id) tokens.revoke(claims);
  return res.writeHead(200).end();
};

const bearer = (req) => /^bearer (.+)$/i.exec(req.headers.authorization ?? '')?.[1];

const serve = async (req, res) => {
  const { pathname: path } = new URL(req.url, settings.issuer);
  if (path.startsWith('/interaction/')) return interaction(req, res);
  if (path === '/userinfo') {
    const claims = tokens.claims(bearer(req));
    if (claims) return userinfo(req, res, claims);
  }
  if (req.method === 'POST' && (path === '/introspect' || path === '/revoke')) {
    const form = await readForm(req);
    const claims = tokens.claims(form.get('token'));
    if (claims) return aboutToken(req, res, path, form, claims);
    if (path === '/introspect' && form.get('token')?.split('.').length === 3) {
      return sendJson(res, clientOf(req.headers, form, settings.clients) ? { active: false } : { error: 'invalid_client' });
    }
    req.body = Object.fromEntries(form); // the library takes a body that was read before
  }
  return answer(req, res);
};

http.createServer((req, res) => {
  serve(req, res).catch((error) => {
    const known = error.statusCode ?? error.status;
    if (!known) console.error(error);
    sendHtml(res, pages.errorPage({ error: error.error ?? 'error', error_description: error.error_description ?? '' }), known ?? 500);
  });
}).listen(settings.port, settings.host, () => console.log(`issuer ${settings.issuer}`));
