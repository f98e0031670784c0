// The sessions that are open: who is logged in, where, and by which connection.

import type { ClientConnection, Session, SessionView } from "./facade.ts";
import type { Queue, Vhost } from "./topology.ts";

/** The door's session plus what the broker keeps for it. */
export class OpenSession implements Session, SessionView {
  /** Above 0; 0 for work that no connection stands behind, which therefore owns nothing. */
  readonly id: number;
  readonly user: string;
  readonly home: Vhost;
  readonly client: ClientConnection | undefined;
  /** Its exclusive queues, which die with it. */
  readonly queues = new Set<Queue>();

  constructor(id: number, user: string, home: Vhost, client?: ClientConnection) {
    this.id = id;
    this.user = user;
    this.home = home;
    this.client = client;
  }

  get vhost(): string {
    return this.home.name;
  }
}
