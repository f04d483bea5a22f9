// Every page but the first, as one chunk: they share so many words and parts that apart they would weigh kilobytes more.
export { Agents } from "../agents/page";
export { Alerts } from "../alerts/page";
export { Palette } from "../ui/palette";
export { Events } from "../events/page";
export { Platform } from "../platform/page";
export { Traces } from "../traces/page";
export { WorkflowSheet, Workflows } from "../workflows/page";
