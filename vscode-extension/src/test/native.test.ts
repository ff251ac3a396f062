import assert from 'node:assert/strict';
import { test } from 'node:test';

import { agentArguments, listensOn, processes, processOf } from '../native';

test('an agent says where it listens', () => {
  assert.deepEqual(listensOn('manta debug-agent listens on 127.0.0.1:40123'), { host: '127.0.0.1', port: 40123 });
  assert.equal(listensOn('Debugging level: full'), undefined);
  assert.deepEqual(agentArguments(7), ['debug-agent', '--pid', '7', '--listen', '127.0.0.1:0']);
});

test('a process is named by its number, as a list gives it too', () => {
  assert.equal(processOf({ processId: 7 }), 7);
  assert.equal(processOf({ processId: ' 7 ' }), 7);
  assert.equal(processOf({ processId: '7x' }), undefined);
  assert.equal(processOf({}), undefined);
});

test('a user chooses among their own processes, the newest first', () => {
  const all: Record<number, { commandLine: string; user: number }> = {
    2: { commandLine: '', user: 0 },
    10: { commandLine: '/usr/bin/job\0--fast\0a b\0', user: 1000 },
    11: { commandLine: 'other\0', user: 1001 },
    12: { commandLine: './late\0', user: 1000 },
  };
  const ids = ['self', '2', '10', '11', '12', '13', 'meminfo'];
  assert.deepEqual(processes(ids, 1000, (id) => all[id]), [
    { id: 12, name: 'late', command: './late' },
    { id: 10, name: 'job', command: '/usr/bin/job --fast a b' },
  ]);
  assert.deepEqual(processes(ids, 0, (id) => all[id]).map(({ id }) => id), [12, 11, 10]);
});
