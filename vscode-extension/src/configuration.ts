// What a debug configuration lacks when a user has written none, or only a part of it.

/** The parts of a configuration that are looked at here; the adapter reads the rest. */
export interface Configuration {
  type?: string;
  request?: string;
  name?: string;
  program?: unknown;
  [key: string]: unknown;
}

/** The configuration of F5 without a launch.json. */
export const ATTACH_BY_DEFAULT = {
  type: 'manta',
  request: 'attach',
  name: 'Manta: attach to the cluster',
} as const;

/** Fills in an empty configuration, and leaves one that somebody wrote as it is. */
export function complete<C extends Configuration>(configuration: C): C {
  const isEmpty = !configuration.type && !configuration.request && !configuration.name;
  return isEmpty ? { ...configuration, ...ATTACH_BY_DEFAULT } : configuration;
}

/** Says what is wrong with a configuration before an adapter is started for it; undefined where nothing is. */
export function fault(configuration: Configuration): string | undefined {
  if (configuration.request === 'launch') {
    const { program } = configuration;
    if (typeof program !== 'string' || program.trim() === '') {
      return 'The launch configuration has no "program". Name a Python file or a built Rust program in launch.json, or use "attach" for a cluster that runs already.';
    }
  } else if (configuration.request !== 'attach') {
    return `The configuration's "request" is ${JSON.stringify(configuration.request)}. Set it to "attach" or "launch".`;
  }
  return undefined;
}
