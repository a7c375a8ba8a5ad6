#!/usr/bin/env bash
# Writes offline.html (the page of `dvc plots show`, with Vega inside) and LICENSE-vega.txt beside this script. Needs npm and a network.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
printf '{"private": true}\n' > package.json
npm install --silent --ignore-scripts --no-audit --no-fund vega@5.33.1 vega-lite@5.23.0 vega-embed@6.29.0

HERE="$here" node <<'JS'
const fs = require("fs"), path = require("path");
const here = process.env.HERE, modules = "node_modules";
const page = fs.readFileSync(path.join(here, "page.html"), "utf8");

const script = name => {
  const text = fs.readFileSync(path.join(modules, name, "build", `${name}.min.js`), "utf8");
  const { version, license } = JSON.parse(fs.readFileSync(path.join(modules, name, "package.json")));
  return `<script>/* ${name} ${version}, ${license} */\n${text.replace(/\n?\/\/# sourceMappingURL=.*\s*$/, "")}\n</script>`;
};
const libraries = ["vega", "vega-lite", "vega-embed"].map(script).join("\n");
fs.writeFileSync(path.join(here, "offline.html"), page.replace("LIBRARIES", () => libraries));

// Licences of what the three files contain; the command line tools of the packages (yargs and the like) are not in them.
const bundled = /^(vega|d3-|delaunator|fast-json-patch|internmap|json-stringify-pretty-compact|robust-predicates|semver|topojson-client|tslib)/;
const texts = new Map();
for (const name of fs.readdirSync(modules).filter(n => bundled.test(n)).sort()) {
  const { version, license, repository } = JSON.parse(fs.readFileSync(path.join(modules, name, "package.json")));
  const file = fs.readdirSync(path.join(modules, name)).find(f => /^licen[sc]e/i.test(f));
  // some packages of Vega's own repository come without the text that the others carry
  const source = file ? path.join(modules, name, file) : path.join(modules, "vega-view", "LICENSE");
  if (!file && !/vega\/vega\b/.test(JSON.stringify(repository))) throw new Error(`${name}: no licence text`);
  const found = fs.readFileSync(source, "utf8").replace(/\r/g, "").trim();
  texts.set(found, [...(texts.get(found) ?? []), `${name} ${version} (${license})`]);
}
const rule = "=".repeat(100);
const parts = [...texts].map(([text, names]) => `${rule}\n${names.join(", ")}\n${rule}\n${text}\n`);
const head = "Licences of the libraries inside offline.html: Vega, Vega-Lite, Vega-Embed and what they contain.\n";
fs.writeFileSync(path.join(here, "LICENSE-vega.txt"), [head, ...parts].join("\n"));
JS
ls -l "$here/offline.html" "$here/LICENSE-vega.txt"
