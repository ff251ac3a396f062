import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { test } from 'node:test';

import { ADAPTER_ARGUMENTS, adapterPython, connection, parseEnvironment, PROBE, unusable } from '../python';

const PYTHON = process.env['MANTA_TEST_PYTHON'] ?? 'python3';
const ENGINE = path.join(__dirname, '..', '..', '..', 'adapter', 'python');
const ENVIRONMENT = { ...process.env, PYTHONPATH: ENGINE };
const PATIENCE_MS = 60_000;
const IS_NEW_ENOUGH = spawnSync(PYTHON, ['-c', 'import sys; sys.exit(sys.version_info < (3, 11))']).status === 0;
const skip = IS_NEW_ENOUGH ? false : `${PYTHON} is no Python of 3.11 or later; name one by MANTA_TEST_PYTHON`;

test('the setting comes first, then the configuration, then the chosen interpreter', () => {
  const both = { setting: '/opt/python', chosen: '/env/python' };
  assert.equal(adapterPython({ python: '/my/python' }, both), '/opt/python');
  assert.equal(adapterPython({ python: ['/my/python', '-O'] }, { ...both, setting: ' ' }), '/my/python');
  assert.equal(adapterPython({}, { ...both, setting: '' }), '/env/python');
  assert.equal(adapterPython({ python: '' }, { setting: '', chosen: undefined }), 'python3');
});

test('an address has a port, and this machine where none is named', () => {
  assert.deepEqual(connection({ connect: { port: 5678 } }), { host: '127.0.0.1', port: 5678 });
  assert.deepEqual(connection({ connect: { host: 'far', port: '5678' } }), { host: 'far', port: 5678 });
  assert.equal(connection({ connect: { port: 65536 } }), undefined);
  assert.equal(connection({ port: 5678 }), undefined);
});

test('an environment file is read as others read it', () => {
  const text = [
    '# a comment', 'PLAIN=a b ', 'export EXPORTED = x', "SINGLE='a # \\n' # said", 'DOUBLE="a\\n\\"b\\""', 'EMPTY=',
    'NOTED=a # said', 'HASH=a#b', 'no assignment', '1BAD=x',
  ].join('\r\n');
  assert.deepEqual(parseEnvironment(text), {
    PLAIN: 'a b', EXPORTED: 'x', SINGLE: 'a # \\n', DOUBLE: 'a\n"b"', EMPTY: '', NOTED: 'a', HASH: 'a#b',
  });
});

test('an interpreter without the engine is told of before a session begins', { skip }, () => {
  assert.equal(spawnSync(PYTHON, ['-c', PROBE], { env: ENVIRONMENT }).status, 0);
  const without = spawnSync(PYTHON, ['-S', '-E', '-c', PROBE], { encoding: 'utf8' });
  assert.equal(without.status, 1);
  assert.match(unusable(PYTHON, without.stderr), /cannot run the Python debugger: it has no package manta: install it there by `pip/);
  assert.match(unusable('/no/python', ''), /it did not answer\. Choose another by the setting manta\.python/);
});

test('the adapter that is started so launches a program, and tells of its end', { skip, timeout: PATIENCE_MS }, async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'manta-extension-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const program = path.join(folder, 'program.py');
  writeFileSync(program, 'value = 6\nprint(value * 7)  # stop here\n');
  const adapter = spawn(PYTHON, [...ADAPTER_ARGUMENTS], { env: ENVIRONMENT, stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => adapter.kill());
  let sequence = 0;
  const ask = (command: string, given: object = {}): void => {
    const body = JSON.stringify({ seq: (sequence += 1), type: 'request', command, arguments: given });
    adapter.stdin.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  };
  const seen: string[] = [];
  ask('initialize', { adapterID: 'manta-python' });
  ask('launch', { program });
  for await (const message of messages(adapter.stdout)) {
    const { event, body } = message as { event?: string; body?: { output?: string; threadId?: number; exitCode?: number } };
    if (event === 'initialized') {
      ask('setBreakpoints', { source: { path: program }, breakpoints: [{ line: 2 }] });
      ask('configurationDone');
    } else if (event === 'stopped') {
      ask('continue', { threadId: body?.threadId });
    }
    if (event !== undefined) {
      seen.push(event === 'output' ? `output ${body?.output?.trim()}` : event === 'exited' ? `exited ${body?.exitCode}` : event);
    }
    if (event === 'terminated') {
      break;
    }
  }
  for (const expected of ['stopped', 'output 42', 'exited 0', 'terminated']) {
    assert.ok(seen.includes(expected), `${expected} is not among ${seen.join(', ')}`);
  }
});


/** The messages of the protocol on a stream. */
async function* messages(stream: NodeJS.ReadableStream): AsyncGenerator<unknown> {
  let held = '';
  // One character for a byte, as lengths are counted in bytes.
  stream.setEncoding('latin1');
  for await (const piece of stream) {
    held += piece as string;
    for (;;) {
      const [header, length] = /^Content-Length: (\d+)\r\n\r\n/.exec(held) ?? [];
      const end = (header?.length ?? 0) + Number(length);
      if (header === undefined || held.length < end) {
        break;
      }
      yield JSON.parse(Buffer.from(held.slice(header.length, end), 'latin1').toString('utf8'));
      held = held.slice(end);
    }
  }
}
