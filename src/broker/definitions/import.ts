// Does what a definitions file asks for, one thing after the other; each is one atomic change. What exists is
// left as it is (queues, exchanges, bindings) or brought in line (all else), so that a file can be imported
// again. A thing that is refused does not stop the others: the report says which, and why.

import { LIMITS } from "../../limits.ts";
import { BrokerError, DecodeError } from "../../model/errors.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logins } from "../access/logins.ts";
import { isRabbitHash, NO_SECRET, rabbitSecret, type Secret, secretFromJson } from "../access/secrets.ts";
import { putPermission, putTopicPermission, putUser } from "../access/user-commands.ts";
import { bindExchange, bindQueue } from "../binding-commands.ts";
import { declareExchange } from "../exchange-commands.ts";
import type { Namespace } from "../namespace.ts";
import { isApplyTo } from "../policies/policy-definition.ts";
import { putGlobalParameter, putParameter, putPolicy } from "../policies/policy-commands.ts";
import type { PolicyKind } from "../policies/policy-records.ts";
import { declareQueue } from "../queue-commands.ts";
import { preconditionFailed } from "../refusals.ts";
import type { OpenSession, Sessions } from "../sessions.ts";
import { putVhost, vhostLimitsOf } from "../vhost-commands.ts";
import type {
  BindingDefinition,
  Definitions,
  ExchangeDefinition,
  PolicyDefinition,
  QueueDefinition,
  UserDefinition,
} from "./decode.ts";
import { SCRAM_ALGORITHM } from "./export.ts";

export interface ImportFailure {
  /** "queue 'orders' in vhost '/'" */
  readonly what: string;
  readonly reason: string;
}

export interface ImportReport {
  /** Things that are now as the file asks, whether they were so before or not. */
  readonly done: number;
  readonly failures: readonly ImportFailure[];
}

export interface ImportParts {
  readonly namespace: Namespace;
  readonly sessions: Sessions;
  readonly logins: Logins;
  readonly clock: Clock;
}

/** Rejects with "unavailable" when storage fails on the way; all other refusals are in the report. */
export async function importDefinitions(parts: ImportParts, definitions: Definitions): Promise<ImportReport> {
  const run = new Import(parts);
  for (const step of run.steps(definitions)) await run.take(step);
  return run.report;
}

interface Step {
  readonly what: string;
  readonly apply: () => void | Promise<void>;
}

class Import {
  readonly #parts: ImportParts;
  readonly #failures: ImportFailure[] = [];
  #done = 0;
  #sliceEndMs = 0;

  constructor(parts: ImportParts) {
    this.#parts = parts;
  }

