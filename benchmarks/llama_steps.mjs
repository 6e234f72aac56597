// Greedy decoding in llama.cpp on command, so that another process can take turns with it
// (benchmarks/real_width.py). Needs `npm install node-llama-cpp` in the folder that it is run in.
//   node llama_steps.mjs MODEL.gguf CACHE_LENGTH CHUNK THREADS
// One line in, one line out, as of decoder_steps:
//   begin 1 TOKENS id id ...   forgets what was, runs the prompt -> the first token
//   step                       -> microseconds on the wall, of processor time, then the token
import {createRequire} from "node:module";
import {createInterface} from "node:readline";
import {pathToFileURL} from "node:url";

const found = createRequire(process.cwd() + "/").resolve("node-llama-cpp");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(found).href);
const [modelPath, length, chunk, threads] = process.argv.slice(2);
const llama = await getLlama({
    gpu: false, build: "never", skipDownload: true, maxThreads: Number(threads), logLevel: LlamaLogLevel.error
});
const model = await llama.loadModel({modelPath, useMmap: true});
const context = await model.createContext({
    contextSize: Number(length), batchSize: Number(chunk), threads: Number(threads), sequences: 1
});
const sequence = context.getSequence();
console.log("ready");
let answer;
for await (const line of createInterface({input: process.stdin})) {
    const [verb, , , ...ids] = line.split(" ");
    if (verb === "begin") {
        await answer?.return();
        await sequence.clearHistory();
        answer = sequence.evaluate(ids.map(Number), {temperature: 0, yieldEogToken: true});
        console.log((await answer.next()).value);
        continue;
    }
    const before = process.cpuUsage();
    const start = process.hrtime.bigint();
    const {value} = await answer.next();
    const wall = Number(process.hrtime.bigint() - start) / 1e3;
    const {user, system} = process.cpuUsage(before);
    console.log(wall, user + system, value);
}
await context.dispose();
