import assert from 'node:assert/strict';
import { test } from 'node:test';

import { chooseAdapter, expand, type Surroundings } from '../adapterPath';

const LINUX: Surroundings = {
  setting: '',
  folders: ['/work/one', '/work/two'],
  home: '/home/me',
  searchPath: '/usr/local/bin:/usr/bin',
  platform: 'linux',
};

/** The choice when exactly these files are programs. */
function choose(around: Partial<Surroundings>, ...programs: string[]) {
  return chooseAdapter({ ...LINUX, ...around }, (file) => programs.includes(file));
}

test('the setting comes first', () => {
  const choice = choose({ setting: '/opt/manta' }, '/opt/manta', '/work/one/target/debug/manta', '/usr/bin/manta');
  assert.deepEqual(choice, { kind: 'found', program: '/opt/manta', from: 'setting' });
});

test('a setting that names no program is an error, though another program is there', () => {
  const choice = choose({ setting: '/opt/manta' }, '/usr/bin/manta');
  assert.equal(choice.kind, 'missing');
  assert.match(choice.kind === 'missing' ? choice.message : '', /manta\.path names \/opt\/manta/);
});

test('the setting may begin with the home or the workspace folder', () => {
  assert.deepEqual(choose({ setting: '~/bin/manta' }, '/home/me/bin/manta'), {
    kind: 'found',
    program: '/home/me/bin/manta',
    from: 'setting',
  });
  assert.deepEqual(choose({ setting: '${workspaceFolder}/out/manta' }, '/work/one/out/manta'), {
    kind: 'found',
    program: '/work/one/out/manta',
    from: 'setting',
  });
  assert.equal(expand('~other/manta', LINUX), '~other/manta');
});

test('a setting that cannot be a path says why', () => {
  const message = (around: Partial<Surroundings>): string => {
    const choice = choose(around, 'manta', 'bin/manta');
    return choice.kind === 'missing' ? choice.message : `found ${choice.program}`;
  };
  assert.match(message({ setting: 'bin/manta' }), /not a whole path/);
  assert.match(message({ setting: '${workspaceFolder}/manta', folders: [] }), /no folder is open/);
});

test('a release build comes before a debug build, and the session\'s folder before others', () => {
  const debug = '/work/one/target/debug/manta';
  const release = '/work/one/target/release/manta';
  const other = '/work/two/target/release/manta';
  assert.deepEqual(choose({}, debug, release, other), { kind: 'found', program: release, from: 'workspace' });
  assert.deepEqual(choose({}, debug, other), { kind: 'found', program: debug, from: 'workspace' });
  assert.deepEqual(choose({}, other), { kind: 'found', program: other, from: 'workspace' });
});

test('a workspace build comes before PATH, whose order counts', () => {
  const build = '/work/two/target/debug/manta';
  assert.deepEqual(choose({}, build, '/usr/bin/manta'), { kind: 'found', program: build, from: 'workspace' });
  const choice = choose({}, '/usr/bin/manta', '/usr/local/bin/manta');
  assert.deepEqual(choice, { kind: 'found', program: '/usr/local/bin/manta', from: 'PATH' });
});

test('relative and empty entries of PATH are not searched', () => {
  assert.equal(choose({ searchPath: ':bin:.' }, 'manta', 'bin/manta', './manta').kind, 'missing');
});

test('where there is none, the message names each place and what to do', () => {
  const choice = choose({});
  assert.equal(choice.kind, 'missing');
  for (const part of ['manta.path', 'target/release/manta', 'target/debug/manta', 'PATH', 'Install Manta']) {
    assert.ok(choice.kind === 'missing' && choice.message.includes(part), part);
  }
});

test('Windows has its own names and separators', () => {
  const windows: Partial<Surroundings> = {
    platform: 'win32',
    folders: ['C:\\work'],
    searchPath: 'C:\\tools;D:\\bin',
    home: 'C:\\Users\\me',
  };
  const build = 'C:\\work\\target\\debug\\manta.exe';
  assert.deepEqual(choose(windows, build), { kind: 'found', program: build, from: 'workspace' });
  assert.deepEqual(choose(windows, 'D:\\bin\\manta.exe'), { kind: 'found', program: 'D:\\bin\\manta.exe', from: 'PATH' });
});
