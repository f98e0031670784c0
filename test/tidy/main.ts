// npm run docs: writes into README.md the table of what works, from docs/requirements.md.

import { readFileSync, writeFileSync } from "node:fs";
import { withWorksTable } from "./docs.ts";

const readme = readFileSync("README.md", "utf8");
writeFileSync("README.md", withWorksTable(readme, readFileSync("docs/requirements.md", "utf8")));
