// What a listener with TLS needs. A file of its own: programs that embed a broker see it.

/** PEM texts. With `ca`, clients are asked for a certificate, and must show one when `clientsMust`. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  readonly ca?: string;
  readonly clientsMust?: boolean;
}
