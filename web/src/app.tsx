import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { sentence } from "./core/format";
import { Monitoring } from "./pages/monitoring";
import { useStores } from "./ui/context";
import { ControlDialog } from "./ui/control-dialog";
import { Help } from "./ui/help";
import { listenKeys } from "./ui/keys";
import { later } from "./ui/later";
import { Picture } from "./ui/mark";
import { Messages } from "./ui/messages";
import { Palette } from "./ui/palette";
import { Rail } from "./ui/rail";
import { EmergencyBanner } from "./ui/stop";
import { Strip } from "./ui/strip";

const Workflows = later(() => import("./pages/rest").then((module) => module.Workflows), "workflows");
const WorkflowSheet = later(() => import("./pages/rest").then((module) => module.WorkflowSheet), "one workflow", "sheet");
const Alerts = later(() => import("./pages/rest").then((module) => module.Alerts), "alerts");
const Agents = later(() => import("./pages/rest").then((module) => module.Agents), "agents");
const Events = later(() => import("./pages/told").then((module) => module.Events), "events");
const Traces = later(() => import("./pages/told").then((module) => module.Traces), "traces");
const Platform = later(() => import("./pages/rest").then((module) => module.Platform), "the platform");
const PAGES = {
  monitoring: Monitoring,
  workflows: Workflows,
  agents: Agents,
  alerts: Alerts,
  events: Events,
  traces: Traces,
  platform: Platform,
};

export function App(): JSX.Element {
  const stores = useStores();
  const helping = useSignal(false);
  const page = stores.route.page.value;
  const View = PAGES[page];
  const stopped = stores.stops.active.value.length > 0;
  const firing = stores.alerts.firing.value.length;
  const going = useSignal(false);
  useEffect(
    () =>
      listenKeys(
        stores,
        () => (helping.value = true),
        () => (going.value = true),
      ),
    [stores],
  );
  useEffect(() => {
    document.title = `${stopped ? "STOPPED · " : ""}${firing > 0 ? `(${firing}) ` : ""}${sentence(page)} · Pilothouse`;
  }, [page, firing, stopped]);
  return (
    <div class={`frame ${stopped ? "stopped" : ""}`}>
      <header class="top">
        <a class="brand" href={stores.route.href({ page: "monitoring", open: "" })}>
          <Picture icon="wheel" /> Pilothouse
        </a>
        <Strip />
      </header>
      <EmergencyBanner />
      <Rail help={() => (helping.value = true)} />
      <main key={page} class="main">
        <View />
      </main>
      {page === "monitoring" && stores.route.open.value !== "" ? <WorkflowSheet /> : null}
      <ControlDialog />
      {helping.value ? <Help close={() => (helping.value = false)} /> : null}
      {going.value ? <Palette close={() => (going.value = false)} /> : null}
      <Messages />
    </div>
  );
}
