// What the identity provider remembers: logins, codes and grants, in one file of mode 0600.
//
// One process writes it, so that a restart of the sandbox signs nobody out at the provider.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const now = () => Math.floor(Date.now() / 1000);

export class FileStore {
  constructor(path) {
    this.path = path;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.rows = new Map();
    try {
      this.rows = new Map(JSON.parse(readFileSync(path, 'utf8')));
    } catch (error) {
      if (error.code !== 'ENOENT') console.error('the state cannot be read; all log in anew');
    }
  }

  /** Return the storage of one kind of thing, as oidc-provider asks for it. */
  adapter(model) {
    return new Rows(this, model);
  }

  get(key) {
    const row = this.rows.get(key);
    if (row === undefined) return undefined;
    if (row.ends !== null && row.ends <= now()) return undefined;
    return row.payload;
  }

  set(key, payload, seconds) {
    this.rows.set(key, { payload, ends: seconds ? now() + seconds : null });
    this.write();
  }

  delete(key) {
    if (this.rows.delete(key)) this.write();
  }

  write() {
    for (const [key, row] of this.rows) {
      if (row.ends !== null && row.ends <= now()) this.rows.delete(key);
    }
    const stage = `${this.path}.new`;
    writeFileSync(stage, JSON.stringify([...this.rows]), { mode: 0o600 });
    renameSync(stage, this.path);
  }
}

class Rows {
  constructor(store, model) {
    this.store = store;
    this.model = model;
  }

  async upsert(id, payload, seconds) {
    this.store.set(`${this.model}:${id}`, payload, seconds);
  }

  async find(id) {
    return this.store.get(`${this.model}:${id}`);
  }

  async findByUid(uid) {
    return this.#first((payload) => payload.uid === uid);
  }

  async findByUserCode(code) {
    return this.#first((payload) => payload.userCode === code);
  }

  async consume(id) {
    const row = this.store.rows.get(`${this.model}:${id}`);
    if (row) {
      row.payload = { ...row.payload, consumed: now() };
      this.store.write();
    }
  }

  async destroy(id) {
    this.store.delete(`${this.model}:${id}`);
  }

  async revokeByGrantId(grantId) {
    for (const [key, row] of this.store.rows) {
      if (key.startsWith(`${this.model}:`) && row.payload.grantId === grantId) {
        this.store.rows.delete(key);
      }
    }
    this.store.write();
  }

  #first(matches) {
    for (const key of this.store.rows.keys()) {
      if (!key.startsWith(`${this.model}:`)) continue;
      const payload = this.store.get(key);
      if (payload && matches(payload)) return payload;
    }
    return undefined;
  }
}
