// docs/http-api.md: the tables of routes are made from the table that answers.

import { ADMIN_ROUTES } from "../../src/admin/routes.ts";
import type { Route } from "../../src/admin/route.ts";
import type { Finding, Repository } from "./repository.ts";

const BEGIN = "<!-- routes: made from src/admin/routes.ts by npm run docs -->";
const END = "<!-- /routes -->";

/** `text` with its tables of routes as they are in the code; unchanged when it has no place for them. */
export function withRoutesTable(text: string): string {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin < 0 || end < begin) return text;
  const families = new Map<string, Route[]>();
  for (const route of ADMIN_ROUTES) {
    const family = /^\/(api|v1)\//.exec(route.path)?.[1] ?? "";
    families.set(family, [...(families.get(family) ?? []), route]);
  }
  const tables = [...families].map(([family, routes]) => {
    const rows = routes.map(({ method, path, role, summary }) => `| ${method} | \`${path}\` | ${role} | ${summary} |`);
    return [`### \`/${family}\``, "", "| Method | Path | For | What |", "|---|---|---|---|", ...rows, ""].join("\n");
  });
  return `${text.slice(0, begin)}${BEGIN}\n\n${tables.join("\n")}\n${text.slice(end)}`;
}

export function routesRule(repository: Repository): Finding[] {
  const path = "docs/http-api.md";
  const text = repository.get(path) ?? "";
  if (text.includes(BEGIN) && text === withRoutesTable(text)) return [];
  return [{ path, line: 0, message: "its tables differ from src/admin/routes.ts: npm run docs" }];
}
