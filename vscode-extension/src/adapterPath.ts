// Chooses the `manta` program. It knows nothing of the editor, so that it can be tested without one.

import * as path from 'node:path';

/** What the choice depends on. */
export interface Surroundings {
  /** The setting `manta.path`; empty where it is not set. */
  readonly setting: string;
  /** The folders of the workspace, the session's own first. */
  readonly folders: readonly string[];
  /** The home folder, for `~`. */
  readonly home: string;
  /** The variable `PATH`. */
  readonly searchPath: string;
  readonly platform: NodeJS.Platform;
}

/** A program that was found, or why there is none. */
export type Choice =
  | { readonly kind: 'found'; readonly program: string; readonly from: 'setting' | 'workspace' | 'PATH' }
  | { readonly kind: 'missing'; readonly message: string };

/** Chooses by setting, then workspace build, then `PATH`. A setting that is wrong is an error, never a guess. */
export function chooseAdapter(around: Surroundings, isExecutable: (file: string) => boolean): Choice {
  const paths = around.platform === 'win32' ? path.win32 : path.posix;
  const name = around.platform === 'win32' ? 'manta.exe' : 'manta';

  const setting = around.setting.trim();
  if (setting !== '') {
    const program = expand(setting, around);
    if (program === undefined) {
      return missing('The setting manta.path begins with ${workspaceFolder}, and no folder is open. Open the folder, or give a whole path.');
    }
    if (!paths.isAbsolute(program)) {
      return missing(`The setting manta.path is "${setting}", which is not a whole path. Give one that begins with a root, ~ or \${workspaceFolder}.`);
    }
    if (!isExecutable(program)) {
      return missing(`The setting manta.path names ${program}, which is not a program. Correct the setting, or clear it to use the workspace's build or PATH.`);
    }
    return { kind: 'found', program, from: 'setting' };
  }

  for (const folder of around.folders) {
    for (const profile of ['release', 'debug']) {
      const program = paths.join(folder, 'target', profile, name);
      if (isExecutable(program)) {
        return { kind: 'found', program, from: 'workspace' };
      }
    }
  }

  for (const folder of around.searchPath.split(paths.delimiter)) {
    // An empty or relative entry would be looked up where the editor happens to run.
    if (!paths.isAbsolute(folder)) {
      continue;
    }
    const program = paths.join(folder, name);
    if (isExecutable(program)) {
      return { kind: 'found', program, from: 'PATH' };
    }
  }
  return missing(
    'The manta program was not found: the setting manta.path is empty, no folder of the workspace has target/release/manta or ' +
      'target/debug/manta, and PATH has none. Install Manta, or set manta.path.',
  );
}

/** A path of the settings with what it may begin with filled in; undefined where no folder is open to fill in. */
export function expand(setting: string, around: Pick<Surroundings, 'folders' | 'home'>): string | undefined {
  const begins = (word: string): boolean => setting === word || setting.startsWith(`${word}/`) || setting.startsWith(`${word}\\`);
  if (begins('~')) {
    return around.home + setting.slice('~'.length);
  }
  const word = '${workspaceFolder}';
  if (begins(word)) {
    const folder = around.folders[0];
    return folder === undefined ? undefined : folder + setting.slice(word.length);
  }
  return setting;
}

function missing(message: string): Choice {
  return { kind: 'missing', message };
}
