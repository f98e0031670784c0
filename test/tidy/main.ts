// npm run docs: writes into README.md the table of what works, from docs/requirements.md, and into
// docs/http-api.md the tables of routes, from src/admin/routes.ts, and into docs/cli.md the verbs.

import { readFileSync, writeFileSync } from "node:fs";
import { withVerbs } from "./cli-docs.ts";
import { withWorksTable } from "./docs.ts";
import { withRoutesTable } from "./http-docs.ts";

const readme = readFileSync("README.md", "utf8");
writeFileSync("README.md", withWorksTable(readme, readFileSync("docs/requirements.md", "utf8")));
writeFileSync("docs/cli.md", withVerbs(readFileSync("docs/cli.md", "utf8")));
writeFileSync("docs/http-api.md", withRoutesTable(readFileSync("docs/http-api.md", "utf8")));
