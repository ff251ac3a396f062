// The native engine on its own: an agent for one process, and the list of processes to choose from. It knows nothing of the editor.

import type { Configuration } from './configuration';
import type { Address } from './python';

/** What `manta` is given to debug a process: it listens on a free port of this machine. */
export function agentArguments(process: number): string[] {
  return ['debug-agent', '--pid', String(process), '--listen', '127.0.0.1:0'];
}

/** The address in what an agent says first; undefined in any other line. */
export function listensOn(line: string): Address | undefined {
  const [, host, port] = /listens on (\S+):(\d+)$/.exec(line.trim()) ?? [];
  return host === undefined || port === undefined ? undefined : { host, port: Number(port) };
}

/** The process that a configuration names; undefined where it names none. */
export function processOf(configuration: Configuration): number | undefined {
  const given = configuration['processId'];
  const number = typeof given === 'string' && /^\s*\d+\s*$/.test(given) ? Number(given) : given;
  return typeof number === 'number' && Number.isInteger(number) && number > 0 ? number : undefined;
}

/** A process as a user chooses it. */
export interface Process {
  readonly id: number;
  readonly name: string;
  readonly command: string;
}

/** What is read of a process: its command line with its separators, and the user that it belongs to; undefined where it has ended. */
export type Look = (id: number) => { readonly commandLine: string; readonly user: number } | undefined;

/** The processes of a user that can be debugged, the newest first. Those without a command line are the kernel's. */
export function processes(ids: readonly string[], user: number, look: Look): Process[] {
  const found: Process[] = [];
  for (const id of ids.filter((name) => /^\d+$/.test(name)).map(Number)) {
    const seen = look(id);
    if (seen === undefined || seen.commandLine === '' || (user !== 0 && seen.user !== user)) {
      continue;
    }
    const [program = '', ...words] = seen.commandLine.replace(/\0+$/, '').split('\0');
    found.push({ id, name: program.split('/').at(-1) ?? program, command: [program, ...words].join(' ') });
  }
  return found.sort((one, other) => other.id - one.id);
}
