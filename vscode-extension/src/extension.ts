// The editor's side of Manta: it finds `manta` and starts `manta dap`. All that a session does lives there, so that
// every other editor has it too.

import { accessSync, constants, statSync } from 'node:fs';
import { homedir } from 'node:os';
import * as vscode from 'vscode';

import { chooseAdapter, expand, type Choice, type Surroundings } from './adapterPath';
import { complete, fault } from './configuration';

const DEBUG_TYPE = 'manta';
const OPEN_SETTING = 'Open the setting';

export function activate(context: vscode.ExtensionContext): void {
  context.subscriptions.push(
    vscode.debug.registerDebugConfigurationProvider(DEBUG_TYPE, new ConfigurationProvider()),
    vscode.debug.registerDebugAdapterDescriptorFactory(DEBUG_TYPE, new DescriptorFactory()),
  );
}

class ConfigurationProvider implements vscode.DebugConfigurationProvider {
  resolveDebugConfiguration(
    _folder: vscode.WorkspaceFolder | undefined,
    configuration: vscode.DebugConfiguration,
  ): vscode.DebugConfiguration {
    return complete(configuration);
  }

  // A session that cannot start is given up here, where one message with a button can be shown; an error of the
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
    const choice = choose(folder);
    if (choice.kind === 'missing') {
      await showMissing(choice.message);
      return undefined;
    }
    return configuration;
  }
}

class DescriptorFactory implements vscode.DebugAdapterDescriptorFactory {
  createDebugAdapterDescriptor(session: vscode.DebugSession): vscode.DebugAdapterDescriptor {
    const choice = choose(session.workspaceFolder);
    if (choice.kind === 'missing') {
      throw new Error(choice.message);
    }
    const around = surroundings(session.workspaceFolder);
    const options: vscode.DebugAdapterExecutableOptions = {};
    const [folder] = around.folders;
    if (folder !== undefined) {
      options.cwd = folder;
    }
    return new vscode.DebugAdapterExecutable(choice.program, ['dap', ...logArguments(around)], options);
  }
}

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

async function showMissing(message: string): Promise<void> {
  const answer = await vscode.window.showErrorMessage(message, OPEN_SETTING);
  if (answer === OPEN_SETTING) {
    await vscode.commands.executeCommand('workbench.action.openSettings', 'manta.path');
  }
}
