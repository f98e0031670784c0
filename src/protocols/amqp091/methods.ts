// Codec of control-plane methods: bytes of a method frame's payload <-> objects, driven by spec.ts.
// The hot methods (publish, deliver, ack) have code of their own; here clarity comes first.

import { InvariantError } from "../../assert.ts";
import { DecodeError } from "../../model/errors.ts";
import { decodeTable, encodeTable, type FieldTable } from "../../model/field-table.ts";
import { METHODS, methodKey, type FieldTypes, type Method, type MethodFields, type MethodName } from "./spec.ts";

interface FieldShape {
  readonly name: string;
  readonly type: keyof FieldTypes;
}

interface MethodShape {
  readonly name: MethodName;
  readonly classId: number;
  readonly methodId: number;
  readonly fields: readonly FieldShape[];
}

const SHAPES_BY_NAME = new Map<string, MethodShape>();
const SHAPES_BY_KEY = new Map<number, MethodShape>();

for (const [name, [classId, methodId, ...texts]] of Object.entries(METHODS)) {
  const fields = (texts as readonly string[]).map((text) => {
    const [field = "", type = ""] = text.split(":");
    return { name: field, type: type as keyof FieldTypes };
  });
  const shape = { name: name as MethodName, classId, methodId, fields };
  SHAPES_BY_NAME.set(name, shape);
  SHAPES_BY_KEY.set(methodKey(classId, methodId), shape);
}

/** Name of a method, or undefined when the protocol has none with these ids. */
export function methodName(classId: number, methodId: number): MethodName | undefined {
  return SHAPES_BY_KEY.get(methodKey(classId, methodId))?.name;
}

/** Reads the fields of one payload from the front to the back. */
class FieldReader {
  private readonly bytes: Buffer;
  private readonly end: number;
  private at: number;
  /** Bits that follow each other share an octet: the next one's place, 8 when a new octet starts. */
  private bit = 8;

  constructor(bytes: Buffer, start: number, end: number) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
  }

  read(type: keyof FieldTypes): FieldTypes[keyof FieldTypes] {
    if (type === "bit") return this.readBit();
    this.bit = 8;
    switch (type) {
      case "octet":
        return this.bytes[this.take(1)]!;
      case "short":
        return this.bytes.readUInt16BE(this.take(2));
      case "long":
        return this.bytes.readUInt32BE(this.take(4));
      case "longlong": {
        const at = this.take(8);
        return this.bytes.readUInt32BE(at) * 0x1_0000_0000 + this.bytes.readUInt32BE(at + 4);
      }
      case "shortstr": {
        const size = this.bytes[this.take(1)]!;
        const at = this.take(size);
        return this.bytes.toString("utf8", at, at + size);
      }
      case "longstr": {
        const size = this.bytes.readUInt32BE(this.take(4));
        const at = this.take(size);
        return this.bytes.subarray(at, at + size);
      }
      case "table":
        return this.readTable();
    }
  }

  finish(): void {
    if (this.at !== this.end) throw new DecodeError("bytes follow the last argument");
  }

  private readTable(): FieldTable {
    const at = this.take(4);
    const size = this.bytes.readUInt32BE(at);
    this.take(size);
    return decodeTable(this.bytes, at, at + 4 + size);
  }

  private readBit(): boolean {
    if (this.bit === 8) {
      this.take(1);
      this.bit = 0;
    }
    return ((this.bytes[this.at - 1]! >> this.bit++) & 1) === 1;
  }

  /** Moves on by `size` bytes; returns the offset before. */
  private take(size: number): number {
    const at = this.at;
    if (at + size > this.end) throw new DecodeError("an argument runs over the end of its frame");
    this.at = at + size;
    return at;
  }
}

/**
 * Decodes the payload bytes[start, end) of a method frame; undefined for an unknown method. Throws
 * DecodeError when the arguments do not fill it exactly.
 */
export function decodeMethod(bytes: Buffer, start: number, end: number): Method | undefined {
  if (end - start < 4) throw new DecodeError("a method frame is shorter than its ids");
  const shape = SHAPES_BY_KEY.get(methodKey(bytes.readUInt16BE(start), bytes.readUInt16BE(start + 2)));
  if (shape === undefined) return undefined;
  const reader = new FieldReader(bytes, start + 4, end);
  const entries: [string, unknown][] = [["name", shape.name]];
  for (const field of shape.fields) entries.push([field.name, reader.read(field.type)]);
  reader.finish();
  return Object.fromEntries(entries) as Method;
}

/** The payload of a method frame. Throws DecodeError when a text does not fit a short string. */
export function encodeMethod<N extends MethodName>(name: N, fields: MethodFields<N>): Buffer {
  const shape = SHAPES_BY_NAME.get(name);
  if (shape === undefined) throw new InvariantError("unknown method", name);
  const values = new Map<string, unknown>(Object.entries(fields));
  const parts: Buffer[] = [u16(shape.classId), u16(shape.methodId)];
  let bits = -1;
  let octet = Buffer.alloc(0);
  for (const field of shape.fields) {
    const value = values.get(field.name);
    if (field.type !== "bit") {
      bits = -1;
      parts.push(encodeField(field.type, value as FieldTypes[keyof FieldTypes]));
      continue;
    }
    if (bits < 0) {
      octet = Buffer.alloc(1);
      parts.push(octet);
      bits = 0;
    }
    if (value === true) octet[0] = octet[0]! | (1 << bits);
    bits++;
  }
  return Buffer.concat(parts);
}

function encodeField(type: keyof FieldTypes, value: FieldTypes[keyof FieldTypes]): Buffer {
  if (typeof value === "number") return encodeInteger(type, value);
  if (typeof value === "string") {
    const text = Buffer.from(value, "utf8");
    if (text.length > 255) throw new DecodeError("a short string is longer than 255 bytes");
    return Buffer.concat([Buffer.of(text.length), text]);
  }
  if (Buffer.isBuffer(value)) return Buffer.concat([u32(value.length), value]);
  return encodeTable(value as FieldTable);
}

function encodeInteger(type: keyof FieldTypes, value: number): Buffer {
  switch (type) {
    case "octet":
      return Buffer.of(value);
    case "short":
      return u16(value);
    case "long":
      return u32(value);
    default:
      return Buffer.concat([u32(Math.floor(value / 0x1_0000_0000)), u32(value % 0x1_0000_0000)]);
  }
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
