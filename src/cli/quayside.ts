// The command `quayside`: picks the verb.

import { startVerb } from "../process.ts";
import { VERSION } from "../version.ts";
import { demoVerb } from "./demo.ts";

const HELP = `Quayside ${VERSION}: a message broker that RabbitMQ clients talk to unchanged.

usage: quayside VERB [arguments]

  start           run a broker; quayside start --help lists its settings
  demo [FILE...]  send the lines of log files through a broker that is killed half-way; none is lost
  --version       print the version
  --help          print this

Start here: quayside start, then connect any AMQP 0-9-1 client to amqp://127.0.0.1:5672
`;

async function main(argv: readonly string[]): Promise<number> {
  const [verb, ...rest] = argv;
  switch (verb) {
    case "start":
      return startVerb(rest);
    case "demo":
      return demoVerb(rest);
    case "--version":
    case "-v":
      process.stdout.write(`${VERSION}\n`);
      return 0;
    case "--help":
    case "-h":
    case "help":
      process.stdout.write(HELP);
      return 0;
    default:
      process.stderr.write(verb === undefined ? HELP : `quayside: unknown verb "${verb}"; see quayside --help\n`);
      return 64;
  }
}

process.exitCode = await main(process.argv.slice(2));
