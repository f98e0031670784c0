// What a request has to pass before a handler sees it: where it comes from, and who asks.
//
// A browser is the danger on a developer's machine: any web page may send requests to 127.0.0.1, and one
// that points its own name there (DNS rebinding) may even read the answers. So requests over loopback must
// name this machine in Host; a change from a page must come from one of our own; and the content types
// that a page can send without asking first are refused. Nothing is ever allowed by CORS.

import type { Actor } from "../broker/access/roles.ts";
import { hasRole } from "../broker/access/roles.ts";
import type { HttpRequest } from "../ports/http.ts";
import type { Admin } from "./admin.ts";
import type { Refusal } from "./answers.ts";
import type { Access } from "./route.ts";

const LOCAL_NAMES = /^(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?$/i;
const FORM_TYPES = new Set(["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]);
const CHALLENGE = { "www-authenticate": 'Basic realm="Quayside", charset="UTF-8"' };

/** Refuses what a foreign web page could have sent; undefined when it is fine. */
export function originRefusal(request: HttpRequest): Refusal | undefined {
  const host = request.header("host") ?? "";
  if (request.isLocal && !LOCAL_NAMES.test(host)) {
    return {
      status: 421,
      error: "misdirected",
      message: `Host '${host.slice(0, 100)}' is not a name of this machine`,
      hint: "Use localhost or 127.0.0.1.",
    };
  }
  if (request.method === "GET" || request.method === "HEAD") return undefined;
  const origin = request.header("origin");
  if (origin !== undefined && !isOwnOrigin(origin, host)) {
    return { status: 403, error: "foreign-origin", message: "a web page of another origin may change nothing here" };
  }
  const type = (request.header("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (!FORM_TYPES.has(type)) return undefined;
  return {
    status: 415,
    error: "unsupported-media-type",
    message: `a body of the type ${type} is not taken`,
    hint: "Send JSON with the header content-type: application/json.",
  };
}

function isOwnOrigin(origin: string, host: string): boolean {
  return origin === `http://${host}` || origin === `https://${host}`;
}

/** Who asks: undefined when nobody needs to, a refusal when it is not somebody who may. */
export async function actorFor(
  admin: Admin,
  request: HttpRequest,
  access: Access,
): Promise<{ readonly actor: Actor | undefined } | Refusal> {
  if (access === "everybody" || (access === "local" && request.isLocal)) return { actor: undefined };
  const credentials = credentialsOf(request.header("authorization"));
  const login = credentials && { ...credentials, peerIsLoopback: request.isLocal, peerHost: request.peerHost };
  const user = login && (await admin.broker.authenticate(login));
  if (user === undefined) {
    return {
      status: 401,
      error: "login-failed",
      message: credentials === undefined ? "this needs a login (basic authentication)" : "Login failed",
      hint: "The user guest may log in from this machine only.",
      headers: CHALLENGE,
    };
  }
  const role = access === "local" ? "viewer" : access;
  const actor = { user: user.name, tags: user.tags };
  if (hasRole(actor, role)) return { actor };
  return {
    status: 403,
    error: "role-missing",
    message: `user '${user.name}' needs the role '${role}' for this`,
    hint: `The tag ${TAGS[role]} gives it.`,
  };
}

const TAGS = { viewer: "management or monitoring", operator: "policymaker", admin: "administrator" } as const;

/** Name and password of a header `Basic <base64 of name:password>`. */
function credentialsOf(header: string | undefined): { readonly user: string; readonly password: string } | undefined {
  const encoded = /^Basic +([A-Za-z0-9+/=]+) *$/i.exec(header ?? "")?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}
