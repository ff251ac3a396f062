// The editor's side of Manta: it finds the program that serves a session and starts it. All that a session does lives there, so that
// every other editor has it too.

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, readFileSync, readdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import * as vscode from 'vscode';

import { chooseAdapter, expand, type Choice, type Surroundings } from './adapterPath';
import { complete, fault, TYPES, type Type } from './configuration';
import { agentArguments, listensOn, processes, processOf } from './native';
import { ADAPTER_ARGUMENTS, adapterPython, connection, parseEnvironment, PROBE, unusable, type Address } from './python';

const OPEN_SETTING = 'Open the setting';
// What an agent does first is to read the program's symbols.
const AGENT_MILLISECONDS_MAX = 60_000;
const PROBE_MILLISECONDS_MAX = 10_000;

/** The agents that run for sessions, which end with them. */
const agents = new Map<string, ChildProcess>();

export function activate(context: vscode.ExtensionContext): void {
  for (const type of TYPES) {
    context.subscriptions.push(
      vscode.debug.registerDebugConfigurationProvider(type, new ConfigurationProvider(type)),
      vscode.debug.registerDebugAdapterDescriptorFactory(type, { createDebugAdapterDescriptor: DESCRIPTORS[type] }),
    );
  }
  context.subscriptions.push(
    vscode.commands.registerCommand('manta.pickProcess', pickProcess),
    vscode.debug.onDidTerminateDebugSession(({ id }) => endAgent(id)),
  );
}

export function deactivate(): void {
  [...agents.keys()].forEach(endAgent);
}

class ConfigurationProvider implements vscode.DebugConfigurationProvider {
  constructor(private readonly type: Type) {}

  resolveDebugConfiguration(
    _folder: vscode.WorkspaceFolder | undefined,
    configuration: vscode.DebugConfiguration,
  ): vscode.DebugConfiguration {
    return complete(configuration, this.type);
  }

  // A session that cannot start is given up here, where one message with a button can be shown; an error of a
  // factory below would show the editor's own dialog, which knows of no setting.
  async resolveDebugConfigurationWithSubstitutedVariables(
    folder: vscode.WorkspaceFolder | undefined,
    configuration: vscode.DebugConfiguration,
  ): Promise<vscode.DebugConfiguration | undefined | null> {
    const wrong = fault(configuration);
    if (wrong !== undefined) {
      await vscode.window.showErrorMessage(wrong, { modal: true });
      // Null opens launch.json.
      return null;
    }
    if (this.type === 'manta-python') {
      // A program that listens is the adapter itself.
      return connection(configuration) === undefined ? await readyToStart(folder, configuration) : configuration;
    }
    const choice = choose(folder);
    if (choice.kind === 'missing' && connection(configuration) === undefined) {
      await showMissing(choice.message, 'manta.path');
      return undefined;
    }
    return configuration;
  }
}

const DESCRIPTORS: Readonly<Record<Type, (session: vscode.DebugSession) => vscode.ProviderResult<vscode.DebugAdapterDescriptor>>> = {
  manta: (session) => executable(session, program(session), ['dap', ...logArguments(surroundings(session.workspaceFolder))]),
  'manta-python': async (session) => {
    const address = connection(session.configuration);
    return address === undefined
      ? executable(session, await pythonOf(session.workspaceFolder, session.configuration), [...ADAPTER_ARGUMENTS])
      : server(address);
  },
  'manta-native': async (session) => server(connection(session.configuration) ?? (await startAgent(session))),
};

function executable(session: vscode.DebugSession, command: string, words: string[]): vscode.DebugAdapterExecutable {
  const options: vscode.DebugAdapterExecutableOptions = {};
  const [folder] = surroundings(session.workspaceFolder).folders;
  if (folder !== undefined) {
    options.cwd = folder;
  }
  return new vscode.DebugAdapterExecutable(command, words, options);
}

function server({ host, port }: Address): vscode.DebugAdapterServer {
  return new vscode.DebugAdapterServer(port, host);
}

function program(session: vscode.DebugSession): string {
  const choice = choose(session.workspaceFolder);
  if (choice.kind === 'missing') {
    throw new Error(choice.message);
  }
  return choice.program;
}

// ---------------------------------------------------------------- Python

/** The configuration with what the adapter needs of the editor, if its interpreter can run it. */
async function readyToStart(
  folder: vscode.WorkspaceFolder | undefined,
  configuration: vscode.DebugConfiguration,
): Promise<vscode.DebugConfiguration | undefined | null> {
  const python = await pythonOf(folder, configuration);
  try {
    await promisify(execFile)(python, ['-c', PROBE], { timeout: PROBE_MILLISECONDS_MAX });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    await showMissing(unusable(python, stderr || message), 'manta.python');
    return undefined;
  }
  const { envFile, ...rest } = configuration;
  const chosen = await chosenPython(folder);
  const completed = { ...(chosen === undefined ? {} : { python: chosen }), ...rest } as vscode.DebugConfiguration;
  if (typeof envFile !== 'string' || envFile === '') {
    return completed;
  }
  try {
    return { ...completed, env: { ...parseEnvironment(readFileSync(envFile, 'utf8')), ...configuration['env'] } };
  } catch (error) {
    await vscode.window.showErrorMessage(`The "envFile" cannot be read: ${(error as Error).message}`, { modal: true });
    return null;
  }
}

