// The Alerts page: what fires, what fired, the rules that decide, what is kept quiet, and where it is told. Each tab has its own URL.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { Tab } from "../core/route";
import { useStores } from "../ui/context";
import "./alerts.css";
import "./narrow.css";
import { ActDialog } from "./acts";
import { Active } from "./active";
import { Channels } from "./channels";
import { Desk, DeskContext, useDesk } from "./desk";
import { History } from "./history";
import { Rules } from "./rules";
import { AlertSheet } from "./sheet";
import { Silences } from "./silences";
import { Tabbed } from "../ui/listed";
import { useShown } from "../ui/lists";

export function Alerts(): JSX.Element {
  const stores = useStores();
  const desk = useMemo(() => new Desk(stores), [stores]);
  return (
    <DeskContext.Provider value={desk}>
      <Tabs />
    </DeskContext.Provider>
  );
}

function Tabs(): JSX.Element {
  const { route } = useStores();
  const desk = useDesk();
  const tab = route.tab.value;
  const open = route.open.value;
  // Every tab names rules, silences and channels of the others.
  useShown(desk.rules, desk.silences, desk.channels);
  return (
    <Tabbed
      page="alerts"
      title="Alerts"
      first="active"
      tabs={[
        ["", "Active", Active, <Count tab="" />],
        ["history", "History", History],
        ["rules", "Rules", Rules, <Count tab="rules" />],
        ["silences", "Silences", Silences, <Count tab="silences" />],
        ["channels", "Channels", Channels, <Count tab="channels" />],
      ]}
    >
      {open !== "" && (tab === "" || tab === "history") ? <AlertSheet key={open} id={open} /> : null}
      <ActDialog />
    </Tabbed>
  );
}

function Count({ tab }: { readonly tab: Tab }): JSX.Element | null {
  const { alerts } = useStores();
  const { rules, silences, channels } = useDesk();
  switch (tab) {
    case "":
      return <b class={alerts.criticalCount.value > 0 ? "tone-critical" : ""}>{alerts.active.value.length}</b>;
    case "rules":
      return rules.view.value.at === undefined ? null : <b>{rules.view.value.items.length}</b>;
    case "silences": {
      const held = silences.view.value.items.filter((each) => each.state === "SILENCE_STATE_ACTIVE").length;
      return held === 0 ? null : <b>{held}</b>;
    }
    case "channels": {
      const ill = channels.view.value.items.filter((each) => each.health?.open === true || (each.health?.dead ?? 0) > 0).length;
      return ill === 0 ? null : (
        <b class="tone-critical" title="Channels that do not work">
          {ill} failing
        </b>
      );
    }
    default:
      return null;
  }
}
