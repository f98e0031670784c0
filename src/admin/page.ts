// The start page: what is here, in plain HTML without scripts.

import type { OverviewView } from "./source.ts";

export function startPage(overview: OverviewView, routes: readonly { path: string; summary: string }[]): string {
  const state = overview.failed ? "Storage has failed: nothing is confirmed." : "Running.";
  const rows = [
    ["Connections", overview.connections],
    ["Queues", overview.queues],
    ["Messages ready", overview.messagesReady],
    ["Messages unacknowledged", overview.messagesUnacked],
    ["Consumers", overview.consumers],
  ].map(([name, value]) => `<tr><th scope="row">${name}</th><td>${value}</td></tr>`);
  const links = routes.map(({ path, summary }) => `<li><a href="${path}">${path}</a> ${summary}</li>`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Quayside</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:40rem;padding:0 1rem}
th{text-align:left;padding-right:2rem;font-weight:normal}td{text-align:right}</style>
</head>
<body>
<h1>Quayside ${overview.version}</h1>
<p>${state}</p>
<table>${rows.join("")}</table>
<h2>What is here</h2>
<ul>${links.join("")}</ul>
</body>
</html>
`;
}
