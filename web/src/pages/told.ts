// The pages that tell what happened, as one chunk: they have rows and pictures of their own, and no forms.
export { Events } from "../events/page";
export { Traces } from "../traces/page";
