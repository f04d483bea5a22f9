// The dialog of an act on an alert: what it does, what is said with it, and what became of it. It closes when the server has done it.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { toDuration } from "../core/time";
import { cliOf } from "../core/words";
import type { Call } from "../live/call";
import { requestId } from "../stores/control";
import { useStores } from "../ui/context";
import { CliLine, Dialog } from "../ui/dialog";
import { Area, Choice, Field, Submit, Text } from "../ui/form";
import { Mark } from "../ui/mark";
import { type Asked, type Verb, useDesk } from "./desk";
import { Instance } from "./line";
import { useTask } from "../ui/lists";
import { alertLook } from "./looks";

import type { Alert } from "../core/wire";

const WORDS: Readonly<Record<Verb, { title: string; effect: string; said: string; done: string }>> = {
  acknowledge: {
    title: "Acknowledge",
    effect: "Says that you take care of it. It goes on firing until its condition clears; repeats and escalation stop.",
    said: "Comment",
    done: "acknowledged",
  },
  unacknowledge: {
    title: "Take back",
    effect: "Says that nobody takes care of it any more. Repeats and escalation go on.",
    said: "Comment",
    done: "no longer acknowledged",
  },
  assign: { title: "Assign", effect: "Says who has it. Leave the name empty for nobody.", said: "Comment", done: "assigned" },
  comment: { title: "Comment", effect: "Adds to its timeline, for whoever reads it next.", said: "Comment", done: "commented" },
  resolve: {
    title: "Resolve",
    effect: "Ends it by hand. It stays away until its condition was false once; the next breach is a new alert.",
    said: "Reason",
    done: "resolved",
  },
};

const EXPIRY: readonly (readonly [string, string])[] = [
  ["0", "until it is resolved"],
  ["1800000", "for 30 min"],
  ["3600000", "for 1 h"],
  ["14400000", "for 4 h"],
  ["86400000", "for 24 h"],
];

interface Said {
  readonly comment: string;
  readonly assignee: string;
  readonly expireMs: number;
}

export async function perform(call: Call, verb: Verb, alert: Alert, said: Said): Promise<Alert | undefined> {
  const { comment, assignee } = said;
  const common = { alertId: alert.id, requestId: requestId() };
  switch (verb) {
    case "acknowledge": {
      const expire = said.expireMs === 0 ? {} : { expireAfter: toDuration(said.expireMs) };
      return (await call("AlertService/AcknowledgeAlert", { ...common, comment, ...expire })).message.alert;
    }
    case "unacknowledge":
      return (await call("AlertService/UnacknowledgeAlert", { ...common, comment })).message.alert;
    case "assign":
      return (await call("AlertService/AssignAlert", { ...common, comment, assignee })).message.alert;
    case "comment":
      return (await call("AlertService/CommentAlert", { ...common, comment })).message.alert;
    case "resolve":
      return (await call("AlertService/ResolveAlert", { ...common, reason: comment })).message.alert;
  }
}

export function alertCli(verb: string, id: string, options: readonly (readonly [string, string])[]): string {
  return cliOf(`alerts ${verb}`, id, options);
}

export function actCli(verb: Verb, id: string, { comment, assignee, expireMs }: Said): string {
  return alertCli(verb, id, [
    ["assignee", assignee],
    ["expire-after", expireMs === 0 ? "" : `${expireMs / 60_000}m`],
    [verb === "resolve" ? "reason" : "comment", comment],
  ]);
}

export function ActDialog(): JSX.Element | null {
  const desk = useDesk();
  const asked = desk.asked.value;
  return asked === undefined ? null : <Form key={`${asked.alert.id} ${asked.verb}`} asked={asked} />;
}

function Form({ asked }: { readonly asked: Asked }): JSX.Element {
  const { alerts, call, messages } = useStores();
  const desk = useDesk();
  const task = useTask();
  const comment = useSignal("");
  const assignee = useSignal(asked.alert.assignee);
  const expire = useSignal("0");
  const { verb } = asked;
  const words = WORDS[verb];
  const alert = alerts.active.value.find((each) => each.id === asked.alert.id) ?? asked.alert;
  const said = { comment: comment.value.trim(), assignee: verb === "assign" ? assignee.value.trim() : "", expireMs: Number(expire.value) };
  const obstacle = verb === "comment" && said.comment === "" ? "Say something first" : "";
  const close = (): void => {
    desk.asked.value = undefined;
  };
  const submit = async (): Promise<void> => {
    const done = await task.run(async () => {
      const changed = await perform(call, verb, alert, said);
      if (changed !== undefined) {
        alerts.learn(changed);
      }
    });
    if (done) {
      messages.say("good", `${alert.ruleName}: ${words.done}`);
      close();
    }
  };
  const cli = actCli(verb, alert.id, said);
  return (
    <Dialog title={`${words.title} “${alert.ruleName}”`} testId="alert-dialog" marks={{ "data-verb": verb }} close={close} submit={submit}>
      <p class="weak">{words.effect}</p>
      <p class="state">
        <Mark look={alertLook(alert)} /> {alertLook(alert).word} <Instance alert={alert} />
      </p>
      {verb === "assign" ? (
        <Field label="Who has it" at="assignee">
          <Text value={assignee.value} set={(value) => (assignee.value = value)} testId="alert-assignee" first />
        </Field>
      ) : null}
      {verb === "acknowledge" ? (
        <Field label="For how long" at="expire_after">
          <Choice value={expire.value} set={(value) => (expire.value = value)} of={EXPIRY} testId="alert-expiry" />
        </Field>
      ) : null}
      <Field label={words.said} hint="kept in its timeline" at="comment">
        <Area value={comment.value} set={(value) => (comment.value = value)} testId="alert-said" first={verb !== "assign"} />
      </Field>
      <CliLine line={cli} testId="alert-cli" />
      <div class="acts">
        <span class="grow" />
        <button type="button" class="button" onClick={close}>
          Back
        </button>
        <Submit task={task} obstacle={obstacle} testId="alert-confirm">
          {words.title}
        </Submit>
      </div>
    </Dialog>
  );
}