  get report(): ImportReport {
    return { done: this.#done, failures: this.#failures };
  }

  /** In an order in which each finds what it needs. */
  *steps(definitions: Definitions): Generator<Step> {
    const { namespace } = this.#parts;
    for (const { name, value } of definitions.globalParameters) {
      yield { what: `global parameter '${name}'`, apply: () => putGlobalParameter(namespace, name, value) };
    }
    for (const user of definitions.users) yield { what: `user '${user.name}'`, apply: () => this.#user(user) };
    for (const { name, ...settings } of definitions.vhosts) {
      yield { what: `vhost '${name}'`, apply: () => void putVhost(namespace, name, settings) };
    }
    for (const each of definitions.permissions) {
      const what = `permissions of user '${each.user}' in vhost '${each.vhost}'`;
      yield { what, apply: () => putPermission(namespace, each) };
    }
    for (const each of definitions.topicPermissions) {
      const what = `topic permissions of user '${each.user}' in vhost '${each.vhost}'`;
      yield { what, apply: () => putTopicPermission(namespace, each) };
    }
    for (const each of definitions.parameters) {
      const what = `parameter '${each.name}' of '${each.component}' in vhost '${each.vhost}'`;
      yield { what, apply: () => this.#parameter(each) };
    }
    for (const each of definitions.operatorPolicies) yield this.#policy("operator-policy", each);
    for (const each of definitions.policies) yield this.#policy("policy", each);
    for (const each of definitions.exchanges) {
      yield { what: `exchange '${each.name}' in vhost '${each.vhost}'`, apply: () => this.#exchange(each) };
    }
    for (const each of definitions.queues) {
      yield { what: `queue '${each.name}' in vhost '${each.vhost}'`, apply: () => this.#queue(each) };
    }
    for (const each of definitions.bindings) {
      const { source, destinationType, destination, vhost } = each;
      const what = `binding from exchange '${source}' to ${destinationType} '${destination}' in vhost '${vhost}'`;
      yield { what, apply: () => this.#binding(each) };
    }
  }

  async take({ what, apply }: Step): Promise<void> {
    try {
      this.#parts.namespace.assertAvailable();
      const pending = apply();
      if (pending !== undefined) await pending;
      this.#done++;
    } catch (error) {
      if (!(error instanceof BrokerError) || error.code === "unavailable") throw error;
      this.#failures.push({ what, reason: error.message });
    }
    await this.#giveWay();
  }

  /** Others get their turn after each slice. */
  async #giveWay(): Promise<void> {
    const { clock } = this.#parts;
    if (clock.monotonicMs() < this.#sliceEndMs) return;
    if (this.#sliceEndMs > 0) await new Promise<void>((resolve) => void clock.after(0, resolve));
    this.#sliceEndMs = clock.monotonicMs() + LIMITS.sliceBudgetMs;
  }

  async #user(user: UserDefinition): Promise<void> {
    const { namespace, logins } = this.#parts;
    const { name, tags, limits, password } = user;
    const secret = password === undefined ? storedSecret(user) : await logins.secretOf(password);
    putUser(namespace, name, { tags, limits, ...(secret === undefined ? {} : { secret }) });
  }

  #parameter(parameter: Definitions["parameters"][number]): void {
    const { namespace } = this.#parts;
    const { vhost, component, name, value } = parameter;
    if (component !== "vhost-limits" || name !== "limits") {
      putParameter(namespace, parameter);
      return;
    }
    this.#sessionIn(vhost);
    putVhost(namespace, vhost, { limits: vhostLimitsOf(value) });
  }

  #policy(kind: PolicyKind, policy: PolicyDefinition): Step {
    const { vhost, name, pattern, definition, applyTo = "all", priority = 0 } = policy;
    return {
      what: `${kind === "policy" ? "policy" : "operator policy"} '${name}' in vhost '${vhost}'`,
      apply: () => {
        if (!isApplyTo(applyTo)) throw preconditionFailed(`a policy applies to no '${applyTo}'`);
        putPolicy(this.#parts.namespace, kind, { vhost, name, pattern, applyTo, priority, definition });
      },
    };
  }

  #exchange(exchange: ExchangeDefinition): void {
    const session = this.#sessionIn(exchange.vhost);
    if (session.home.exchanges.has(exchange.name)) return;
    declareExchange(this.#parts.namespace, session, { ...exchange, passive: false });
  }

  #queue(queue: QueueDefinition): void {
    const session = this.#sessionIn(queue.vhost);
    if (session.home.queues.has(queue.name)) return;
    declareQueue(this.#parts.namespace, session, { ...queue, passive: false, exclusive: false });
  }

  #binding({ vhost, source: exchange, destination, destinationType, ...rest }: BindingDefinition): void {
    const { namespace } = this.#parts;
    const session = this.#sessionIn(vhost);
    // The default exchange leads to every queue without a binding; old files list those.
    if (exchange === "" && destinationType === "queue") return;
    if (destinationType === "queue") bindQueue(namespace, session, { exchange, queue: destination, ...rest });
    else bindExchange(namespace, session, { exchange, destination, ...rest });
  }

  #sessionIn(vhost: string): OpenSession {
    const home = this.#parts.namespace.topology.vhosts.get(vhost);
    if (home === undefined) throw new BrokerError("not-found", `vhost '${vhost}' does not exist`);
    return this.#parts.sessions.passing(home);
  }
}

/** What a file says of a password; undefined when it says nothing. Throws "precondition-failed". */
function storedSecret({ passwordHash, hashingAlgorithm }: UserDefinition): Secret | undefined {
  if (passwordHash === undefined) return undefined;
  if (passwordHash === "") return NO_SECRET;
  try {
    if (hashingAlgorithm === SCRAM_ALGORITHM) {
      return secretFromJson(JSON.parse(Buffer.from(passwordHash, "base64").toString("utf8")));
    }
    // RabbitMQ before 3.6 named no algorithm and used MD5.
    const algorithm = (hashingAlgorithm ?? "rabbit_password_hashing_md5").replace(/^rabbit_password_hashing_/, "");
    if (!isRabbitHash(algorithm)) throw new DecodeError(`unknown algorithm '${hashingAlgorithm}'`);
    return rabbitSecret(algorithm, passwordHash);
  } catch (error) {
    if (!(error instanceof DecodeError) && !(error instanceof SyntaxError)) throw error;
    throw preconditionFailed(`the password hash makes no sense: ${error.message}`);
  }
}
