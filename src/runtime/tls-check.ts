// Certificates are checked before a listener takes them: a bad one must not end a running broker.

import { createSecureContext } from "node:tls";
import type { TlsMaterial } from "../ports/tls.ts";

/** Throws OpenSSL's error when certificate and key are none or do not belong together. */
export function checkCertificates({ cert, key, ca }: TlsMaterial): void {
  createSecureContext({ cert, key, ...(ca === undefined ? {} : { ca }) });
}