async function pythonOf(folder: vscode.WorkspaceFolder | undefined, configuration: vscode.DebugConfiguration): Promise<string> {
  const around = surroundings(folder);
  return adapterPython(configuration, {
    setting: expand(setting(folder, 'python').trim(), around) ?? '',
    chosen: await chosenPython(folder),
  });
}

/** What the Python extension has chosen for a folder, if it is there. */
async function chosenPython(folder: vscode.WorkspaceFolder | undefined): Promise<string | undefined> {
  const commands = await vscode.commands.getCommands(true);
  if (!commands.includes('python.interpreterPath')) {
    return undefined;
  }
  const chosen = await vscode.commands.executeCommand<unknown>('python.interpreterPath', { workspaceFolder: folder?.uri.fsPath });
  return typeof chosen === 'string' && chosen !== '' ? chosen : undefined;
}

// ---------------------------------------------------------------- Rust

/** Starts an agent for the session's process; answers where it listens, or fails with what it says. */
function startAgent(session: vscode.DebugSession): Promise<Address> {
  const process = processOf(session.configuration);
  if (process === undefined) {
    throw new Error('The configuration names no process.');
  }
  const agent = spawn(program(session), agentArguments(process), { stdio: ['ignore', 'ignore', 'pipe'] });
  agents.set(session.id, agent);
  return new Promise((resolve, reject) => {
    const said: string[] = [];
    const timer = setTimeout(() => {
      endAgent(session.id);
      reject(new Error(`The debug agent for process ${process} did not come up: ${said.join(' ')}`));
    }, AGENT_MILLISECONDS_MAX);
    createInterface(agent.stderr).on('line', (line) => {
      said.push(line);
      const address = listensOn(line);
      if (address !== undefined) {
        clearTimeout(timer);
        resolve(address);
      }
    });
    agent.on('error', reject);
    agent.on('close', () => {
      clearTimeout(timer);
      agents.delete(session.id);
      reject(new Error(said.join(' ') || `The debug agent for process ${process} has ended without a word.`));
    });
  });
}

/** Ends a session's agent, if it is not over by itself: it lets the process run on. */
function endAgent(session: string): void {
  agents.get(session)?.kill();
  agents.delete(session);
}

/** Has the user choose one of their processes; answers its number, as a configuration's variable wants it. */
async function pickProcess(): Promise<string | undefined> {
  const found = processes(readdirSync('/proc'), process.getuid?.() ?? 0, (id) => {
    try {
      return { commandLine: readFileSync(`/proc/${id}/cmdline`, 'utf8'), user: statSync(`/proc/${id}`).uid };
    } catch {
      // It has ended since the folder was listed.
      return undefined;
    }
  });
  const items = found.map(({ id, name, command }) => ({ label: name, description: String(id), detail: command }));
  const picked = await vscode.window.showQuickPick(items, {
    placeHolder: 'The process to attach to',
    matchOnDescription: true,
    matchOnDetail: true,
  });
  return picked?.description;
}

// ---------------------------------------------------------------- the cluster's `manta`

function choose(folder: vscode.WorkspaceFolder | undefined): Choice {
  return chooseAdapter(surroundings(folder), isExecutable);
}

function surroundings(folder: vscode.WorkspaceFolder | undefined): Surroundings {
  const others = vscode.workspace.workspaceFolders ?? [];
  const folders = folder === undefined ? others : [folder, ...others.filter((other) => other !== folder)];
  return {
    setting: setting(folder, 'path'),
    folders: folders.filter(({ uri }) => uri.scheme === 'file').map(({ uri }) => uri.fsPath),
    home: homedir(),
    searchPath: process.env['PATH'] ?? '',
    platform: process.platform,
  };
}

function setting(folder: vscode.WorkspaceFolder | undefined, name: string): string {
  return vscode.workspace.getConfiguration('manta', folder?.uri).get<string>(name, '');
}

function logArguments(around: Surroundings): string[] {
  const file = setting(undefined, 'logFile').trim();
  const expanded = file === '' ? undefined : expand(file, around);
  return expanded === undefined ? [] : ['--log-dap', expanded];
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    // Not there or not ours to run: either way it is not the program.
    return false;
  }
}

async function showMissing(message: string, name: string): Promise<void> {
  const answer = await vscode.window.showErrorMessage(message, OPEN_SETTING);
  if (answer === OPEN_SETTING) {
    await vscode.commands.executeCommand('workbench.action.openSettings', name);
  }
}
