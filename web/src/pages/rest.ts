// The pages on which things are changed, as one chunk: they share so many forms and words that apart they would weigh kilobytes more.
export { Agents } from "../agents/page";
export { Alerts } from "../alerts/page";
export { Platform } from "../platform/page";
export { WorkflowSheet, Workflows } from "../workflows/page";
