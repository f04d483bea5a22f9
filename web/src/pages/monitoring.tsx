import type { JSX } from "preact";
import { ActiveAlerts } from "../ui/alerts";
import { Cards } from "../ui/cards";
import { Charts } from "../ui/charts";
import { AgentHealthMatrix } from "../ui/matrix";
import { WorkflowsInProgress } from "../ui/running";
import { EventStreamPanel } from "../ui/stream";

export function Monitoring(): JSX.Element {
  return (
    <div class="monitoring" data-testid="page-monitoring">
      <h1 class="sr">Monitoring</h1>
      <Cards />
      <Charts />
      <div class="lower">
        <WorkflowsInProgress />
        <AgentHealthMatrix />
        <ActiveAlerts />
        <EventStreamPanel />
      </div>
    </div>
  );
}
