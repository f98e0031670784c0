// The public interface of the package: a broker inside another program.

export type { Port } from "./config.ts";
export type { LogFields, Logger } from "./ports/logger.ts";
export { type Address, type BrokerOptions, type RunningBroker, startBroker } from "./main.ts";
export { VERSION } from "./version.ts";
