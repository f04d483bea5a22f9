import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { Monitoring } from "./pages/monitoring";
import { useStores } from "./ui/context";
import { ControlDialog } from "./ui/control-dialog";
import { Help } from "./ui/help";
import { listenKeys } from "./ui/keys";
import { later } from "./ui/later";
import { Picture } from "./ui/mark";
import { Messages } from "./ui/messages";
import { Rail } from "./ui/rail";
import { Strip } from "./ui/strip";

const Workflows = later(() => import("./workflows/page").then((module) => module.Workflows), "workflows");
const WorkflowSheet = later(() => import("./workflows/page").then((module) => module.WorkflowSheet), "one workflow", "sheet");
const Alerts = later(() => import("./alerts/page").then((module) => module.Alerts), "alerts");
const PAGES = { monitoring: Monitoring, workflows: Workflows, alerts: Alerts };
const TITLES = { monitoring: "Monitoring", workflows: "Workflows", alerts: "Alerts" };

export function App(): JSX.Element {
  const stores = useStores();
  const helping = useSignal(false);
  const page = stores.route.page.value;
  const View = PAGES[page];
  const firing = stores.alerts.firing.value.length;
  useEffect(() => listenKeys(stores, () => (helping.value = true)), [stores]);
  useEffect(() => {
    document.title = `${firing > 0 ? `(${firing}) ` : ""}${TITLES[page]} · Pilothouse`;
  }, [page, firing]);
  return (
    <div class="frame">
      <a class="brand" href={stores.route.href({ page: "monitoring", open: "" })}>
        <Picture icon="wheel" /> Pilothouse
      </a>
      <Strip />
      <Rail help={() => (helping.value = true)} />
      <main key={page} class="main">
        <View />
      </main>
      {page === "monitoring" && stores.route.open.value !== "" ? <WorkflowSheet /> : null}
      <ControlDialog />
      {helping.value ? <Help close={() => (helping.value = false)} /> : null}
      <Messages />
    </div>
  );
}
