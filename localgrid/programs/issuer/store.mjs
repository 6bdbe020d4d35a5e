// Sessions, grants, refresh tokens and revoked tokens, kept in one private file over restarts.
import fs from 'node:fs';
import { MemoryAdapter } from './library.mjs';

const now = () => Date.now();

export class Store {
  #path;

  #entries;

  #dirty = false;

  constructor(path) {
    this.#path = path;
    const kept = fs.existsSync(path) ? JSON.parse(fs.readFileSync(path, 'utf8')) : [];
    this.#entries = new Map(kept.map(([key, entry]) => [key, entry]));
  }

  get(key) {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    if (entry.until !== null && entry.until <= now()) {
      this.delete(key);
      return undefined;
    }
    return entry.value;
  }

  set(key, value, { maxAge } = {}) {
    this.#entries.set(key, { value, until: maxAge ? now() + maxAge : null });
    this.save();
  }

  delete(key) {
    this.#entries.delete(key);
    this.save();
  }

  // Writes once for all changes of a turn of the event loop, all of the file or nothing.
  save() {
    if (this.#dirty) return;
    this.#dirty = true;
    setImmediate(() => {
      this.#dirty = false;
      const alive = [...this.#entries].filter(([, { until }]) => until === null || until > now());
      const text = JSON.stringify(alive, (_, value) => (value instanceof Map ? [...value.keys()] : value));
      fs.writeFileSync(`${this.#path}.new`, text, { mode: 0o600 });
      fs.renameSync(`${this.#path}.new`, this.#path);
    });
  }
}

export class StoreAdapter extends MemoryAdapter {
  async consume(id) {
    await super.consume(id);
    this.storage.save(); // the library marks the entry in place
  }
}
