// The native engine on its own, `manta debug-agent`, driven by the test client that the VS Code team publishes.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { before, after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import support from '@vscode/debugadapter-testsupport';

import { MANTA, PATIENCE_MS, markedLine } from './support.js';

const { DebugClient } = support;

const SOURCE = fileURLToPath(new URL('alone.rs', import.meta.url));
let folder;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'manta-stock-client-'));
  execFileSync('rustc', ['--edition=2024', '-g', '-o', path.join(folder, 'alone'), SOURCE]);
});

after(() => rm(folder, { recursive: true, force: true }));

/** The program, with the lines that it prints. */
async function program(t) {
  const child = spawn(path.join(folder, 'alone'), { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'ready');
  return { child, lines };
}

/** An agent that listens on a free port, or the sentence with which it refuses. */
async function agent(t, pid) {
  const child = spawn(MANTA, ['debug-agent', '--pid', String(pid), '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'ignore', 'pipe'] });
  t.after(() => child.kill());
  const ended = once(child, 'close');
  const said = [];
  const port = await new Promise((resolve) => {
    createInterface(child.stderr).on('line', (line) => {
      said.push(line);
      const [, found] = /listens on 127\.0\.0\.1:(\d+)/.exec(line) ?? [];
      if (found !== undefined) {
        resolve(Number(found));
      }
    });
    ended.then(() => resolve(undefined));
  });
  return { port, ended, said };
}

async function connect(t, port) {
  const client = new DebugClient(MANTA, 'debug-agent', 'manta');
  client.defaultTimeout = PATIENCE_MS;
  await client.start(port);
  // The test itself disconnects; `stop` would ask the ended agent once more.
  t.after(() => client.stopAdapter());
  return client;
}

test('a running program is attached to, stopped, looked at, stepped and left', { timeout: PATIENCE_MS }, async (t) => {
  const { child, lines } = await program(t);
  const { port, ended } = await agent(t, child.pid);
  const client = await connect(t, port);
  const line = markedLine(SOURCE);
  const initialized = client.waitForEvent('initialized');
  const level = client.waitForEvent('output');
  const { body: capabilities } = await client.initializeRequest();
  assert.equal(capabilities.supportsDataBreakpoints, true);
  await initialized;
  assert.match((await level).body.output, /^Debugging level: /);
  await client.attachRequest({});
  const { body: { breakpoints: [breakpoint] } } = await client.setBreakpointsRequest({
    source: { path: SOURCE },
    breakpoints: [{ line, condition: 'number == 3' }],
  });
  assert.equal(breakpoint.verified, true);
  await client.configurationDoneRequest();
  const stopped = client.assertStoppedLocation('breakpoint', { path: SOURCE, line });
  child.stdin.write('4\n');
  const { body: { stackFrames: [top, caller] } } = await stopped;
  assert.equal(top.name, 'alone::sum');
  assert.equal(caller.name, 'alone::main');
  const { body: { scopes: [locals] } } = await client.scopesRequest({ frameId: top.id });
  const { body: { variables } } = await client.variablesRequest({ variablesReference: locals.variablesReference });
  const shown = Object.fromEntries(variables.map(({ name, value }) => [name, value]));
  assert.equal(shown.total, '3');
  assert.equal(shown.last, '4');
  const { body: { result } } = await client.evaluateRequest({ expression: 'total + number', frameId: top.id, context: 'watch' });
  assert.equal(result, '6');
  const { body: { value } } = await client.setVariableRequest({ variablesReference: locals.variablesReference, name: 'total', value: '100' });
  assert.equal(value, '100');
  const { body: { threads: [thread] } } = await client.threadsRequest();
  const stepped = client.assertStoppedLocation('step', { path: SOURCE, line: line - 1 });
  await client.nextRequest({ threadId: thread.id });
  await stepped;
  await client.continueRequest({ threadId: thread.id });
  // 100, 3 and 4.
  assert.equal((await lines.next()).value, 'sum 107');
  await client.disconnectRequest({});
  assert.equal((await ended)[0], 0);
  child.stdin.end('4\n');
  assert.equal((await lines.next()).value, 'sum 10');
  assert.equal((await once(child, 'exit'))[0], 0);
});

test('an agent goes with its client, and the next one comes to a program that ran on', { timeout: PATIENCE_MS }, async (t) => {
  const { child, lines } = await program(t);
  for (let turn = 0; turn < 2; turn += 1) {
    const { port, ended } = await agent(t, child.pid);
    const client = await connect(t, port);
    await client.initializeRequest();
    await client.attachRequest({});
    await client.setFunctionBreakpointsRequest({ breakpoints: [{ name: 'sum' }] });
    await client.configurationDoneRequest();
    const stopped = client.assertStoppedLocation('breakpoint', {});
    child.stdin.write('2\n');
    await stopped;
    // The window is closed, and nobody says goodbye.
    client.stopAdapter();
    assert.equal((await lines.next()).value, 'sum 3');
    assert.equal((await ended)[0], 0);
  }
});

test('what cannot be debugged is refused at once, in a sentence', { timeout: PATIENCE_MS }, async (t) => {
  const gone = spawn('true');
  await once(gone, 'exit');
  const { port, ended, said } = await agent(t, gone.pid);
  assert.equal(port, undefined);
  assert.equal((await ended)[0], 1);
  assert.match(said.join('\n'), new RegExp(`there is no process ${gone.pid}`));
});
