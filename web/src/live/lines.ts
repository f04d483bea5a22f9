// The answers of a stream over plain HTTP: one JSON object on each line, under the names of the contract. A last line may say why it broke off.
import { refusal, unlessCut } from "./call";

export async function* lines<T>(response: Response, signal: AbortSignal): AsyncGenerator<T> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done = true, value = "" } = (await unlessCut(async () => reader?.read(), signal)) ?? {};
    const whole = (rest + value).split("\n");
    rest = whole.pop() ?? "";
    for (const line of whole.filter((each) => each.trim() !== "")) {
      const update = JSON.parse(line) as T & { readonly error?: unknown };
      if (update.error !== undefined) {
        throw refusal(500, JSON.stringify(update.error));
      }
      yield update as Awaited<T>;
    }
    if (done) {
      return;
    }
  }
}
