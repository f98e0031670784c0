// From a request to the handler of its route. Paths are decoded here, each parameter by itself: %2F is a
// character of a name and never a separator, since the usual vhost is called "/".

import findMyWay from "find-my-way";
import type { HttpHandler, HttpRequest, HttpResponse } from "../ports/http.ts";
import type { Admin } from "./admin.ts";
import { refusalOf, refusalResponse, toResponse } from "./answers.ts";
import { actorFor, originRefusal } from "./gate.ts";
import { Call, type Route } from "./route.ts";

const METHODS = ["GET", "PUT", "POST", "DELETE"] as const;
/** A name of 255 bytes, percent-encoded twice as properties keys are. */
const PARAMETER_LENGTH_MAX = 255 * 9 + 100;

interface Found {
  readonly route: Route;
  readonly parameters: Readonly<Record<string, string | undefined>>;
}

export class Router {
  readonly #paths = findMyWay({ ignoreTrailingSlash: true, maxParamLength: PARAMETER_LENGTH_MAX });

  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      const path = route.path.replaceAll(/\{(\w+)\}/g, ":$1");
      this.#paths.on(route.method, path, unused, route);
    }
  }

  find(method: string, path: string): Found | undefined {
    const known = METHODS.find((each) => each === (method === "HEAD" ? "GET" : method));
    const found = known && this.#paths.find(known, path);
    return found ? { route: found.store as Route, parameters: found.params } : undefined;
  }

  /** The methods that this path takes. */
  methodsOf(path: string): readonly string[] {
    const methods = METHODS.filter((method) => this.find(method, path) !== undefined);
    return methods[0] === "GET" ? ["HEAD", ...methods] : methods;
  }
}

/** Answers requests with the handlers of `routes`. */
export function routeHandler(routes: readonly Route[], admin: Admin): HttpHandler {
  const router = new Router(routes);
  return async (request) => {
    const [path = "/", query = ""] = splitOnce(request.target);
    try {
      return await answer({ router, admin, request, path, query });
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      return refusalResponse(path, refusal);
    }
  };
}

interface Asked {
  readonly router: Router;
  readonly admin: Admin;
  readonly request: HttpRequest;
  readonly path: string;
  readonly query: string;
}

async function answer({ router, admin, request, path, query }: Asked): Promise<HttpResponse> {
  const foreign = originRefusal(request);
  if (foreign !== undefined) return refusalResponse(path, foreign);
  if (!isDecodable(path)) {
    const message = "the path is not valid percent-encoding of UTF-8";
    return refusalResponse(path, { status: 400, error: "bad-request", message });
  }
  const found = router.find(request.method, path);
  if (found === undefined) return notFound(router, path);
  const who = await actorFor(admin, request, found.route.role);
  if ("status" in who) return refusalResponse(path, who);
  const { parameters } = found;
  const call = new Call({ admin, request, parameters, query: new URLSearchParams(query), actor: who.actor });
  return toResponse(await found.route.handler(call));
}

function notFound(router: Router, path: string): HttpResponse {
  const methods = router.methodsOf(path);
  if (methods.length === 0) {
    return refusalResponse(path, { status: 404, error: "not-found", message: "there is nothing at this path" });
  }
  const allow = methods.join(", ");
  const message = `this path takes ${allow}`;
  return refusalResponse(path, { status: 405, error: "method-not-allowed", message, headers: { allow } });
}

function isDecodable(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    return false;
  }
}

function splitOnce(target: string): readonly string[] {
  const at = target.indexOf("?");
  return at < 0 ? [target] : [target.slice(0, at), target.slice(at + 1)];
}

/** Routes are looked up, not called by the router. */
function unused(): void {
  // Nothing: `find` hands out the stored route.
}
