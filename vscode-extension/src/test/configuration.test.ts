import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ATTACH_BY_DEFAULT, complete, fault } from '../configuration';

test('F5 without a launch.json attaches to the cluster of this machine', () => {
  assert.deepEqual(complete({}), ATTACH_BY_DEFAULT);
  assert.equal(fault(complete({})), undefined);
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
