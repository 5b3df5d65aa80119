// Lets Node import the console's TypeScript modules as they are.
import { readFileSync } from 'node:fs';
import { register } from 'node:module';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export async function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context);
  const target = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
  const compilerOptions = { ...target, verbatimModuleSyntax: true };
  const source = readFileSync(fileURLToPath(url), 'utf8');
  const { outputText } = ts.transpileModule(source, { compilerOptions });
  return { format: 'module', source: outputText, shortCircuit: true };
}

/** Imports a module of `src/lib`. */
export async function lib(name) {
  register(import.meta.url);
  return import(new URL(`../src/lib/${name}.ts`, import.meta.url));
}
