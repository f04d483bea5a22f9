// The Platform page: how it behaves, stopping everything, budgets, engines, the audit log, and the server itself.
import type { JSX } from "preact";
import { useStores } from "../ui/context";
import { Tabbed } from "../ui/listed";
import { Audit } from "./audit";
import { Budgets } from "./budgets";
import { Configuration } from "./config";
import { Connectors } from "./connectors";
import { Emergency } from "./emergency";
import "./platform.css";
import { Server } from "./server";

export function Platform(): JSX.Element {
  const { stops } = useStores();
  const active = stops.active.value.length;
  return (
    <Tabbed
      page="platform"
      title="Platform"
      first="first"
      tabs={[
        ["", "Configuration", Configuration],
        ["emergency", "Emergency", Emergency, active === 0 ? null : <b class="tone-critical">{active} in force</b>],
        ["budgets", "Budgets", Budgets],
        ["connectors", "Engines", Connectors],
        ["audit", "Audit", Audit],
        ["server", "Server", Server],
      ]}
    />
  );
}
