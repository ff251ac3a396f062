// What a debug configuration lacks when a user has written none, or only a part of it.

import { processOf } from './native';
import { awaiting, connection } from './python';

/** The parts of a configuration that are looked at here; the adapter reads the rest. */
export interface Configuration {
  type?: string;
  request?: string;
  name?: string;
  program?: unknown;
  [key: string]: unknown;
}

/** The types of configuration that this extension serves: a cluster, and each engine on its own. */
export const TYPES = ['manta', 'manta-python', 'manta-native'] as const;
export type Type = (typeof TYPES)[number];

/** The configurations of F5 without a launch.json. */
export const DEFAULTS: Readonly<Record<Type, Configuration>> = {
  manta: { type: 'manta', request: 'attach', name: 'Manta: attach to the cluster' },
  'manta-python': {
    type: 'manta-python',
    request: 'launch',
    name: 'Manta: debug this Python file',
    program: '${file}',
    console: 'integratedTerminal',
  },
  'manta-native': {
    type: 'manta-native',
    request: 'attach',
    name: 'Manta: attach to a Rust process',
    processId: '${command:pickProcess}',
  },
};

/** Fills in an empty configuration, and leaves one that somebody wrote as it is. */
export function complete<C extends Configuration>(configuration: C, type: Type = 'manta'): C {
  const isEmpty = !configuration.type && !configuration.request && !configuration.name;
  return isEmpty ? { ...configuration, ...DEFAULTS[type] } : configuration;
}

/** Says what is wrong with a configuration before an adapter is started for it; undefined where nothing is. */
export function fault(configuration: Configuration): string | undefined {
  const { request } = configuration;
  if (request !== 'attach' && request !== 'launch') {
    return `The configuration's "request" is ${JSON.stringify(request)}. Set it to "attach" or "launch".`;
  }
  if (configuration.type === 'manta-python') {
    return request === 'launch' ? faultOfPythonLaunch(configuration) : faultOfPythonAttach(configuration);
  }
  if (configuration.type === 'manta-native') {
    return faultOfNative(configuration, request);
  }
  const { program } = configuration;
  if (request === 'launch' && (typeof program !== 'string' || program.trim() === '')) {
    return 'The launch configuration has no "program". Name a Python file or a built Rust program in launch.json, or use "attach" for a cluster that runs already.';
  }
  return undefined;
}

function faultOfPythonLaunch(configuration: Configuration): string | undefined {
  const named = ['program', 'module', 'code'].filter((key) => configuration[key] !== undefined);
  return named.length === 1
    ? undefined
    : `The launch configuration has ${named.length === 0 ? 'nothing to run' : named.map((key) => `"${key}"`).join(' and ')}. Set one of "program", "module" and "code".`;
}

function faultOfPythonAttach(configuration: Configuration): string | undefined {
  return connection(configuration) === undefined &&
    awaiting(configuration) === undefined &&
    processOf(configuration) === undefined
    ? 'The attach configuration has no address. Start the program with `python -m manta.debug --listen 5678 …`, and set "connect" to {"host": "127.0.0.1", "port": 5678}; or set "processId" to that of a program which runs already.'
    : undefined;
}

function faultOfNative(configuration: Configuration, request: 'attach' | 'launch'): string | undefined {
  if (request === 'launch') {
    return 'The native engine attaches to a program that runs. Set "request" to "attach", and "processId" to "${command:pickProcess}".';
  }
  return connection(configuration) === undefined && processOf(configuration) === undefined
    ? 'The attach configuration names no process. Set "processId" to a number or to "${command:pickProcess}", or "connect" to the address of a `manta debug-agent --listen`.'
    : undefined;
}
