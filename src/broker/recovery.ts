// Brings the shard in line with the namespace after a restart. The meta log decides: it and the
// shard's log commit on their own, so a crash can have come between the two.

import { queueSettings } from "./queue-settings.ts";
import type { ShardPort } from "../queues/shard-port.ts";
import type { Topology } from "./topology.ts";

export interface Reconciled {
  /** Declared, but the crash came before the shard knew of it: nothing can have been in it. */
  readonly created: number;
  /** Deleted, but the crash came before the shard dropped it; or declared and never durable. */
  readonly deleted: number;
}

/** Creates the durable queues that the shard lacks, and deletes those that the namespace does not know. */
export function reconcileShard(topology: Topology, shard: ShardPort): Reconciled {
  let created = 0;
  let deleted = 0;
  for (const queueId of Array.from(shard.queueIds())) {
    if (topology.queuesById.has(queueId)) continue;
    // The id was given out before the crash, even if the meta log lost the block that it came from.
    topology.apply({ kind: "ids-reserved", end: queueId + 1 });
    shard.deleteQueue(queueId);
    deleted++;
  }
  for (const { record } of topology.queuesById.values()) {
    if (shard.hasQueue(record.id)) {
      shard.configureQueue(record.id, queueSettings(record));
      continue;
    }
    shard.createQueue(record.id, queueSettings(record));
    created++;
  }
  return { created, deleted };
}
