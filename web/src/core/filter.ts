// The filter box speaks the grammar of the API. The server judges it; this page only adds the term of the chip and searches plain words among the rows that it already has.

export function withState(filter: string, state: string): string {
  const text = filter.trim();
  if (state === "") {
    return text;
  }
  const term = `state = ${state.toUpperCase()}`;
  return text === "" ? term : `(${text}) AND ${term}`;
}

// Whether the text is only words, which can be searched in what is on the page; anything else needs the server.
export function isPlain(filter: string): boolean {
  return !/[=<>!:()"]|\b(AND|OR|NOT)\b/.test(filter);
}

export function matchesWords(filter: string, fields: readonly string[]): boolean {
  const words = filter
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  return words.every((word) => fields.some((field) => field.toLowerCase().includes(word)));
}
