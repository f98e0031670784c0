// Topic exchange: keys are words between dots. In a binding key `*` stands for exactly one word and
// `#` for any number of words, none included. The empty key has no words; "a." has two, the second
// of them empty, and `*` matches an empty word.
//
// Binding keys form a trie with one edge per word. A message's words are read once, from left to
// right, with the set of trie nodes that the words so far can lead to: time is bounded by words times
// nodes, whatever the patterns (a recursive search would be exponential in the number of `#`).
//
//   bound: a.*.c   a.#          root --a--> o --*--> o --c--> [a.*.c]
//                                           \--#--> [a.#]   (stays in the set for every further word)

import { assert } from "../assert.ts";
import { Destinations } from "./destinations.ts";
import type { ExchangeRouter, RoutedBinding } from "./exchange-router.ts";
import type { RoutedMessage } from "./routed-message.ts";

class TrieNode {
  /** Children by word; `*` and `#` are children like others, looked up by their names. */
  readonly children = new Map<string, TrieNode>();
  readonly destinations = new Destinations();
  /** The edge that leads here is `#`: any further word leads here again. */
  readonly repeats: boolean;
  /** The step that last put this node into the set, so that it is there once. */
  seenAt = 0;

  constructor(repeats: boolean) {
    this.repeats = repeats;
  }
}

export class TopicRouter implements ExchangeRouter {
  readonly perMessage = false;
  readonly #root = new TrieNode(false);
  #step = 0;

  bind(binding: RoutedBinding): void {
    let node = this.#root;
    for (const word of wordsOf(binding.routingKey)) {
      let child = node.children.get(word);
      if (child === undefined) {
        child = new TrieNode(word === "#");
        node.children.set(word, child);
      }
      node = child;
    }
    node.destinations.add(binding.queueId);
  }

  unbind(binding: RoutedBinding): void {
    const words = wordsOf(binding.routingKey);
    const path = [this.#root];
    for (const word of words) {
      const child = path[path.length - 1]?.children.get(word);
      assert(child !== undefined, "an unbound topic key was bound");
      path.push(child);
    }
    path[path.length - 1]?.destinations.remove(binding.queueId);
    for (let depth = words.length; depth > 0; depth--) {
      const node = path[depth];
      if (node === undefined || !node.destinations.isEmpty || node.children.size > 0) return;
      path[depth - 1]?.children.delete(words[depth - 1] ?? "");
    }
  }

  route(message: RoutedMessage, into: Set<number>): void {
    for (const key of message.keys) this.#routeKey(key, into);
  }

  #routeKey(routingKey: string, into: Set<number>): void {
    let active: TrieNode[] = [];
    this.#step++;
    this.#enter(this.#root, active);
    for (const word of wordsOf(routingKey)) {
      const next: TrieNode[] = [];
      this.#step++;
      for (const node of active) {
        if (node.repeats) this.#enter(node, next);
        // In a message's key `*` and `#` are words like any other: they match the edge of that name only
        // as the wildcard that it is, which the next two lines do.
        if (word !== "*" && word !== "#") this.#enter(node.children.get(word), next);
        this.#enter(node.children.get("*"), next);
      }
      if (next.length === 0) return;
      active = next;
    }
    for (const node of active) node.destinations.addTo(into);
  }

  /** Puts `node` into the set, and with it what `#` reaches without consuming a word. */
  #enter(node: TrieNode | undefined, set: TrieNode[]): void {
    while (node !== undefined && node.seenAt !== this.#step) {
      node.seenAt = this.#step;
      set.push(node);
      node = node.children.get("#");
    }
  }
}

function wordsOf(key: string): readonly string[] {
  return key === "" ? [] : key.split(".");
}
