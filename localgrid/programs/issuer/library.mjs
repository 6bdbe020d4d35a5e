// The packages lie in the environment .envs/issuer, away from this folder.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { resolve } = createRequire(`${process.env.ESAP_ISSUER_PACKAGES}/`);
const load = (name) => import(pathToFileURL(resolve(name)).href);

export const { Provider } = await load('oidc-provider');
export const { default: MemoryAdapter } = await load('oidc-provider/lib/adapters/memory_adapter.js');
