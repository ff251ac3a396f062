// The manifest is data that the editor reads: nothing compiles it, so its parts are held to each other here.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import * as path from 'node:path';
import { test } from 'node:test';

import { DEFAULTS, TYPES } from '../configuration';

interface Configuration {
  readonly type: string;
  readonly request: 'attach' | 'launch';
  readonly name: string;
  readonly [key: string]: unknown;
}

interface Described {
  readonly description?: string;
  readonly markdownDescription?: string;
}

interface Debugger {
  readonly type: string;
  readonly configurationAttributes: Partial<Record<'attach' | 'launch', { required?: string[]; properties: Record<string, Described> }>>;
  readonly initialConfigurations: readonly Configuration[];
  readonly configurationSnippets: readonly { readonly label: string; readonly body: Configuration }[];
}

const ROOT = path.join(__dirname, '..', '..');
const MANIFEST = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
  readonly activationEvents: readonly string[];
  readonly contributes: {
    readonly debuggers: readonly Debugger[];
    readonly breakpoints: readonly { readonly language: string }[];
    readonly configuration: { readonly properties: Record<string, unknown> };
  };
};

const DEBUGGERS = MANIFEST.contributes.debuggers;

test('each type that the code serves is declared, and wakes the extension', () => {
  assert.deepEqual(DEBUGGERS.map(({ type }) => type), [...TYPES]);
  assert.deepEqual(MANIFEST.activationEvents, TYPES.map((type) => `onDebugResolve:${type}`));
});

test('every example has only what the schema declares, and all that it needs', () => {
  for (const each of DEBUGGERS) {
    const byDefault = DEFAULTS[each.type as (typeof TYPES)[number]] as Configuration;
    const examples = [byDefault, ...each.initialConfigurations, ...each.configurationSnippets.map(({ body }) => body)];
    assert.ok(examples.length >= 3);
    for (const example of examples) {
      const { type, request, name, ...attributes } = example;
      assert.equal(type, each.type);
      assert.ok(name.length > 0);
      const schema = each.configurationAttributes[request];
      assert.ok(schema, `${type} has no ${request}`);
      for (const key of Object.keys(attributes)) {
        assert.ok(key in schema.properties, `${name}: ${key} is not an attribute of ${request}`);
      }
      for (const key of schema.required ?? []) {
        assert.ok(key in attributes, `${name} lacks ${key}`);
      }
    }
  }
});

test('every attribute says what it is', () => {
  for (const { type, configurationAttributes } of DEBUGGERS) {
    for (const schema of Object.values(configurationAttributes)) {
      for (const [key, attribute] of Object.entries(schema.properties)) {
        assert.ok(attribute.description ?? attribute.markdownDescription, `${type}: ${key}`);
      }
    }
  }
});

test('attach and launch describe the attributes that both have in the same way', () => {
  for (const { configurationAttributes: { attach, launch } } of DEBUGGERS) {
    for (const [key, schema] of Object.entries(attach?.properties ?? {})) {
      if (launch !== undefined && key in launch.properties) {
        assert.deepEqual(launch.properties[key], schema, key);
      }
    }
  }
});

test('the options of the Python engine are those that its README lists', () => {
  const readme = readFileSync(path.join(ROOT, '..', 'adapter', 'python', 'README.md'), 'utf8');
  const [, table = ''] = /## Options of `launch` and `attach`\n([\s\S]*?)\n\n/.exec(readme) ?? [];
  const listed: Record<'attach' | 'launch', string[]> = { attach: [], launch: [] };
  for (const [, names = '', when = ''] of table.matchAll(/^\| (`.*?`) \| (launch|attach|both) \|/gm)) {
    for (const [, name = ''] of names.matchAll(/`(\w+)`/g)) {
      if (when !== 'attach') {
        listed.launch.push(name);
      }
      if (when !== 'launch') {
        listed.attach.push(name);
      }
    }
  }
  const attributes = DEBUGGERS.find(({ type }) => type === 'manta-python')?.configurationAttributes;
  // `noDebug` is the editor's own, and `envFile` is read by the extension.
  const ours = Object.keys(attributes?.launch?.properties ?? {}).filter((name) => name !== 'envFile');
  assert.deepEqual(ours.sort(), listed.launch.filter((name) => name !== 'noDebug').sort());
  assert.deepEqual(Object.keys(attributes?.attach?.properties ?? {}).sort(), listed.attach.sort());
});

test('breakpoints can be set in Rust and in Python', () => {
  const languages = MANIFEST.contributes.breakpoints.map(({ language }) => language);
  assert.deepEqual(languages.sort(), ['python', 'rust']);
});

test('the settings that the code reads are declared', () => {
  const source = readFileSync(path.join(ROOT, 'src', 'extension.ts'), 'utf8');
  const read = [...source.matchAll(/setting\((?:folder|undefined), '(\w+)'\)/g)].map(([, name]) => `manta.${name}`);
  assert.deepEqual(read.sort(), Object.keys(MANIFEST.contributes.configuration.properties).sort());
});
