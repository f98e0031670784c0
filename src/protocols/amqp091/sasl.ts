// The login mechanisms: what a client's response says, before anybody checks it.
//   PLAIN     authzid NUL user NUL password (RFC 4616; authzid is ignored)
//   AMQPLAIN  a field table without its size: LOGIN, PASSWORD
//   EXTERNAL  nothing: the client's certificate speaks (RFC 4422 appendix A)

import { decodeTableEntries } from "../../model/field-table.ts";
import { connectionError } from "./errors.ts";

export const MECHANISMS = "AMQPLAIN PLAIN";
/** Offered to a peer whose certificate was verified: the user is its common name. */
export const EXTERNAL = "EXTERNAL";

export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** Reads a response. Throws 503 for an unknown mechanism, 502 or DecodeError for a malformed response. */
export function readCredentials(mechanism: string, response: Buffer): Credentials {
  if (mechanism === "PLAIN") return readPlain(response);
  if (mechanism === "AMQPLAIN") return readAmqplain(response);
  throw connectionError("command-invalid", `unknown authentication mechanism '${mechanism}'`);
}

function readPlain(response: Buffer): Credentials {
  const parts = response.toString("utf8").split("\0");
  const [, user, password] = parts;
  if (parts.length !== 3 || user === undefined || password === undefined) {
    throw connectionError("syntax-error", "the PLAIN response is not of the form NUL user NUL password");
  }
  return { user, password };
}

function readAmqplain(response: Buffer): Credentials {
  const table = decodeTableEntries(response, 0, response.length);
  const user = table.get("LOGIN");
  const password = table.get("PASSWORD");
  if (typeof user !== "string" || typeof password !== "string") {
    throw connectionError("syntax-error", "the AMQPLAIN response lacks LOGIN or PASSWORD");
  }
  return { user, password };
}
