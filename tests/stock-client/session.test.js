// Manta's adapter, driven by the test client that the VS Code team publishes: nobody of this project wrote it, so it
// knows the protocol only, and nothing of Manta.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

import support from '@vscode/debugadapter-testsupport';

import { Cluster, Listener, MANTA, PATIENCE_MS, PYTHON, isolated, pythonFixture, rustFixture } from './support.js';

const { DebugClient } = support;

/** An adapter as a child on stdio. */
async function stdioClient(cleanUp) {
  const home = await mkdtemp(path.join(tmpdir(), 'manta-stock-client-'));
  const client = new DebugClient(MANTA, 'dap', 'manta', { env: isolated(home) }, true);
  client.defaultTimeout = PATIENCE_MS;
  await client.start();
  cleanUp(async () => {
    await client.stop();
    await rm(home, { recursive: true, force: true });
  });
  return client;
}

/** What a test started, ended in reverse order, whether or not it passed. */
function cleaner(t) {
  const steps = [];
  t.after(async () => {
    for (const step of steps.reverse()) {
      await step();
    }
  });
  return (step) => steps.push(step);
}

/** Attaches and sets one breakpoint, as an editor does. */
async function attach(client, cluster, fixture) {
  const { body: capabilities } = await client.initializeRequest();
  assert.equal(capabilities.supportsConfigurationDoneRequest, true);
  const initialized = client.waitForEvent('initialized');
  const attached = client.attachRequest(cluster.attachArguments);
  // An attach that is refused sends no `initialized`.
  await Promise.race([initialized, attached.then(() => initialized)]);
  const { body } = await client.setBreakpointsRequest({
    source: { path: fixture.source },
    breakpoints: [{ line: fixture.line }],
    lines: [fixture.line],
  });
  const [breakpoint] = body.breakpoints;
  assert.equal(breakpoint.verified, true, breakpoint.message);
  await client.configurationDoneRequest();
  await attached;
}

/** The variables of a frame's first scope by name. */
async function locals(client, frameId) {
  const { body: { scopes } } = await client.scopesRequest({ frameId });
  const { body: { variables } } = await client.variablesRequest({ variablesReference: scopes[0].variablesReference });
  return new Map(variables.map((variable) => [variable.name, variable]));
}

/** Awaits a stop, or says how the driver ended without one. */
function before(driver, stopped) {
  // A stop that comes no more must not fail a test that has failed already.
  stopped.catch(() => {});
  return Promise.race([stopped, driver.then((output) => assert.fail(`the driver ended without a stop: ${output}`))]);
}

/** Awaits the end of a thread. */
function exited(client, threadId) {
  return new Promise((resolve) => {
    client.on('thread', ({ body }) => {
      if (body.reason === 'exited' && body.threadId === threadId) {
        resolve(body);
      }
    });
  });
}

test('attach over stdio: a Python task stops, is looked at, stepped and continued', { timeout: 2 * PATIENCE_MS }, async (t) => {
  const cleanUp = cleaner(t);
  const cluster = await Cluster.start(2);
  cleanUp(() => cluster.stop());
  const client = await stdioClient(cleanUp);
  const fixture = pythonFixture('printer');
  await attach(client, cluster, fixture);

  const atBreakpoint = client.assertStoppedLocation('breakpoint', { path: fixture.source, line: fixture.line });
  atBreakpoint.catch(() => {});
  const stopped = client.waitForEvent('stopped');
  const driver = cluster.run(fixture.program);
  const { body: { threadId } } = await before(driver, stopped);
  const { body: { stackFrames } } = await atBreakpoint;
  assert.equal(stackFrames[0].name.split('.').pop(), 'greet');

  const { body: { threads } } = await client.threadsRequest();
  const thread = threads.find(({ id }) => id === threadId);
  assert.match(thread.name, /greet/);

  const variables = await locals(client, stackFrames[0].id);
  assert.equal(variables.get('greeting').value, "'hello world'");
  const numbers = variables.get('numbers');
  const { body: { variables: items } } = await client.variablesRequest({ variablesReference: numbers.variablesReference });
  const values = items.filter(({ name }) => /^\[?\d+\]?$/.test(name)).map(({ value }) => value);
  assert.deepEqual(values, ['0', '1', '2', '3', '4']);

  const evaluated = await client.evaluateRequest({ expression: 'times * 2', frameId: stackFrames[0].id, context: 'repl' });
  assert.equal(evaluated.body.result, '10');

  const afterStep = client.assertStoppedLocation('step', { path: fixture.source, line: fixture.line + 1 });
  await client.nextRequest({ threadId });
  await afterStep;

  const end = exited(client, threadId);
  const { body: continued } = await client.continueRequest({ threadId });
  assert.equal(continued.allThreadsContinued, false);
  assert.match(await driver, /hello world 10 2/);
  await end;
});

