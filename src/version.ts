// The version of this package; a test compares it with package.json.

export const VERSION: string = "0.1.0";

/** The version of RabbitMQ that clients and tools are told, since they look there for what they may use. */
export const RABBITMQ_VERSION = "4.1.0";
