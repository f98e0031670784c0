// npm run build (and prepack): dist/ as the sources are now.

import { prepare } from "./prepare.mjs";

await prepare();
