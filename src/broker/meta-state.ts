// Everything that the meta log holds: topology, access, policies. Each is a state machine of its own;
// here an effect finds the ones that it concerns.

import { AccessRecords } from "./access/records.ts";
import { isAccessEffect } from "./access/access-effects.ts";
import type { Effect } from "./effects.ts";
import { isPolicyEffect } from "./policies/policy-effects.ts";
import { PolicyRecords } from "./policies/policy-records.ts";
import { Topology } from "./topology.ts";

export class MetaState {
  readonly topology = new Topology();
  readonly access = new AccessRecords();
  readonly policies = new PolicyRecords();

  /** Applies one decided change. Throws InvariantError when it does not fit the state: a bug. */
  apply(effect: Effect): void {
    if (isAccessEffect(effect)) {
      this.access.apply(effect);
      // Doors keep routes that were permitted: they ask again once this version rises.
      this.topology.version++;
      return;
    }
    if (isPolicyEffect(effect)) {
      this.policies.apply(effect);
      return;
    }
    this.topology.apply(effect);
    if (effect.kind !== "vhost-deleted") return;
    this.access.vhostDeleted(effect.name);
    this.policies.vhostDeleted(effect.name);
  }

  /** True when the change must be in the meta log: it concerns only things that survive a restart. */
  survivesRestart(effect: Effect): boolean {
    return isAccessEffect(effect) || isPolicyEffect(effect) || this.topology.survivesRestart(effect);
  }

  /** The durable part as effects that rebuild it from nothing. */
  *durableState(): Generator<Effect> {
    yield* this.topology.durableState();
    yield* this.access.durableState();
    yield* this.policies.durableState();
  }
}
