import assert from 'node:assert/strict';
import { test } from 'node:test';

import { complete, DEFAULTS, fault, TYPES, type Configuration } from '../configuration';

test('F5 without a launch.json attaches to the cluster of this machine', () => {
  assert.deepEqual(complete({}), DEFAULTS.manta);
  assert.equal(fault(complete({})), undefined);
});

test('F5 without a launch.json has something for each type', () => {
  for (const type of TYPES) {
    const { type: own, name } = complete<Configuration>({}, type);
    assert.equal(own, type);
    assert.ok(name);
  }
  assert.equal(fault(complete({}, 'manta-python')), undefined);
  // The editor has asked the user by then.
  assert.equal(fault({ ...complete({}, 'manta-native'), processId: '4711' }), undefined);
});

test('what somebody wrote is left as it is', () => {
  const written = { type: 'manta', request: 'launch', name: 'mine', program: 'a.py' };
  assert.equal(complete(written), written);
  assert.equal(fault(written), undefined);
});

test('a launch needs a program', () => {
  for (const program of [undefined, '', '  ', 7]) {
    assert.match(fault({ request: 'launch', program }) ?? '', /"program"/);
  }
});

test('only attach and launch are known', () => {
  assert.match(fault({ request: 'debug' }) ?? '', /"debug"/);
  assert.match(fault({}) ?? '', /"attach" or "launch"/);
});

test('a Python launch names one thing to run', () => {
  const launch = { type: 'manta-python', request: 'launch' };
  assert.match(fault(launch) ?? '', /nothing to run/);
  assert.match(fault({ ...launch, program: 'a.py', module: 'a' }) ?? '', /"program" and "module"/);
  for (const named of [{ program: 'a.py' }, { module: 'a' }, { code: ['a'] }]) {
    assert.equal(fault({ ...launch, ...named }), undefined);
  }
});

test('an attach says where', () => {
  for (const connect of [undefined, {}, { port: 0 }, { port: 'x' }, { port: 5678, host: '' }, '127.0.0.1:5678']) {
    assert.match(fault({ type: 'manta-python', request: 'attach', connect }) ?? '', /"connect"/);
    assert.match(fault({ type: 'manta-native', request: 'attach', connect }) ?? '', /"processId"/);
  }
  assert.equal(fault({ type: 'manta-python', request: 'attach', listen: { port: 5678 } }), undefined);
  for (const type of ['manta-python', 'manta-native']) {
    assert.equal(fault({ type, request: 'attach', connect: { port: '5678' } }), undefined);
  }
  for (const processId of ['', 'x', 0, -1, 1.5]) {
    assert.match(fault({ type: 'manta-native', request: 'attach', processId }) ?? '', /names no process/);
  }
  assert.match(fault({ type: 'manta-native', request: 'launch', program: 'a' }) ?? '', /"attach"/);
});