test('attach over TCP: a Rust task stops, is looked at and continued', { timeout: 2 * PATIENCE_MS }, async (t) => {
  const cleanUp = cleaner(t);
  const cluster = await Cluster.start(1);
  cleanUp(() => cluster.stop());
  const log = path.join(process.env.MANTA_DAP_LOGS ?? cluster.home, `stock-client-${process.pid}.jsonl`);
  const listener = await Listener.start('--log-dap', log);
  cleanUp(() => listener.stop());
  const client = new DebugClient(MANTA, 'dap', 'manta');
  await client.start(listener.port);
  cleanUp(() => client.stop());
  const fixture = rustFixture('forty_tasks');
  await attach(client, cluster, fixture);

  const atBreakpoint = client.assertStoppedLocation('breakpoint', { path: fixture.source, line: fixture.line });
  atBreakpoint.catch(() => {});
  const stopped = client.waitForEvent('stopped');
  // Of these tasks only the first reaches the line.
  const driver = cluster.run(fixture.program, '--tasks', '5');
  const { body: { threadId } } = await before(driver, stopped);
  const { body: { stackFrames } } = await atBreakpoint;
  assert.match(stackFrames[0].name, /mark/);
  assert.match(stackFrames[1].name, /work/);

  const variables = await locals(client, stackFrames[0].id);
  assert.equal(variables.get('number').value, '0');
  assert.match(variables.get('label').value, /task 0/);

  await client.continueRequest({ threadId });
  const results = JSON.parse(await driver);
  assert.deepEqual(results.map(([number]) => number), [0, 1, 2, 3, 4]);

  const lines = (await readFile(log, 'utf8')).trimEnd().split('\n').map((line) => JSON.parse(line));
  assert.ok(lines.some(({ dir, msg }) => dir === 'in' && msg.command === 'continue'));
  assert.ok(lines.some(({ dir, msg }) => dir === 'out' && msg.event === 'stopped'));
});

test('launch: the client\'s own sequence hits a breakpoint in a driver that the adapter starts', { timeout: 2 * PATIENCE_MS }, async (t) => {
  const client = await stdioClient(cleaner(t));
  const fixture = pythonFixture('printer');
  const stopped = client.waitForEvent('stopped');
  let output = '';
  client.on('output', ({ body }) => {
    output += body.output;
  });
  const terminated = client.waitForEvent('terminated');
  const ended = client.waitForEvent('exited');
  ended.catch(() => {});
  const launch = { program: fixture.program, python: PYTHON, env: { PYTHONPATH: process.env.PYTHONPATH ?? null } };
  const hit = client.hitBreakpoint(launch, { path: fixture.source, line: fixture.line });
  const { body: { threadId } } = await before(terminated.then(() => output), stopped);
  await hit;

  await client.continueRequest({ threadId });
  assert.equal((await ended).body.exitCode, 0);
  await terminated;
  assert.match(output, /hello world 10 2/);
});

test('a refusal says why, and the session goes on', { timeout: PATIENCE_MS }, async (t) => {
  const client = await stdioClient(cleaner(t));
  await client.initializeRequest();
  // Nobody listens on port 1.
  await assert.rejects(client.attachRequest({ address: '127.0.0.1:1', token: 'none' }), /127\.0\.0\.1:1/);
  await assert.rejects(client.customRequest('noSuchRequest', {}), /noSuchRequest/);
  await assert.rejects(client.scopesRequest({ frameId: 12345 }), /12345|frame/);
});
