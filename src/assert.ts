// Invariants. An InvariantError is a bug in Quayside, never a client's fault: in log, queues and
// broker it ends the process (the disk is the truth, restart recovers); in a protocol connection it
// closes that connection with the protocol's internal error.

/** A broken invariant: a bug. Carries the state that showed it. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
  readonly state: unknown;
  constructor(message: string, state?: unknown) {
    super(state === undefined ? message : `${message}: ${JSON.stringify(state)}`);
    this.state = state;
  }
}

/** Throws InvariantError unless `condition` holds. Stays on in production: keep arguments cheap. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** Marks a branch that the types rule out. */
export function unreachable(value: never): never {
  throw new InvariantError("unreachable", value);
}
