// How V8 collects garbage in a process that is a broker and nothing else.

import { setFlagsFromString } from "node:v8";

/**
 * Switches off V8's memory reducer, which takes a program that makes little garbage for an idle one and
 * collects its whole heap again and again to give memory back: in the churn gate every 0.4 seconds, 5 to 10
 * ms each time, on a heap of 15 MB. Collections that are needed come all the same. For the whole process:
 * not for programs that embed a broker.
 */
export function collectOnlyWhenNeeded(): void {
  setFlagsFromString("--no-memory-reducer");
}
