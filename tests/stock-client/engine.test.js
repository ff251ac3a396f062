// The Python engine on its own, `python -m manta.debug`, as a program that listens and as an adapter that launches, driven by the
// test client that the VS Code team publishes.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';

import support from '@vscode/debugadapter-testsupport';

import { PATIENCE_MS, PYTHON, pythonFixture } from './support.js';

const { DebugClient } = support;

/** A program under the engine, which listens on a free port. */
async function start(t, ...words) {
  const child = spawn(PYTHON, ['-m', 'manta.debug', '--listen', '127.0.0.1:0', ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill());
  const ended = once(child, 'close');
  const output = text(child.stdout);
  const said = [];
  const port = await new Promise((resolve, reject) => {
    createInterface(child.stderr).on('line', (line) => {
      said.push(line);
      const [, found] = /listening on 127\.0\.0\.1:(\d+)/.exec(line) ?? [];
      if (found !== undefined) {
        resolve(Number(found));
      }
    });
    ended.then(() => reject(new Error(`python -m manta.debug ended: ${said.join('\n')}`)));
  });
  return { port, ended, output };
}

async function connect(t, port) {
  const client = new DebugClient(PYTHON, 'manta.debug', 'manta');
  client.defaultTimeout = PATIENCE_MS;
  await client.start(port);
  // The test itself disconnects; `stop` would ask the ended program once more.
  t.after(() => client.stopAdapter());
  return client;
}

for (const [how, words] of [
  ['a script', (fixture) => [fixture.program, '--listen', 'its own']],
  ['a module', () => ['-m', 'plain', '--listen', 'its own']],
]) {
  test(`${how} waits for its breakpoints, stops, is stepped, and ends as it would have`, { timeout: PATIENCE_MS }, async (t) => {
    const fixture = pythonFixture('plain');
    process.chdir(new URL('../fixtures/python/', import.meta.url).pathname);
    const program = await start(t, ...words(fixture));
    const client = await connect(t, program.port);
    const initialized = client.waitForEvent('initialized');
    const { body: capabilities } = await client.initializeRequest();
    assert.equal(capabilities.supportsStepInTargetsRequest, true);
    const attached = client.attachRequest({});
    await initialized;
    const { body: { breakpoints: [breakpoint] } } = await client.setBreakpointsRequest({
      source: { path: fixture.source },
      breakpoints: [{ line: fixture.line }],
    });
    assert.ok(breakpoint.id > 0);
    const stopped = client.assertStoppedLocation('breakpoint', { path: fixture.source, line: fixture.line });
    await client.configurationDoneRequest();
    await attached;
    const { body: { stackFrames: [top, , , outermost] } } = await stopped;
    assert.equal(outermost.name, '<module>');
    const { body: { threads: [thread] } } = await client.threadsRequest();
    const { body: { result } } = await client.evaluateRequest({ expression: 'number + 41', frameId: top.id, context: 'repl' });
    assert.equal(result, '42');
    const stepped = client.assertStoppedLocation('step', { path: fixture.source, line: fixture.line + 1 });
    await client.nextRequest({ threadId: thread.id });
    await stepped;
    await client.setBreakpointsRequest({ source: { path: fixture.source }, breakpoints: [] });
    const exited = client.waitForEvent('exited');
    await client.continueRequest({ threadId: thread.id });
    assert.equal((await exited).body.exitCode, 0);
    await client.disconnectRequest({});
    assert.deepEqual((await program.ended)[0], 0);
    assert.match(await program.output, /^doubled 12 --listen its own$/m);
  });
}

test('without --wait the program runs at once, and nobody needs to come', { timeout: PATIENCE_MS }, async (t) => {
  const fixture = pythonFixture('plain');
  const program = await start(t, '--no-wait', fixture.program);
  assert.equal((await program.ended)[0], 0);
  assert.match(await program.output, /^doubled 12$/m);
});

/** A client of the adapter, on its standard streams. */
async function adapter(t) {
  // The client itself can start a program with one word only.
  const client = new DebugClient(PYTHON, '', 'manta');
  const child = spawn(PYTHON, ['-m', 'manta.debug', '--adapter'], { stdio: ['pipe', 'pipe', 'inherit'] });
  client.connect(child.stdout, child.stdin);
  client.defaultTimeout = PATIENCE_MS;
  t.after(() => child.kill());
  return { client, ended: once(child, 'close') };
}

test('the adapter launches a program, stops in it, and ends with its client', { timeout: PATIENCE_MS }, async (t) => {
  const fixture = pythonFixture('plain');
  const { client, ended } = await adapter(t);
  const where = { path: fixture.source, line: fixture.line };
  await Promise.all([
    client.hitBreakpoint({ program: fixture.program, args: ['its', 'own'] }, where, where),
    client.waitForEvent('process'),
  ]);
  const { body: { threads: [thread] } } = await client.threadsRequest();
  await client.setBreakpointsRequest({ source: { path: fixture.source }, breakpoints: [] });
  const exited = client.waitForEvent('exited');
  await Promise.all([
    client.assertOutput('stdout', 'doubled 12 its own\n'),
    client.continueRequest({ threadId: thread.id }),
  ]);
  assert.equal((await exited).body.exitCode, 0);
  await client.disconnectRequest({});
  assert.equal((await ended)[0], 0);
});

test('the children of a launched program stop in its session', { timeout: PATIENCE_MS }, async (t) => {
  const fixture = pythonFixture('plain');
  const { client } = await adapter(t);
  const code = ['import subprocess, sys', `subprocess.run([sys.executable, ${JSON.stringify(fixture.program)}])`];
  const where = { path: fixture.source, line: fixture.line };
  const stopped = client.assertStoppedLocation('breakpoint', where);
  await Promise.all([
    client.waitForEvent('initialized').then(async () => {
      const { body: { breakpoints: [breakpoint] } } = await client.setBreakpointsRequest({
        source: { path: fixture.source },
        breakpoints: [{ line: fixture.line }],
      });
      assert.equal(breakpoint.verified, true);
      await client.configurationDoneRequest();
    }),
    client.launch({ code }),
  ]);
  await stopped;
  const { body: { threads } } = await client.threadsRequest();
  assert.match(threads.at(-1).name, /^MainThread, plain\.py \(\d+\)$/);
  await client.setBreakpointsRequest({ source: { path: fixture.source }, breakpoints: [] });
  const exited = client.waitForEvent('exited');
  await client.continueRequest({ threadId: threads.at(-1).id });
  assert.equal((await exited).body.exitCode, 0);
});
