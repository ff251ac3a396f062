// A private cluster and drivers on it, for tests that talk to them through an adapter.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** How long anything may take before the test gives up: far longer than it does, on a busy machine too. */
export const PATIENCE_MS = 60_000;

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));

/** The `manta` binary under test. */
export const MANTA = needed('MANTA_BIN', 'the path of the manta binary (target/debug/manta)');

/** The Python that runs Python drivers. */
export const PYTHON = process.env.MANTA_TEST_PYTHON ?? 'python3';

function needed(variable, what) {
  const value = process.env[variable];
  if (!value) {
    throw new Error(`${variable} is not set. Set it to ${what}, or run \`cargo xtask test --only stock-client\`, which does.`);
  }
  return value;
}

/** A Python fixture, with the line that carries the mark. */
export function pythonFixture(name) {
  const source = path.join(FIXTURES, 'python', `${name}.py`);
  return { source, program: source, line: markedLine(source) };
}

/** A Rust fixture, which lies beside the binary under test. */
export function rustFixture(name) {
  const source = path.join(FIXTURES, 'src', 'bin', `${name}.rs`);
  return { source, program: path.join(path.dirname(MANTA), name), line: markedLine(source) };
}

/** The line of a source with the mark. */
export function markedLine(source) {
  const index = readFileSync(source, 'utf8').split('\n').findIndex((line) => /(#|\/\/) stop here/.test(line));
  if (index < 0) {
    throw new Error(`${source} has no line marked "stop here"`);
  }
  return index + 1;
}

/** The environment of a program that must find no other cluster than the one it is given. */
export function isolated(home, more = {}) {
  const inherited = Object.entries(process.env).filter(([name]) => !['MANTA_ADDRESS', 'MANTA_TOKEN', 'MANTA_NODE_SOCKET'].includes(name));
  return { ...Object.fromEntries(inherited), MANTA_HOME: home, ...more };
}

/** A cluster of real processes that ends with the test, or with this process. */
export class Cluster {
  static async start(nodes) {
    const home = await mkdtemp(path.join(tmpdir(), 'manta-stock-client-'));
    const child = spawn(MANTA, ['local', '--nodes', String(nodes), '--num-cpus', '2', '--lifeline-stdin', '--json'], {
      env: isolated(home),
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const errors = text(child.stderr);
    const ended = once(child, 'exit');
    const first = await Promise.race([once(createInterface(child.stdout), 'line'), ended.then(() => undefined)]);
    if (first === undefined) {
      await rm(home, { recursive: true });
      throw new Error(`manta local did not get ready: ${await errors}`);
    }
    return new Cluster(child, ended, home, JSON.parse(first[0]));
  }

  constructor(child, ended, home, { address, token }) {
    Object.assign(this, { child, ended, home, address, token });
  }

  /** What a client attaches with. */
  get attachArguments() {
    return { address: this.address, token: this.token };
  }

  /** Runs a driver to its end and gives what it printed. */
  async run(program, ...args) {
    const [command, ...all] = program.endsWith('.py') ? [PYTHON, program, ...args] : [program, ...args];
    const env = isolated(this.home, { MANTA_ADDRESS: this.address, MANTA_TOKEN: this.token });
    const child = spawn(command, all, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const [[status, signal], output, errors] = await Promise.all([once(child, 'close'), text(child.stdout), text(child.stderr)]);
    if (status !== 0) {
      throw new Error(`${program} ended with ${signal ?? status}: ${errors}`);
    }
    return output;
  }

  /** Ends it by closing its lifeline. */
  async stop() {
    this.child.stdin.end();
    await this.ended;
    await rm(this.home, { recursive: true, force: true });
  }
}

/** An adapter that listens on a free port of the loopback interface. */
export class Listener {
  static async start(...args) {
    const home = await mkdtemp(path.join(tmpdir(), 'manta-stock-client-'));
    const child = spawn(MANTA, ['dap', '--listen', '127.0.0.1:0', ...args], {
      env: isolated(home),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const ended = once(child, 'exit');
    const said = [];
    const port = await new Promise((resolve, reject) => {
      for (const stream of [child.stdout, child.stderr]) {
        createInterface(stream).on('line', (line) => {
          said.push(line);
          const [, found] = /127\.0\.0\.1:(\d+)/.exec(line) ?? [];
          if (found !== undefined) {
            resolve(Number(found));
          }
        });
      }
      ended.then(() => reject(new Error(`manta dap ended: ${said.join('\n')}`)));
    });
    return new Listener(child, ended, home, port);
  }

  constructor(child, ended, home, port) {
    Object.assign(this, { child, ended, home, port });
  }

  async stop() {
    this.child.kill();
    await this.ended;
    await rm(this.home, { recursive: true, force: true });
  }
}

async function text(stream) {
  const chunks = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
