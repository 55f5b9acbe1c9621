/** The analysis is algebra, not cases: it stays small, and knows no architecture. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const at = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

test("the core analysis has at most 5,000 lines", () => {
  const counted = JSON.parse(execFileSync(process.execPath, [at("bench/lines.mjs"), "--json"], { encoding: "utf8" })) as {
    readonly coupling: number;
    readonly ops: number;
    readonly total: number;
  };
  // A count that finds next to nothing would prove nothing.
  expect(counted.coupling).toBeGreaterThan(1000);
  expect(counted.ops).toBeGreaterThan(500);
  expect(counted.total).toBeLessThanOrEqual(5000);
});

/** Families of nets by the words that name them, as words of their own or followed by digits: "ResNet50", "yolov8". */
const ARCHITECTURES = [
  ..."alexnet lenet vgg inception googlenet resnet resnext wideresnet densenet squeezenet shufflenet mobilenet mnasnet".split(" "),
  ..."efficientnet regnet convnext vit deit swin maxvit mvit segformer mixer unet deeplab fcn lraspp ssd retinanet rcnn fpn detr".split(
    " ",
  ),
  ..."yolo yolov fcos raft bert roberta electra gpt llama mistral mixtral qwen phi gemma whisper bart bloom falcon crnn ppocr".split(" "),
];

/** Lower-case words of a text: identifiers are taken apart at capitals, digits fall off their end. */
function wordsOf(text: string): Set<string> {
  const whole = text.match(/[A-Za-z]+/g) ?? [];
  const parts = text.match(/[A-Z]?[a-z]+|[A-Z]+(?![a-z])/g) ?? [];
  return new Set([...whole, ...parts].map((w) => w.toLowerCase()));
}

test("words are found in identifiers, strings and comments", () => {
  expect([...wordsOf('isResNet50("yolov8") // a ViT')]).toEqual(expect.arrayContaining(["isresnet", "res", "net", "yolov", "vit"]));
});

test("no source file names an architecture", () => {
  const files = readdirSync(at("src"), { recursive: true, encoding: "utf8" }).filter((f) => f.endsWith(".ts"));
  expect(files.length).toBeGreaterThan(100);
  const named = files.flatMap((f) => {
    const words = [...wordsOf(readFileSync(at(`src/${f}`), "utf8"))];
    const isNamed = (a: string) => words.some((w) => w === a || (a.length > 4 && w.includes(a)));
    return ARCHITECTURES.filter(isNamed).map((a) => `${f} names ${a}`);
  });
  expect(named).toEqual([]);
});
