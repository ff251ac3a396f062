// The manifest is data that the editor reads: nothing compiles it, so its parts are held to each other here.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import * as path from 'node:path';
import { test } from 'node:test';

interface Configuration {
  readonly type: string;
  readonly request: 'attach' | 'launch';
  readonly name: string;
  readonly [key: string]: unknown;
}

interface Debugger {
  readonly type: string;
  readonly configurationAttributes: Record<'attach' | 'launch', { required?: string[]; properties: Record<string, unknown> }>;
  readonly initialConfigurations: readonly Configuration[];
  readonly configurationSnippets: readonly { readonly label: string; readonly body: Configuration }[];
}

const ROOT = path.join(__dirname, '..', '..');
const MANIFEST = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
  readonly contributes: {
    readonly debuggers: readonly Debugger[];
    readonly breakpoints: readonly { readonly language: string }[];
    readonly configuration: { readonly properties: Record<string, unknown> };
  };
};

const [manta] = MANIFEST.contributes.debuggers;
assert.ok(manta, 'the manifest declares no debugger');

test('every example has only what the schema declares, and all that it needs', () => {
  const examples = [...manta.initialConfigurations, ...manta.configurationSnippets.map(({ body }) => body)];
  assert.ok(examples.length >= 5);
  for (const example of examples) {
    const { type, request, name, ...attributes } = example;
    assert.equal(type, manta.type);
    assert.ok(name.length > 0);
    const schema = manta.configurationAttributes[request];
    for (const key of Object.keys(attributes)) {
      assert.ok(key in schema.properties, `${name}: ${key} is not an attribute of ${request}`);
    }
    for (const key of schema.required ?? []) {
      assert.ok(key in attributes, `${name} lacks ${key}`);
    }
  }
});

test('attach and launch describe the attributes that both have in the same way', () => {
  const { attach, launch } = manta.configurationAttributes;
  for (const [key, schema] of Object.entries(attach.properties)) {
    if (key in launch.properties) {
      assert.deepEqual(launch.properties[key], schema, key);
    }
  }
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
