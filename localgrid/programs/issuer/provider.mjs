// How the provider is set up: INDIGO IAM's paths, the WLCG token profile, and all scopes granted to those who ask.
import { Provider } from './library.mjs';
import * as pages from './pages.mjs';
import { StoreAdapter } from './store.mjs';

const DAY_S = 86400;
const AUDIENCE = 'urn:audience:';
const WORK = ['storage.read:/', 'storage.modify:/', 'storage.create:/', 'compute.read', 'compute.create', 'compute.modify', 'compute.cancel'];
const SCOPES = ['openid', 'offline_access', 'profile', 'email', 'wlcg', 'wlcg.groups', 'eduperson_entitlement', ...WORK];
const CLAIMS = {
  openid: ['sub'],
  profile: ['name', 'given_name', 'family_name', 'preferred_username'],
  email: ['email', 'email_verified'],
  wlcg: ['wlcg.ver', 'wlcg.groups'],
  'wlcg.groups': ['wlcg.groups'],
  eduperson_entitlement: ['eduperson_entitlement'],
};

// Groups as the WLCG profile has them, and as entitlements of AARC-G069.
const groupClaims = (user, scopes, namespace) => ({
  ...(scopes.has('wlcg.groups') || scopes.has('wlcg') ? { 'wlcg.groups': user.groups.map((g) => `/${g}`) } : {}),
  ...(scopes.has('eduperson_entitlement')
    ? { eduperson_entitlement: user.groups.map((g) => `${namespace}:group:${g.split('/').map(encodeURIComponent).join(':')}`) }
    : {}),
});

export const makeProvider = (settings, jwks, store) => {
  const users = new Map(settings.users.map((user) => [user.sub, user]));
  const scopesOf = (text) => new Set((text ?? '').split(' '));
  // IAM's parameter `audience` names any audience; the library wants resources to be URIs.
  const audience = (ctx) => `${AUDIENCE}${encodeURIComponent(ctx.oidc.params?.audience || ctx.oidc.body?.audience || settings.audience)}`;

  const accountClaims = (user, scope) => ({
    sub: user.sub,
    name: user.name,
    given_name: user.given_name,
    family_name: user.family_name,
    preferred_username: user.username,
    email: user.email,
    email_verified: true,
    'wlcg.ver': '1.0',
    ...groupClaims(user, scopesOf(scope), settings.entitlements),
  });

  const provider = new Provider(settings.issuer, {
    adapter: (model) => new StoreAdapter(model, store),
    clients: settings.clients,
    jwks,
    cookies: {
      keys: [settings.cookie_key],
      names: { session: 'issuer_session', interaction: 'issuer_interaction', resume: 'issuer_resume' },
    },
    scopes: SCOPES,
    claims: CLAIMS,
    conformIdTokenClaims: false, // the WLCG profile has groups in ID tokens as well
    findAccount: (_, sub) => users.has(sub) && {
      accountId: sub,
      claims: (_use, scope) => accountClaims(users.get(sub), scope),
    },
    extraTokenClaims: (_, token) => {
      const user = users.get(token.accountId);
      const common = { 'wlcg.ver': '1.0', nbf: Math.floor(Date.now() / 1000) };
      return user
        ? { ...common, preferred_username: user.username, ...groupClaims(user, scopesOf(token.scope), settings.entitlements) }
        : common;
    },
    extraParams: ['audience'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      userinfo: { enabled: true },
      deviceFlow: {
        enabled: true,
        charset: 'base-20',
        mask: '****-****',
        userCodeInputSource: (ctx, form, _, error) => { ctx.body = pages.codePage(form, error); },
        userCodeConfirmSource: (ctx, form, client, _, code) => { ctx.body = pages.codeConfirmPage(form, client.clientName ?? client.clientId, code); },
        successSource: (ctx) => { ctx.body = pages.donePage(); },
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => { ctx.body = pages.logoutPage(form); },
        postLogoutSuccessSource: (ctx) => { ctx.body = pages.page('Signed out', ''); },
      },
      // Every access token is a JWT for one audience.
      resourceIndicators: {
        enabled: true,
        defaultResource: audience,
        useGrantedResource: () => true,
        // As at INDIGO IAM, whoever refreshes may ask for another audience each time.
        getResourceServerInfo: (ctx, name) => ({
          audience: ctx.oidc.body?.audience || decodeURIComponent(name.replace(AUDIENCE, '')),
          scope: SCOPES.join(' '),
          accessTokenFormat: 'jwt',
          accessTokenTTL: settings.access_token_ttl,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    pkce: { required: (_, client) => client.clientAuthMethod === 'none' },
    issueRefreshToken: (_, client, source) => client.grantTypeAllowed('refresh_token') && source.scopes.has('offline_access'),
    rotateRefreshToken: true,
    // What is asked for is granted; with prompt=consent, as RFC 6749 wants it for public clients, after asking.
    loadExistingGrant: async (ctx) => {
      const { client, session, params } = ctx.oidc;
      const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope(params.scope);
      grant.addOIDCClaims(Object.values(CLAIMS).flat());
      for (const name of Object.keys(ctx.oidc.resourceServers ?? {})) grant.addResourceScope(name, params.scope);
      await grant.save();
      return grant;
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    renderError: (ctx, out) => { ctx.body = pages.errorPage(out); },
    routes: {
      authorization: '/authorize',
      token: '/token',
      device_authorization: '/devicecode',
      code_verification: '/device',
      userinfo: '/userinfo',
      introspection: '/introspect',
      revocation: '/revoke',
      jwks: '/jwk',
      end_session: '/logout',
    },
    ttl: {
      AccessToken: settings.access_token_ttl,
      ClientCredentials: settings.access_token_ttl,
      AuthorizationCode: 60,
      DeviceCode: 600,
      IdToken: 3600,
      Interaction: 3600,
      Session: DAY_S,
      Grant: 30 * DAY_S,
      RefreshToken: settings.refresh_token_ttl,
    },
  });
  provider.on('server_error', (_, error) => console.error(error));
  provider.on('grant.error', (_, error) => console.error(`grant: ${error.error}: ${error.error_detail ?? error.error_description}`));
  return { provider, users, accountClaims };
};
