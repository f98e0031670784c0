// The start page: what is here, in plain HTML without scripts or styles. It says nothing that needs a login.

import { VERSION } from "../version.ts";

const LINKS = [
  ["/health/ready", "whether clients are served"],
  ["/metrics", "metrics for Prometheus"],
  ["/v1/openapi.json", "the HTTP interface as OpenAPI"],
  ["/v1/overview", "the broker in numbers (needs a login)"],
  ["/api/overview", "the same as RabbitMQ's management interface has it (needs a login)"],
] as const;

export function startPage(): string {
  const links = LINKS.map(([path, what]) => `<li><a href="${path}">${path}</a> ${what}</li>`);
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Quayside</title></head>
<body>
<h1>Quayside ${VERSION}</h1>
<ul>
${links.join("\n")}
</ul>
</body>
</html>
`;
}
