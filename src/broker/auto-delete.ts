// What goes when something goes: an auto-delete exchange is deleted with the last binding that leads
// away from it, and that may take the last binding of another one.

import type { Effect } from "./effects.ts";
import { type Binding, type Exchange, type Queue, recordOf } from "./topology.ts";

export interface Departing {
  readonly queues?: readonly Queue[];
  readonly exchanges?: readonly Exchange[];
  readonly bindings?: readonly Binding[];
}

/** The effects that delete these things, and the auto-delete exchanges that lose their last binding with them. */
export function departure({ queues = [], exchanges = [], bindings = [] }: Departing): Effect[] {
  const effects: Effect[] = [
    ...bindings.map((binding): Effect => ({ kind: "unbound", binding: recordOf(binding) })),
    ...queues.map((queue): Effect => ({ kind: "queue-deleted", queueId: queue.record.id })),
  ];
  const going = new Set<Exchange>(exchanges);
  const lost = new Map<Exchange, number>();
  const lose = ({ from }: Binding): void => {
    const count = (lost.get(from) ?? 0) + 1;
    lost.set(from, count);
    if (from.settings.autoDelete && count === from.bindings.size) going.add(from);
  };
  for (const binding of bindings) lose(binding);
  for (const queue of queues) for (const binding of queue.bindings) lose(binding);
  // A set yields what is added to it while it is walked.
  for (const exchange of going) {
    const { vhost, name } = exchange.settings;
    effects.push({ kind: "exchange-deleted", vhost, name });
    for (const binding of exchange.incoming) if (!going.has(binding.from)) lose(binding);
  }
  return effects;
}
