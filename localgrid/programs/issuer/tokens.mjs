// What INDIGO IAM does with its own JWT access tokens and the library does not: userinfo, introspection, revocation.
import crypto from 'node:crypto';

const EPOCH_S = () => Math.floor(Date.now() / 1000);

export const sameText = (a, b) => {
  const digest = (text) => crypto.createHash('sha256').update(String(text)).digest();
  return crypto.timingSafeEqual(digest(a), digest(b));
};

export class AccessTokens {
  #issuer;

  #keys;

  #store;

  constructor(issuer, jwks, store) {
    this.#issuer = issuer;
    this.#keys = new Map(jwks.keys.map((jwk) => [jwk.kid, crypto.createPublicKey({ key: jwk, format: 'jwk' })]));
    this.#store = store;
  }

  // The claims of a valid token of ours; undefined for every other text.
  claims(token) {
    const [head, body, signature] = String(token).split('.');
    if (!signature) return undefined;
    try {
      const { alg, kid, typ } = JSON.parse(Buffer.from(head, 'base64url'));
      const key = this.#keys.get(kid);
      if (alg !== 'RS256' || typ !== 'at+jwt' || !key) return undefined;
      const signed = Buffer.from(`${head}.${body}`);
      if (!crypto.verify('sha256', signed, key, Buffer.from(signature, 'base64url'))) return undefined;
      const claims = JSON.parse(Buffer.from(body, 'base64url'));
      const good = claims.iss === this.#issuer && claims.exp > EPOCH_S() && !this.#store.get(`revoked:${claims.jti}`);
      return good ? claims : undefined;
    } catch {
      return undefined;
    }
  }

  revoke(claims) {
    this.#store.set(`revoked:${claims.jti}`, true, { maxAge: (claims.exp - EPOCH_S()) * 1000 });
  }
}

// The client that a request to the token endpoints comes from, by HTTP Basic or form; undefined unless it is known.
export const clientOf = (headers, form, clients) => {
  let [id, secret] = [form.get('client_id'), form.get('client_secret')];
  if (/^basic /i.test(headers.authorization ?? '')) {
    const text = Buffer.from(headers.authorization.slice(6), 'base64').toString();
    [id, secret] = text.split(':').map((part) => decodeURIComponent(part.replaceAll('+', ' ')));
  }
  const client = clients.find((one) => one.client_id === id);
  return client && sameText(client.client_secret ?? '', secret ?? '') ? client : undefined;
};
