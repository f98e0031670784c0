// Typed header values, shared by all doors. The codec is below.

/** A value of a header or an argument. Wrapped kinds keep the wire type through a round trip. */
export type FieldValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Buffer
  | FieldTable
  | readonly FieldValue[]
  | { readonly kind: "timestamp"; readonly seconds: bigint }
  | { readonly kind: "decimal"; readonly scale: number; readonly value: number }
  | { readonly kind: "double"; readonly value: number };

export type FieldTable = ReadonlyMap<string, FieldValue>;
