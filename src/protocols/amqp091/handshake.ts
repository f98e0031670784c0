// From the protocol header to connection.open-ok (AMQP 0-9-1 section 2.2.4):
//
//   header -> start -> start-ok -> tune -> tune-ok, open -> open-ok
//
// Negotiation is as strict as RabbitMQ's: a client that asks for more than was offered, for "no limit"
// where there is one, or for frames that are too small, is closed with 530.

import { LIMITS } from "../../limits.ts";
import { EMPTY_TABLE, type FieldTable } from "../../model/field-table.ts";
import { connectionError, type AmqpError } from "./errors.ts";
import { EXTERNAL, MECHANISMS, readCredentials } from "./sasl.ts";
import type { Method, MethodFields, MethodName, MethodOf } from "./spec.ts";

export const PROTOCOL_HEADER = Buffer.from("AMQP\0\0\x09\x01", "latin1");
/** How some old clients announce the same version. */
const PROTOCOL_HEADER_OLD = Buffer.from("AMQP\x01\x01\0\x09", "latin1");

export interface HandshakeHost {
  readonly serverProperties: FieldTable;
  send<N extends MethodName>(channel: number, name: N, fields: MethodFields<N>): void;
  /** Calls `answer` once, perhaps later; until then no further method is handled. */
  authenticate(user: string, password: string, answer: (accepted: boolean) => void): void;
  /** The name in the client's certificate, which was verified; undefined without one. */
  readonly certificateName: string | undefined;
  /** True when the user that the certificate names may log in. */
  acceptsCertificate(name: string): boolean;
  tuned(tuning: Tuning): void;
  /** Throws BrokerError or AmqpError when the vhost is refused. */
  openSession(user: string, vhost: string): void;
}

export interface Tuning {
  readonly channelMax: number;
  readonly frameBytesMax: number;
  /** 0: off. */
  readonly heartbeatS: number;
}

type Awaited = "start-ok" | "tune-ok" | "open" | "nothing";

export class Handshake {
  private readonly host: HandshakeHost;
  private awaited: Awaited = "start-ok";
  private user = "";
  private capabilities: FieldTable = EMPTY_TABLE;
  /** What the client says about itself. */
  clientProperties: FieldTable = EMPTY_TABLE;

  constructor(host: HandshakeHost) {
    this.host = host;
  }

  /** True for the first eight bytes of a client that speaks this version. */
  static accepts(header: Buffer): boolean {
    return header.equals(PROTOCOL_HEADER) || header.equals(PROTOCOL_HEADER_OLD);
  }

  get done(): boolean {
    return this.awaited === "nothing";
  }

  /** True while a refused login may be answered by closing the socket without a word. */
  get authenticating(): boolean {
    return this.awaited === "start-ok";
  }

  /** True when the client lists this capability. */
  can(capability: string): boolean {
    return this.capabilities.get(capability) === true;
  }

  start(): void {
    this.host.send(0, "connection.start", {
      versionMajor: 0,
      versionMinor: 9,
      serverProperties: this.host.serverProperties,
      mechanisms: Buffer.from(this.host.certificateName === undefined ? MECHANISMS : `${MECHANISMS} ${EXTERNAL}`),
      locales: Buffer.from("en_US"),
    });
  }

  /** The next method on channel 0. Throws AmqpError, BrokerError, DecodeError. */
  handle(method: Method): void {
    if (method.name === "connection.start-ok" && this.awaited === "start-ok") return this.startOk(method);
    if (method.name === "connection.tune-ok" && this.awaited === "tune-ok") return this.tuneOk(method);
    if (method.name === "connection.open" && this.awaited === "open") return this.open(method);
    throw connectionError(
      "command-invalid",
      `unexpected method ${method.name} while connection.${this.awaited} is awaited`,
    );
  }

  private startOk(method: MethodOf<"connection.start-ok">): void {
    const capabilities = method.clientProperties.get("capabilities");
    if (capabilities instanceof Map) this.capabilities = capabilities;
    this.clientProperties = method.clientProperties;
    const { mechanism } = method;
    const { certificateName } = this.host;
    if (mechanism === EXTERNAL && certificateName !== undefined) {
      if (!this.host.acceptsCertificate(certificateName)) throw loginRefused(mechanism);
      this.loggedIn(certificateName);
      return;
    }
    const { user, password } = readCredentials(mechanism, method.response);
    this.host.authenticate(user, password, (accepted) => {
      if (!accepted) throw loginRefused(mechanism);
      this.loggedIn(user);
    });
  }

  private loggedIn(user: string): void {
    this.user = user;
    this.awaited = "tune-ok";
    this.host.send(0, "connection.tune", {
      channelMax: LIMITS.channelsPerConnectionMax,
      frameMax: LIMITS.frameBytesMax,
      heartbeat: LIMITS.heartbeatDefaultS,
    });
  }

  private tuneOk(method: MethodOf<"connection.tune-ok">): void {
    const { channelMax, frameMax, heartbeat } = method;
    checkNegotiated("channel_max", channelMax, 0, LIMITS.channelsPerConnectionMax);
    checkNegotiated("frame_max", frameMax, LIMITS.frameBytesMin, LIMITS.frameBytesMax);
    this.awaited = "open";
    this.host.tuned({ channelMax, frameBytesMax: frameMax, heartbeatS: heartbeat });
  }

  private open(method: MethodOf<"connection.open">): void {
    this.host.openSession(this.user, method.virtualHost);
    this.awaited = "nothing";
    this.host.send(0, "connection.open-ok", { knownHosts: "" });
  }
}

function loginRefused(mechanism: string): AmqpError {
  const text = `Login was refused using authentication mechanism ${mechanism}.`;
  return connectionError("access-refused", `${text} For details see the broker logfile.`);
}

/** Zero means "no limit", which is more than any limit. */
function checkNegotiated(field: "channel_max" | "frame_max", value: number, min: number, max: number): void {
  if (value !== 0 && value < min) {
    throw connectionError(
      "not-allowed",
      `negotiated ${field} = ${value} is lower than the minimum allowed value (${min})`,
    );
  }
  if (value === 0 || value > max) {
    const detail = value === 0 ? " (no limit)" : "";
    throw connectionError(
      "not-allowed",
      `negotiated ${field} = ${value}${detail} is higher than the maximum allowed value (${max})`,
    );
  }
}
