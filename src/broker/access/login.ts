// What a door asks and hears about a login.

export interface Login {
  readonly user: string;
  readonly password: string;
  /** The peer is on this machine. */
  readonly peerIsLoopback: boolean;
  /** The peer's address: failed logins slow down the next ones from there. */
  readonly peerHost: string;
}

export interface AuthenticatedUser {
  readonly name: string;
  /** RabbitMQ's tags: administrator, monitoring, policymaker, management, impersonator, or others. */
  readonly tags: readonly string[];
}
