// node make_vectors.mjs TEXTS.json IDS.json NAME=FILE.gguf …
// Writes {NAME: [[id, …], …]}: each text of TEXTS.json as llama.cpp tokenises it, special tokens parsed.
import fs from "node:fs";
import {getLlama} from "node-llama-cpp";

const [textsFile, idsFile, ...files] = process.argv.slice(2);
const texts = JSON.parse(fs.readFileSync(textsFile, "utf8"));
const llama = await getLlama({gpu: false, build: "never", logLevel: "disabled"});
const ids = {};
for (const argument of files) {
    const [name, modelPath] = argument.split("=");
    const model = await llama.loadModel({modelPath, vocabOnly: true});
    ids[name] = texts.map((text) => Array.from(model.tokenize(text, true)));
    await model.dispose();
}
fs.writeFileSync(idsFile, JSON.stringify(ids));
process.exit(0);
