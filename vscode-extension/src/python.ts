// The Python engine on its own: which interpreter runs its adapter, and where a program that listens is. It knows nothing of the editor.

import type { Configuration } from './configuration';

/** An address that a client connects to. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Where an interpreter may be named, the first that is counts. */
export interface Interpreters {
  /** The setting `manta.python`. */
  readonly setting: string;
  /** What the Python extension has chosen for the folder; undefined where there is none. */
  readonly chosen: string | undefined;
}

/** The interpreter that runs the adapter: it needs the package `manta`. The program's own need not have it. */
export function adapterPython(configuration: Configuration, interpreters: Interpreters): string {
  const [own] = Array.isArray(configuration['python']) ? configuration['python'] : [configuration['python']];
  const named = [interpreters.setting.trim(), own, interpreters.chosen].find((name) => typeof name === 'string' && name !== '');
  return typeof named === 'string' ? named : 'python3';
}

/** What the interpreter is given to be a debug adapter on its standard streams. */
export const ADAPTER_ARGUMENTS: readonly string[] = ['-m', 'manta_debug', '--adapter'];

/** Code that ends with 0 where the interpreter can run the adapter, and else says why on its standard error. */
export const PROBE = [
  'import importlib.util, sys',
  'v = "%d.%d" % sys.version_info[:2]',
  'sys.version_info >= (3, 11) or sys.exit("it is Python " + v + ", and the debugger needs 3.11 or later")',
  'importlib.util.find_spec("manta_debug") or sys.exit("it has no package manta: install it there by `pip install manta`")',
].join('\n');

/** The sentence for an interpreter that `PROBE` has refused, or that could not be run. */
export function unusable(python: string, reason: string): string {
  const said = reason.trim().split('\n').at(-1) ?? '';
  return `The interpreter ${python} cannot run the Python debugger: ${said || 'it did not answer'}. Choose another by the setting manta.python.`;
}

/** The address that `attach` connects to; undefined where the configuration has none. */
export function connection(configuration: Configuration): Address | undefined {
  return address(configuration['connect']);
}

/** The address where `attach` waits for a program; undefined where the configuration has none. */
export function awaiting(configuration: Configuration): Address | undefined {
  return address(configuration['listen']);
}

function address(named: unknown): Address | undefined {
  if (typeof named !== 'object' || named === null) {
    return undefined;
  }
  const { host = '127.0.0.1', port } = named as { host?: unknown; port?: unknown };
  const number = typeof port === 'string' && /^\d+$/.test(port) ? Number(port) : port;
  const isPort = typeof number === 'number' && Number.isInteger(number) && number > 0 && number < 65536;
  return typeof host === 'string' && host !== '' && isPort ? { host, port: number } : undefined;
}

/** The variables of a file of lines `NAME=VALUE`, as for `envFile`: comments, `export`, quotes. */
export function parseEnvironment(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const line of text.split(/\r?\n/)) {
    const [, name, given] = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (name === undefined || given === undefined) {
      continue;
    }
    const [, single, double] = /^(?:'([^']*)'|"((?:[^"\\]|\\.)*)")(?:\s+#.*)?$/.exec(given) ?? [];
    if (single !== undefined) {
      found[name] = single;
    } else if (double !== undefined) {
      found[name] = double.replace(/\\(.)/g, (_, letter: string) => ({ n: '\n', r: '\r', t: '\t' })[letter] ?? letter);
    } else {
      found[name] = given.replace(/(?:^|\s+)#.*$/, '');
    }
  }
  return found;
}
