/**
 * Builds the published files of the JavaScript client, from static/realtime/src into static/realtime:
 * a bundle for each entry, and its types, from the JSDoc of the sources.
 *
 *     node scripts/build.mjs            writes the files
 *     node scripts/build.mjs --check    fails if a committed file differs from a new build
 *
 * `make build` and `make check` run it with scripts/node.py, which finds Node and installs the tools.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import ts from "typescript";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const SOURCES = join(ROOT, "static/realtime/src");
const TARGET = join(ROOT, "static/realtime");
const BANNER = "/*! django-celery-realtime, BSD-3-Clause. Built from static/realtime/src. */";

// No source map: Django's storages that hash names would search for its address. No comments of the
// sources: such a storage could mistake an example for an import.
const BUNDLE = {
  bundle: true,
  write: false,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  minify: true,
  lineLimit: 100,
  legalComments: "none",
  banner: { js: BANNER },
};

/** @param {string} entry */
async function bundle(entry) {
  const result = await build({ ...BUNDLE, entryPoints: [join(SOURCES, `${entry}.mjs`)] });
  return result.outputFiles[0].text;
}

/** Returns the type declarations of the source files, by the file's name. */
function declarations() {
  const texts = new Map();
  const options = {
    allowJs: true, strict: true, declaration: true, emitDeclarationOnly: true,
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext, types: [],
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
  };
  const entries = ["client", "task-progress"].map((entry) => join(SOURCES, `${entry}.mjs`));
  const program = ts.createProgram(entries, options);
  program.emit(undefined, (path, text) => texts.set(basename(path, ".d.mts"), text));
  return texts;
}

/**
 * Returns a declaration without its `@internal` members, which the compiler removes only from
 * TypeScript sources.
 * @param {ts.Statement} statement
 */
function publicText(statement) {
  const text = statement.getFullText();
  const start = statement.getFullStart();
  const internal = (statement.members ?? []).filter((member) => {
    return ts.getJSDocTags(member).some(({ tagName }) => tagName.text === "internal");
  });
  return internal.reduceRight((rest, member) => {
    return rest.slice(0, member.pos - start) + rest.slice(member.end - start);
  }, text);
}

/**
 * Returns all declarations by name, without imports and aliases between modules.
 * @param {Map<string, string>} texts
 */
function declaredIn(texts) {
  const declared = new Map();
  for (const [module, text] of texts) {
    const file = ts.createSourceFile(module, text, ts.ScriptTarget.ES2022, true);
    for (const statement of file.statements) {
      const name = statement.name?.text ?? statement.declarationList?.declarations[0].name.text;
      const written = publicText(statement).trim().replace(/import\("[^"]+"\)\./g, "");
      const isAlias = written.endsWith(`type ${name} = ${name};`);
      if (name !== undefined && !isAlias) declared.set(name, written);
    }
  }
  return declared;
}

/** Returns the names of the values and types that a module exports. @param {string} text */
function exportsOf(text) {
  const values = new Set();
  for (const [, names] of text.matchAll(/^export \{ (.*) \};$/gm)) {
    for (const name of names.split(", ")) values.add(name);
  }
  for (const [, name] of text.matchAll(/^export (?:class|function|const) (\w+)/gm)) values.add(name);
  const types = new Set([...text.matchAll(/^export type (\w+)/gm)].map(([, name]) => name));
  return { values, types };
}

/**
 * Returns one file with all declarations that an entry needs; the compiler makes a file per module.
 * @param {Map<string, string>} texts
 * @param {string} entry
 * @param {Set<string>} imported Names that the client's types export.
 */
function entryTypes(texts, entry, imported) {
  const declared = declaredIn(texts);
  const { values, types } = exportsOf(texts.get(entry));
  const needed = new Set([...values, ...types]);
  for (const name of needed) {
    if (imported.has(name)) continue;
    const code = declared.get(name).replace(/\/\*[^]*?\*\//g, "");
    for (const [word] of code.matchAll(/\b[A-Z]\w+\b/g)) if (declared.has(word)) needed.add(word);
  }
  const parts = [...declared].filter(([name]) => needed.has(name) && !imported.has(name));
  const written = parts.map(([name, text]) => {
    const isHidden = /^export (declare )?class /m.test(text) && !values.has(name);
    return isHidden ? text.replace(/^export (declare )?/m, "declare ") : text;
  });
  const names = [...needed].filter((name) => imported.has(name)).sort();
  if (names.length > 0) {
    written.unshift(`import type { ${names.join(", ")} } from "./client.js";`);
    written.push(`export type { ${names.join(", ")} };`);
  }
  return `${BANNER}\n${written.join("\n")}\nexport {};\n`;
}

const ELEMENT = `declare global {
    interface HTMLElementTagNameMap {
        "task-progress": TaskProgress;
    }
}
`;

const texts = declarations();
const client = entryTypes(texts, "client", new Set());
const { values, types } = exportsOf(client);
const made = {
  "client.js": await bundle("client"),
  "task-progress.js": await bundle("task-progress"),
  "client.d.ts": client,
  "task-progress.d.ts": entryTypes(texts, "task-progress", new Set([...values, ...types])) + ELEMENT,
};
let isCurrent = true;
for (const [name, text] of Object.entries(made)) {
  const path = join(TARGET, name);
  if (process.argv.includes("--check")) {
    let committed = "";
    try {
      committed = readFileSync(path, "utf-8");
    } catch {
      // A missing file is not current either.
    }
    if (committed === text) continue;
    console.error(`static/realtime/${name} differs from a new build: run make build`);
    isCurrent = false;
  } else {
    writeFileSync(path, text);
    const gzip = gzipSync(text, { level: 9 }).length;
    console.log(`static/realtime/${name}: ${Buffer.byteLength(text)} bytes, gzip ${gzip}`);
  }
}
process.exitCode = isCurrent ? 0 : 1;
