// Print JSON schemas of random Zod types, one a line: node zod_schemas.mjs COUNT SEED
import { z } from "zod";
import { z as z3 } from "zod/v3";
import { zodToJsonSchema } from "zod-to-json-schema";

const [count, seed] = process.argv.slice(2).map(Number);
let state = seed >>> 0;

function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

const below = (n) => Math.floor(random() * n);
const pick = (list) => list[below(list.length)];
const maybe = (p) => random() < p;
const NAMES = ["id", "name", "email", "kind", "tags", "price", "count", "created_at", "owner", "note"];
const WORDS = ["red", "green", "blue", "up", "down", "Oslo", "a b", "é", "x-1"];

function words() {
  const shuffled = [...WORDS].sort(() => random() - 0.5);
  return shuffled.slice(0, 1 + below(4));
}

const shared = (z) => [
  () => z.string(),
  () => z.string().min(below(4)).max(5 + below(60)),
  () => z.string().length(1 + below(8)),
  () => z.string().regex(pick([/^[a-z]+$/, /^\d{3}-\d{4}$/, /^[^\s@]+@[^\s@]+$/, /^\/[\w\-./]*$/, /(?=.*\d)^\w{3,9}$/, /\bword\b/, /^(\w)\1$/])),
  () => z.string().startsWith("pre").endsWith("post"),
  () => z.string().includes("mid"),
  () => z.number(),
  () => z.number().int(),
  () => z.number().min(-below(100)).max(below(1000)),
  () => z.number().gt(below(10)).lt(11 + below(10)),
  () => z.number().multipleOf(pick([0.5, 0.01, 3, 10])),
  () => z.number().int().positive(),
  () => z.boolean(),
  () => z.null(),
  () => z.any(),
  () => z.unknown(),
  () => z.literal(pick([...WORDS, 5, true, 1.5])),
  () => z.enum(words()),
];

const leaves4 = [
  ...shared(z),
  () => pick([z.email(), z.uuid(), z.url(), z.ipv4(), z.ipv6(), z.cidrv4(), z.base64(), z.base64url()]),
  () => pick([z.iso.date(), z.iso.time(), z.iso.datetime(), z.iso.duration(), z.iso.datetime({ offset: true })]),
  () => pick([z.nanoid(), z.cuid(), z.cuid2(), z.ulid(), z.jwt(), z.e164(), z.emoji(), z.guid(), z.hostname()]),
  () => pick([z.int(), z.int32(), z.uint32(), z.float32(), z.float64()]),
  () => z.templateLiteral(["v", z.number(), ".", z.enum(["a", "b"])]),
  () => z.literal(["a", 1, null]),
  () => z.string().lowercase(),
];

const leaves3 = [
  ...shared(z3),
  () => pick([z3.string().email(), z3.string().uuid(), z3.string().url(), z3.string().datetime(), z3.string().date()]),
  () => pick([z3.string().ip(), z3.string().cuid(), z3.string().emoji(), z3.string().base64(), z3.string().nanoid()]),
  () => z3.date(),
  () => z3.bigint(),
  () => z3.set(z3.string()),
];

function type(z, leaves, depth) {
  if (depth <= 0 || maybe(0.35)) return pick(leaves)();
  const inner = () => type(z, leaves, depth - 1);
  return pick([
    () => object(z, leaves, depth - 1),
    () => object(z, leaves, depth - 1),
    () => z.array(inner()),
    () => z.array(inner()).min(below(3)).max(3 + below(5)),
    () => z.tuple([inner(), inner()]),
    () => z.tuple([inner()]).rest(inner()),
    () => z.record(z.string(), inner()),
    () => z.record(z.enum(words()), inner()),
    () => z.record(z.string().regex(/^[a-z]{1,5}$/), inner()),
    () => z.union([inner(), inner(), z.null()]),
    () => inner().nullable(),
    () => inner().describe("What it is."),
    () => z.intersection(object(z, leaves, 0, "one_"), object(z, leaves, 0, "other_")),
    () => z.discriminatedUnion("type", [
      z.object({ type: z.literal("one"), value: inner() }),
      z.object({ type: z.literal("two"), other: inner().optional() }),
    ]),
    () => z.map ? z.lazy(() => z.string()) : inner(),
  ])();
}

function object(z, leaves, depth, prefix = "") {
  const shape = {};
  for (let i = 1 + below(5); i > 0; i--) {
    let field = type(z, leaves, depth);
    if (maybe(0.3)) field = field.optional();
    shape[prefix + pick(NAMES)] = field;
  }
  if (maybe(0.05)) shape.forbidden = z.never().optional();
  const made = z.object(shape);
  if (prefix) return made.passthrough(); // a closed one contradicts what it is joined with
  return pick([() => made, () => made, () => made.strict(), () => made.passthrough()])();
}

function tree() {
  const Node = z.object({
    value: pick(leaves4)(),
    get children() {
      return z.array(Node).max(3);
    },
  });
  return Node;
}

for (let made = 0; made < count; ) {
  try {
    let schema, source;
    if (maybe(0.3)) {
      const target = pick(["jsonSchema7", "jsonSchema2019-09", "openApi3", "openAi"]);
      source = `zod-to-json-schema ${target}`;
      schema = zodToJsonSchema(object(z3, leaves3, 3), { target, $refStrategy: pick(["root", "none"]) });
    } else {
      const target = pick(["draft-2020-12", "draft-2020-12", "draft-7", "draft-4", "openapi-3.0"]);
      source = `zod ${target}`;
      const io = pick(["input", "output"]);
      const options = { target, io, unrepresentable: "any", reused: pick(["inline", "ref"]) };
      schema = z.toJSONSchema(maybe(0.1) ? tree() : object(z, leaves4, 3), options);
    }
    console.log(JSON.stringify({ source, schema }));
    made += 1;
  } catch (error) {
    if (!(error instanceof Error)) throw error; // a type that a target cannot have
  }
}
